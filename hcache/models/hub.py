"""Finds a model's folder on this disk, by huggingface_hub with its usual cache, tokens and
environment.

A download fetches one set of weights per part (:mod:`hcache.models.weight_files`) and the
configurations; for an anatomy it fetches only configurations. A folder in the cache is used without
asking the hub only if it is complete. If a download was interrupted, or another program downloaded
other files, the missing files are downloaded.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import (
    get_cached_repo_tree,
    list_repo_files,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..cards import Card
from ..errors import ModelError
from .weight_files import choose_weights, weights_in

NETWORKS, CODECS = ("unet", "transformer"), ("vae", "vqvae")
CONFIGS = ["*.json", "*/*.json"]
NO_CONFIGS = ["*.index*.json", "safety_checker/*", "*/flax_*", "onnx/*"]
SMALL = (".json", ".txt", ".model")
"""The files of a tokenizer and a scheduler."""

PATTERNS = ["*.json", "*.txt", "*.model", "*/*.safetensors", "*/*.bin", "diffusion_pytorch_model.*"]
IGNORED = ["*non_ema*", "*onnx*", "*openvino*", "*flax*", "safety_checker/*", "*.msgpack"]
"""The files to download if the hub does not list them."""


def folder_of(card: Card, revision: str | None = None) -> Path:
    """Returns the folder of a model, and downloads it if necessary.

    Only missing files of a hub model are downloaded.

    Raises:
        ModelError: it is not on this disk and cannot be downloaded.
    """
    if card.folder is not None:
        return card.folder
    if not card.source:
        raise ModelError(
            f"{card.name} must be made first: {card.get}; then give FOLDER as the model"
        )
    wanted = revision or card.revision or None
    local = local_folder(card, wanted)
    if local is not None and not _missing(card, local):
        return local
    folder = _download(card, wanted, None)
    if missing := missing_configs(folder) or missing_weights(folder):
        raise ModelError(
            f"{card.source} on this disk is incomplete: {folder} lacks the {missing[0]}; get the"
            f" rest with `hf download {card.source}` on a machine with a network, or give a folder"
            " with the whole model"
        )
    return folder


def config_folder_of(card: Card) -> Path:
    """Returns the folder of a model with its configurations.

    It never downloads weights.

    Raises:
        ModelError: they are not on this disk and cannot be downloaded.
    """
    local = local_folder(card)
    if local is not None and (card.folder is not None or not missing_configs(local)):
        # files missing from a local folder are reported by its reader: they cannot be downloaded
        return local
    if card.configs is not None:
        return card.configs
    return folder_of(card) if not card.source else _download(card, card.revision or None, CONFIGS)


def local_folder(card: Card, revision: str | None = None) -> Path | None:
    """Returns the folder of a model that is on this disk.

    It may be incomplete. It is None if there is no such folder.
    """
    if card.folder is not None or not card.source:
        return card.folder
    for name in ("model_index.json", "config.json"):
        found = try_to_load_from_cache(
            card.source, name, revision=revision or card.revision or None
        )
        if isinstance(found, str):
            return Path(found).parent
    return None


def resolved_revision(card: Card) -> str:
    """Returns the commit of a hub model on this disk, or nothing."""
    folder = None if card.folder else local_folder(card)
    return folder.name if folder else ""


def _missing(card: Card, folder: Path) -> list[str]:
    """Lists what a folder of the cache lacks: files that the hub named when it was last asked, or
    parts of the model.
    """
    try:
        names = wanted_files(
            entry.path for entry in get_cached_repo_tree(card.source, revision=folder.name)
        )
        if gone := [name for name in names if not (folder / name).is_file()]:
            return gone
    except (CachedRepoTreeNotFoundError, ValueError):  # a cache of another version keeps no list
        pass
    return missing_configs(folder) or missing_weights(folder)


def missing_configs(folder: Path) -> list[str]:
    """Lists the parts of a model whose configuration is missing."""
    places = {part: place / "config.json" for part, place in _places(folder).items()}
    if "scheduler" in _index(folder) and not (folder / "scheduler_config.json").is_file():
        places["scheduler"] = folder / "scheduler" / "scheduler_config.json"
    return [f"configuration of its {part}" for part, file in places.items() if not file.is_file()]


def missing_weights(folder: Path) -> list[str]:
    """Lists the parts of a model without a complete set of weights."""
    return [
        f"weights of its {part}"
        for part, place in _places(folder).items()
        if weights_in(place) is None
    ]


def _places(folder: Path) -> dict[str, Path]:
    """Maps the parts with weights to their places. A network may be in the folder itself, as in old
    repositories.
    """
    listed = _listed(folder) or ["unet"]
    found = {}
    for part in listed:
        inside = folder / part
        in_root = part in NETWORKS and not inside.is_dir() and (folder / "config.json").is_file()
        found[part] = folder if in_root else inside
    return found


def _listed(folder: Path) -> list[str]:
    """Lists the parts with weights in ``model_index.json``."""
    return [
        part
        for part in _index(folder)
        if part in NETWORKS + CODECS or part.startswith("text_encoder")
    ]


def _index(folder: Path) -> list[str]:
    """Returns the parts in ``model_index.json``."""
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        return [
            part
            for part, kind in index.items()
            if isinstance(kind, list) and kind and kind[0] is not None
        ]
    except (OSError, ValueError, AttributeError):
        return []


def wanted_files(names: Iterable[str]) -> list[str]:
    """Returns the files of a repository to download.

    These are the small ones, and one set of weights in each folder.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, _, own = name.rpartition("/")
        by_folder[folder].append(own)
    wanted = []
    for folder, own in by_folder.items():
        part = folder.split("/")[0]
        if (
            "/" in folder
            or part in ("safety_checker", "image_encoder", "onnx", "openvino")
            or part.startswith("flax")
        ):
            continue
        chosen = choose_weights(own)
        small = [name for name in own if name.endswith(SMALL) and ".index." not in name]
        keep = [*small, *(chosen.names if chosen else ())]
        wanted += [f"{folder}/{name}" if folder else name for name in keep]
    return sorted(wanted)


def _download(card: Card, revision: str | None, patterns: list[str] | None) -> Path:
    """Downloads files with ``patterns``. None means configurations and one set of weights per
    part.
    """
    ignored = NO_CONFIGS if patterns else None
    try:
        if patterns is None:
            patterns, ignored = _patterns(card.source, revision)
        return Path(
            snapshot_download(
                card.source, revision=revision, allow_patterns=patterns, ignore_patterns=ignored
            )
        )
    except (OSError, HTTPError) as error:
        if isinstance(error, HfHubHTTPError):
            raise ModelError(
                f"{card.source} on the hub: {str(error).strip().splitlines()[0]}"
            ) from error
        if isinstance(error, LocalEntryNotFoundError) or not isinstance(error, HTTPError):
            state = "is neither in the local hub cache nor can it be downloaded now"
        else:
            state = "could not be downloaded to its end (what is here is kept)"
        raise ModelError(
            f"{card.source} {state}; download it with `hf download {card.source}` on a machine"
            " with a network, or give a folder with the model"
        ) from error


def _patterns(source: str, revision: str | None) -> tuple[list[str], list[str] | None]:
    """Returns (files to download, files to skip) of a repository, whether or not the hub can be
    asked.
    """
    try:
        return wanted_files(list_repo_files(source, revision=revision)), None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except (OSError, HTTPError):
        return PATTERNS, IGNORED
