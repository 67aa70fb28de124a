"""Colours that colour-blind readers can tell apart, and scales whose steps look even.

Categories: Okabe and Ito (2008), https://jfly.uni-koeln.de/color/. Sequential: viridis. Diverging, only around
a zero that means something: blue to orange.
"""

from __future__ import annotations

CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
SEQUENTIAL = "Viridis"
DIVERGING = ((0.0, "#2166AC"), (0.5, "#F7F7F7"), (1.0, "#D6701C"))

INK, MUTED, PAPER, LINE = "#1F2430", "#667085", "#FFFFFF", "#CBD2DC"
ENCODER, DECODER, BOTTLENECK = "#0072B2", "#009E73", "#D55E00"
FONT = "Inter, 'Source Sans Pro', 'Helvetica Neue', Arial, sans-serif"


def tinted(colour: str, share: float = 0.16) -> str:
    """A colour (#RRGGBB) mixed with so much white that ``share`` of it is left: the same in formats without opacity."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * share):02X}" for part in parts)
