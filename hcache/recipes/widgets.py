"""The widgets of an edit on the Edit page, as data.

An edit lists its widgets, and ``hcache.ui`` draws them. Each widget sets the edit's field ``name``.
``key`` is the name of the choice in the page's links; if it is empty, it is the field's name. This
module does not use Streamlit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AmountWidget:
    """The number that a strip varies from picture to picture.

    ``symbol``: the symbol of the number in labels. ``values``: the values of the strip's columns.
    ``unit``: the meaning of an amount of 1, for the caption below the strip.
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
    """The fields of all widgets.

    ``more``: drawn in the folded part below. ``constant``: offered only for directions that are the
    same for every sample.
    """

    name: str
    label: str
    help: str = ""
    key: str = ""
    more: bool = False
    constant: bool = False


@dataclass(frozen=True, kw_only=True)
class NumberWidget(Widget):
    """A number input."""

    low: float
    high: float
    default: float
    step: float = 0.1


@dataclass(frozen=True, kw_only=True)
class FlagWidget(Widget):
    """A yes-or-no choice."""

    default: bool = False


@dataclass(frozen=True, kw_only=True)
class ChoiceWidget(Widget):
    """A choice among several texts. The first is the default."""

    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WindowWidget(Widget):
    """The steps in which the edit acts, as a ``Window``.

    It includes the shape of the strength over these steps.
    """

    name: str = "window"
    label: str = "Steps"
    help: str = "Step 0 has the most noise. Both ends are included."
    key: str = "window"
    shape_key: str = "shape"


@dataclass(frozen=True, kw_only=True)
class StepWidget(Widget):
    """The single step in which the edit acts. By default it is the step nearest to ``t``."""

    t: float = 500.0


@dataclass(frozen=True, kw_only=True)
class MaskWidget(Widget):
    """The region of the picture where the edit acts.

    It is a ``Mask``, or None for the whole picture.
    """

    name: str = "mask"
    label: str = "Region"
    key: str = "edit-mask"
