"""What every edit is: data that a recipe holds, what acts on features, and its widgets.

An edit is one file with one class under :class:`RecipeEdit`: its fields are the schema of its
JSON, :meth:`RecipeEdit.apply` (or :meth:`RecipeEdit.bind`) is what it does, and its class
variables say what it is called and what the Edit page has to ask. :data:`EDITS` lists all of them;
a package of its own adds one by an entry point in the group ``hcache.edits``. Nothing here loads
torch.
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
    """A sample to take activations from.

    It is of the recipient's run, or of another run of the same model and steps.
    """

    run: RunName
    sample: Whole


class DirectionRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A direction by its digest.

    ``name`` is what it was called, and ``made_by`` how it can be fitted again.
    """

    digest: Digest
    name: Text = ""
    made_by: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        check_json(self.made_by, "made_by")


class _Kind:
    """The tag of an edit's class, of the class and of its objects."""

    def __get__(self, edit: object, owner: type[Struct]) -> str:
        return str(owner.__struct_config__.tag)


class Tools(Protocol):
    """What an edit is given to find what it needs.

    It is the executor of ``hcache.edits``.
    """

    model: Any
    run: Run

    def move(self, ref: DirectionRef, resample: bool = False, per_step: bool = False) -> Any:
        """The direction, as saved or fitted again, on the run's steps."""
        ...

    def mover(self, ref: DirectionRef, resample: bool = False, per_step: bool = False) -> Any:
        """The same, bound to the model."""
        ...

    def donor(self, ref: DonorRef, places: tuple[str, ...] = ()) -> Callable[[Any], Features]:
        """Returns a donor's features at a moment.

        ``places``: other places of the U-Net whose features are returned, too.
        """
        ...


Acts = Callable[[Features, Any], Features]
"""Features and the moment of the denoising (index, t, branch) -> features."""

Pushes = tuple[int, Callable[[Any], Any]]
"""A step, and x_t (1, c, h, w) before it -> x_t to take it from."""


class RecipeEdit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """One edit. A class for another edit gives ``tag="its name"``, fields, and :meth:`apply`.

    A field named ``direction``, ``window``, ``step`` or ``mask`` is taken for what these are: the
    page asks for a direction, steps and a region, and the mask is applied by whoever renders.

    ``title`` and ``help``: for people. ``amount``: what a strip on the Edit page runs over; without
    one the page does not offer the edit. ``widgets``: for the other fields. ``constant``: it takes
    only directions that are the same for every sample. ``network``: it changes the network as a
    whole, in every step, and is given once; the Swap page offers it beside another edit.

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
        """The steps in which it acts; None: in all of them."""
        step = getattr(self, "step", None)
        return getattr(self, "window", None) if step is None else Window(first=step, last=step)

    @property
    def needs_asymmetric(self) -> bool:
        """Whether the edited prediction may enter P_t only."""
        return False

    def calibration(self, step: int, t: float) -> tuple[float, float] | None:
        """Returns InjectFusion's calibration, ω and λ, in a step.

        ``t`` is the step's training timestep. It is None where nothing is calibrated.
        """
        return None

    @property
    def picture_name(self) -> str:
        """What the Swap page calls a picture that is made with it."""
        return self.title

    @property
    def figure_site(self) -> str:
        """The site at which the U-figure shows its picture.

        It is empty if the picture is shown below the figure.
        """
        return ""

    @property
    def first(self) -> int:
        """The first step in which it acts."""
        return self.acts_in.first if self.acts_in else 0

    def at_step(self, step: int) -> RecipeEdit:
        """The same in that step alone, at full strength, for a preview."""
        window = Window(first=step, last=step)
        return changed(self, window=window) if hasattr(self, "window") else self

    def apply(self, features: Features, moment: Any) -> Features:
        """What it does to the features of one sample. Given back as they are, nothing changes."""
        return features

    def bind(self, tools: Tools) -> Acts:
        """:meth:`apply`, with what the edit needs at hand.

        A direction, a donor, the model.
        """
        return self.apply

    def push(self, tools: Tools) -> Pushes | None:
        """What it does to x_t itself; None if nothing."""
        return None

    def change_model(self, model: Any) -> Any:
        """The model with a changed network.

        Only asked of an edit of the network.
        """
        return model

    @classmethod
    def prepared(cls, run: Run, move: Any, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that follow from the run and the choices on the page."""
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
        """What links of the page call it."""
        return cls.link or str(cls.kind)

    @classmethod
    def has(cls, field: str) -> bool:
        """Whether a field of that name belongs to it."""
        return field in cls.__struct_fields__

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is None or false is left out."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        said = {k: v for k, v in values.items() if v is not None and v is not False}
        return {"kind": self.kind, **{name: _plain(value) for name, value in said.items()}}


class _AnyEdit(Struct, frozen=True, kw_only=True):
    """What every edit's JSON has, whatever its kind."""

    kind: str


def _check_edit(name: str, found: Any) -> None:
    if not (isinstance(found, type) and issubclass(found, RecipeEdit)):
        raise TypeError("it is no class under hcache.recipes.edits.RecipeEdit")
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
"""Every edit by its kind."""


def changed(struct: S, **changes: Any) -> S:
    """A struct with other values in some fields.

    Checked as when it is made.
    """
    return msgspec.structs.replace(struct, **changes)


def put(struct: Struct, field: str, value: Any) -> None:
    """Sets a field of a frozen struct from its ``__post_init__``."""
    msgspec.structs.force_setattr(struct, field, value)


def share(what: str, value: float) -> float:
    """The value as a float, if it lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise UsageError(f"{what} must lie in [0, 1], got {value}")
    return float(value)


def edit_from_json(data: Any, where: str) -> RecipeEdit:
    """The edit that ``to_json`` gave these data.

    Args:
        data: What JSON gave.
        where: What the data are called in messages: ``edits[0]``.

    Raises:
        UsageError: they are none; the field is named.
    """
    kind = decoded(data, _AnyEdit, where).kind
    if kind not in EDITS:
        raise UsageError(
            f"recipe: {where}.kind: expected one of {', '.join(EDITS)}, got {shown(kind)}"
        )
    found = EDITS[kind]
    for field in msgspec.structs.fields(found):  # what to_json never leaves out
        optional = field.default is None or field.default is False
        if not field.required and not optional and field.name not in data:
            raise UsageError(f"recipe: {where}.{field.name} is missing")
    return decoded(data, found, where)


def _plain(value: Any) -> Any:
    """As JSON has it: objects and lists, no tuples."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return _listed(msgspec.to_builtins(value, str_keys=True))


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _listed(inner) for name, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, list | tuple) else value
