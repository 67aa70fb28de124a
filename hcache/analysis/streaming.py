r"""Leading principal components of samples that are streamed in a few passes.

X_t (n, d) are the centred activations at step t, C_t = X_tᵀ X_t, and Ω (d, l) are a few columns. A
pass over the samples gives Y = X_t Ω and C_t Ω = X_tᵀ Y. It holds only n x l and d x l numbers. The
components are searched in the span of

    Ω, C Ω, C² Ω, ...

with one pass for each block (Rayleigh-Ritz on a block Krylov space). The scores are combinations of
the Y of all blocks, so they take no pass of their own. For components joint over the steps, C is
Xᵀ X of the steps side by side. The same pass serves it. Ω begins with the leading subspace of the
first samples and some random columns. Two passes therefore suffice if components stand out of the
noise. There are never more than :data:`MOST_PASSES`.

**Error.** For a component v with variance θ, the residual ‖C v - θ v‖ is known without a pass. The
true matrix has an eigenvalue within the residual of θ. The angle between v and the true component
is at most residual / gap. The passes end when the residual is below :data:`TOLERANCE` of a
component's distance to the noise, for all components that stand out twofold.

**Cost.** A pass takes 4 l multiplications and additions for each number that is read, for each of
the two searches. The memory is a few times that of the scores, :data:`AT_START` bytes, a few times
:data:`TOGETHER`, and some d x l numbers for each step.

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

OVERSAMPLING, RANDOM = 6, 3
"""The number of additional columns in the search, and how many of them start at random."""

FIRST, ROUNDS = 1024, 3
"""The number of first samples whose leading subspace is the start, and of power iterations on them.
"""

FEW = 64
"""The number of features up to which all directions are followed. The components are then exact."""

TOLERANCE = 8e-3
"""The largest sine of the error angle for a component that stands out."""

LEAST_PASSES, MOST_PASSES = 2, 3

TOGETHER = 2**25
"""The number of bytes of samples that are processed at a time."""

AT_START = 16 * TOGETHER
"""The number of bytes of first samples, at most. With few of them the start is worse, and a third
pass follows.
"""

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

    ``own``: the components of each step, if requested. ``joint``: those of all steps side by side,
    if requested. ``totals`` (steps,): the sum of squares of each step. ``passes``: the number of
    passes over the data.
    """

    own: tuple[Leading, ...]
    joint: Leading | None
    totals: np.ndarray
    passes: int


@dataclass(kw_only=True)
class _Search:
    """The search for the components of one matrix C (d, d).

    It has the products so far and the next block. ``along``: the samples along each block so far,
    (steps, n, l); there is one step unless the components are joint.
    """

    k: int
    block: np.ndarray
    along: list[np.ndarray] = field(default_factory=list)
    basis: np.ndarray = field(init=False)
    images: np.ndarray = field(init=False)
    values: np.ndarray = field(init=False)
    inner: np.ndarray = field(init=False)
    residuals: np.ndarray = field(init=False)
    settled: bool = False
    complete: bool = False

    def __post_init__(self) -> None:
        self.basis = np.zeros((len(self.block), 0), np.float32)
        self.images = self.basis

    def take(self, product: np.ndarray, along: np.ndarray) -> None:
        """Takes C times the block and the samples along it, and updates the best components."""
        if self.complete:  # there is no other block
            return
        self.along.append(along)
        self.basis = np.hstack([self.basis, self.block])
        self.images = np.hstack([self.images, product])
        small = (self.basis.T @ self.images).astype(np.float64)
        values, inner = np.linalg.eigh((small + small.T) / 2)
        values, inner = np.maximum(values[::-1], 0), inner[:, ::-1].astype(np.float32)
        self.values, self.inner = values[: self.k], inner[:, : self.k]
        off = self.images @ self.inner - self.vectors * self.values.astype(np.float32)
        self.residuals = np.linalg.norm(off, axis=0).astype(np.float64)
        self.complete = self.basis.shape[1] + self.block.shape[1] > len(self.block)
        noise = values[self.k] if len(values) > self.k else 0.0
        clear = self.values > 2 * noise
        close = self.residuals <= TOLERANCE * (self.values - noise)
        self.settled = self.complete or bool(close[clear].all())
        if not self.complete:
            self.block = self._beyond(product)

    @property
    def vectors(self) -> np.ndarray:
        """The components (d, k), of unit length."""
        return self.basis @ self.inner

    def leading(self) -> Leading:
        """Returns the components. The scores at each step are on parts of unit length."""
        largest = np.where(self.values > 0, self.values, 1)
        steps, done = len(self.along[0]), 0
        parts = self.vectors.reshape(steps, -1, len(largest))
        lengths = np.linalg.norm(parts, axis=1)
        scores = np.zeros((*self.along[0].shape[:2], len(largest)), np.float32)
        for along in self.along:
            inner = self.inner[done : done + along.shape[2]]
            for step, found in enumerate(scores):
                found += along[step] @ inner
            done += len(inner)
        for found, length in zip(scores, lengths, strict=True):
            found -= found.mean(0, dtype=np.float64).astype(np.float32)
            found /= np.where(length > 0, length, 1) if steps > 1 else 1
        return Leading(
            scores=scores,
            values=self.values,
            residuals=self.residuals / largest,
            lengths=lengths,
        )

    def _beyond(self, product: np.ndarray) -> np.ndarray:
        for _ in range(2):  # one time is not enough for vectors that are nearly in the span already
            product = orthonormal(product - self.basis @ (self.basis.T @ product))
        return product


