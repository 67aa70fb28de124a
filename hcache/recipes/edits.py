"""The kinds of edits as data: what each is told, checked, and its JSON both ways."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from ..errors import UsageError
from ..fields import Fields, check_json
from .masks import Mask
from .window import CONSTANT, SHAPES, Window

_MOST_SITES = 256
RUN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"


@dataclass(frozen=True, kw_only=True)
class DonorRef:
    """A sample to take activations from: of the recipient's run, or of another run of the same
    model and steps.
    """

    run: str
    sample: int


@dataclass(frozen=True, kw_only=True)
class DirectionRef:
    """A direction by its digest. ``name`` is what it was called, and ``made_by`` how it can be
    fitted again.
    """

    digest: str
    name: str = ""
    made_by: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ShiftEdit:
    """Moves h by ``strength`` times a direction. ``per_step``: with unit length at every step by
    itself. ``resample``: of a direction that was fitted on other steps, linear in t between
    them."""

    kind: ClassVar[str] = "shift"

    direction: DirectionRef
    strength: float
    window: Window
    per_step: bool = False
    resample: bool = False
    mask: Mask | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", float(self.strength))
        if not math.isfinite(self.strength):
            raise UsageError(
                f"the strength of a direction must be a finite number, got {self.strength}"
            )


@dataclass(frozen=True, kw_only=True)
class DistanceEdit:
    """Puts h at a signed ``distance`` along a direction, at one ``step``, wherever it was before.

    ``origin``: where distance 0 is, measured from h = 0; stored, so that the picture stays the same
    when the run grows. Both in the unit of strengths. ``resample``: as for a shift.

    References:
        Boundary Guided Learning-Free Semantic Control with Diffusion Models (Zhu, Wu, Deng,
        Russakovsky, Yan, 2023), https://arxiv.org/abs/2302.08357
    """

    kind: ClassVar[str] = "distance"

    direction: DirectionRef
    distance: float
    step: int
    origin: float = 0.0
    resample: bool = False
    mask: Mask | None = None

    def __post_init__(self) -> None:
        for name in ("distance", "origin"):
            object.__setattr__(self, name, float(getattr(self, name)))
            if not math.isfinite(getattr(self, name)):
                raise UsageError(
                    f"the {name} of an edit must be a finite number, got {getattr(self, name)}"
                )
        if self.step < 0:
            raise UsageError(f"the step of an edit is counted from 0, got {self.step}")

    @property
    def window(self) -> Window:
        """The one step in which it acts."""
        return Window(first=self.step, last=self.step)


@dataclass(frozen=True, kw_only=True)
class SwapEdit:
    """Blends a donor's activations in at ``sites``: ``h``, ``skip.2``, or single members such as
    ``skip.2.0``.
    """

    kind: ClassVar[str] = "swap"

    sites: tuple[str, ...]
    donor: DonorRef
    alpha: float
    window: Window
    mask: Mask | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        object.__setattr__(self, "alpha", share("the blend strength of a swap", self.alpha))
        if not self.sites:
            raise UsageError(
                "a swap needs sites: h, skip.1, ..., or single members such as skip.2.0"
            )


@dataclass(frozen=True, kw_only=True)
class SlerpEdit:
    """Turns h by the share ``gamma`` of the angle towards a donor's, its norm kept."""

    kind: ClassVar[str] = "slerp"

    donor: DonorRef
    window: Window
    gamma: float = 0.3
    mask: Mask | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", share("the share γ of a slerp", self.gamma))


@dataclass(frozen=True, kw_only=True)
class FreeUEdit:
    """Scales the decoder's inputs at its first two up blocks, in all steps: backbone by ``b``,
    skips by ``s``.

    References:
        FreeU: Free Lunch in Diffusion U-Net (Si, Huang, Jiang, Liu, 2023),
            https://arxiv.org/abs/2309.11497
    """

    kind: ClassVar[str] = "freeu"

    b1: float
    b2: float
    s1: float
    s2: float

    def __post_init__(self) -> None:
        for name in ("b1", "b2", "s1", "s2"):
            object.__setattr__(self, name, float(getattr(self, name)))
            if not 0 < getattr(self, name) <= 100:
                raise UsageError(
                    f"{name} of FreeU must be more than 0 and at most 100, got"
                    f" {getattr(self, name)}"
                )


FeatureEdit = ShiftEdit | DistanceEdit | SwapEdit | SlerpEdit
"""What acts on features; FreeU acts in the network."""

AnyEdit = FeatureEdit | FreeUEdit

