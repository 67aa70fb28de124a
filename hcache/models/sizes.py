"""Sizes that no model has: refused before a network of them is built.

A configuration is read from a file that anyone may have written. A layer count of a billion would
keep diffusers at building modules until memory ends; a width of a million would ask for terabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .weight_files import weights_in

MOST_LAYERS = 200
"""In one place; the deepest networks that are taken have 38 (FLUX.1) and 24 (T5-XXL)."""

MOST_MODULES = 4000
"""Residual and transformer blocks of a U-Net's half; SDXL has 30."""

MOST_ENTRIES = 1000
"""In a list: a U-Net has some five levels."""

MOST_SIDE = 8192
"""Of a picture or a latent: transformers hold an embedding of every place in memory."""

SIDES = ("sample_size", "pos_embed_max_size")

MOST = 10**7
"""Of any other whole number: widths, classes, sizes of vocabularies."""


def check_sizes(config: Mapping[str, Any], what: str) -> None:
    """Makes sure that a network can be built in a moment.

    One of these sizes.

    Args:
        config: Of a network, an autoencoder or a text encoder.
        what: Whose, for errors.

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

    It is not larger than the weights that are to fill it.

    Args:
        parameters: Of the network that the configuration describes.
        folder: With its weights; one without any is left to who reads them.
        what: Whose, for errors.

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
            f" its weights in {folder} have {there:,} bytes. The file is cut off, or config.json is"
            " another model's; get both anew"
        )


def _numbers(config: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number of a configuration, by the name of its field."""
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
