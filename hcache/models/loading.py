"""From a name to a model. One code path for what ships with hcache, any folder, and the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DModel

from ..cards import Card, find_card
from ..errors import ModelError, UsageError
from ..specs import Anatomy
from .anatomy import anatomy_of, anatomy_of_config
from .model import Model

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_model(name_or_folder: str, device: str = "cpu", dtype: str = "float32") -> Model:
    """Loads a model by card name, diffusers folder or hub id, ready to be run (eval, no gradients).

    Args:
        name_or_folder: A card's name (``hcache models`` lists them), a folder with ``model_index.json`` or a bare
            U-Net folder, or a hub id ``owner/name``.
        device: As PyTorch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: To compute in: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        UnknownModelError: nothing goes by that name; the message suggests the nearest names.
        ModelError: something does, but cannot be loaded or is not a U-Net that hcache can cut.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    card = find_card(name_or_folder)
    subfolder = _unet_subfolder(card)
    config = _load_config(card, subfolder)
    _expect_unet(config, card)
    _expect_colour(config, card)
    try:
        unet = UNet2DModel.from_pretrained(
            card.source,
            subfolder=subfolder,
            torch_dtype=DTYPES[dtype],
            use_safetensors=True,
            low_cpu_mem_usage=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"the U-Net of {card.name} cannot be loaded: {_first_line(error)}") from error
    try:
        unet = unet.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used: {_first_line(error)}") from error
    unet.eval().requires_grad_(False)
    return Model(card=card, unet=unet, scheduler=_load_scheduler(card), anatomy=anatomy_of(unet))


def load_anatomy(name_or_folder: str) -> Anatomy:
    """The sites of a model from its configuration alone; no weights are read."""
    card = find_card(name_or_folder)
    config = _load_config(card, _unet_subfolder(card))
    _expect_unet(config, card)
    _expect_colour(config, card)
    try:
        return anatomy_of_config(config)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the U-Net of {card.name} cannot be built: {_first_line(error)}") from error


def _unet_subfolder(card: Card) -> str | None:
    """``unet`` for a pipeline, None for a bare U-Net folder."""
    if card.folder is None:
        return None  # on the hub, DDPM repositories keep the U-Net at the top
    if (card.folder / "unet" / "config.json").is_file():
        return "unet"
    if (card.folder / "config.json").is_file():
        return None
    raise ModelError(f"{card.folder} has neither unet/config.json nor config.json: there is no U-Net in it")


def _load_config(card: Card, subfolder: str | None) -> dict[str, Any]:
    if card.folder is not None:
        path = card.folder / (subfolder or "") / "config.json"
        try:
            return _read_config(path)
        except ValueError as error:
            raise ModelError(f"{path} is not valid JSON: {error}") from error
    try:
        return UNet2DModel.load_config(card.source)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{card.source} is neither in the local hub cache nor can it be downloaded now; download it with "
            f"`hf download {card.source}` where there is a network, or give a folder with the model in it"
        ) from error


def _read_config(path: Path) -> dict[str, Any]:
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"expected an object, got {type(config).__name__}")
    return config


def _expect_unet(config: dict[str, Any], card: Card) -> None:
    kind = config.get("_class_name", "nothing")
    if kind != "UNet2DModel":
        raise ModelError(f"{card.name} is a {kind}; expected a UNet2DModel (an unconditional pixel-space U-Net)")


def _expect_colour(config: dict[str, Any], card: Card) -> None:
    if config.get("in_channels", 3) != 3:
        raise ModelError(f"{card.name} has {config['in_channels']} channels; expected 3 (pictures in colour)")


def _load_scheduler(card: Card) -> DDIMScheduler:
    """The model's own noise schedule, as DDIM; diffusers' defaults where a bare U-Net has none beside it."""
    folder = card.folder
    if folder is None:
        try:
            config = DDIMScheduler.load_config(card.source)
        except (OSError, ValueError) as error:
            raise ModelError(f"the scheduler of {card.source} cannot be loaded: {_first_line(error)}") from error
        return DDIMScheduler.from_config(config)
    for path in (folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"):
        if path.is_file():
            try:
                config = _read_config(path)
            except ValueError as error:
                raise ModelError(f"{path} is not valid JSON: {error}") from error
            if not hasattr(diffusers, config.get("_class_name", "")):
                raise ModelError(f"{path} names no scheduler that diffusers knows: {config.get('_class_name')!r}")
            return DDIMScheduler.from_config(config)
    return DDIMScheduler()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