_KINDS = {kind.kind: kind for kind in (ShiftEdit, DistanceEdit, SwapEdit, SlerpEdit, FreeUEdit)}


def share(what: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UsageError(f"{what} must lie in [0, 1], got {value}")
    return float(value)


def edit_to_json(edit: AnyEdit) -> dict[str, Any]:
    """Plain data; what is not said is left out."""
    data: dict[str, Any] = {"kind": edit.kind}
    if isinstance(edit, FreeUEdit):
        return data | asdict(edit)
    if isinstance(edit, ShiftEdit | DistanceEdit):
        ref = edit.direction
        data |= {
            "direction": {"digest": ref.digest, "name": ref.name, "made_by": _listed(ref.made_by)}
        }
    if isinstance(edit, ShiftEdit):
        data |= {"strength": edit.strength} | ({"per_step": True} if edit.per_step else {})
    if isinstance(edit, DistanceEdit):
        data |= {"distance": edit.distance, "origin": edit.origin, "step": edit.step}
    if getattr(edit, "resample", False):
        data |= {"resample": True}
    if isinstance(edit, SwapEdit):
        data |= {"sites": list(edit.sites), "donor": asdict(edit.donor), "alpha": edit.alpha}
    if isinstance(edit, SlerpEdit):
        data |= {"donor": asdict(edit.donor), "gamma": edit.gamma}
    if not isinstance(edit, DistanceEdit):
        data |= {"window": asdict(edit.window)}
    return data | ({"mask": edit.mask.to_json()} if edit.mask else {})


def _listed(value: Any) -> Any:
    """As JSON has it: lists, no tuples."""
    if isinstance(value, Mapping):
        return {str(k): _listed(v) for k, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value


def edit_from_json(fields: Fields) -> AnyEdit:
    """The edit that ``edit_to_json`` gave these data.

    Raises:
        UsageError: they are none; the field is named.
    """
    kind = fields.text("kind", "|".join(_KINDS), ", ".join(_KINDS))
    found: dict[str, Any] = {}
    if kind == FreeUEdit.kind:
        found = {name: fields.number(name, 0, 100) for name in ("b1", "b2", "s1", "s2")}
    else:
        if kind != DistanceEdit.kind:
            found["window"] = _window(fields.part("window"))
        if fields.left.get("mask") is not None:
            found["mask"] = Mask.from_json(fields.any("mask"), fields.name("mask"))
        fields.left.pop("mask", None)
    if kind in (ShiftEdit.kind, DistanceEdit.kind):
        found |= {
            "direction": _direction(fields.part("direction")),
            "resample": fields.flag("resample", False),
        }
    if kind == ShiftEdit.kind:
        found |= {"strength": fields.number("strength"), "per_step": fields.flag("per_step", False)}
    if kind == DistanceEdit.kind:
        found |= {name: fields.number(name) for name in ("distance", "origin")} | {
            "step": fields.whole("step")
        }
    if kind in (SwapEdit.kind, SlerpEdit.kind):
        donor = fields.part("donor")
        found["donor"] = DonorRef(
            run=donor.text("run", RUN, "a run's name"), sample=donor.whole("sample")
        )
        donor.done()
    if kind == SwapEdit.kind:
        sites = Fields(dict(enumerate(fields.items("sites", _MOST_SITES))), fields.name("sites"))
        pattern = r"h|skip\.\d{1,4}(\.\d{1,4})?"
        found["sites"] = tuple(
            sites.text(i, pattern, "h, skip.1, ... or skip.1.0, ...") for i in list(sites.left)
        )
        found["alpha"] = fields.number("alpha", 0, 1)
    if kind == SlerpEdit.kind:
        found["gamma"] = fields.number("gamma", 0, 1)
    fields.done()
    return _KINDS[kind](**found)


def _window(fields: Fields) -> Window:
    shape = fields.text("shape", "|".join(SHAPES), f"one of {', '.join(SHAPES)}", CONSTANT)
    found = Window(first=fields.whole("first"), last=fields.whole("last"), shape=shape)
    fields.done()
    return found


def _direction(fields: Fields) -> DirectionRef:
    made_by = fields.any("made_by", {})
    if not isinstance(made_by, dict):
        raise fields.wrong("made_by", "an object that says how the direction was made", made_by)
    check_json(made_by, fields.name("made_by"))
    digest = fields.text("digest", "[0-9a-f]{12}", "12 hex digits")
    found = DirectionRef(digest=digest, name=fields.text("name", default=""), made_by=made_by)
    fields.done()
    return found
