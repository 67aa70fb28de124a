"""A grid of pictures one can click, or walk with the keyboard: one component, no round trip a
picture.

Tab enters the grid, the arrow keys, Home and End walk in it, Enter or Space is a click, and with
Shift held everything from the last click on is meant. A click shows at once; clicks that come
faster than the server answers are kept in the browser, and sent again, until the server has said
that it has seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from ..assets import read_asset

_CSS = read_asset(__file__, "grid.css")

_JS = read_asset(__file__, "grid.js")

_grid = st.components.v2.component(
    "hcache_grid", html="<div class='grid'></div>\n", css=_CSS, js=_JS
)


@dataclass(frozen=True, kw_only=True)
class Click:
    """A click on ``sample``.

    With ``ids``, it means all samples from the previous click to this one (Shift), or only that
    sample.
    """

    sample: int
    ids: tuple[int, ...]
    range: bool


def picture_grid(
    key: str,
    ids: Sequence[int] | np.ndarray,
    uris: Sequence[str],
    captions: Sequence[str],
    chosen: int | None = None,
    marked: Sequence[int] = (),
    size: int = 84,
) -> int | None:
    """Shows pictures.

    Returns the id of the picture that was just clicked, once.
    """
    result = _grid(
        key=key,
        data=_data(ids, uris, captions, chosen, marked, size),
        on_picked_change=lambda: None,
    )
    picked = result.picked if result is not None else None
    return None if picked is None else int(picked)


def selection_grid(
    key: str,
    ids: Sequence[int] | np.ndarray,
    uris: Sequence[str],
    captions: Sequence[str],
    chosen: int | None,
    marked: Sequence[int],
    on_clicks: Callable[[list[Click]], None],
    size: int = 84,
) -> None:
    """Shows pictures of which any number may be marked.

    ``on_clicks`` gets the new clicks, each once, before the page is drawn again.
    """
    numbers = st.session_state.setdefault("clicks seen", {})

    def take() -> None:
        new = [
            click
            for click in st.session_state[key].get("clicks") or ()
            if click["number"] > numbers.get(key, 0)
        ]
        if new:
            numbers[key] = max(click["number"] for click in new)
            on_clicks(
                [
                    Click(
                        sample=int(c["id"]), ids=tuple(map(int, c["ids"])), range=bool(c["range"])
                    )
                    for c in new
                ]
            )

    data = _data(ids, uris, captions, chosen, marked, size) | {
        "selecting": True,
        "seen": numbers.get(key, 0),
    }
    _grid(key=key, data=data, on_clicks_change=take)


def _data(
    ids: Sequence[int] | np.ndarray,
    uris: Sequence[str],
    captions: Sequence[str],
    chosen: int | None,
    marked: Sequence[int],
    size: int,
) -> dict:
    pictures = [
        {"id": int(i), "uri": uri, "caption": text}
        for i, uri, text in zip(ids, uris, captions, strict=True)
    ]
    here = {picture["id"] for picture in pictures}
    return {
        "pictures": pictures,
        "chosen": chosen,
        "marked": [int(i) for i in marked if int(i) in here],
        "size": size,
        "seen": 0,
        "selecting": False,
    }
