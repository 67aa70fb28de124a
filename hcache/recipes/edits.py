"""The base of all edits: data in a recipe, a function on features, and widgets.

An edit is one file with one class under :class:`RecipeEdit`. Its fields are the schema of its JSON.
:meth:`RecipeEdit.apply` (or :meth:`RecipeEdit.bind`) carries it out. Its class variables contain
its name and the widgets of the Edit page. :data:`EDITS` lists all edits. Another package adds one
by an entry point in the group ``hcache.edits``. Nothing here loads torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..errors import UsageError
from ..features import Features
from ..fields import LONGEST_TEXT, check_json, decoded
from ..registry import Registry
from ..schemas import shown
from .widgets import AmountWidget, Variant, Widget
from .window import Window

if TYPE_CHECKING:
    from ..cache.reading import Run

S = TypeVar("S", bound=Struct)

RUN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"

Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]
Whole = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
RunName = Annotated[str, Meta(pattern=rf"^{RUN}$(?!\n)", description="a run's name")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{12}$(?!\n)", description="12 hex digits")]


class DonorRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reference to the sample that activations are taken from.

    It belongs to the recipient's run, or to another run of the same model and steps.
    """

    run: RunName
    sample: Whole


class DirectionRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reference to a direction by its digest.

    ``name`` is the name of the direction, and ``made_by`` describes how to fit it again.
    """

    digest: Digest
    name: Text = ""
    made_by: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        check_json(self.made_by, "made_by")


class _Kind:
    """The tag of an edit, available on its class and on its objects."""

    def __get__(self, edit: object, owner: type[Struct]) -> str:
        return str(owner.__struct_config__.tag)


class Tools(Protocol):
    """The tools that give an edit what it needs.

    The executor of ``hcache.edits`` implements them.
    """

    model: Any
    run: Run

    def move(self, ref: DirectionRef, resample: bool = False, per_step: bool = False) -> Any:
        """Returns the direction, saved or fitted again, on the run's steps."""
        ...

    def mover(self, ref: DirectionRef, resample: bool = False, per_step: bool = False) -> Any:
        """Returns the direction bound to the model."""
        ...

    def donor(self, ref: DonorRef, places: tuple[str, ...] = ()) -> Callable[[Any], Features]:
        """Returns a donor's features at a moment.

        ``places`` names other places of the U-Net whose features are also returned.
        """
        ...


Acts = Callable[[Features, Any], Features]
"""A function from features and the moment of the denoising (index, t, branch) to features."""

Pushes = tuple[int, Callable[[Any], Any]]
"""A function from a step, and x_t (1, c, h, w) before it, to the x_t to use instead."""


