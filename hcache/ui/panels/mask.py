"""The place of an edit in the picture: everywhere, in a rectangle, or in a painted or uploaded
mask.
"""

from __future__ import annotations

import numpy as np
import streamlit as st

from ...errors import UsageError
from ...figures.paint import areas_of, draw_paintable
from ...recipes.masks import Mask
from .. import state
from ..text import sentence

EVERYWHERE, RECTANGLE = "everywhere", "in a rectangle"
PAINTED, PICTURE = "where I paint", "where a grey picture is white"
ADDS, TAKES_AWAY = "adds", "takes away"


def mask_panel(
    name: str, picture: np.ndarray, site: tuple[int, ...] | None = None, label: str = "Region"
) -> Mask | None:
    """Returns the chosen mask, or None for everywhere.

    Args:
        name: The name of the choice. Its parts are named ``name-x`` and so on.
        picture: The picture to paint on, (height, width, 3) uint8.
        site: The shape (c, h, w) of the edited site, for describing the mask there.
        label: The label of the choice.
    """
    kind = state.select(
        label,
        name,
        [EVERYWHERE, RECTANGLE, PAINTED, PICTURE],
        format_func=sentence,
        help=(
            "The edit is b + m (edited - b). The mask m is averaged to the resolution of each site."
        ),
    )
    mask = None
    if kind == RECTANGLE:
        left, right = state.window("From left to right (%)", f"{name}-x", 101)
        top, bottom = state.window("From top to bottom (%)", f"{name}-y", 101)
        if left == right or top == bottom:
            raise UsageError("this rectangle has no area; make it wider and taller")
        mask = Mask(rectangle=(left / 100, top / 100, right / 100, bottom / 100))
    elif kind == PAINTED:
        mask = _paint(name, picture)
    elif kind == PICTURE:
        mask = _upload(name)
    if mask is not None:
        st.caption(_in_words(mask, site))
    return mask


def choose_mask(name: str, mask: Mask | None) -> None:
    """Sets the choice to a recipe's mask.

    Raises:
        UsageError: the sliders cannot show a rectangle.
    """
    if mask is None:
        state.choose(name, EVERYWHERE)
    elif mask.png:
        state.choose(name, PAINTED)
        state.choose(f"{name}-png", mask.png)
    else:
        left, top, right, bottom = (percent(side, "mask") for side in mask.rectangle or ())
        state.choose(name, RECTANGLE)
        state.choose(f"{name}-x", f"{left}-{right}")
        state.choose(f"{name}-y", f"{top}-{bottom}")


def percent(value: float, what: str) -> int:
    """Returns a share in whole percents, as on the sliders."""
    if abs(100 * value - round(100 * value)) > 1e-6:
        raise UsageError(
            f"the {what} of this picture is {value:g}, and this page has whole percents; "
            "`python -m hcache render` renders it again"
        )
    return round(100 * value)


def _paint(name: str, picture: np.ndarray) -> Mask | None:
    """Draws the lasso on the picture. Each drawn area is added to the mask, and the picture is
    redrawn.
    """
    mask = _kept(name)
    turn = st.session_state.setdefault(f"{name}-turn", 0)
    key = f"{name}-paint-{turn}"
    stroke = st.segmented_control(
        "Drawing",
        [ADDS, TAKES_AWAY],
        default=ADDS,
        key=f"{name}-stroke",
        format_func=sentence,
    )

    def take() -> None:
        areas = areas_of(st.session_state[key]["selection"])
        if areas:
            painted = Mask.painted(areas, _kept(name), stroke != TAKES_AWAY)
            state.choose(f"{name}-png", painted.png)
            st.session_state[f"{name}-turn"] = (
                turn + 1
            )  # a new chart, because this one would keep its lasso

    values = None if mask is None else mask.at(*picture.shape[:2])
    st.plotly_chart(
        draw_paintable(picture, values),
        key=key,
        on_select=take,
        selection_mode=("lasso", "box"),
        width="content",
        config={"displaylogo": False, "displayModeBar": False, "doubleClick": False},
        alt=f"The picture to paint on; {0 if mask is None else mask.share:.0%} of it is painted",
    )
    if mask is None:
        st.caption(
            "Draw around an area of the picture with the mouse. Until then the edit acts"
            " everywhere."
        )
    elif st.button("Clear", key=f"{name}-clear", icon=":material/ink_eraser:"):
        state.choose(f"{name}-png", "")
        st.rerun()
    return mask


def _upload(name: str) -> Mask | None:
    file = st.file_uploader(
        "A grey PNG of at most 64 x 64 pixels", type=["png"], key=f"{name}-file"
    )
    if file is not None and st.session_state.get(f"{name}-taken") != file.file_id:
        state.choose(f"{name}-png", Mask.from_picture(file.getvalue()).png)
        st.session_state[f"{name}-taken"] = file.file_id
    mask = _kept(name)
    if mask is None:
        st.caption("No picture yet, so the edit acts everywhere.")
    return mask


def _kept(name: str) -> Mask | None:
    """Returns the painted or uploaded mask, or None if it is empty."""
    png = state.recall(f"{name}-png", "")
    mask = Mask(png=png) if png else None
    return mask if mask is not None and mask.share > 0 else None


def _in_words(mask: Mask, site: tuple[int, ...] | None) -> str:
    text = f"{mask.share:.0%} of the picture"
    if site is None:
        return text + "."
    values = mask.at(*site[1:])
    return (
        text + f"; of the {site[1]} x {site[2]} places of h it covers {values.sum():.1f}, touching"
        f" {(values > 0).sum()}."
    )
