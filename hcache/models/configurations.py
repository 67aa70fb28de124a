"""A model's configurations without its weights: what is on this disk, and what would be downloaded. No torch."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import filter_repo_objects

from ..cards import Card
from ..errors import ModelError
from .hub import PATTERNS, VARIANTS, folder_of, local_folder

CONFIGURATIONS = ["model_index.json", "config.json", "scheduler_config.json", "*/config.json", "scheduler/*.json"]
"""Small files that say what a model is made of."""

WEIGHTS = (".safetensors", ".bin")


def configurations_are_here(card: Card) -> bool:
    """Whether a model's anatomy can be told without a download."""
    return bool(card.file or local_folder(card) or card.configs or not card.source)


def weights_are_here(card: Card) -> bool:
    """Whether a model can be loaded without a download."""
    if card.file is not None:
        return True
    folder = local_folder(card)
    return folder is not None and any(path.suffix in WEIGHTS for path in folder.rglob("*"))


def configuration_folder(card: Card) -> Path:
    """A folder with a model's configurations; of a hub model that is not here these alone are downloaded.

    Raises:
        ModelError: they are neither here nor to be had.
    """
    found = local_folder(card) or card.configs
    if found or not card.source:
        return found or folder_of(card)
    try:
        return Path(snapshot_download(card.source, revision=card.revision or None, allow_patterns=CONFIGURATIONS))
    except HfHubHTTPError as error:
        raise ModelError(f"{card.source} on the hub: {str(error).strip().splitlines()[0]}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ModelError(
            f"the configurations of {card.source} are neither in the local hub cache nor can they be downloaded now; "
            f"download the model with `hf download {card.source}` where there is a network, or give a folder with it"
        ) from error


def download_bytes(card: Card) -> int | None:
    """What loading a hub model would download, in bytes; None where the hub does not tell."""
    try:
        found = HfApi().model_info(card.source, revision=card.revision or None, files_metadata=True, timeout=10)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError):
        return None
    sizes = {file.rfilename: file.size for file in found.siblings or ()}
    wanted = list(filter_repo_objects(sizes, allow_patterns=PATTERNS, ignore_patterns=VARIANTS))
    return None if any(sizes[name] is None for name in wanted) else sum(sizes[name] for name in wanted)
