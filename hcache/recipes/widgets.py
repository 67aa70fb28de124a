"""The widgets of an edit on the Edit page or the Swap page, as data.

An edit lists its widgets, and ``hcache.ui`` draws them. Each widget sets the edit's field ``name``.
``key`` is the name of the choice in the page's links; if it is empty, it is the field's name. This
module does not use Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .window import Window


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
    """A number input.

    ``off`` is the number that stands for no number at all: the field is None then. ``format`` says
    how the number is shown, for example ``%.4f``.
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
    """A yes-or-no choice."""

    default: bool = False


@dataclass(frozen=True, kw_only=True)
class ChoiceWidget(Widget):
    """A choice among several texts. The first is the default."""

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
            UsageError: there are no such steps.
        """
        low = -math.inf if self.low is None else self.low
        if self.high is None:
            return Window.down_to(timesteps, low)
        return Window.between(timesteps, self.high, low)


@dataclass(frozen=True, kw_only=True)
class WindowWidget(Widget):
    """The steps in which the edit acts, as a ``Window``.

    It includes the shape of the strength over these steps. ``presets`` are offered as buttons.
    """

    name: str = "window"
    label: str = "Steps"
    help: str = "Step 0 has the most noise. Both ends are included."
    key: str = "window"
    shape_key: str = "shape"
    presets: tuple[StepsPreset, ...] = ()


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
