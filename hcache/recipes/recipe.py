"""Recipes: the edits of a sample as data, from which its picture is rendered again, pixel by pixel.

A recipe names the model and its weights, the run, the sample, and the edits in the order in which
they act. It is stored as JSON in the picture's PNG. Some fields only help to reproduce the picture
to the last bit and are not part of the digest: the row of the batch in which it was rendered (a
batch of another size may round differently), the picture's own digest, and the versions of the
libraries.

This module uses no torch, so recipes are read, compared and listed without loading a model.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..cache.reading import Run
from ..errors import UsageError
from ..fields import decoded
from ..specs import UNCONDITIONED, Conditioning
from .edits import (
    EDITS,
    Number,
    RecipeEdit,
    RunName,
    Share,
    Text,
    Whole,
    edit_from_json,
    share,
)

SCHEMA = 1
FORMAT = "hcache recipe"

MOST_ROWS = 64
MOST_CELLS = 4096
_MOST_EDITS = 32

DTYPES = ("float32", "float16", "bfloat16")
Dtype = Annotated[
    str, Meta(pattern=rf"^({'|'.join(DTYPES)})$(?!\n)", description=f"one of {', '.join(DTYPES)}")
]
Sha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$(?!\n)", description="64 hex digits")]


@dataclass(frozen=True, kw_only=True)
class BatchPlace:
    """The place in a batch where a picture was rendered.

    It is row ``row`` of ``rows``, from step ``first`` on.
    """

    row: Whole
    rows: Annotated[int, Meta(ge=1, le=MOST_ROWS)]
    first: Whole

    def __post_init__(self) -> None:
        if not 0 <= self.row < self.rows <= MOST_ROWS or self.first < 0:
            raise UsageError(
                f"a place in a batch is a row of at most {MOST_ROWS} and a first step, got row"
                f" {self.row} of {self.rows} from step {self.first}"
            )


class RecipeFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON of one picture's recipe."""  # EDITS lists the kinds of edits

    format: str
    schema: Annotated[int, Meta(ge=1)]
    model: Text
    weights: Text = ""
    revision: Text = ""
    dtype: Dtype = "float32"
    run: RunName
    sample: Whole
    seed: Annotated[int, Meta(ge=0)] = 0
    steps: Annotated[int, Meta(ge=1, le=10_000)]
    eta: Share = 0.0
    conditioning: Conditioning = UNCONDITIONED
    edits: Annotated[list[Any], Meta(max_length=_MOST_EDITS)]
    asymmetric: bool = False
    t_boost: Number | None = None
    place: BatchPlace | None = None
    pixels: Sha256 = ""
    versions: dict[Text, Text] = {}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The recipe of one picture.

    ``weights``, ``revision``, ``dtype``, ``steps``, ``eta`` and ``conditioning`` are those of the
    run. ``asymmetric``: the edited prediction enters P_t only. ``t_boost``: steps with t below it
    are taken with eta 1. ``place``, ``pixels`` (SHA-256 of the picture) and ``versions`` describe
    how it was rendered. They are not part of its digest.
    """

    model: str
    run: str
    sample: int
    steps: int
    edits: tuple[RecipeEdit, ...] = ()
    weights: str = ""
    revision: str = ""
    dtype: str = "float32"
    seed: int = 0
    eta: float = 0.0
    conditioning: Conditioning = UNCONDITIONED
    asymmetric: bool = False
    t_boost: float | None = None
    place: BatchPlace | None = None
    pixels: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(self.edits))
        object.__setattr__(self, "eta", share("eta", self.eta))
        if self.t_boost is not None:
            object.__setattr__(self, "t_boost", float(self.t_boost))
            if not math.isfinite(self.t_boost):
                raise UsageError(f"t_boost must be a training timestep, got {self.t_boost}")
        for edit in self.edits:
            if edit.needs_asymmetric and not self.asymmetric:
                raise UsageError(
                    f"this {edit.kind} is calibrated, which needs an asymmetric edit: set"
                    " asymmetric"
                )
            if edit.acts_in and edit.acts_in.last >= self.steps:
                raise UsageError(
                    f"the steps of a {edit.kind} go to {edit.acts_in.last}, and the run has"
                    f" {self.steps}, from 0 to {self.steps - 1}"
                )
        kinds = [edit.kind for edit in self.network_edits]
        if len(set(kinds)) < len(kinds):
            title = next(e.title for e in self.network_edits if kinds.count(e.kind) > 1)
            raise UsageError(f"{title} is a setting of the whole network: give it once")
        if self.place and self.place.first > self.steps:
            raise UsageError(f"a batch cannot begin at step {self.place.first} of {self.steps}")

    @property
    def network_edits(self) -> tuple[RecipeEdit, ...]:
        """The edits that change the network as a whole.

        They apply to a whole batch.
        """
        return tuple(edit for edit in self.edits if edit.network)

    def first_step(self, timesteps: Sequence[float]) -> int:
        """The first step that differs from the run.

        If no step differs, it is the number of steps.
        """
        firsts = [edit.first for edit in self.edits]
        if self.t_boost is not None:
            firsts += [index for index, t in enumerate(timesteps) if t < self.t_boost][:1]
        return min(firsts, default=len(timesteps))

    @property
    def digest(self) -> str:
        """Hex digits over everything that determines the picture, except rounding."""
        data = self.to_json()
        for name in ("place", "pixels", "versions"):
            data.pop(name, None)
        for edit in data["edits"]:
            if isinstance(edit.get("direction"), dict):
                edit["direction"] = edit["direction"]["digest"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:24]

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, without default values."""
        data: dict[str, Any] = {"format": FORMAT, "schema": SCHEMA}
        for name in (
            "model",
            "weights",
            "revision",
            "dtype",
            "run",
            "sample",
            "seed",
            "steps",
            "eta",
        ):
            data[name] = getattr(self, name)
        if self.conditioning != UNCONDITIONED:
            data["conditioning"] = {
                k: list(v) if isinstance(v, tuple) else v
                for k, v in asdict(self.conditioning).items()
                if v is not None
            }
        data |= {
            "edits": [edit.to_json() for edit in self.edits],
            "asymmetric": self.asymmetric,
        }
        if self.t_boost is not None:
            data["t_boost"] = self.t_boost
        if self.place:
            data["place"] = asdict(self.place)
        if self.pixels:
            data["pixels"] = self.pixels
        return data | ({"versions": dict(self.versions)} if self.versions else {})

    def to_text(self) -> str:
        """Returns the recipe as JSON in lines."""
        return json.dumps(self.to_json(), indent=1)

    @classmethod
    def from_json(cls, data: Any) -> Recipe:
        """Returns the recipe from the data of ``to_json``.

        Raises:
            UsageError: the data are not a recipe. The message names the field.
        """
        try:
            _check_format(data)
            read = decoded(data, RecipeFile)
            return cls(**_fields(read))
        except (RecursionError, OverflowError) as error:
            raise UsageError(
                "recipe: it is nested too deeply, or a number in it is too large"
            ) from error


