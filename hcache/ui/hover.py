"""Sends all pictures of a run to the browser as one sprite. Charts show the picture of the point
under the mouse from it, without asking the server. If the pictures would be too small, there is no
sprite, and nothing else depends on it.
"""

from __future__ import annotations

import json

import streamlit as st

from ..assets import read_asset
from ..cache.reading import Run
from . import loaders

_JS = read_asset(__file__, "hover.js")

_hover = st.components.v2.component("hcache_hover", html="<span></span>\n", js=_JS)


def hover_pictures(run: Run, key: str) -> bool:
    """Sends a run's pictures under a key for ``scatter``.

    Returns False if there are too many for one sprite.
    """
    found = loaders.sprite_of(str(run.folder), len(run))
    if found is None:
        return False
    picture, cell = found
    height = max(1, round(cell * run.anatomy.image[0] / run.anatomy.image[1]))
    about = {"key": key, "cell": cell, "height": height, "columns": -int(-(len(run) ** 0.5) // 1)}
    with st.container(key="hover-pictures", height=1, border=False):
        _hover(key=f"hover-{key}", data=json.dumps(about).encode() + b"\n" + picture)
    return True
