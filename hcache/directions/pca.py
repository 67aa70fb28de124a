r"""Principal components of h over samples, as directions: per step, or joint over all steps.

With X_t (n, d) the centred h of n samples at step t, and a (n,) the samples' coordinates of unit
length along one component, one standard deviation along it is

    Δh_t = X_tᵀ a / √(n-1)

Per step, a is an eigenvector of the Gram matrix X_t X_tᵀ of that step, with the sign of the
previous step. Joint, a is an eigenvector of Σ_t X_t X_tᵀ. There is then one set of coordinates for
the whole trajectory, and the data determine the length of the direction at each step.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
    Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
    https://arxiv.org/abs/2303.11073
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.krylov import leading_vectors
from ..analysis.streaming import EXACT, stream_components
from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..options import Option
from ..progress import part
from .direction import Direction, in_units
from .fitting import Fit, Fitting, Method

if TYPE_CHECKING:
    import torch

JOINT, PER_STEP = "joint", "per step"

GRAM = 512
"""The largest number of samples for which joint components come from the Gram matrix itself. For
more, they come from its products with vectors.
"""

HELD = 2**30
"""The largest size of h, as stored, that is held in memory for all steps at once, in bytes."""

TILE = 256
"""The number of columns that are processed at a time."""


def pca_directions(
    run: Run, count: int = 5, joint: bool = True, site: str = H
) -> Generator[float, None, tuple[Direction, ...]]:
    """Returns the first ``count`` components of a run, largest first.

    The run stores the site in full.

    Raises:
        AnalysisError: there are fewer than 3 samples.
        UsageError: the samples have fewer components.
    """
    n, steps = len(run), run.spec.steps
    if n < 3:
        raise AnalysisError(f"principal components need 3 samples or more; run {run.name} has {n}")
    if not 1 <= count < n:
        raise UsageError(
            f"the number of components must lie in 1 to {n - 1}, one less than samples; got {count}"
        )
    h = _Columns(run, site)
    found, done = None, 0.0
    if joint and n > GRAM:
        done = 0.5
        found = yield from part(_by_products(h, count), 0.0, done)
    if found is None:
        found = yield from part(_by_grams(h, count, joint), done, 1.0)
    delta, sigma = found
    options = {"count": count, "over": JOINT if joint else PER_STEP}
    fits = [
        Fit(method="pca", run=run.name, options=options, component=k, site=site).to_json()
        for k in range(count)
    ]
    shape = (steps, *run.anatomy.shape(site))
    delta, spread = delta.reshape(count, *shape), sigma.reshape(shape)
    return tuple(
        in_units(d, spread, fit, run.spec.model, run.timesteps)
        for d, fit in zip(delta, fits, strict=True)
    )


class _Columns:
    """Yields h (or a site) of a run as float32, a few columns of a step at a time, minus their mean
    over samples.

    If all steps fit into memory as stored, they are read at once. Each shard is then opened once,
    and not at every step.
    """

    def __init__(self, run: Run, site: str) -> None:
        self.run, self.site, self.width = run, site, run.width(site)
        size = run.spec.steps * len(run) * self.width * np.dtype(run.spec.store_dtype).itemsize
        self._held = run.array(site) if size <= HELD else None

    def tiles(self, step: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yields (place, columns (n, up to TILE)) of a step. All tiles use one buffer, which is
        small enough to stay in the processor's cache while it is widened, centred and multiplied.
        """
        import torch

        rows = torch.from_numpy(
            self.run.matrix(self.site, step) if self._held is None else self._held[step]
        ).flatten(1)
        buffer = torch.empty(len(rows) * TILE)
        for start in range(0, rows.shape[1], TILE):
            stored = rows[:, start : start + TILE]
            columns = buffer[: stored.numel()].view(stored.shape).copy_(stored)
            yield slice(start, start + TILE), columns.sub_(columns.mean(0))


def _by_grams(
    h: _Columns, count: int, joint: bool
) -> Generator[float, None, tuple[np.ndarray, np.ndarray]]:
    """Returns Δh (count, steps, d) along the leading components of every step, or of all steps
    together, and σ (steps, d), from the Gram matrices themselves.
    """
    import torch

    n, steps, d = len(h.run), h.run.spec.steps, h.width
    find = _leading_by_grams if n <= EXACT else _leading_streamed
    coordinates = yield from part(find(h, count, joint), 0.0, 0.6)
    delta, sigma = np.empty((count, steps, d), np.float32), np.empty((steps, d), np.float32)
    for step, a in enumerate(coordinates):
        along = torch.from_numpy(a.T.astype(np.float32) / np.sqrt(n - 1, dtype=np.float32))
        for at, columns in h.tiles(step):
            delta[:, step, at] = along @ columns
            sigma[step, at] = columns.square_().mean(0).sqrt_()
        yield 0.6 + 0.4 * (step + 1) / steps
    return delta, sigma


