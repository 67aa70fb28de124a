"""LoRAs put into a pipeline's weights, by diffusers' own loader.

A LoRA is added once and for all: its change is multiplied by its scale and added to the weights
that it changes (``fuse_lora``). After that the network is an ordinary one, so its halves are still
bit-equal to it. diffusers leaves out what fits nowhere, with a warning at most; here that is
refused.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.utils import is_peft_available
from safetensors import SafetensorError, safe_open
from torch import nn

from ..errors import ModelError
from ..specs import Lora

FOREIGN = {
    "dora_scale": "a DoRA, whose scales diffusers leaves out",
    "hada_": "a LoHa (LyCORIS)",
    "lokr_": "a LoKr (LyCORIS)",
    "lora_mid": "a LoCon with a middle layer (LyCORIS), which diffusers leaves out",
    "lora_controlnet": "a Control-LoRA",
}
"""Parts of the names of tensors -> the kind of a file that contains them."""


def check_loras(loras: Sequence[Lora], pipeline: str, taken: Sequence[str], name: str) -> None:
    """Makes sure that LoRAs can be added to a model.

    It runs before any of the model's weights are read.

    Args:
        loras: The LoRAs.
        pipeline: The model's pipeline; "" for a bare network.
        taken: The pipelines that take LoRAs.
        name: The name of the model, for errors.

    Raises:
        ModelError: the model takes none, peft is missing, or a file is not a LoRA.
    """
    if not loras:
        return
    if pipeline not in taken:
        raise ModelError(
            f"{name} is a {pipeline or 'bare network'}, which takes no LoRA; expected one of"
            f" {', '.join(taken)}. Leave --lora out"
        )
    if not is_peft_available():
        raise ModelError("a LoRA needs the package peft; install it with `pip install peft`")
    for lora in loras:
        _check_file(lora)


def add_loras(pipeline: Any, loras: Sequence[Lora]) -> None:
    """Adds LoRAs to the weights of a pipeline's parts.

    Each is multiplied by its scale.

    Raises:
        ModelError: a file does not match the model, or has changed since the run was started.
    """
    if not loras:
        return
    names = [f"lora_{i}" for i in range(len(loras))]
    for lora, name in zip(loras, names, strict=True):
        _load(pipeline, lora, name)
    try:
        with _without_notices():
            pipeline.set_adapters(names, [lora.scale for lora in loras])
            touched = [
                part
                for part, module in _parts(pipeline).items()
                if any(_tensors_of(module, name) for name in names)
            ]
            pipeline.fuse_lora(components=touched, adapter_names=names, safe_fusing=True)
            pipeline.unload_lora_weights()
    except Exception as error:  # noqa: BLE001 - peft and diffusers raise various errors
        raise ModelError(
            f"{', '.join(lora.file for lora in loras)} cannot be added to the weights:"
            f" {_first_line(error)}"
        ) from error
    for part in touched:
        getattr(pipeline, part).requires_grad_(False)


def _check_file(lora: Lora) -> None:
    """Makes sure that the tensor names of a file are those of a LoRA that diffusers reads
    completely.
    """
    try:
        with safe_open(lora.file, "pt") as tensors:
            names = list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{lora.file} is not a safetensors file that can be read: {error}"
        ) from error
    for part, what in FOREIGN.items():
        if first := next((name for name in names if part in name), None):
            raise ModelError(
                f"{lora.file} is {what} ({first}); expected a LoRA of two matrices a layer"
            )
    strange = [name for name in names if "lora" not in name and not name.endswith(".alpha")]
    if strange or not names:
        raise ModelError(
            f"{lora.file} is not a LoRA: {len(strange)} of its {len(names)} tensors are not of one,"
            f" first {strange[0] if strange else 'none'}; give a whole model as MODEL"
        )


def _load(pipeline: Any, lora: Lora, name: str) -> None:
    """Loads one LoRA under a name beside the weights, and makes sure that no tensor of it was
    ignored.
    """
    _check_file(lora)
    path = Path(lora.file)
    where: dict[str, Any] = {"weight_name": path.name, "local_files_only": True}
    # as SDXL's pipeline does itself
    more = {"unet_config": pipeline.unet.config} if "XL" in type(pipeline).__name__ else {}
    try:
        with _without_notices():
            state, alphas = _state_dict(pipeline, path.parent, where | more)
            pipeline.load_lora_weights(str(path.parent), adapter_name=name, **where)
    except Exception as error:  # noqa: BLE001 - peft and diffusers raise various errors
        raise ModelError(
            f"the LoRA {lora.file} does not fit {type(pipeline).__name__}:"
            f" {_first_line(error)}; expected one that was trained on this kind of model"
        ) from error
    parts = _parts(pipeline)
    loaded = sum(len(_tensors_of(module, name)) for module in parts.values())
    wanted = [key for key in state if not key.endswith(".alpha")]
    if loaded != len(wanted):
        first = next((key for key in wanted if not _has_place(parts, key)), wanted[0])
        raise ModelError(
            f"{len(wanted) - loaded} of {len(wanted)} tensors of the LoRA {lora.file} have no place"
            f" in this model, first {first}; expected one that was trained on this kind of model"
        )
    _check_alphas(parts, alphas, name, lora)


def _parts(pipeline: Any) -> dict[str, nn.Module]:
    """Returns the networks of a pipeline by the names of its parts."""
    found = pipeline.components.items()
    return {part: module for part, module in found if isinstance(module, nn.Module)}


def _state_dict(
    pipeline: Any, folder: Path, where: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, float]]:
    """Returns the tensors under diffusers' names, and the scale (alpha) of each pair."""
    found = pipeline.lora_state_dict(str(folder), return_alphas=True, **where)
    state, alphas = found if isinstance(found, tuple) else (found, None)
    return dict(state), alphas or {}


