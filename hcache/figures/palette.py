"""Colours that colour-blind readers can distinguish, even scales, and dark pages.

Categories have the colours of Okabe and Ito (2008), Color Universal Design,
https://jfly.uni-koeln.de/color/. In their order, neighbours also differ in lightness. Yellow comes
last, because a yellow line is too faint on white. The sequential scale is viridis (van der Walt,
Smith 2015, https://bids.github.io/colormap/). The diverging scale goes from blue to orange over a
neutral grey. It is used only around a meaningful zero. .streamlit/config.toml has the same colours
for charts that name none.
"""

from __future__ import annotations

CATEGORIES = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#999999",
    "#F0E442",
)
SEQUENTIAL = "Viridis"
DIVERGING = ((0.0, "#2166AC"), (0.5, "#F7F7F7"), (1.0, "#D6701C"))

INK, MUTED, PAPER, LINE = "#1F2430", "#667085", "#FFFFFF", "#CBD2DC"
ENCODER, DECODER, BOTTLENECK = "#0072B2", "#009E73", "#D55E00"
FONT = "Inter, 'Source Sans Pro', 'Helvetica Neue', Arial, sans-serif"


def tinted(colour: str, share: float = 0.16) -> str:
    """Mixes a colour (#RRGGBB) with white.

    ``share`` is the share of the colour. The result is the same in formats without opacity.
    """
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * share):02X}" for part in parts)


_IN_DARK = {
    INK: "#EDEBE8", MUTED: "#B0ABA2", PAPER: "#1F1E1B", LINE: "#57544E",
    ENCODER: "#56B4E9", DECODER: "#2FC79A", BOTTLENECK: "#F28A4B",
    tinted(ENCODER): "#28363D", tinted(DECODER): "#223A31",
}  # fmt: skip


def in_dark(drawing: str) -> str:
    """Converts an SVG for a white page to dark colours."""
    for light, dark in _IN_DARK.items():
        drawing = drawing.replace(light, dark)
    return drawing
