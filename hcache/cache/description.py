"""``run.json``, read strictly: every value is of the kind it must be, or the run is refused and the
value named.

Files are edited, truncated and come from elsewhere. What passes here can be relied on everywhere
above.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..atomic import read_file, reason
from ..errors import CacheError, UsageError
from ..specs import BEFORE, LARGEST_SEED, SCHEDULES, Anatomy, RunSpec
from .layout import SCHEMA

T = TypeVar("T")

MOST = 10**9
"""No count is larger. JSON knows numbers that no array and no table can hold."""

MOST_BYTES = 2**28
"""A million prompts fit; what is larger was not written by hcache."""

DTYPES = ("float32", "float16", "bfloat16")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What ``run.json`` says."""

    spec: RunSpec
    anatomy: Anatomy
    timesteps: tuple[float, ...]
    provenance: dict[str, Any]


def read_description(path: Path) -> Description:
    """What a ``run.json`` says.

    Raises:
        CacheError: it cannot be read, is not a run's description, or is one that a newer hcache
            wrote.
    """
    try:
        data = read_file(path, MOST_BYTES)
    except OSError as error:
        raise CacheError(
            f"{path} could not be read: {reason(error)}; nothing was found wrong with it"
        ) from error
    try:
        return _parse(_load(data), path)
    except CacheError:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        words = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CacheError(
            f"{path} is not a run's description: {words}; put it right, or remove the run"
        ) from error


def parse_spec(data: Mapping[str, Any]) -> RunSpec:
    """A run's spec out of plain JSON that anyone may have written; a batch of 0 leaves it to who
    extracts.

    Raises:
        UsageError: it is none.
    """
    try:
        given = dict(_mapping(data, "spec"))
        _check_spec({**given, "batch": given["batch"] or 1})
        _integer(given["batch"], "spec.batch")
        return RunSpec.from_json(given)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        words = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"this is not the description of a run: {words}") from error


def _load(text: bytes) -> Any:
    """The file's JSON. NaN and the like, which JSON has not, become null; text must be Unicode."""
    data = json.loads(text.decode("utf-8"), parse_constant=lambda _: None)
    json.dumps(data, ensure_ascii=False).encode(
        "utf-8"
    )  # half a surrogate pair could never be shown
    return data


def _parse(data: Any, path: Path) -> Description:
    _mapping(data, "what it holds")
    if _integer(data["schema"], "schema", 1) > SCHEMA:
        raise CacheError(
            f"{path} was written by a newer hcache (schema {data['schema']}; known: {SCHEMA});"
            " update hcache"
        )
    _check_spec(_mapping(data["spec"], "spec"))
    _check_anatomy(_mapping(data["anatomy"], "anatomy"))
    spec = RunSpec.from_json(data["spec"])
    if data["name"] != spec.name:
        raise ValueError(
            f"name: {data['name']!r}, but what it says of the run gives {spec.name!r}; was it"
            " edited?"
        )
    timesteps = tuple(_list(data["timesteps"], "timesteps", _number))
    if len(timesteps) != spec.steps:
        raise ValueError(f"timesteps: expected {spec.steps}, one a step, got {len(timesteps)}")
    provenance = _mapping(data["provenance"], "provenance")
    return Description(
        spec=spec,
        anatomy=Anatomy.from_json(data["anatomy"]),
        timesteps=timesteps,
        provenance=dict(provenance),
    )


def _check_spec(spec: Mapping[str, Any]) -> None:
    """Types and ranges; what else a run must be is checked where one is made."""
    for name in ("model", "store_dtype", "weights"):
        _text(spec[name], f"spec.{name}")
    for name in ("samples", "steps", "batch"):
        _integer(spec[name], f"spec.{name}", 1)
    _integer(spec["seed"], "spec.seed", 0, LARGEST_SEED)
    _number(spec["eta"], "spec.eta")
    if spec["dtype"] not in DTYPES:
        raise ValueError(
            f"spec.dtype: expected one of {', '.join(DTYPES)}, got {_shown(spec['dtype'])}"
        )
    if spec.get("schedule", BEFORE) not in (*SCHEDULES, BEFORE):
        raise ValueError(
            f"spec.schedule: expected one of {', '.join(SCHEDULES)}, got {_shown(spec['schedule'])}"
        )
    for site, policy in _mapping(spec["store"], "spec.store").items():
        _text(policy, f"spec.store.{site}")
    given = _mapping(spec.get("conditioning", {}), "spec.conditioning")
    _list(given.get("prompts", []), "spec.conditioning.prompts", _text)
    _list(given.get("classes", []), "spec.conditioning.classes", _integer)
    _text(given.get("negative_prompt", ""), "spec.conditioning.negative_prompt")
    _number(given.get("guidance", 1.0), "spec.conditioning.guidance")
    if given.get("null_class") is not None:
        _integer(given["null_class"], "spec.conditioning.null_class")
    _list(spec.get("images", []), "spec.images", _digest)
    _list(spec.get("loras", []), "spec.loras", _check_lora)
    for name, value in _mapping(spec.get("scheduler", {}), "spec.scheduler").items():
        _setting(value, f"spec.scheduler.{name}")


def _check_lora(value: Any, name: str) -> None:
    lora = _mapping(value, name)
    _text(lora["file"], f"{name}.file")
    _number(lora["scale"], f"{name}.scale")
    _digest(lora["sha256"], f"{name}.sha256")


def _setting(value: Any, name: str) -> None:
    """A field of a scheduler's configuration: a number, a text, a truth value or numbers."""
    if isinstance(value, list):
        _list(value, name, _number)
    elif value is not None and not isinstance(value, str | bool):
        _number(value, name)


def _check_anatomy(anatomy: Mapping[str, Any]) -> None:
    for name in ("x", "image"):
        _shape(anatomy[name], f"anatomy.{name}")
    if anatomy["h"] is not None:
        _shape(anatomy["h"], "anatomy.h")
    _list(anatomy["skips"], "anatomy.skips", lambda group, name: _list(group, name, _shape))
    _list(anatomy.get("blocks", []), "anatomy.blocks", _shape)
    _integer(anatomy["parameters"], "anatomy.parameters", 0, 2**62)
    if bool(_text(anatomy["without"], "anatomy.without")) == (anatomy["h"] is not None):
        raise ValueError("anatomy: expected either h or, in without, the reason why there is none")


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected names with values, got {_shown(value)}")
    return value


def _list(value: Any, name: str, each: Callable[[Any, str], T]) -> list[T]:
    if not isinstance(value, list):
        raise ValueError(f"{name}: expected a list, got {_shown(value)}")
    return [each(item, f"{name}[{i}]") for i, item in enumerate(value)]


def _shape(value: Any, name: str) -> list[int]:
    found = _list(value, name, lambda item, where: _integer(item, where, 1, 10**6))
    if len(found) != 3:
        raise ValueError(f"{name}: expected 3 numbers, got {len(found)}")
    return found


def _integer(value: Any, name: str, low: int = 0, high: int = MOST) -> int:
    if type(value) is not int or not low <= value <= high:  # a bool is an int to isinstance
        raise ValueError(
            f"{name}: expected a whole number from {low} to {high}, got {_shown(value)}"
        )
    return value


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > MOST:
        raise ValueError(f"{name}: expected a number, got {_shown(value)}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text, got {_shown(value)}")
    return value


def _digest(value: Any, name: str) -> str:
    """Of a picture: it names a file, and so may be nothing else."""
    if not _DIGEST.fullmatch(_text(value, name)):
        raise ValueError(f"{name}: expected a SHA-256 in hex, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"