def _tensors_of(module: nn.Module, name: str) -> list[str]:
    return [key for key, _ in module.named_parameters() if "lora_" in key and f".{name}." in key]


def _has_place(parts: Mapping[str, nn.Module], key: str) -> bool:
    """Returns whether the layer that a tensor changes is in one of the pipeline's parts."""
    part, _, rest = key.partition(".")
    module = parts.get(part)
    if module is None:
        return False
    layers = {layer.removeprefix("text_model.") for layer, _ in module.named_modules()}
    place = re.split(r"[._]lora", rest.replace(".processor.", "."))[0]
    place = place.removeprefix("text_model.")
    return any(f"{place}." == f"{layer}."[: len(place) + 1] for layer in layers)


def _check_alphas(
    parts: Mapping[str, nn.Module], alphas: Mapping[str, float], name: str, lora: Lora
) -> None:
    """Makes sure that every alpha of the file scales a layer, as alpha over rank."""
    from peft.tuners.lora import LoraLayer  # the package is only needed for LoRAs

    layers: list[Any] = [
        layer
        for module in parts.values()
        for layer in module.modules()
        if isinstance(layer, LoraLayer) and name in layer.scaling
    ]
    used = Counter(round(float(layer.scaling[name]) * layer.r[name], 3) for layer in layers)
    told = Counter(round(float(alpha), 3) for alpha in alphas.values())
    if told - used:
        raise ModelError(
            f"the LoRA {lora.file} says alphas ({', '.join(map(str, told))}) that diffusers does"
            f" not apply (it applies {', '.join(map(str, used))}); save it in diffusers' own format"
            " (save_lora_weights)"
        )


@contextmanager
def _without_notices() -> Iterator[None]:
    """Silences warnings of diffusers and peft on what is checked here, and on LoRAs for one part
    only.
    """
    loggers = [logging.getLogger(name) for name in ("diffusers", "peft")]
    before = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    """Returns the first informative line of the long messages of peft and PyTorch."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    mismatch = next((line for line in lines if line.startswith("size mismatch")), None)
    return mismatch or (lines[0] if lines else type(error).__name__)
