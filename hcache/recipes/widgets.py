"""The widgets that an edit needs on the Edit page or the Swap page, as data.

An edit lists them; ``hcache.ui`` draws them. Each gives the value of the edit's field ``name``.
``key`` is what the page's links call the choice; the name, if it is empty. No Streamlit here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .window import Window


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
class Variant:
    """One way in which the Swap page makes pictures with an edit.

    ``title`` is what the page and its links call it, and ``button`` is the text of the button.
    ``each`` names a field that holds several values: the page makes a picture for each of them.
    ``asymmetric``: whether the page proposes that the edited prediction enters P_t only.
    """

    title: str
    button: str
    each: str = ""
    asymmetric: bool = False


@dataclass(frozen=True, kw_only=True)
class NumberWidget(Widget):
    """A number, typed.

    ``off`` is the number that stands for no number at all: the field is None there. ``format``
    says how the number is shown, as in ``%.4f``.
    """

    low: float
    high: float
    default: float
    step: float = 0.1
    off: float | None = None
    format: str = ""


@dataclass(frozen=True, kw_only=True)
class PercentWidget(Widget):
    """A slider of whole percents for a share from 0 to 1. ``default`` is a share."""

    default: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SitesWidget(Widget):
    """One or more places of the U-Net: sites, single members, other places."""

    name: str = "sites"
    label: str = "Sites"
    key: str = "sites"


@dataclass(frozen=True, kw_only=True)
class FlagWidget(Widget):
    """Yes or no."""

    default: bool = False


@dataclass(frozen=True, kw_only=True)
class ChoiceWidget(Widget):
    """One of several texts; the first is the default."""

    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StepsPreset:
    """Steps that a button chooses: those with ``high`` >= t >= ``low``.

    A bound that is None does not bound. ``help`` says whose steps they are.
    """

    label: str
    help: str
    high: float | None = None
    low: float | None = None

    def window(self, timesteps: Sequence[float]) -> Window:
        """Returns the steps of a run with these training timesteps.

        Raises:
            UsageError: there is none.
        """
        low = -math.inf if self.low is None else self.low
        if self.high is None:
            return Window.down_to(timesteps, low)
        return Window.between(timesteps, self.high, low)


@dataclass(frozen=True, kw_only=True)
class WindowWidget(Widget):
    """The steps in which the edit acts, as a ``Window``.

    The shape of the strength over these steps is a part of it. ``presets``: steps that are a click
    away.
    """

    name: str = "window"
    label: str = "Steps"
    help: str = "Step 0 has most noise. Both ends are included."
    key: str = "window"
    shape_key: str = "shape"
    presets: tuple[StepsPreset, ...] = ()


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
