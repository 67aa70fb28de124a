"""Stable Diffusion in one file, as its users trade it: read by diffusers' own single-file loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from safetensors import SafetensorError, safe_open

from ..cards import PACKAGE, Card
from ..errors import ModelError
from .anatomy import anatomy_of
from .codecs import Autoencoder
from .conditioners import text_conditioner
from .model import Model

CROSS_ATTENTION = "model.diffusion_model.{}.transformer_blocks.0.attn2.to_k.weight"

KINDS = {
    768: "stable-diffusion-v1-5/stable-diffusion-v1-5",
    1024: "stabilityai/stable-diffusion-2-1",
    2048: "stabilityai/stable-diffusion-xl-base-1.0",
}
"""Width of the text that the U-Net attends to -> the card whose configuration the checkpoint has."""


def configuration_of(card: Card) -> Path:
    """The folder with the configuration of a checkpoint: the card's own, else that of the kind it is seen to be."""
    return Path(card.config).expanduser() if card.config else PACKAGE / "configs" / _kind(card).replace("/", "--")


def load_checkpoint(card: Card, device: str, dtype: torch.dtype) -> Model:
    """A model from one ``.safetensors`` file.

    Raises:
        ModelError: it is no such checkpoint, or its tokenizer is not on this disk and cannot be downloaded.
    """
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline  # bring transformers with them

    pixels_only = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    is_xl = not card.config and _kind(card) == KINDS[2048]
    is_xl = is_xl or bool(card.config) and (Path(card.config).expanduser() / "text_encoder_2").is_dir()
    kind, more = (StableDiffusionXLPipeline, {}) if is_xl else (StableDiffusionPipeline, pixels_only)
    config: dict[str, Any] = {"config": card.config, "local_files_only": True} if card.config else {}
    try:
        pipeline = kind.from_single_file(str(card.file), torch_dtype=dtype, **config, **more).to(device)
    except Exception as error:  # noqa: BLE001 - missing tensors, no network, no tokenizer: each in its own way
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{card.file} cannot be loaded: {first}. Its tokenizer and configuration come from the hub; with no network"
            " give a card of your own (HCACHE_CARDS) whose config names a folder with them, of any model of its kind"
        ) from error
    for part in (pipeline.unet, pipeline.vae):
        part.eval().requires_grad_(False)
    scheduler = DDIMScheduler.from_config({**pipeline.scheduler.config, "clip_sample": False})
    return Model(
        card=card,
        network=pipeline.unet,
        scheduler=scheduler,
        anatomy=anatomy_of(pipeline.unet, pipeline.vae_scale_factor),
        codec=Autoencoder(pipeline.vae),
        conditioner=text_conditioner(pipeline),
    )


def _kind(card: Card) -> str:
    """Which Stable Diffusion a card's file is, by the width of the text its U-Net attends to."""
    file = card.file
    if file is None:
        raise ModelError(f"{card.name} is not one .safetensors file, which a checkpoint of Stable Diffusion is")
    try:
        with safe_open(file, "pt") as tensors:
            names = set(tensors.keys())
            for place in ("input_blocks.1.1", "input_blocks.4.1"):  # XL attends from its second level on
                name = CROSS_ATTENTION.format(place)
                if name in names and (width := tensors.get_slice(name).get_shape()[1]) in KINDS:
                    return KINDS[width]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is not a safetensors file that can be read: {error}") from error
    raise ModelError(
        f"{file} is not a Stable Diffusion checkpoint (1.x, 2.x or XL): it has no {CROSS_ATTENTION.format('...')} of a "
        f"known width ({', '.join(map(str, KINDS))})"
    )