class RecipeEdit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """The base class of edits.

    A subclass has ``tag="its name"``, fields, and :meth:`apply`. Fields named ``direction``,
    ``window``, ``step`` or ``mask`` have a fixed meaning: the page asks for a direction, steps and
    a region, and the renderer applies the mask.

    ``title`` and ``help`` are texts for users. ``amount`` is the number that a strip on the Edit
    page varies; without it the page does not offer the edit. ``widgets`` are for the other fields.
    ``constant``: the edit takes only directions that are the same for every sample. ``network``:
    the edit changes the network as a whole, in every step, and is given once. The Swap page offers
    such an edit beside another one.

    An edit belongs to the Swap page if it has a field ``donor`` or declares ``variants``, which are
    the ways in which that page makes pictures with it.
    """

    kind: ClassVar[_Kind] = _Kind()
    title: ClassVar[str] = ""
    help: ClassVar[str] = ""
    link: ClassVar[str] = ""
    amount: ClassVar[AmountWidget | None] = None
    widgets: ClassVar[tuple[Widget, ...]] = ()
    variants: ClassVar[tuple[Variant, ...]] = ()
    constant: ClassVar[bool] = False
    network: ClassVar[bool] = False

    @property
    def acts_in(self) -> Window | None:
        """Returns the steps in which it acts, or None for all steps."""
        step = getattr(self, "step", None)
        return getattr(self, "window", None) if step is None else Window(first=step, last=step)

    @property
    def needs_asymmetric(self) -> bool:
        """Whether the edited prediction may enter P_t only."""
        return False

    def calibration(self, step: int, t: float) -> tuple[float, float] | None:
        """Returns InjectFusion's calibration, ω and λ, in a step.

        ``t`` is the step's training timestep. The result is None if nothing is calibrated.
        """
        return None

    @property
    def picture_name(self) -> str:
        """What the Swap page calls a picture that is made with it."""
        return self.title

    @property
    def in_words(self) -> str:
        """What a caption says beside its title: its amount, sites and donor."""
        parts = []
        if self.amount is not None and (value := getattr(self, self.amount.name, 0)):
            parts.append(f"{self.amount.name.replace('_', ' ')} {value:+g}")
        if sites := getattr(self, "sites", ()):
            parts.append(" + ".join(sites))
        if donor := getattr(self, "donor", None):
            parts.append(f"from sample {donor.sample}")
        return ", ".join(parts)

    @property
    def figure_site(self) -> str:
        """The site at which the U-figure shows its picture.

        It is empty if the picture is shown below the figure.
        """
        return ""

    @property
    def first(self) -> int:
        """Returns the first step in which it acts."""
        return self.acts_in.first if self.acts_in else 0

    def at_step(self, step: int) -> RecipeEdit:
        """Returns the same edit in one step only. Its strength is full, for a preview."""
        window = Window(first=step, last=step)
        return changed(self, window=window) if hasattr(self, "window") else self

    def apply(self, features: Features, moment: Any) -> Features:
        """Edits the features of one sample.

        Returning the same object means that nothing changes.
        """
        return features

    def bind(self, tools: Tools) -> Acts:
        """Returns :meth:`apply` with what the edit needs.

        This is a direction, a donor or the model.
        """
        return self.apply

    def push(self, tools: Tools) -> Pushes | None:
        """Returns the edit's change of x_t itself, or None."""
        return None

    def change_model(self, model: Any) -> Any:
        """Returns the model with a changed network.

        It is only called for an edit of the network.
        """
        return model

    @classmethod
    def prepared(cls, run: Run, move: Any, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Returns fields that follow from the run and the page's choices."""
        return {}

    @classmethod
    def injections(cls) -> tuple[Variant, ...]:
        """The ways in which the Swap page makes pictures with it.

        There are none if the edit does not belong to that page.
        """
        if cls.variants or not cls.has("donor"):
            return cls.variants
        return (Variant(title=cls.title, button=f"Render: {cls.title}"),)

    @classmethod
    def offered_for(cls, run: Run) -> bool:
        """Whether pages offer it for a run.

        The run alone decides; its model is not loaded.
        """
        return True

    @classmethod
    def key(cls) -> str:
        """The name of the edit in links."""
        return cls.link or str(cls.kind)

    @classmethod
    def has(cls, field: str) -> bool:
        """Returns whether the edit has a field of this name."""
        return field in cls.__struct_fields__

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, without values that are None or false."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        said = {k: v for k, v in values.items() if v is not None and v is not False}
        return {"kind": self.kind, **{name: _plain(value) for name, value in said.items()}}


class _AnyEdit(Struct, frozen=True, kw_only=True):
    """The JSON fields of every edit, of whatever kind."""

    kind: str


def _check_edit(name: str, found: Any) -> None:
    if not (isinstance(found, type) and issubclass(found, RecipeEdit)):
        raise TypeError("it is not a subclass of hcache.recipes.edits.RecipeEdit")
    if found.kind != name:
        raise TypeError(f"its tag is {found.kind!r}, and not the name of the entry point")


EDITS: Registry[type[RecipeEdit]] = Registry(
    "hcache.edits",
    "edit",
    {
        "shift": "hcache.edits.shift:ShiftEdit",
        "distance": "hcache.edits.distance:DistanceEdit",
        "swap": "hcache.edits.swap:SwapEdit",
        "slerp": "hcache.edits.slerp:SlerpEdit",
        "freeu": "hcache.edits.freeu:FreeUEdit",
    },
    _check_edit,
)
"""All edits by kind."""


def changed(struct: S, **changes: Any) -> S:
    """Returns a struct with other values in some fields.

    The values are checked as for a new struct.
    """
    return msgspec.structs.replace(struct, **changes)


def put(struct: Struct, field: str, value: Any) -> None:
    """Sets a field of a frozen struct from its ``__post_init__``."""
    msgspec.structs.force_setattr(struct, field, value)


def share(what: str, value: float) -> float:
    """Returns the value as a float if it lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise UsageError(f"{what} must lie in [0, 1], got {value}")
    return float(value)


def edit_from_json(data: Any, where: str) -> RecipeEdit:
    """Returns the edit from the data of ``to_json``.

    Args:
        data: The parsed JSON.
        where: The name of the data in messages: ``edits[0]``.

    Raises:
        UsageError: the data are not an edit. The message names the field.
    """
    kind = decoded(data, _AnyEdit, where).kind
    if kind not in EDITS:
        raise UsageError(
            f"recipe: {where}.kind: expected one of {', '.join(EDITS)}, got {shown(kind)}"
        )
    found = EDITS[kind]
    for field in msgspec.structs.fields(found):  # to_json always writes these
        optional = field.default is None or field.default is False
        if not field.required and not optional and field.name not in data:
            raise UsageError(f"recipe: {where}.{field.name} is missing")
    return decoded(data, found, where)


def _plain(value: Any) -> Any:
    """Returns the JSON form: objects and lists, no tuples."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return _listed(msgspec.to_builtins(value, str_keys=True))


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _listed(inner) for name, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, list | tuple) else value
