"""The widgets that an edit declares, drawn on a page; and set from a recipe's edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
import streamlit as st

from ..cache.reading import Run
from ..errors import UsageError
from ..recipes.edits import EDITS, RecipeEdit
from ..recipes.widgets import (
    AmountWidget,
    ChoiceWidget,
    FlagWidget,
    MaskWidget,
    NumberWidget,
    PercentWidget,
    SitesWidget,
    StepWidget,
    Widget,
    WindowWidget,
)
from ..recipes.window import SHAPES, Window
from . import state
from .panels.mask import choose_mask, mask_panel, percent
from .text import literal, sentence


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The context of widgets: a run, a picture, the kind of direction.

    ``picture``: (height, width, 3) uint8, for painting a mask. ``constant``: the direction is the
    same for every sample. ``in_x``: it moves x_t, where there are no masks. ``shapes``: the page
    asks for the shape of the strength over the steps. ``site``: the tensor that is changed; h, or
    a transformer's first block, unless it is given.
    """

    run: Run
    picture: np.ndarray
    constant: bool = True
    in_x: bool = False
    shapes: bool = False
    site: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (c, h, w) of the changed site."""
        anatomy = self.run.anatomy
        return anatomy.shape(self.site or anatomy.sites[0])

    def takes(self, widget: Widget) -> bool:
        """Returns whether the widget is meaningful for this direction."""
        if isinstance(widget, MaskWidget) and self.in_x:
            return False
        return self.constant or not widget.constant


def tell_problems() -> None:
    """Names the edits of other packages that cannot be used."""
    for problem in EDITS.problems():
        st.warning(literal(problem), icon=":material/extension_off:")


def key_of(edit: type[RecipeEdit], widget: Widget | AmountWidget) -> str:
    """Returns the name of a choice in links.

    It is the widget's own key, or the edit's kind and the field.
    """
    return widget.key or f"{edit.kind}-{widget.name}"


def draw_amount(edit: type[RecipeEdit], amount: AmountWidget) -> float:
    """Draws the slider of the preview's amount."""
    return state.amount(
        f"{amount.name.capitalize()} {amount.symbol}".strip(),
        key_of(edit, amount),
        float(amount.low),
        float(amount.high),
        float(amount.default),
        float(amount.step),
        help="The value in the preview. The strip below shows several values.",
    )


def draw_widgets(edit: type[RecipeEdit], offer: Offer, more: bool) -> dict[str, Any]:
    """Draws an edit's widgets, and returns field -> value.

    It draws those of the folded part or the others.
    """
    return {
        widget.name: draw(widget, key_of(edit, widget), offer)
        for widget in edit.widgets
        if widget.more == more and offer.takes(widget)
    }


def draw_shapes(edit: type[RecipeEdit], choices: Mapping[str, Any]) -> dict[str, Any]:
    """Draws the shape of the strength over the steps.

    It does so if the edit has a window of several steps.
    """
    for widget in edit.widgets:
        if isinstance(widget, WindowWidget):
            return {widget.name: replace(choices[widget.name], shape=_shape(widget))}
    if edit.has("step"):
        st.caption(f"{edit.title} acts at one step, so there is no strength over the steps.")
    return {}


@singledispatch
def draw(widget: Widget, key: str, offer: Offer) -> Any:
    """Draws one widget and returns its value."""
    raise UsageError(f"the page cannot draw a {type(widget).__name__} ({widget.label})")


@draw.register
def _number(widget: NumberWidget, key: str, offer: Offer) -> float | None:
    low, high, default = float(widget.low), float(widget.high), float(widget.default)
    more = {"step": float(widget.step), "help": widget.help or None}
    more |= {"format": widget.format} if widget.format else {}
    value = state.number(widget.label, key, low, high, default, **more)
    return None if value == widget.off else value


@draw.register
def _percent(widget: PercentWidget, key: str, offer: Offer) -> float:
    default = round(100 * widget.default)
    help_text = widget.help or None
    return state.slider(f"{widget.label} (%)", key, 0, 100, default, help=help_text) / 100


