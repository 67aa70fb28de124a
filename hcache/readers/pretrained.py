"""Loads models of transformers for readers: from a folder, or by hub id from the local hub cache
or the network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash

from ..errors import ModelError, UsageError


def load(source: str, revision: str, what: str, make: Callable[..., Any]) -> Any:
    """What a loader gives, from the disk or the hub.

    ``make(where, revision=…, local_files_only=…)``: from the disk if it is there.

    Args:
        source: A folder, or a hub id.
        revision: A branch, tag or commit of a hub id; the default branch if empty.
        what: The kind of model, for messages: ``CLIP or SigLIP model``.
        make: ``from_pretrained`` of some class, or a function that calls several.

    Raises:
        UsageError: no source was given.
        ModelError: there is no such model here and it cannot be downloaded now.
    """
    if not source:
        raise UsageError(
            f"give a {what}: a folder, or a hub id such as openai/clip-vit-base-patch32"
        )
    from transformers.utils import logging

    logging.disable_progress_bar()  # of loading: the command has a bar of its own
    folder = Path(source).expanduser()
    options: dict[str, Any] = {} if folder.is_dir() else {"revision": revision or None}
    where, failure = (str(folder) if folder.is_dir() else source), None
    for local in (True,) if folder.is_dir() else (True, False):
        try:
            return make(where, local_files_only=local, **options)
        except (ModelError, UsageError):
            raise
        except Exception as error:  # noqa: BLE001 - missing, damaged, offline, no such id: each says it in its own way
            failure = error
    at = f" at revision {revision}" if revision else ""
    wanted = "OWNER/NAME" if folder.is_dir() else source
    raise ModelError(
        f"there is no {what} at {source}{at} ({first_line(failure)}); expected a folder with"
        f" config.json and weights, or a hub id. Where there is a network, `hf download {wanted}`"
        " fetches one"
    ) from failure


def check_whole(source: str, what: str, report: dict[str, Any]) -> None:
    """Raises a ModelError if tensors were missing.

    Or of another shape: transformers would make random ones up.
    """
    lacking = sorted(
        map(str, (*report.get("missing_keys", ()), *report.get("mismatched_keys", ())))
    )
    if lacking:
        raise ModelError(
            f"{source} is no whole {what}: {len(lacking)} tensors are missing or of another shape, "
            f"first {lacking[0]}"
        )


def weights_digest(network: Any) -> str:
    """Hexadecimal digits of all tensors of a network.

    As they are stored, with their names.
    """
    found = xxhash.xxh3_128()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(_bytes()).numpy())
    return found.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


def first_line(error: BaseException | None) -> str:
    """The first line of an error's message.

    Or its type if it has none.
    """
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