def _leading_by_grams(
    h: _Columns, count: int, joint: bool
) -> Generator[float, None, list[np.ndarray]]:
    """Returns the leading eigenvectors (n, count) of every step, or of the sum over steps."""
    total: np.ndarray | None = None
    each, steps = [], h.run.spec.steps
    for step in range(steps):
        gram = _gram(h, step)
        if joint:  # only one (n, n) matrix is in memory at a time
            total = gram if total is None else total + gram
        else:
            each.append(largest_eigenvectors(gram, count))
        yield (step + 1) / steps
    return _aligned(each) if total is None else [largest_eigenvectors(total, count)] * steps


def _leading_streamed(
    h: _Columns, count: int, joint: bool
) -> Generator[float, None, list[np.ndarray]]:
    """Returns the same for samples whose Gram matrix is too large, by passes over them."""
    run = h.run
    rows = partial(run.step_blocks, h.site)
    found = yield from stream_components(rows, len(run), count, joint, own=not joint)
    if found.joint is None:
        return _aligned([_unit(each.scores[0]) for each in found.own])
    whole = (found.joint.scores * found.joint.lengths[:, None]).sum(0, dtype=np.float64)
    return [_unit(whole)] * run.spec.steps


def _unit(scores: np.ndarray) -> np.ndarray:
    """Scales coordinates to unit length, with the sign that makes their skewness positive."""
    return _signed(scores / np.linalg.norm(scores, axis=0))


def _by_products(
    h: _Columns, count: int
) -> Generator[float, None, tuple[np.ndarray, np.ndarray] | None]:
    """Returns Δh (count, steps, d) along the leading joint components and σ (steps, d), from
    products of Σ_t X_t X_tᵀ with a few vectors at a time. It returns None if they do not converge.

    The products of every block of vectors with h are kept. The components lie in the span of the
    blocks, so Δh follows from these products without another pass over h.
    """
    import torch

    n, steps, d, blocks = len(h.run), h.run.spec.steps, h.width, 8
    search, used, along = leading_vectors(n, count, blocks=blocks), [], []
    sigma = np.empty((steps, d), np.float32)
    block = next(search)
    for number in range(blocks):
        product, few = np.zeros(block.shape[::-1]), torch.from_numpy(block.T.astype(np.float32))
        used.append(block)
        along.append(np.empty((block.shape[1], steps, d), np.float32))
        for step in range(steps):
            for at, columns in h.tiles(step):
                found = few @ columns
                along[-1][:, step, at] = found
                product += (
                    found @ columns.T
                ).numpy()  # the multiplication is faster with rows than with columns
                if number == 0:
                    sigma[step, at] = columns.square_().mean(0).sqrt_()
            yield (number + (step + 1) / steps) / blocks
        try:
            block = search.send(product.T)
        except StopIteration as end:
            if end.value is None:
                return None
            shares = (np.hstack(used).T @ _signed(end.value)) / np.sqrt(n - 1)
            return np.tensordot(shares.T.astype(np.float32), np.concatenate(along), 1), sigma
    return None


def _gram(h: _Columns, step: int) -> np.ndarray:
    """Returns H Hᵀ (n, n) float64 of a step."""
    gram = np.zeros((len(h.run), len(h.run)))
    for _, columns in h.tiles(step):
        part = columns.numpy().astype(np.float64)
        gram += part @ part.T
    return gram


def largest_eigenvectors(gram: np.ndarray, count: int) -> np.ndarray:
    """Returns the eigenvectors (n, count) of the largest eigenvalues.

    Their sign makes the skewness of the coordinates positive.
    """
    _, vectors = np.linalg.eigh(gram)
    return _signed(vectors[:, ::-1][:, :count])


def _signed(found: np.ndarray) -> np.ndarray:
    """Returns vectors with the sign that makes the skewness of the coordinates positive."""
    return found * np.where((found**3).sum(0) < 0, -1, 1)


def _aligned(coordinates: list[np.ndarray]) -> list[np.ndarray]:
    """Gives each step's components the signs of the previous step."""
    aligned = coordinates[:1]
    for found in coordinates[1:]:
        aligned.append(found * np.where((found * aligned[-1]).sum(0) < 0, -1, 1))
    return aligned


def _make(fit: Fit, options: Mapping[str, Any], run: Run, _: object) -> Fitting:
    found = yield from pca_directions(run, options["count"], options["over"] == JOINT, fit.site)
    return tuple(
        replace(d, made_by=replace(fit, component=k).to_json()) for k, d in enumerate(found)
    )


METHOD = Method(
    name="pca",
    title="PCA: principal components",
    text="The directions in which h varies most over the samples. You choose no samples.",
    source=(
        "Haas et al. 2023, Discovering Interpretable Directions in the Semantic Latent Space of"
        " Diffusion Models"
    ),
    make=_make,
    short="PCA, first",
    sites=True,
    proposed=True,
    options={
        "count": Option(default=5, text="number of components"),
        "over": Option(
            default=JOINT,
            text="joint over all steps, or each step by itself",
            choices=(JOINT, PER_STEP),
        ),
    },
)
