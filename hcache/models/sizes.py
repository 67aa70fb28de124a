"""Refuses sizes that no model has, before a network is built with them.

A configuration is an untrusted file. With a layer count of a billion, diffusers would build modules
until memory ends. A width of a million would need terabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .weight_files import weights_in

MOST_LAYERS = 200
"""The largest number of layers in one place. The deepest supported networks have 38 (FLUX.1) and 24
(T5-XXL).
"""

MOST_MODULES = 4000
"""The largest number of residual and transformer blocks of a U-Net's half. SDXL has 30."""

MOST_ENTRIES = 1000
"""The longest list. A U-Net has about five levels."""

MOST_SIDE = 8192
"""The largest side of a picture or a latent. Transformers hold an embedding of every position in
memory.
"""

SIDES = ("sample_size", "pos_embed_max_size")

MOST = 10**7
"""The largest other whole number: widths, classes, sizes of vocabularies."""


def check_sizes(config: Mapping[str, Any], what: str) -> None:
    """Makes sure that a network can be built quickly.

    Its sizes must be those of real models.

    Args:
        config: The configuration of a network, an autoencoder or a text encoder.
        what: Its name for errors.

    Raises:
        ModelError: a number in it is larger than any model's.
    """
    for field, value in _numbers(config):
        name = field.split(".")[-1]
        most = MOST_LAYERS if "layers" in name else MOST_SIDE if name in SIDES else MOST
        if value > most:
            raise ModelError(
                f"the configuration of {what} gives {field}: {_shown(value)}; expected {most} at"
                " most. Put the model's own config.json there"
            )
    for field, value in config.items():
        if isinstance(value, list | tuple) and len(value) > MOST_ENTRIES:
            raise ModelError(
                f"the configuration of {what} gives {field} with {len(value)} entries; expected"
                f" {MOST_ENTRIES} at most. Put the model's own config.json there"
            )
    levels = config.get("block_out_channels")
    if isinstance(levels, list | tuple):
        layers = _largest(config, "layers_per_block", 2)
        deep = 1 + _largest(config, "transformer_layers_per_block", 1)
        if len(levels) * layers * deep > MOST_MODULES:
            raise ModelError(
                f"the configuration of {what} gives {len(levels)} levels of {layers} layers"
                f" (layers_per_block) with {deep - 1} transformer blocks each; expected"
                f" {MOST_MODULES} blocks at most. Put the model's own config.json there"
            )


def check_weights_suffice(parameters: int, folder: Path, what: str) -> None:
    """Makes sure that weights suffice for a network.

    The network must not be larger than its weights.

    Args:
        parameters: The number of parameters of the configuration's network.
        folder: The folder with its weights. A missing file is reported when the weights are read.
        what: Its name for errors.

    Raises:
        ModelError: there is less than a byte for each parameter.
    """
    found = weights_in(folder)
    if found is None:
        return
    there = sum((folder / name).stat().st_size for name in found.files)
    if there < parameters:
        raise ModelError(
            f"{what} cannot be loaded: its configuration describes {parameters:,} parameters, and"
            f" its weights in {folder} have {there:,} bytes. The file is cut off, or config.json"
            " is another model's; download both again"
        )


def _numbers(config: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, int]]:
    """Yields every whole number of a configuration, with the name of its field."""
    for name, value in config.items():
        field = f"{inside}{name}"
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{field}.")
        else:
            yield from ((field, number) for number in _whole(value))


def _whole(value: Any) -> Iterator[int]:
    if isinstance(value, list | tuple):
        for item in value[:MOST_ENTRIES]:
            yield from _whole(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield int(min(max(value, -(2.0**62)), 2.0**62)) if value == value else 0


def _largest(config: Mapping[str, Any], field: str, default: int) -> int:
    return max(_whole(config.get(field, default)), default=default)


def _shown(value: int) -> str:
    return str(value) if value < 10**15 else "a larger number than any computer can hold"