@dataclass(kw_only=True)
class _Sums:
    """The sums over a pass of the samples minus ``shift`` (steps, d).

    ``own`` and ``joint`` are the blocks: one for each step or none, and (steps, d, l) or None. The
    products are (l, d) for each step. ``along_own`` and ``along_joint`` are the samples along the
    blocks (steps, n, l).
    """

    shift: np.ndarray
    own: list[np.ndarray]
    joint: np.ndarray | None
    samples: int
    total: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)
    width: int = field(init=False)
    n: int = 0

    def __post_init__(self) -> None:
        steps, d = self.shift.shape
        self.total, self.squares = np.zeros((steps, d)), np.zeros(steps)
        self.width = self.own[0].shape[1] if self.own else 0
        widths = self.width, 0 if self.joint is None else self.joint.shape[2]
        joint = [] if self.joint is None else list(self.joint)
        self.blocks = (
            [np.hstack(pair) for pair in zip(self.own, joint, strict=True)]
            if self.own and joint
            else self.own or joint
        )
        self.own_products, self.joint_products = (
            np.zeros((steps, width, d), np.float32) for width in widths
        )
        self.along_own, self.along_joint = (
            np.zeros((steps, self.samples, width), np.float32) for width in widths
        )

    def add(self, x: np.ndarray) -> None:
        """Adds samples (steps, some, d), minus the shift."""
        place, width = slice(self.n, self.n + x.shape[1]), self.width
        self.n = place.stop
        ones = np.ones(x.shape[1], np.float32)
        for step, rows in enumerate(x):
            self.total[step] += ones @ rows
            self.squares[step] += np.vdot(rows, rows)
            found = rows @ self.blocks[step]
            self.along_own[step, place] = found[:, :width]
            self.along_joint[step, place] = found[:, width:]
            if width:
                self.own_products[step] += found[:, :width].T @ rows
        if self.joint is not None:
            together = self.along_joint[:, place].sum(0)
            for step, rows in enumerate(x):
                self.joint_products[step] += together.T @ rows

    def centred(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Returns the products (d, l) of each step and (steps, d, l), for centred samples."""
        mean = (self.total / self.n).astype(np.float32)
        own = [
            product.T - self.n * np.outer(at, at @ block)
            for product, block, at in zip(self.own_products, self.own, mean, strict=bool(self.own))
        ]
        joint = self.joint_products.swapaxes(1, 2)
        if self.joint is not None:
            along = np.einsum("sd,sdl->l", mean, self.joint)
            joint = joint - self.n * mean[:, :, None] * along
        return own, joint

    @property
    def totals(self) -> np.ndarray:
        """Returns sums of squares of the centred samples (steps,)."""
        return self.squares - np.square(self.total).sum(1) / self.n


def stream_components(
    rows: StepRows,
    samples: int,
    k: int = 10,
    joint: bool = True,
    seed: int = 0,
    own: bool = True,
) -> Generator[float, None, Streamed]:
    """Computes the ``k`` leading components of each step and jointly.

    Args:
        rows: All steps of some samples at a time.
        samples: The total number of samples.
        k: The number of components, at most what samples or features allow.
        joint: Whether to compute joint components as well.
        seed: The seed of the random columns.
        own: Whether to compute the components of each step. Joint ones alone take half of the time.

    Raises:
        AnalysisError: values are not finite, or a step has no variance.
    """
    first = _first_samples(rows)
    if samples < 3 or first.shape[1] < 1:
        raise AnalysisError(f"PCA needs 3 samples or more, got {samples}")
    _check_finite(first)
    k = min(k, samples - 1, first.shape[2])
    shift = first.mean(1)
    first -= shift[:, None]
    rng = np.random.default_rng(seed)
    each_step = [_Search(k=k, block=_first_block(at[None], k, rng)) for at in first if own]
    whole = _Search(k=k, block=_first_block(first, k, rng)) if joint else None
    share, passes = 1 / MOST_PASSES, 0
    while True:
        sums = yield from _pass(rows, samples, shift, each_step, whole, share * passes, share)
        passes += 1
        searches = [*each_step, *([whole] if whole else [])]
        enough = passes >= LEAST_PASSES or all(s.complete for s in searches)
        if passes == MOST_PASSES or (enough and all(s.settled for s in searches)):
            break
    return Streamed(
        own=tuple(search.leading() for search in each_step),
        joint=None if whole is None else whole.leading(),
        totals=sums.totals,
        passes=passes,
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
        samples=samples,
    )
    for x in shifted(rows, shift):
        sums.add(x)
        if not np.isfinite(sums.squares).all():
            _check_finite(x)
        yield begun + share * min(1.0, sums.n / samples)
    largest = np.abs(shift).max(1)  # of equal numbers
    for step, total in enumerate(sums.totals):
        # less than the rounding error of equal numbers
        if total <= (1e-6 * largest[step]) ** 2 * sums.n * shift.shape[1]:
            raise AnalysisError(
                f"all samples are the same at step {step}: there is no variance to explain"
            )
    of_steps, of_all = sums.centred()
    for step, (search, product) in enumerate(zip(own, of_steps, strict=True)):
        search.take(product.astype(np.float32), sums.along_own[step : step + 1, : sums.n])
    if whole is not None:
        product = of_all.reshape(len(whole.block), -1).astype(np.float32)
        whole.take(product, sums.along_joint[:, : sums.n])
    return sums


def _check_finite(x: np.ndarray) -> None:
    """Refuses samples (steps, some, d) with values that are not finite."""
    for step, rows in enumerate(x):
        if not np.isfinite(rows).all():
            raise AnalysisError(
                f"at step {step} the data hold values that are not finite (overflow?); PCA is not"
                " defined on them"
            )


def _first_samples(rows: StepRows) -> np.ndarray:
    """Returns all steps of the first samples, of at most :data:`AT_START` bytes."""
    found, count = np.zeros((0, 0, 0), np.float32), 0
    for block in rows():
        if not count:
            most = min(FIRST, max(1, AT_START // max(1, block[:, :1].nbytes)))
            found = np.empty((len(block), most, block.shape[2]), np.float32)
        taken = block[:, : found.shape[1] - count]
        found[:, count : count + taken.shape[1]] = taken
        count += taken.shape[1]
        if count == found.shape[1]:
            break
    return found[:, :count]


def _first_block(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Returns orthonormal columns (steps * d, l): the leading subspace of the first samples, and
    random ones.

    ``x`` (steps, b, d): the first samples, centred at each step.
    """
    steps, b, d = x.shape
    size = steps * d
    if size <= FEW:
        return np.eye(size, dtype=np.float32)
    width = min(k + OVERSAMPLING, size)
    known = min(width - min(RANDOM, width), b - 1)
    columns = rng.standard_normal((steps, d, known)).astype(np.float32)
    for _ in range(ROUNDS if known > 0 else 0):
        along = sum(rows @ part for rows, part in zip(x, columns, strict=True))
        found = np.concatenate([rows.T @ along for rows in x])
        columns = orthonormal(found).reshape(steps, d, -1)
    start = columns.reshape(size, -1)
    noise = rng.standard_normal((size, width - start.shape[1])).astype(np.float32)
    return orthonormal(np.hstack([start, noise / np.sqrt(np.float32(size))]))


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """Returns an orthonormal basis of the span of columns (d, l).

    Columns that depend on the others are replaced by others.
    """
    return np.linalg.qr(columns)[0].astype(np.float32)


def shifted(rows: StepRows, shift: np.ndarray) -> Iterator[np.ndarray]:
    """Yields blocks (steps, some, d) minus a shift (steps, d).

    Each has at most :data:`TOGETHER` bytes. Small blocks are joined, and large ones are cut. The
    array is used again for the next block.
    """
    steps, d = shift.shape
    most = max(1, TOGETHER // max(1, 4 * steps * d))
    held, together = 0, np.empty((steps, most, d), np.float32)
    for block in rows():
        start = 0
        while start < block.shape[1]:
            stop = min(start + most - held, block.shape[1])
            place = slice(held, held + stop - start)
            np.subtract(block[:, start:stop], shift[:, None], out=together[:, place])
            start, held = stop, place.stop
            if held == most:
                yield together
                held = 0
    if held:
        yield together[:, :held]


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
