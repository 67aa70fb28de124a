"""The unit of methods that move each sample by its own Δh, and the share of such a move that leads
to the mean.

A strength of 1 is a move whose root mean square over samples, steps, channels and places is 1 in σ,
as for a direction. Only the resulting move counts, not the path of the optimisation.

A method may mostly make a sample more average: with z = (h - μ) / σ, this is a move along -z. Such
a move weakens every attribute of a sample, and is not a direction towards an attribute. Therefore
the cosine of a move with -z is reported, and this part can be projected out.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.reading import Run
from .direction import Move, named_samples, site_of, spread

if TYPE_CHECKING:
    import torch

    from ..models.model import Model

TRIED = 64
"""The largest number of samples that a move is measured on."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """The net length and direction of moves.

    ``rms``: the root mean square of moves over samples and steps, in σ. ``to_mean``: the mean of
    their cosines with -z.
    """

    rms: float
    to_mean: float

    def to_json(self) -> dict[str, float]:
        """Returns rounded values, to store in ``made_by``."""
        return {"net_rms": float(f"{self.rms:.4g}"), "to_mean": float(f"{self.to_mean:.3g}")}


def net_in_words(net: Any) -> str:
    """Describes the ``net`` of a direction's ``made_by``.

    The text is empty if it has none of these numbers.
    """
    found = net if isinstance(net, Mapping) else {}
    known = {name: value for name, value in found.items() if isinstance(value, (int, float))}
    said = []
    if "net_rms" in known:
        said.append(
            f"Before it was scaled to strength 1, this move had a root mean square of"
            f" {known['net_rms']:.2f} σ."
        )
    if "to_mean_before" in known and abs(known.get("to_mean", 1)) < 0.005:
        said.append(
            f"Its cosine with the way to the mean of all samples was {known['to_mean_before']:.2f};"
            " that part was taken out."
        )
    elif "to_mean" in known:
        said.append(
            f"Its cosine with the way to the mean of all samples is {known['to_mean']:.2f}."
        )
    return " ".join(said)


class Netting:
    """Collects the moves of some samples, step by step."""

    def __init__(self) -> None:
        self._squares, self._cosines = [], []

    def add(self, z: torch.Tensor, delta: torch.Tensor) -> None:
        """Adds samples z (n, d) that were moved by delta (n, d).

        Both are in σ.
        """
        import torch

        self._squares.append(delta.double().square().mean(1))
        self._cosines.append(torch.nn.functional.cosine_similarity(delta.double(), -z.double()))

    @property
    def net(self) -> Net:
        """Returns the result for all collected moves."""
        import torch

        squares, cosines = torch.cat(self._squares), torch.cat(self._cosines)
        return Net(rms=float(squares.mean().sqrt()), to_mean=float(cosines.mean()))


def net_of(move: Move, model: Model, run: Run, seed: int = 0) -> Net:
    """Returns the effect of a move on stored h at strength 1.

    It is measured on some samples of a run, at every step.

    Args:
        move: A direction, or a move with a Δh for each sample.
        model: The run's model.
        run: A run that stores the move's site in full.
        seed: The seed for the choice of samples.
    """
    import torch

    from ..sampling.loop import Moment

    site = site_of(move)
    mover, sigma, netting = move.bind(model), torch.from_numpy(spread(run, site)), Netting()
    positives = named_samples(move.made_by, "positives")
    rows = tried_rows(len(run), {run.position(sample) for sample in positives}, seed)
    for index, t in enumerate(run.timesteps):
        every = run.matrix(site, index)
        unit = torch.where(sigma[index] > 0, sigma[index], torch.inf)
        h = torch.from_numpy(every[rows]).view(-1, *sigma[index].shape).to(model.device)
        moved = mover(h, Moment(index=index, t=t), torch.ones(len(rows), device=model.device))
        mean = torch.from_numpy(every.mean(0)).view(1, *sigma[index].shape)
        netting.add(((h.cpu() - mean) / unit).flatten(1), ((moved - h).cpu() / unit).flatten(1))
    return netting.net


def without_way_to_mean(z: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """Removes from each move its part along its sample.

    The moves are delta (n, d), of samples z (n, d).
    """
    along = (delta * z).sum(1, keepdim=True) / z.square().sum(1, keepdim=True).clamp_min(1e-12)
    return delta - along * z


def tried_rows(n: int, positives: Container[int], seed: int) -> np.ndarray:
    """Returns rows of a run that a move is measured on.

    Positives are left out if there are other samples.
    """
    others = np.array([row for row in range(n) if row not in positives])
    rows = others if len(others) >= 2 else np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:TRIED])