def recipe_of(run: Run, sample: int, edits: Sequence[RecipeEdit] = (), **more: Any) -> Recipe:
    """Returns a recipe for a sample of a run.

    ``more`` may contain ``asymmetric`` and ``t_boost``.

    Raises:
        UsageError: the sample is not in the run, or an edit does not fit it.
    """
    run.position(sample)
    spec = run.spec
    return Recipe(
        model=spec.model,
        weights=spec.weights,
        revision=run.provenance.get("revision", ""),
        dtype=spec.dtype,
        run=run.name,
        sample=int(sample),
        seed=run.seed(int(sample)),
        steps=spec.steps,
        eta=spec.eta,
        conditioning=spec.conditioning.rows([int(sample)]),
        edits=tuple(edits),
        **more,
    )


def check_run(recipe: Recipe, run: Run) -> None:
    """Makes sure that a recipe belongs to this run.

    Raises:
        UsageError: a field differs. The message names it.
    """
    ours = recipe_of(run, recipe.sample)
    for name in (
        "run",
        "model",
        "weights",
        "revision",
        "dtype",
        "seed",
        "steps",
        "eta",
        "conditioning",
    ):
        if getattr(ours, name) != getattr(recipe, name):
            raise UsageError(
                f"this recipe is not for run {run.name}: its {name} is {getattr(recipe, name)!r},"
                f" that of the run {getattr(ours, name)!r}"
            )


def plain(recipe: Recipe) -> Recipe:
    """Returns the recipe without the fields on its rendering."""
    return replace(recipe, place=None, pixels="", versions={})


def recipe_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a recipe, with all edits.

    Edits of other packages are included.
    """
    edits = tuple(EDITS.values())
    (found, *_), parts = msgspec.json.schema_components((RecipeFile, *edits))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "$defs": parts}
    listed = parts["RecipeFile"]["properties"]["edits"]
    listed["items"] = {"oneOf": [{"$ref": f"#/$defs/{edit.__name__}"} for edit in edits]}
    return msgspec.to_builtins(schema, str_keys=True)


def _check_format(data: Any) -> None:
    """Refuses data that are not a recipe, or are from a newer version."""
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise UsageError(
            f'this is not a recipe: it does not begin with "format": {json.dumps(FORMAT)}'
        )
    check_schema(data.get("schema"))


def check_schema(schema: Any) -> None:
    """Refuses data of a newer version of hcache.

    Raises:
        UsageError: the version number is larger than the known one.
    """
    if isinstance(schema, int) and schema > SCHEMA:
        raise UsageError(
            f"this recipe was written by a newer hcache (schema {schema}; known: {SCHEMA}); update"
            " hcache"
        )


def _fields(read: RecipeFile) -> dict[str, Any]:
    """Returns the fields of a recipe from those of its file."""
    found = {
        name: getattr(read, name)
        for name in read.__struct_fields__
        if name not in ("format", "schema", "edits")
    }
    for name in ("prompts", "classes"):
        if len(getattr(read.conditioning, name)) > 1:
            raise UsageError(f"recipe: conditioning.{name} must be a list of at most 1")
    if read.seed > 2**64:
        raise UsageError(f"recipe: seed: expected a whole number from 0 to {2**64}")
    edits = [edit_from_json(edit, f"edits[{i}]") for i, edit in enumerate(read.edits)]
    return {**found, "edits": tuple(edits)}
