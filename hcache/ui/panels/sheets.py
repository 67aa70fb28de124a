"""Sheets of rendered cells for download: one PNG with each cell's own recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ...figures.pictures import contact_sheet, png_bytes
from ...recipes.sheet import Box, SheetCell, sheet_text

if TYPE_CHECKING:
    from ...edits.rendered import Rendered


def sheet_download(
    label: str, file_name: str, cells: Sequence[Rendered], titles: Sequence[str], columns: int
) -> None:
    """Draws a button that downloads the cells as one picture.

    The cells are in rows of ``columns``.
    """
    sheet, boxes = contact_sheet(np.stack([cell.picture for cell in cells]), columns)
    listed = [
        SheetCell(
            recipe=cell.recipe, title=title, box=Box(left=left, top=top, width=width, height=height)
        )
        for cell, title, (left, top, width, height) in zip(cells, titles, boxes, strict=True)
    ]
    st.download_button(
        label,
        png_bytes(sheet, sheet_text(listed)),
        file_name,
        "image/png",
        icon=":material/download:",
        help=(
            "The PNG carries a recipe for every cell: `python -m hcache render FILE` gives the same"
            " pixels again."
        ),
    )
