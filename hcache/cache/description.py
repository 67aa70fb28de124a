"""The schema of ``run.json``, and how it is read.

Every value must have the right type and range. Otherwise the run is refused and the value is named.
Files may have been edited or truncated, or come from elsewhere. Code above this module can rely on
every value that passes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from ..atomic import read_file, reason
from ..errors import CacheError, UsageError
from ..schemas import checked, parse_json
from ..specs import BEFORE, LARGEST_SEED, UNCONDITIONED, Anatomy, Conditioning, Lora, RunSpec
from .layout import SCHEMA

MOST = 10**9
"""The largest count. JSON allows larger numbers than any array or table can hold."""

MOST_BYTES = 2**28
"""The largest file in bytes. A million prompts fit; hcache writes no larger file."""

AtLeastOne = Annotated[int, Meta(ge=1, le=MOST)]
Count = Annotated[int, Meta(ge=0, le=MOST)]
Number = Annotated[int, Meta(ge=-MOST, le=MOST)] | Annotated[float, Meta(ge=-1e9, le=1e9)]
Digest = Annotated[
    str, Meta(pattern="^[0-9a-f]{64}$", max_length=64, description="a SHA-256 in hex")
]


class ConditioningFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The condition of the samples of a run."""

    prompts: tuple[str, ...] = ()
    negative_prompt: str = ""
    classes: tuple[Count, ...] = ()
    guidance: Number = UNCONDITIONED.guidance
    null_class: Count | None = None


class LoraFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA that is added to a model's weights."""

    file: str
    scale: Number
    sha256: Digest


Setting = bool | str | Number | list[Number] | None
"""A value in a scheduler's configuration."""


class SpecFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request that a run was extracted from.

    Files from before there was a choice of schedules have no ``schedule``.
    """

    # types and ranges; RunSpec checks the rest

    model: str
    samples: AtLeastOne
    steps: AtLeastOne
    seed: Annotated[int, Meta(ge=0, le=LARGEST_SEED)]
    eta: Number
    store: dict[str, Literal["full", "pooled", "none"]]
    store_dtype: Literal["float16", "float32"]
    dtype: Literal["float32", "float16", "bfloat16"]
    batch: AtLeastOne
    weights: str
    conditioning: ConditioningFields = ConditioningFields()
    images: tuple[Digest, ...] = ()
    schedule: Literal["next", "diffusers", "before"] = BEFORE
    loras: tuple[LoraFields, ...] = ()
    scheduler: dict[str, Setting] = {}
    inversion: Literal["ddim", "null-text"] = "ddim"

    def spec(self) -> RunSpec:
        """Returns the run that these fields describe.

        Raises:
            UsageError: no such run is possible.
        """
        given: dict[str, Any] = structs.asdict(self)
        given["conditioning"] = Conditioning(**structs.asdict(self.conditioning))
        given["loras"] = tuple(Lora(**structs.asdict(lora)) for lora in self.loras)
        return RunSpec(**given)


class OrderedSpec(SpecFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A spec that is still to be extracted.

    With a batch of 0, the extraction chooses the batch size.
    """

    batch: Count


class Provenance(Struct, frozen=True, kw_only=True):
    """The provenance of a run. Older and newer versions of hcache may have other fields."""

    created: str = ""
    hcache: str = ""
    python: str = ""
    host: str = ""
    libraries: dict[str, str] = {}
    model: str = ""
    source: str = ""
    revision: str = ""
    branch: str = ""
    prediction_type: str = ""
    reader: str = ""
    scheduler: dict[str, Any] = {}
    alpha_bar: list[Number | None] = []
    device: str = ""


class RunFile(Struct, frozen=True, kw_only=True):
    """The contents of ``run.json``."""

    schema: AtLeastOne
    name: str
    spec: SpecFields
    anatomy: Anatomy
    timesteps: tuple[Number, ...]
    provenance: Provenance


class _Version(Struct, frozen=True):
    schema: AtLeastOne


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """The description of a run, from ``run.json``."""

    spec: RunSpec
    anatomy: Anatomy
    timesteps: tuple[float, ...]
    provenance: dict[str, Any]


def read_description(path: Path) -> RunDescription:
    """Reads and checks a ``run.json``.

    Raises:
        CacheError: it cannot be read, does not describe a run, or was written by a newer hcache.
    """
    try:
        text = read_file(path, MOST_BYTES)
    except OSError as error:
        raise CacheError(
            f"{path} could not be read: {reason(error)}; this is no sign of damage"
        ) from error
    try:
        data = parse_json(text)
        written_by = checked(data, _Version).schema
        if written_by <= SCHEMA:
            return _described(checked(data, RunFile), data["provenance"])
    except (ValueError, RecursionError) as error:
        raise CacheError(
            f"{path} is not a run's description: {error}; correct it, or remove the run"
        ) from error
    raise CacheError(
        f"{path} was written by a newer hcache (schema {written_by}; known: {SCHEMA}); update"
        " hcache"
    )


def parse_spec(data: Mapping[str, Any]) -> RunSpec:
    """Parses a run's spec from untrusted JSON.

    With a batch of 0, the extraction chooses the batch size.

    Raises:
        UsageError: it is not a spec.
    """
    try:
        return checked(dict(data), OrderedSpec).spec()
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"this is not the description of a run: {error}") from error


def _described(file: RunFile, provenance: dict[str, Any]) -> RunDescription:
    """Returns the contents of the file, once all parts agree with each other.

    Raises:
        ValueError: they disagree.
    """
    spec = file.spec.spec()
    if file.name != spec.name:
        raise ValueError(
            f"name: {file.name!r}, but its other fields give {spec.name!r}; was it edited?"
        )
    if len(file.timesteps) != spec.steps:
        raise ValueError(
            f"timesteps: expected {spec.steps}, one per step, got {len(file.timesteps)}"
        )
    if bool(file.anatomy.without) == (file.anatomy.h is not None):
        raise ValueError("anatomy: expected either h or, in without, the reason why there is none")
    return RunDescription(
        spec=spec, anatomy=file.anatomy, timesteps=file.timesteps, provenance=provenance
    )
