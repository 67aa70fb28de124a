"""The widgets that an edit declares, drawn on a page; and set from a recipe's edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
import streamlit as st

from ..cache.reading import Run
from ..errors import UsageError
from ..recipes.edits import RecipeEdit
from ..recipes.widgets import (
    AmountWidget,
    ChoiceWidget,
    FlagWidget,
    MaskWidget,
    NumberWidget,
    StepWidget,
    Widget,
    WindowWidget,
)
from ..recipes.window import SHAPES, Window
from . import state
from .panels.mask import choose_mask, mask_panel


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The context of widgets: a run, a picture, the kind of direction.

    ``picture``: (height, width, 3) uint8, for painting a mask. ``constant``: the direction is the
    same for every sample. ``in_x``: it moves x_t, where there are no masks.
    """

    run: Run
    picture: np.ndarray
    constant: bool = True
    in_x: bool = False

    def takes(self, widget: Widget) -> bool:
        """Returns whether the widget is meaningful for this direction."""
        if isinstance(widget, MaskWidget) and self.in_x:
            return False
        return self.constant or not widget.constant


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
            shape = state.select("Strength over the steps", widget.shape_key, SHAPES)
            return {widget.name: replace(choices[widget.name], shape=shape)}
    if edit.has("step"):
        st.caption(f"{edit.title} acts at one step, so there is no strength over the steps.")
    return {}


@singledispatch
def draw(widget: Widget, key: str, offer: Offer) -> Any:
    """Draws one widget and returns its value."""
    raise UsageError(f"the page cannot draw a {type(widget).__name__} ({widget.label})")


@draw.register
def _number(widget: NumberWidget, key: str, offer: Offer) -> float:
    low, high, default = float(widget.low), float(widget.high), float(widget.default)
    more = {"step": float(widget.step), "help": widget.help or None}
    return state.number(widget.label, key, low, high, default, **more)


@draw.register
def _flag(widget: FlagWidget, key: str, offer: Offer) -> bool:
    return state.flag(widget.label, key, widget.default, help=widget.help or None)


@draw.register
def _choice(widget: ChoiceWidget, key: str, offer: Offer) -> str:
    return state.select(widget.label, key, widget.choices, help=widget.help or None)


@draw.register
def _window(widget: WindowWidget, key: str, offer: Offer) -> Window:
    t = offer.run.timesteps
    first, last = state.window(widget.label, key, len(t), help=widget.help)
    st.caption(f"t from {t[first]:g} to {t[last]:g}")
    return Window(first=first, last=last)


@draw.register
def _step(widget: StepWidget, key: str, offer: Offer) -> int:
    t = offer.run.timesteps
    nearest = int(np.argmin(np.abs(np.asarray(t) - widget.t)))
    step = state.slider(widget.label, key, 0, len(t) - 1, nearest, help=widget.help)
    st.caption(f"t = {t[step]:g}")
    return step


@draw.register
def _mask(widget: MaskWidget, key: str, offer: Offer) -> Any:
    return mask_panel(key, offer.picture, offer.run.anatomy.h, widget.label)


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
def _choose_number(widget: NumberWidget, key: str, value: float) -> None:
    if not widget.low <= value <= widget.high:
        raise UsageError(
            f"{widget.label} of this picture is {value:g}, and this page has {widget.low:g} to"
            f" {widget.high:g}; `python -m hcache render` renders it again"
        )
    state.choose(key, value)


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
