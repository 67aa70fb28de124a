r"""Leading principal components of samples that are streamed in a few passes.

X_t (n, d) are the centred activations at step t, C_t = X_tᵀ X_t, and Ω (d, l) are a few columns. A
pass over the samples gives C_t Ω = X_tᵀ (X_t Ω). It holds only n x l and d x l numbers. The
components are searched in the span of

    Ω, C Ω, C² Ω, ...

with one pass for each block (Rayleigh-Ritz on a block Krylov space). For components joint over the
steps, C is Xᵀ X of the steps side by side. The same pass serves it. Ω begins with the components of
the first samples and some random columns. Two passes therefore suffice if components stand out of
the noise. There are never more than :data:`MOST_PASSES`, plus one for the scores.

**Error.** For a component v with variance θ, the residual ‖C v - θ v‖ is known without a pass. The
true matrix has an eigenvalue within the residual of θ. The angle between v and the true component
is at most residual / gap. The passes end when the residual is below :data:`TOLERANCE` of a
component's distance to the noise, for all components that stand out twofold.

References:
    Finding structure with randomness: Probabilistic algorithms for constructing approximate matrix
    decompositions (Halko, Martinsson, Tropp, 2011), https://arxiv.org/abs/0909.4061
    Randomized Block Krylov Methods for Stronger and Faster Approximate Singular Value Decomposition
    (Musco, Musco, 2015), https://arxiv.org/abs/1504.05477
    The Rotation of Eigenvectors by a Perturbation III (Davis, Kahan, 1970),
    https://doi.org/10.1137/0707001, for the angle
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..errors import AnalysisError

EXACT = 2048
"""The number of samples, or features, up to which components are computed exactly."""

OVERSAMPLING, RANDOM = 10, 5
"""The number of additional columns in the search, and how many of them start at random."""

FIRST = 512
"""The number of first samples whose components are computed exactly, as a start."""

FEW = 64
"""The number of features up to which all directions are followed. The components are then exact."""

TOLERANCE = 5e-3
"""The largest sine of the error angle for a component that stands out."""

LEAST_PASSES, MOST_PASSES = 2, 4

TOGETHER = 2**26
"""The number of bytes of samples that are processed at a time."""

StepRows = Callable[[], Iterator[np.ndarray]]
"""A function that starts again at every call: it returns the same blocks (steps, some samples, d)
float32 every time.
"""


@dataclass(frozen=True, kw_only=True)
class Leading:
    """Leading components of one matrix.

    ``scores`` (steps, n, k). ``values`` (k,): sums of squares. ``residuals`` (k,): the possible
    error of each value. ``lengths`` (steps, k): the lengths of a joint component's parts at each
    step. The scores there, multiplied by these, are parts of one score.
    """

    scores: np.ndarray
    values: np.ndarray
    residuals: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """The principal components of data that were read in blocks.

    ``own``: the components of each step. ``joint``: those of all steps side by side, if requested.
    ``totals`` (steps,): the sum of squares of each step. ``passes``: the number of passes over the
    data.
    """

    own: tuple[Leading, ...]
    joint: Leading | None
    totals: np.ndarray
    passes: int


@dataclass(kw_only=True)
class _Search:
    """The search for the components of one matrix C (d, d), with the products so far and the next
    block.
    """

    k: int
    block: np.ndarray
    basis: np.ndarray = field(init=False)
    images: np.ndarray = field(init=False)
    values: np.ndarray = field(init=False)
    vectors: np.ndarray = field(init=False)
    residuals: np.ndarray = field(init=False)
    settled: bool = False
    complete: bool = False

    def __post_init__(self) -> None:
        self.basis = np.zeros((len(self.block), 0), np.float32)
        self.images = self.basis

    def take(self, product: np.ndarray) -> None:
        """Takes C times the block, and updates the best components."""
        if self.complete:  # there is no other block
            return
        self.basis = np.hstack([self.basis, self.block])
        self.images = np.hstack([self.images, product])
        small = (self.basis.T @ self.images).astype(np.float64)
        values, inner = np.linalg.eigh((small + small.T) / 2)
        values, inner = np.maximum(values[::-1], 0), inner[:, ::-1].astype(np.float32)
        self.values, inner = values[: self.k], inner[:, : self.k]
        self.vectors = self.basis @ inner
        off = self.images @ inner - self.vectors * self.values.astype(np.float32)
        self.residuals = np.linalg.norm(off, axis=0).astype(np.float64)
        self.complete = self.basis.shape[1] + self.block.shape[1] > len(self.block)
        noise = values[self.k] if len(values) > self.k else 0.0
        clear = self.values > 2 * noise
        close = self.residuals <= TOLERANCE * (self.values - noise)
        self.settled = self.complete or bool(close[clear].all())
        if not self.complete:
            self.block = self._beyond(product)

    def _beyond(self, product: np.ndarray) -> np.ndarray:
        for _ in range(2):  # one pass is not enough for vectors that are nearly in the span already
            product = np.linalg.qr(product - self.basis @ (self.basis.T @ product))[0]
        return product.astype(np.float32)


@dataclass(kw_only=True)
class _Sums:
    """The sums over a pass of the samples minus ``shift`` (steps, d)."""

    shift: np.ndarray
    own: list[np.ndarray]
    joint: np.ndarray | None
    total: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)
    n: int = 0

    def __post_init__(self) -> None:
        self.total = np.zeros(self.shift.shape)
        self.squares = np.zeros(len(self.shift))
        self.own_products = [np.zeros_like(block) for block in self.own]
        self.joint_products = None if self.joint is None else np.zeros_like(self.joint)

    def add(self, x: np.ndarray) -> None:
        """Adds samples (steps, some, d), minus the shift."""
        self.n += x.shape[1]
        along = None
        for step, rows in enumerate(x):
            self.total[step] += rows.sum(0, dtype=np.float64)
            self.squares[step] += np.vdot(rows, rows)
            self.own_products[step] += rows.T @ (rows @ self.own[step])
            if self.joint is not None:
                part = rows @ self.joint[step]
                along = part if along is None else along + part
        if self.joint_products is not None:
            for step, rows in enumerate(x):
                self.joint_products[step] += rows.T @ along

    def centred(self) -> tuple[list[np.ndarray], np.ndarray | None]:
        """Returns the products for centred samples."""
        mean = (self.total / self.n).astype(np.float32)
        own = [
            product - self.n * np.outer(at, at @ block)
            for product, block, at in zip(self.own_products, self.own, mean, strict=True)
        ]
        if self.joint is None or self.joint_products is None:
            return own, None
        along = np.einsum("sd,sdl->l", mean, self.joint)
        return own, self.joint_products - self.n * mean[:, :, None] * along

    @property
    def totals(self) -> np.ndarray:
        """Returns sums of squares of the centred samples (steps,)."""
        return self.squares - np.square(self.total).sum(1) / self.n


def stream_components(
    rows: StepRows, samples: int, k: int = 10, joint: bool = True, seed: int = 0
) -> Generator[float, None, Streamed]:
    """Computes the ``k`` leading components of each step and jointly.

    Args:
        rows: All steps of some samples at a time.
        samples: The total number of samples.
        k: The number of components, at most what samples or features allow.
        joint: Whether to compute joint components as well.
        seed: The seed of the random columns.

    Raises:
        AnalysisError: values are not finite, or a step has no variance.
    """
    first = next(grouped(rows), np.zeros((0, 0, 0), np.float32))[:, :FIRST]
    if samples < 3 or first.shape[1] < 1:
        raise AnalysisError(f"PCA needs 3 samples or more, got {samples}")
    k = min(k, samples - 1, first.shape[2])
    shift = first.mean(1)
    rng = np.random.default_rng(seed)
    own = [_Search(k=k, block=_first_block(each[None], k, rng)) for each in first]
    whole = _Search(k=k, block=_first_block(first, k, rng)) if joint else None
    share, passes = 1 / (MOST_PASSES + 1), 0
    while True:
        sums = yield from _pass(rows, samples, shift, own, whole, share * passes, share)
        passes += 1
        searches = [*own, *([whole] if whole else [])]
        enough = passes >= LEAST_PASSES or all(s.complete for s in searches)
        if passes == MOST_PASSES or (enough and all(s.settled for s in searches)):
            break
    mean = (shift + sums.total / sums.n).astype(np.float32)
    found = yield from _scores(rows, samples, mean, own, whole, 1 - share, share)
    return Streamed(
        own=tuple(_leading(s, scores[None]) for s, scores in zip(own, found[0], strict=True)),
        joint=None if whole is None else _leading(whole, found[1]),
        totals=sums.totals,
        passes=passes + 1,
    )


def _leading(search: _Search, scores: np.ndarray) -> Leading:
    largest = np.where(search.values > 0, search.values, 1)
    parts = search.vectors.reshape(len(scores), -1, len(largest))
    return Leading(
        scores=scores,
        values=search.values,
        residuals=search.residuals / largest,
        lengths=np.linalg.norm(parts, axis=1),
    )


def _pass(
    rows: StepRows,
    samples: int,
    shift: np.ndarray,
    own: list[_Search],
    whole: _Search | None,
    begun: float,
    share: float,
) -> Generator[float, None, _Sums]:
    """Takes one pass over the data, after which every search has its products."""
    sums = _Sums(
        shift=shift,
        own=[search.block for search in own],
        joint=None if whole is None else whole.block.reshape(*shift.shape, -1),
    )
    largest = np.zeros(len(shift))
    for x in grouped(rows):
        largest = np.maximum(largest, np.abs(x).max((1, 2)))
        _check_finite(largest)
        sums.add(x - shift[:, None])
        yield begun + share * min(1.0, sums.n / samples)
    for step, total in enumerate(sums.totals):
        # less than the rounding error of equal numbers
        if total <= (1e-6 * largest[step]) ** 2 * sums.n * shift.shape[1]:
            raise AnalysisError(
                f"all samples are the same at step {step}: there is no variance to explain"
            )
    of_steps, of_all = sums.centred()
    for search, product in zip(own, of_steps, strict=True):
        search.take(product.astype(np.float32))
    if whole is not None and of_all is not None:
        whole.take(of_all.reshape(len(whole.block), -1).astype(np.float32))
    return sums


def _check_finite(largest: np.ndarray) -> None:
    if not np.isfinite(largest).all():
        step = int(np.flatnonzero(~np.isfinite(largest))[0])
        raise AnalysisError(
            f"at step {step} the data hold values that are not finite (overflow?); PCA is not"
            " defined on them"
        )


def _scores(
    rows: StepRows,
    samples: int,
    mean: np.ndarray,
    own: list[_Search],
    whole: _Search | None,
    begun: float,
    share: float,
) -> Generator[float, None, tuple[list[np.ndarray], np.ndarray]]:
    """Returns scores on each step's components, and on the unit-length parts of joint components at
    each step.
    """
    along = [search.vectors for search in own]
    if whole is not None:
        parts = whole.vectors.reshape(*mean.shape, -1)
        length = np.linalg.norm(parts, axis=1, keepdims=True)
        parts = parts / np.where(length > 0, length, 1)
        along = [np.hstack(pair) for pair in zip(along, parts, strict=True)]
    found = np.empty((len(along), samples, along[0].shape[1]), np.float32)
    at = 0
    for x in grouped(rows):
        place = slice(at, at + x.shape[1])
        for step, vectors in enumerate(along):
            found[step, place] = x[step] @ vectors - mean[step] @ vectors
        at = place.stop
        yield begun + share * min(1.0, at / samples)
    k = own[0].vectors.shape[1]
    return [each[:at, :k] for each in found], found[:, :at, k:]


def _first_block(first: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Returns orthonormal columns (steps * d, l): the components of the first samples (steps, b,
    d), and random ones.
    """
    x = first - first.mean(1, keepdims=True)
    side_by_side = np.concatenate(list(x), 1)
    size = side_by_side.shape[1]
    if size <= FEW:
        return np.eye(size, dtype=np.float32)
    width = min(k + OVERSAMPLING, size)
    _, vectors = np.linalg.eigh(side_by_side @ side_by_side.T)
    known = min(width - min(RANDOM, width), len(vectors) - 1)
    start = side_by_side.T @ vectors[:, len(vectors) - known :]
    noise = rng.standard_normal((size, width - known)).astype(np.float32)
    scale = np.linalg.norm(start, axis=0)
    start = start / np.where(scale > 0, scale, 1)
    return np.linalg.qr(np.hstack([start, noise / np.sqrt(np.float32(size))]))[0].astype(np.float32)


def grouped(rows: StepRows) -> Iterator[np.ndarray]:
    """Regroups blocks to at most :data:`TOGETHER` bytes each.

    Blocks are (steps, b, d). Small ones are joined, and large ones are cut.
    """
    held: list[np.ndarray] = []
    for block in rows():
        if not block.shape[1]:
            continue
        most = max(1, TOGETHER // max(1, block[:, :1].nbytes))
        for start in range(0, block.shape[1], most):
            part = block[:, start : start + most]
            if held and sum(each.shape[1] for each in held) + part.shape[1] > most:
                yield _together(held)
                held = []
            held.append(part)
    if held:
        yield _together(held)


def _together(blocks: list[np.ndarray]) -> np.ndarray:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, 1)
