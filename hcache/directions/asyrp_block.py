r"""Asyrp: a small network f finds each sample's own Δh, at any timestep, towards one attribute.

    Δh_t = f(h_t, t),        h̃_t = h_t + γ Δh_t

f is two 1x1 convolutions with the time embedding ``temb`` of the U-Net itself added between them.
Two kinds were published, with SiLU and a GroupNorm of 32 groups each:

    plain   conv1(h) + temb_proj(silu(temb))  ->  conv2(silu(norm2(.)))
            (blocks of CelebA-HQ and LSUN)
    ADM     in_layers(h) + emb_layers(temb)   ->  out_layers(.)
            (blocks of AFHQ and MetFaces)
            in_layers: GroupNorm, SiLU, convolution; emb_layers: SiLU, linear;
            out_layers: GroupNorm, SiLU, convolution

The plain kind takes h as it is, the ADM kind normalises it first; neither adds its input to its
output. The edit they are made for is asymmetric, in the steps with t of some 400 to 500 and more,
where f was trained; see :func:`hcache.sampling.loop.denoise`.

**The unit.** A block that was trained along n denoising steps is published to be added with n/S in
a sampling of S steps, and 1/√k of that when k attributes are added at once, each f seeing the
unedited h:

    Δh_t = 1/√k Σ_i (n_i/S) f_i(h_t, t)

How long that is, no two blocks share, and so the strength of one says nothing of another's. Here it
is measured on the run that the block is brought into: strength 1 is where the root mean square of
Δh/σ over its samples and all its steps, channels and places is 1, as for every other direction. The
strength that equals the published one, γ = 1 above, is kept with the block, as
``published_strength``.

References:
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022),
    https://arxiv.org/abs/2210.10960
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..cache.reading import Run
from ..errors import AnalysisError
from .direction import in_sigmas, spread

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..sampling.loop import Moment
    from .direction import Mover

PLAIN, ADM = "plain", "ADM"
GROUPS = 32
"""The number of groups in the GroupNorms of every published block."""

MEASURED, AT_ONCE = 64, 8
"""The number of a run's samples that the unit is measured on, and the number computed together."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The names of the layers of a kind of block.

    ``first_norm`` comes before the first convolution, if there is one.
    """

    first_norm: str = ""
    first: str
    time: str
    norm: str
    last: str
    eps: float

    def shapes(self, c: int, d: int) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor of a block, by name.

        The block is for h of c channels and a time embedding of width d.
        """
        norms = [name for name in (self.first_norm, self.norm) if name]
        weights = {
            self.first: (c, c, 1, 1),
            self.last: (c, c, 1, 1),
            self.time: (c, d),
            **dict.fromkeys(norms, (c,)),
        }
        return {f"{name}.weight": shape for name, shape in weights.items()} | {
            f"{name}.bias": (c,) for name in weights
        }


LAYERS = {
    PLAIN: Layers(first="conv1", time="temb_proj", norm="norm2", last="conv2", eps=1e-6),
    ADM: Layers(
        first_norm="in_layers.0",
        first="in_layers.2",
        time="emb_layers.1",
        norm="out_layers.0",
        last="out_layers.3",
        eps=1e-5,
    ),
}


