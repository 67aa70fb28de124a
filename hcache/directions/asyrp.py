"""Asyrp: a small network, trained on two texts, computes each sample's own Δh.

The method trains such a block on a run. ``asyrp_block`` defines blocks and their unit, and
``asyrp_files`` imports published ones.

References:
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022),
    https://arxiv.org/abs/2210.10960
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..cache.reading import Run
from ..options import Option
from .asyrp_block import BlockMove
from .fitting import MINUTES, MODEL, Fit, Fitting, Method, needed

if TYPE_CHECKING:
    from ..models.model import Model

__all__ = ["METHOD", "BlockMove"]


def _make(fit: Fit, options: Mapping[str, Any], run: Run, model: Model | None) -> Fitting:
    from .asyrp_training import fit_block

    return (yield from fit_block(fit, options, run, needed(model)))


METHOD = Method(
    name="asyrp",
    title="Asyrp: a block trained on two texts",
    text=(
        "A small network finds each sample's own Δh. It is trained with CLIP, from one text to"
        " another, on samples of the run, or on the positives if you choose some."
    ),
    source="Kwon, Jeong, Uh 2022, Diffusion Models already have a Semantic Latent Space",
    make=_make,
    needs=(MODEL,),
    cost=MINUTES,
    moves=(BlockMove,),
    takes_files=True,
    options={
        "clip": Option(
            default="",
            text="a CLIP model: a folder, or a hub id such as openai/clip-vit-base-patch32",
        ),
        "source": Option(default="", text="text for what the pictures show: face"),
        "target": Option(default="", text="text for what they should show: smiling face"),
        "iterations": Option(default=250, text="number of batches that are denoised"),
        "batch": Option(default=4, text="samples per batch"),
        "samples": Option(
            default=100, text="number of training samples, unless positives are chosen"
        ),
        "learning_rate": Option(default=1e-3, text="of Adam"),
        "reconstruction": Option(
            default=3.0,
            text="weight of the L1 distance to the unedited picture; the CLIP loss has weight 1",
        ),
        "t_edit": Option(default=500.0, text="the steps with at least this t are trained"),
        "seed": Option(default=0, text="seed of the initial weights and of the order of samples"),
    },
)
