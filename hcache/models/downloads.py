"""A model's configurations without its weights: what is on this disk, and what would be
downloaded. No torch.
"""

from __future__ import annotations

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from ..cards import Card
from .hub import local_folder, missing_configs, missing_weights, wanted_files


def configurations_are_here(card: Card) -> bool:
    """Whether a model's anatomy can be told without a download."""
    local = local_folder(card)
    return bool(
        card.file
        or card.configs
        or not card.source
        or (local is not None and not missing_configs(local))
    )


def weights_are_here(card: Card) -> bool:
    """Whether a model can be loaded without a download."""
    if card.file is not None:
        return True
    folder = local_folder(card)
    return folder is not None and not missing_weights(folder)


def download_bytes(card: Card) -> int | None:
    """What loading a hub model would download, in bytes.

    None where the hub does not tell.
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