@draw.register
def _sites(widget: SitesWidget, key: str, offer: Offer) -> tuple[str, ...]:
    anatomy = offer.run.anatomy
    members = [each for site in anatomy.sites for each in anatomy.members(site) if each != site]
    options = [*anatomy.sites, *members, *anatomy.places]
    found = state.many(widget.label, key, options, anatomy.sites, help=widget.help or None)
    if not found:
        raise UsageError("choose one site or more to swap")
    return tuple(found)


@draw.register
def _flag(widget: FlagWidget, key: str, offer: Offer) -> bool:
    return state.flag(widget.label, key, widget.default, help=widget.help or None)


@draw.register
def _choice(widget: ChoiceWidget, key: str, offer: Offer) -> str:
    return state.select(widget.label, key, widget.choices, help=widget.help or None)


@draw.register
def _window(widget: WindowWidget, key: str, offer: Offer) -> Window:
    t, place = offer.run.timesteps, st.container()
    if widget.presets:
        _preset_buttons(widget, key, t)
    with place:
        first, last = state.window(widget.label, key, len(t), help=widget.help)
        st.caption(f"t from {t[first]:g} to {t[last]:g}")
    found = Window(first=first, last=last)
    return replace(found, shape=_shape(widget)) if offer.shapes else found


def _preset_buttons(widget: WindowWidget, key: str, timesteps: Sequence[float]) -> None:
    """A button for each choice of steps that the widget declares."""
    with st.container(horizontal=True):
        for preset in widget.presets:
            label = preset.label
            if st.button(label, key=f"preset-{label}", type="tertiary", help=preset.help):
                found = preset.window(timesteps)
                state.choose(key, f"{found.first}-{found.last}")


def _shape(widget: WindowWidget) -> str:
    label = "Strength over the steps"
    return state.select(label, widget.shape_key, SHAPES, format_func=sentence)


@draw.register
def _step(widget: StepWidget, key: str, offer: Offer) -> int:
    t = offer.run.timesteps
    nearest = int(np.argmin(np.abs(np.asarray(t) - widget.t)))
    step = state.slider(widget.label, key, 0, len(t) - 1, nearest, help=widget.help)
    st.caption(f"t = {t[step]:g}")
    return step


@draw.register
def _mask(widget: MaskWidget, key: str, offer: Offer) -> Any:
    return mask_panel(key, offer.picture, offer.shape, widget.label)


def choose_edit(edit: RecipeEdit) -> None:
    """Sets the widgets and the amount from a recipe's edit.

    Raises:
        UsageError: a widget cannot show a value.
    """
    kind = type(edit)
    for widget in kind.widgets:
        choose(widget, key_of(kind, widget), getattr(edit, widget.name))
    if amount := kind.amount:
        value = float(np.clip(getattr(edit, amount.name), amount.low, amount.high))
        state.choose(key_of(kind, amount), value)


@singledispatch
def choose(widget: Widget, key: str, value: Any) -> None:
    """Sets one widget to a value."""
    state.choose(key, value)


@choose.register
def _choose_number(widget: NumberWidget, key: str, value: float | None) -> None:
    value = widget.off if value is None else value
    if value is None or not widget.low <= value <= widget.high:
        raise UsageError(
            f"{widget.label} of this picture is {value}, which is beyond this page's range of"
            f" {widget.low:g} to {widget.high:g}; `python -m hcache render` renders it again"
        )
    state.choose(key, value)


@choose.register
def _choose_percent(widget: PercentWidget, key: str, value: float) -> None:
    state.choose(key, percent(value, widget.label[:1].lower() + widget.label[1:]))


@choose.register
def _choose_sites(widget: SitesWidget, key: str, value: tuple[str, ...]) -> None:
    state.choose(key, ",".join(value))


@choose.register
def _choose_flag(widget: FlagWidget, key: str, value: bool) -> None:
    state.choose(key, str(value))


@choose.register
def _choose_window(widget: WindowWidget, key: str, value: Window) -> None:
    state.choose(key, f"{value.first}-{value.last}")
    state.choose(widget.shape_key, value.shape)


@choose.register
def _choose_mask(widget: MaskWidget, key: str, value: Any) -> None:
    choose_mask(key, value)
