"""The widgets that an edit needs on the Edit page, as data.

An edit lists them; ``hcache.ui`` draws them. Each gives the value of the edit's field ``name``.
``key`` is what the page's links call the choice; the name, if it is empty. No Streamlit here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AmountWidget:
    """The number that a strip runs over, from picture to picture.

    ``symbol``: of the number, in labels. ``values``: of the strip's columns. ``unit``: what an
    amount of 1 is, for the caption below the strip.
    """

    name: str
    symbol: str
    low: float
    high: float
    default: float
    step: float
    values: tuple[float, ...]
    unit: str = ""
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Widget:
    """What all widgets have.

    ``more``: drawn in the folded part below. ``constant``: offered only for directions that are
    the same for every sample.
    """

    name: str
    label: str
    help: str = ""
    key: str = ""
    more: bool = False
    constant: bool = False


@dataclass(frozen=True, kw_only=True)
class NumberWidget(Widget):
    """A number, typed."""

    low: float
    high: float
    default: float
    step: float = 0.1


@dataclass(frozen=True, kw_only=True)
class FlagWidget(Widget):
    """Yes or no."""

    default: bool = False


@dataclass(frozen=True, kw_only=True)
class ChoiceWidget(Widget):
    """One of several texts; the first is the default."""

    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WindowWidget(Widget):
    """The steps in which the edit acts: a ``Window``.

    And the shape of its strength over them.
    """

    name: str = "window"
    label: str = "Steps"
    help: str = "Step 0 has the most noise. Both ends are included."
    key: str = "window"
    shape_key: str = "shape"


@dataclass(frozen=True, kw_only=True)
class StepWidget(Widget):
    """The one step in which the edit acts. ``t``: the default is the step nearest to it."""

    t: float = 500.0


@dataclass(frozen=True, kw_only=True)
class MaskWidget(Widget):
    """Where in the picture the edit acts.

    A ``Mask``, or None for everywhere.
    """

    name: str = "mask"
    label: str = "Region"
    key: str = "edit-mask"
