"""Finds the files with the weights of a part of a model: one file or shards, safetensors or pickle,
a variant or none.

A folder of a published model often holds the same weights several times: as ``.bin`` and as
``.safetensors``, in full and in half precision (``.fp16.``), with and without a moving average
(``.non_ema.``). One set of them is chosen, the same when a model is downloaded and when it is
loaded: full precision before half, safetensors before pickle.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FILE = re.compile(
    r"(diffusion_pytorch_model|pytorch_model|model)(?:\.([A-Za-z_][\w]*))?(?:-(\d+)-of-(\d+))?\.(safetensors|bin)"
)
_VARIANTS = (None, "fp16", "bf16")
_KINDS = ("safetensors", "bin")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WeightSet:
    """The files of one complete set. ``index`` is the name of its index, for shards."""

    files: tuple[str, ...]
    variant: str | None
    safetensors: bool
    index: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All files of the set, the index among them."""
        return self.files + ((self.index,) if self.index else ())

    @property
    def options(self) -> dict[str, str | bool]:
        """Returns the options of ``from_pretrained`` for this set.

        They exclude all other sets.
        """
        return {"use_safetensors": self.safetensors} | (
            {"variant": self.variant} if self.variant else {}
        )


def choose_weights(names: Iterable[str]) -> WeightSet | None:
    """Chooses a set among the file names in one folder.

    It is None if no set is complete.
    """
    names = set(names)
    found = [(match, name) for name in sorted(names) if (match := _FILE.fullmatch(name))]
    for variant in _VARIANTS:
        for kind in _KINDS:
            own = [
                (match, name) for match, name in found if match[2] == variant and match[5] == kind
            ]
            for match, name in own:
                if match[3] is None:
                    return WeightSet(
                        files=(name,), variant=variant, safetensors=kind == "safetensors"
                    )
            if own and (whole := _shards(own, names, variant, kind)):
                return whole
    return None


def _shards(
    own: list[tuple[re.Match[str], str]], names: set[str], variant: str | None, kind: str
) -> WeightSet | None:
    stem, count = own[0][0][1], int(own[0][0][4])
    index = f"{stem}.{kind}.index.{f'{variant}.' if variant else ''}json"
    if index not in names or {int(match[3]) for match, _ in own} != set(range(1, count + 1)):
        return None
    files = tuple(name for _, name in own)
    return WeightSet(files=files, variant=variant, safetensors=kind == "safetensors", index=index)


def weights_in(folder: Path) -> WeightSet | None:
    """Returns the set to load from a folder on this disk."""
    return (
        choose_weights(path.name for path in folder.iterdir() if path.is_file())
        if folder.is_dir()
        else None
    )


def loading_options(folder: Path) -> Mapping[str, str | bool]:
    """Returns the options of ``from_pretrained`` for a folder.

    They are empty without weights, so that it reports this itself.
    """
    found = weights_in(folder)
    if found is None:
        return {}
    if not found.safetensors:
        say_once(
            "weights that are a pickle (.bin) are read as tensors alone (weights_only); nothing in"
            " them is run"
        )
    if found.variant:
        say_once(
            f"{folder} holds weights of the variant {found.variant} only, rounded to half"
            " precision; they are taken"
        )
    return found.options


@lru_cache(maxsize=64)
def say_once(text: str) -> None:
    """Logs a warning the first time that it is given."""
    _log.warning(text)
