"""Finds the parts of a model folder from its configurations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .anatomy import NETWORKS
from .codecs import factor_of
from .configurations import (
    channels_beside,
    check_codec,
    check_network,
    network_class,
    pipeline_of,
    say_how_it_is_run,
)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a model folder.

    It has the folders of network and autoencoder (None: pixels), with their configurations.
    ``pipeline``: the pipeline that it is run as. ``index``: its ``model_index.json``. ``listed``:
    the parts in that file. ``beside``: the number of channels that the network takes in addition to
    those of x_t.
    """

    folder: Path
    network: Path
    config: dict[str, Any]
    codec: Path | None
    codec_config: dict[str, Any]
    pipeline: str
    listed: tuple[str, ...]
    index: dict[str, Any]
    beside: int = 0

    @property
    def pixels(self) -> int:
        """The side of the picture divided by that of x."""
        return factor_of(self.codec_config) if self.codec else 1


def read_parts(folder: Path, name: str) -> Parts:
    """Finds the parts of a model folder.

    Raises:
        ModelError: a part is missing, or has an unknown kind.
    """
    index = (
        read_config(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    )
    network, codec = _find(folder, ("unet", "transformer")), _find(folder, ("vae", "vqvae"))
    if network is None:
        raise ModelError(
            f"{folder} has none of unet/config.json, transformer/config.json and config.json: there"
            " is no diffusion model in it"
        )
    config = read_config(network / "config.json")
    config["_class_name"] = kind = network_class(config)
    pipeline = pipeline_of(index, kind, name)
    if kind not in NETWORKS:
        raise ModelError(f"{name} is a {kind}; expected one of {', '.join(NETWORKS)}")
    codec_config = read_config(codec / "config.json") if codec else {}
    if codec:
        check_codec(codec_config, pipeline, name)
    for part in ("vae", "vqvae"):
        if codec is None and (index.get(part) or [None])[0] is not None:
            raise ModelError(
                f"{folder} lacks {part}/config.json, which its model_index.json names; complete"
                " the folder"
            )
    beside = channels_beside(index, config)
    check_network(config, NETWORKS[kind], codec_config, name, beside)
    say_how_it_is_run(index, pipeline, beside, name)
    listed = tuple(
        part
        for part, kind in index.items()
        if isinstance(kind, list) and kind and kind[0] is not None
    )
    return Parts(
        folder=folder,
        network=network,
        config=config,
        codec=codec,
        codec_config=codec_config,
        pipeline=pipeline,
        listed=listed,
        index=index,
        beside=beside,
    )


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Returns the folder of a part. A network may be in the model folder itself, as in old
    repositories.
    """
    for name in names:
        if (folder / name / "config.json").is_file():
            return folder / name
    return folder if "unet" in names and (folder / "config.json").is_file() else None


def read_config(path: Path) -> dict[str, Any]:
    """Reads a part's configuration.

    Raises:
        ModelError: it cannot be read, or is no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(
            f"{path} is not valid JSON: expected an object, got {type(config).__name__}"
        )
    return config


def first_line(error: Exception) -> str:
    """Returns the first line of an error, or its class."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
