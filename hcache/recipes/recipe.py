"""Recipes: what was done to a sample, as data, from which its picture is rendered again, pixel by
pixel.

A recipe names the model and its weights, the run and the sample in it, and the edits in the order
in which they act. It travels as JSON inside the picture's PNG. What only helps to repeat the
picture to the last bit stands beside that and is not part of its digest: the row of the batch it
was rendered in, since a batch of another size may round otherwise; the picture's own digest; the
versions of the libraries.

No torch here: recipes are read, compared and listed without loading a model.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..cache.reading import Run
from ..errors import UsageError
from ..fields import Fields
from ..specs import UNCONDITIONED, Conditioning
from .edits import RUN, RecipeEdit, edit_from_json, share

SCHEMA = 1
FORMAT = "hcache recipe"

MOST_ROWS = 64
MOST_CELLS = 4096
_MOST_EDITS = 32


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in a batch a picture was rendered: row ``row`` of ``rows``, from step ``first`` on."""

    row: int
    rows: int
    first: int

    def __post_init__(self) -> None:
        if not 0 <= self.row < self.rows <= MOST_ROWS or self.first < 0:
            raise UsageError(
                f"a place in a batch is a row of at most {MOST_ROWS} and a first step, got row"
                f" {self.row} of {self.rows} from step {self.first}"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One picture. ``weights``, ``revision``, ``dtype``, ``steps``, ``eta`` and ``conditioning``
    are the run's.

    ``asymmetric``: the edited prediction enters P_t only. ``t_boost``: steps with t below it are
    taken with eta 1. ``place``, ``pixels`` (SHA-256 of the picture) and ``versions`` say how it was
    rendered; they are no part of what it is.
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
    place: Place | None = None
    pixels: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(self.edits))
        object.__setattr__(self, "eta", share("eta", self.eta))
        if self.t_boost is not None:
            object.__setattr__(self, "t_boost", float(self.t_boost))
            if not math.isfinite(self.t_boost):
                raise UsageError(f"t_boost is a training timestep, got {self.t_boost}")
        for edit in self.edits:
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
        """Those that change the network as a whole, and so hold for a whole batch."""
        return tuple(edit for edit in self.edits if edit.network)

    def first_step(self, timesteps: Sequence[float]) -> int:
        """The first step in which anything is another than in the run; their number if nothing
        is.
        """
        firsts = [edit.first for edit in self.edits]
        if self.t_boost is not None:
            firsts += [index for index, t in enumerate(timesteps) if t < self.t_boost][:1]
        return min(firsts, default=len(timesteps))

    @property
    def digest(self) -> str:
        """Hex digits over all that decides the picture, but for rounding."""
        data = self.to_json()
        for name in ("place", "pixels", "versions"):
            data.pop(name, None)
        for edit in data["edits"]:
            if isinstance(edit.get("direction"), dict):
                edit["direction"] = edit["direction"]["digest"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:24]

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is not said is left out."""
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
        return json.dumps(self.to_json(), indent=1)

    @classmethod
    def from_json(cls, data: Any) -> Recipe:
        """The recipe that ``to_json`` gave these data.

        Raises:
            UsageError: they are no recipe; the field is named.
        """
        try:
            fields = Fields(data)
            _check_format(fields)
            found = cls(**_recipe_fields(fields))
            fields.done()
            return found
        except (RecursionError, OverflowError) as error:
            raise UsageError(
                "recipe: it is nested too deeply, or a number in it is too large"
            ) from error


def recipe_of(run: Run, sample: int, edits: Sequence[RecipeEdit] = (), **more: Any) -> Recipe:
    """A recipe for a sample of a run; ``more``: ``asymmetric``, ``t_boost``.

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
    """Makes sure that a recipe is for this very run.

    Raises:
        UsageError: something in it is another; the message says what.
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
    """The same without how it was rendered."""
    return replace(recipe, place=None, pixels="", versions={})


def _check_format(fields: Fields) -> None:
    if fields.any("format", None) != FORMAT:
        raise UsageError(
            f'this is not a recipe: it does not begin with "format": {json.dumps(FORMAT)}'
        )
    schema = fields.whole("schema", 1)
    if schema > SCHEMA:
        raise UsageError(
            f"this recipe was written by a newer hcache (schema {schema}; known: {SCHEMA}); update"
            " hcache"
        )


def _recipe_fields(fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": fields.text("model"),
        "weights": fields.text("weights", default=""),
        "revision": fields.text("revision", default=""),
        "dtype": fields.text(
            "dtype", "float32|float16|bfloat16", "float32, float16 or bfloat16", "float32"
        ),
        "run": fields.text("run", RUN, "a run's name"),
        "sample": fields.whole("sample"),
        "seed": fields.whole("seed", 0, 2**64, default=0),
        "steps": fields.whole("steps", 1, 10_000),
        "eta": fields.number("eta", 0, 1, default=0.0),
        "asymmetric": fields.flag("asymmetric", False),
        "pixels": fields.text("pixels", "|[0-9a-f]{64}", "64 hex digits", ""),
    }
    if "conditioning" in fields.left:
        found["conditioning"] = _conditioning(fields.part("conditioning"))
    if fields.left.get("t_boost") is not None:
        found["t_boost"] = fields.number("t_boost")
    fields.left.pop("t_boost", None)
    if "place" in fields.left:
        place = fields.part("place")
        found["place"] = Place(
            row=place.whole("row"),
            rows=place.whole("rows", 1, MOST_ROWS),
            first=place.whole("first"),
        )
        place.done()
    if "versions" in fields.left:
        versions = fields.part("versions")
        found["versions"] = {name: versions.text(name) for name in list(versions.left)}
    listed = fields.items("edits", _MOST_EDITS)
    found["edits"] = tuple(edit_from_json(data, f"edits[{i}]") for i, data in enumerate(listed))
    return found


def _conditioning(fields: Fields) -> Conditioning:
    prompts = Fields(dict(enumerate(fields.items("prompts", 1, []))), fields.name("prompts"))
    classes = Fields(dict(enumerate(fields.items("classes", 1, []))), fields.name("classes"))
    found = Conditioning(
        prompts=tuple(prompts.text(i) for i in list(prompts.left)),
        classes=tuple(classes.whole(i) for i in list(classes.left)),
        negative_prompt=fields.text("negative_prompt", default=""),
        guidance=fields.number("guidance", 1, default=1.0),
        null_class=None if fields.any("null_class", None) is None else fields.whole("null_class"),
    )
    fields.done()
    return found
