"""LoRAs on the Hugging Face hub: one file of a repository, from the cache or downloaded. It uses no
torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import hf_hub_download, list_repo_files, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

from .errors import ModelError, UsageError

USUAL = "pytorch_lora_weights.safetensors"
"""The name that diffusers' training scripts give a LoRA in its folder."""


def choose_lora(names: Iterable[str], where: str) -> str:
    """Chooses the LoRA's file name among those at a place.

    The place is a folder or a repository.

    Raises:
        UsageError: there is none, or the choice is ambiguous. The message lists the files.
    """
    found = sorted(name for name in names if name.endswith(".safetensors"))
    if USUAL in found:
        return USUAL
    if len(found) == 1:
        return found[0]
    shown = ", ".join(found[:5]) or "none"
    raise UsageError(
        f"{where} must hold {USUAL} or one .safetensors file, and has {shown}; name the file"
    )


def hub_lora(source: str, revision: str | None = None, download: bool = True) -> Path:
    """Finds the LoRA of a hub repository as a local file.

    Args:
        source: ``owner/name``.
        revision: A branch, tag or commit.
        download: False uses only the cache.

    Raises:
        ModelError: it is not in the cache and cannot be downloaded.
        UsageError: the repository has no LoRA, or several files.
    """
    if download:
        try:
            name = choose_lora(list_repo_files(source, revision=revision), f"{source} on the hub")
            return Path(hf_hub_download(source, name, revision=revision))
        except HfHubHTTPError as error:
            first = str(error).strip().splitlines()[0]
            raise ModelError(
                f"the LoRA {source} cannot be had from the hub: {first}. Expected FOLDER_OR_FILE or"
                " owner/name"
            ) from error
        except (OSError, HTTPError):
            pass  # without a network the cache is used
    try:
        folder = Path(snapshot_download(source, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"the LoRA {source} is not in the local hub cache"
            f"{' and cannot be downloaded now' if download else ''}; download it with `hf download"
            f" {source}`, or give its .safetensors file"
        ) from error
    return folder / choose_lora((path.name for path in folder.iterdir()), str(folder))
