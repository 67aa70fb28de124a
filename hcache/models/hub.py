"""From a model's source to a folder on this disk, by huggingface_hub as it is: its cache, tokens and environment."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from ..cards import Card
from ..errors import ModelError

PATTERNS = ["*.json", "*.txt", "*.model", "*/*.safetensors", "*/*.bin", "diffusion_pytorch_model.*"]
"""What a pipeline is loaded from; not the single-file checkpoints that many repositories hold beside it."""

VARIANTS = ["*fp16*", "*non_ema*", "*onnx*", "*openvino*", "*flax*", "safety_checker/*", "*.msgpack"]


def folder_of(card: Card, revision: str | None = None) -> Path:
    """The folder of a model, downloaded first if it lies on the hub and is not here yet.

    Raises:
        ModelError: it is neither here nor to be had.
    """
    if card.folder is not None:
        return card.folder
    if not card.source:
        raise ModelError(f"{card.name} has to be made first: {card.get}; then give FOLDER as the model")
    wanted = revision or card.revision or None
    local = local_folder(card, wanted)
    if local is not None and not _lacks_weights(local):
        return local
    try:
        return Path(snapshot_download(card.source, revision=wanted, allow_patterns=PATTERNS, ignore_patterns=VARIANTS))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        if isinstance(error, (RepositoryNotFoundError, HfHubHTTPError)):
            raise ModelError(f"{card.source} on the hub: {str(error).strip().splitlines()[0]}") from error
        raise ModelError(
            f"{card.source} is neither in the local hub cache nor can it be downloaded now; download it with "
            f"`hf download {card.source}` where there is a network, or give a folder with the model in it"
        ) from error


def local_folder(card: Card, revision: str | None = None) -> Path | None:
    """The folder of a model that is on this disk; None if it would have to be downloaded."""
    if card.folder is not None or not card.source:
        return card.folder
    for name in ("model_index.json", "config.json"):
        found = try_to_load_from_cache(card.source, name, revision=revision or card.revision or None)
        if isinstance(found, str):
            return Path(found).parent
    return None


def resolved_revision(card: Card) -> str:
    """The commit of a hub model that is on this disk, else nothing."""
    folder = None if card.folder else local_folder(card)
    return folder.name if folder else ""


def _lacks_weights(folder: Path) -> bool:
    return not any(path.suffix in (".safetensors", ".bin") for path in folder.rglob("*"))
