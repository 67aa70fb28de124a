"""Loads models of transformers for readers: from a folder, or by hub id from the local hub cache
or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from ..errors import ModelError, UsageError

WAIT = 10
"""The seconds to wait for the hub's first answer."""


def load(source: str, revision: str, what: str, make: Callable[..., Any]) -> Any:
    """Returns the result of a loader, from the disk or the hub.

    The loader is ``make(where, revision=…, local_files_only=…)``. It loads from the disk if the
    model is there.

    Args:
        source: A folder, or a hub id.
        revision: A branch, tag or commit of a hub id. Empty means the default branch.
        what: The kind of model, for messages: ``CLIP or SigLIP model``.
        make: ``from_pretrained`` of a class, or a function that calls several.

    Raises:
        UsageError: no source was given.
        ModelError: the model is not on this disk and cannot be downloaded now.
    """
    if not source:
        raise UsageError(
            f"give a {what}: a folder, or a hub id such as openai/clip-vit-base-patch32"
        )
    from transformers.utils import logging

    logging.disable_progress_bar()  # the loading bars, because the command has its own
    failure: BaseException | None = None
    for where, local in _places(source, revision):
        options: dict[str, Any] = {} if local else {"revision": revision or None}
        try:
            if not local:
                _ask_hub(where, revision)
            return make(where, local_files_only=local, **options)
        except (ModelError, UsageError):
            raise
        except Exception as error:  # noqa: BLE001 - missing, damaged, offline, no such id: each says it in its own way
            failure = error
    at = f" at revision {revision}" if revision else ""
    wanted = "OWNER/NAME" if Path(source).expanduser().is_dir() else source
    raise ModelError(
        f"there is no {what} at {source}{at} ({first_line(failure)}); expected a folder with"
        f" config.json and weights, or a hub id. Where there is a network, `hf download {wanted}`"
        " fetches one"
    ) from failure


def _places(source: str, revision: str) -> Iterator[tuple[str, bool]]:
    """Yields the places where a model may be, and whether each is on this disk: a folder; the hub's
    cache, also as a folder, because transformers asks the hub for some files of an id even if told
    not to; and the hub.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    folder = Path(source).expanduser()
    if folder.is_dir():
        yield str(folder), True
        return
    try:
        cached = try_to_load_from_cache(source, "config.json", revision=revision or None)
    except HFValidationError:  # not an id; the hub's answer says so
        cached = None
    if isinstance(cached, str):
        yield str(Path(cached).parent), True
    yield source, False


def _ask_hub(source: str, revision: str) -> None:
    """Sends one request for a model, before transformers sends several and tries each five times.

    Raises:
        Exception: the exception of huggingface_hub for a missing model or network.
    """
    from huggingface_hub import HfApi

    HfApi().model_info(source, revision=revision or None, timeout=WAIT)


def check_whole(source: str, what: str, report: dict[str, Any]) -> None:
    """Raises a ModelError if tensors are missing or have other shapes.

    transformers would replace them by random ones.
    """
    lacking = sorted(
        map(str, (*report.get("missing_keys", ()), *report.get("mismatched_keys", ())))
    )
    if lacking:
        raise ModelError(
            f"{source} is no whole {what}: {len(lacking)} tensors are missing or of another shape, "
            f"first {lacking[0]}"
        )


def side_of(processor: Any) -> int:
    """Returns the side in pixels that an image processor scales to.

    It is 0 if the processor does not say.
    """
    about = processor.to_dict()
    for name in ("crop_size", "size"):
        size = about.get(name)
        if isinstance(size, Mapping):
            sides = [size.get(key) for key in ("height", "shortest_edge")]
            known = [int(side) for side in sides if side]
            if known:
                return known[0]
        elif isinstance(size, int) and size:
            return size
    return 0


def weights_digest(network: Any) -> str:
    """Returns hexadecimal digits of all tensors of a network.

    They cover the tensors as stored, with their names.
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
    """Returns the first line of an error's message.

    If it has no message, the type is returned.
    """
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
