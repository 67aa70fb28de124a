"""Asyrp: each sample's own Δh, found by a small network that was trained on two texts.

The method trains such a block on a run; what a block is, and its unit, is in ``asyrp_block``;
published ones are imported by ``asyrp_files``.

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
        "A small network finds each sample's own Δh. It is trained on the run's samples with CLIP,"
        " from one text to another; on the positives, if any are chosen."
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
        "source": Option(default="", text="what the pictures show, as a text: face"),
        "target": Option(default="", text="what they are to show: smiling face"),
        "iterations": Option(default=250, text="batches taken along the denoising"),
        "batch": Option(default=4, text="samples in a batch"),
        "samples": Option(default=100, text="samples to train on, unless positives are chosen"),
        "learning_rate": Option(default=1e-3, text="of Adam"),
        "reconstruction": Option(
            default=3.0, text="weight of the L1 distance to the unedited picture; CLIP's is 1"
        ),
        "t_edit": Option(default=500.0, text="the steps with this t and more are trained"),
        "seed": Option(default=0, text="of the first weights and the order of the samples"),
    },
)
