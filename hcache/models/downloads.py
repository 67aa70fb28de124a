"""Finds which files of a model are on this disk, and what a download would fetch. It uses no
torch.
"""

from __future__ import annotations

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from ..cards import Card
from .hub import local_folder, missing_configs, missing_weights, wanted_files


def configurations_are_here(card: Card) -> bool:
    """Returns whether a model's anatomy is available without a download."""
    local = local_folder(card)
    return bool(
        card.file
        or card.configs
        or not card.source
        or (local is not None and not missing_configs(local))
    )


def weights_are_here(card: Card) -> bool:
    """Returns whether a model can be loaded without a download."""
    if card.file is not None:
        return True
    folder = local_folder(card)
    return folder is not None and not missing_weights(folder)


def download_bytes(card: Card) -> int | None:
    """Returns the bytes that loading a hub model would download.

    It is None if the hub does not say.
    """
    try:
        found = HfApi().model_info(
            card.source, revision=card.revision or None, files_metadata=True, timeout=10
        )
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError):
        return None
    sizes = {file.rfilename: file.size for file in found.siblings or ()}
    wanted = [sizes[name] for name in wanted_files(sizes)]
    known = [size for size in wanted if size is not None]
    return sum(known) if len(known) == len(wanted) else None