def delta_h(
    weights: Mapping[str, torch.Tensor], groups: int, h: torch.Tensor, temb: torch.Tensor
) -> torch.Tensor:
    """Computes f(h, t) of a block: Δh (n, c, h, w).

    Its inputs are h (n, c, h, w) and the time embedding (n or 1, d), all in the dtype of the
    weights.
    """
    from torch.nn.functional import conv2d, group_norm, linear, silu

    layers = LAYERS[kind_of(weights)]

    def both(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns weight and bias of a layer."""
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    x = (
        silu(group_norm(h, groups, *both(layers.first_norm), layers.eps))
        if layers.first_norm
        else h
    )
    x = conv2d(x, *both(layers.first)) + linear(silu(temb), *both(layers.time))[:, :, None, None]
    return conv2d(silu(group_norm(x, groups, *both(layers.norm), layers.eps)), *both(layers.last))


def kind_of(weights: Mapping[str, Any]) -> str:
    """Returns ``plain`` or ``ADM``, by the names of a block's tensors."""
    return PLAIN if f"{LAYERS[PLAIN].first}.weight" in weights else ADM


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """The network f of one attribute.

    It has tensors by their published names, in float32, and the number of groups of its norms.
    """

    weights: Mapping[str, np.ndarray]
    groups: int = GROUPS

    @property
    def kind(self) -> str:
        """The kind of the block, which its weights tell."""
        return kind_of(self.weights)

    @property
    def widths(self) -> tuple[int, int]:
        """The required (channels of h, width of the time embedding)."""
        return self.weights[f"{LAYERS[self.kind].time}.weight"].shape


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockMove:
    """Moves h by Σ ``gains[i]`` f_i(h, t) at strength 1.

    ``gains`` (k,) float64 has one value per block. ``timesteps`` are those that the unit was
    measured on. The blocks themselves work at every t.
    """

    kind: ClassVar[str] = "block"

    blocks: tuple[Block, ...]
    gains: np.ndarray
    made_by: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    timesteps: tuple[float, ...] = ()

    def bind(self, model: Model) -> Mover:
        """Returns what moves h of a model."""
        delta = self.delta_on(model)

        def move(h: torch.Tensor, moment: Moment, strengths: torch.Tensor) -> torch.Tensor:
            """Returns h + γ f(h, t)."""
            return h + (strengths.view(-1, 1, 1, 1) * delta(h, moment.t)).to(h.dtype)

        return move

    def delta_on(self, model: Model) -> Callable[[torch.Tensor, float], torch.Tensor]:
        """Returns Δh of strength 1 on a model's device.

        The result is a function from h (n, c, h, w) at training timestep t to float32 of the same
        shape.

        Raises:
            AnalysisError: the model's h or time embedding has another width.
        """
        import torch

        from ..models.halves import time_embedding

        self._check_widths(model)
        blocks = [
            (
                float(gain),
                block.groups,
                {k: torch.from_numpy(v).to(model.device) for k, v in block.weights.items()},
            )
            for gain, block in zip(self.gains, self.blocks, strict=True)
        ]

        def delta(h: torch.Tensor, t: float) -> torch.Tensor:
            """Returns the weighted sum of the blocks' outputs for h."""
            temb = time_embedding(model.network, 1, t, h.device).float()
            parts = (
                gain * delta_h(weights, groups, h.float(), temb) for gain, groups, weights in blocks
            )
            return reduce(torch.add, parts)

        return delta

    def resampled(self, timesteps: tuple[float, ...]) -> BlockMove:
        """Returns the same move on other steps.

        Its length at every t stays the same, so its published strength changes.
        """
        made_by = {**self.made_by, "resampled_from": len(self.timesteps)}
        if "published_strength" in made_by:
            made_by["published_strength"] *= len(self.timesteps) / len(timesteps)
        return replace(self, made_by=made_by, timesteps=tuple(timesteps))

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that are stored."""
        named = {
            f"{i}.{name}": array
            for i, block in enumerate(self.blocks)
            for name, array in block.weights.items()
        }
        return named | {
            "gains": self.gains,
            "groups": np.array([block.groups for block in self.blocks], np.int64),
        }

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        made_by: Mapping[str, Any],
        model: str,
        timesteps: tuple[float, ...],
    ) -> BlockMove:
        """Returns the move from the data of ``arrays``.

        The data are tensors such as ``0.conv1.weight``, and ``gains`` and ``groups`` (k,).
        """
        blocks = []
        for i, groups in enumerate(arrays["groups"]):
            start = f"{i}."
            weights = {
                k.removeprefix(start): array for k, array in arrays.items() if k.startswith(start)
            }
            blocks.append(Block(weights=weights, groups=int(groups)))
        return cls(
            blocks=tuple(blocks),
            gains=arrays["gains"],
            made_by=made_by,
            model=model,
            timesteps=timesteps,
        )

    def _check_widths(self, model: Model) -> None:
        model.anatomy.need_unet("moving h")
        ours = widths_of(model)
        for block in self.blocks:
            if block.widths != ours:
                known = self.made_by.get("trained_on", self.model)
                raise AnalysisError(
                    f"this attribute block takes an h of {block.widths[0]} channels and a time"
                    f" embedding of {block.widths[1]}{f', as {known} has' if known else ''};"
                    f" {model.card.name} has {ours[0]} and {ours[1]}: use it with the model it was"
                    " trained on"
                )


def widths_of(model: Model) -> tuple[int, int]:
    """Returns (channels of h, width of the time embedding) of a model."""
    import torch

    from ..models.halves import time_embedding

    with torch.inference_mode():
        return (
            model.anatomy.shape("h")[0],
            time_embedding(model.network, 1, 0, model.device).shape[1],
        )


def in_run_units(
    blocks: Sequence[Block],
    published: Sequence[float],
    run: Run,
    model: Model,
    made_by: Mapping[str, Any],
) -> BlockMove:
    """Returns blocks as one move of unit length on a run.

    Args:
        blocks: One block per attribute.
        published: (k,), the factor of each block when it is applied as published, in as many steps
            as the run has.
        run: A run that stores ``h`` in full. Up to 64 of its samples are measured, evenly spread.
        model: The run's model.
        made_by: The description to store with the move. The published strength is added.

    Raises:
        AnalysisError: the blocks do not fit the model, or move nothing.
    """
    move = BlockMove(
        blocks=tuple(blocks),
        gains=np.asarray(published, np.float64),
        made_by=made_by,
        model=run.spec.model,
        timesteps=tuple(run.timesteps),
    )
    length = _length(move, run, model)
    if not np.isfinite(length) or length == 0:
        raise AnalysisError(
            f"this attribute block cannot be given a unit: its Δh has length {length}"
        )
    made_by = {**made_by, "published_strength": length}
    return replace(move, gains=move.gains / length, made_by=made_by)


def _length(move: BlockMove, run: Run, model: Model) -> float:
    """Returns the root mean square of Δh/σ over samples, steps, channels and places."""
    import torch

    sigma, delta = spread(run), move.delta_on(model)
    rows = np.unique(np.linspace(0, len(run) - 1, min(MEASURED, len(run))).round().astype(int))
    squares = []
    for step, t in enumerate(run.timesteps):
        h = run.matrix("h", step)[rows].reshape(-1, *run.anatomy.shape("h"))
        for part in torch.from_numpy(h).to(model.device).split(AT_ONCE):
            with torch.inference_mode():
                found = delta(part, t).cpu().numpy()
            squares.append(
                np.square(in_sigmas(found, np.broadcast_to(sigma[step], found.shape))).sum(
                    dtype=np.float64
                )
            )
    return float(np.sqrt(np.sum(squares) / (len(rows) * sigma.size)))
