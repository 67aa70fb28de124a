"""The one typeface of figures for print, and how wide its texts are.

Arimo (Steve Matteson; SIL Open Font License 1.1, https://github.com/googlefonts/arimo) has the
widths of Arial and Helvetica. So a text is as wide in the PDF and the PNG, which are set in it, as
in an SVG on a machine that has any of the three. The files here are subsets: Latin, Greek,
Cyrillic, what formulas need; no kerning, no hints.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from ..errors import UsageError

FAMILY = "Arimo, 'Liberation Sans', Arial, Helvetica, 'Nimbus Sans', sans-serif"
ASCENT, DESCENT = 0.73, 0.21
"""The extent of letters above and below their line, as a share of the size."""

LEADING = 1.2
"""The distance between lines, as a share of the size."""

_FOLDER = Path(__file__).parent / "fonts"


def font_path(bold: bool = False) -> Path:
    """Returns the path of the font's file."""
    return _FOLDER / f"Arimo-{'Bold' if bold else 'Regular'}.ttf"


@cache
def font_name(bold: bool = False) -> str:
    """Returns the font's name in a PDF.

    The first call registers it with reportlab.
    """
    name = f"Arimo{'-Bold' if bold else ''}"
    pdfmetrics.registerFont(TTFont(name, str(font_path(bold))))
    return name


def width_of(text: str, size: float, bold: bool = False) -> float:
    """Returns the width of a line of text at a size.

    Both are in points.

    Raises:
        UsageError: the text has characters that the font lacks.
    """
    font = pdfmetrics.getFont(font_name(bold))
    if lacking := sorted({c for c in text if ord(c) not in font.face.charToGlyph}):
        raise UsageError(
            f"the font of figures has no {' '.join(map(repr, lacking))}, in {text[:80]!r}; it has"
            " Latin, Greek and Cyrillic letters: choose another name or caption"
        )
    return float(font.stringWidth(text, size))


def wrapped(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Returns a text in lines no wider than ``width`` points.

    A wider word is broken. Line breaks are kept.
    """
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            whole = f"{line} {word}" if line else word
            if width_of(whole, size, bold) <= width:
                line = whole
                continue
            lines += [line] if line else []
            *broken, line = _broken(word, width, size, bold)
            lines += broken
        lines.append(line)
    return lines


def shortened(text: str, width: float, size: float, bold: bool = False) -> str:
    """Returns a text on one line no wider than ``width`` points.

    A longer text ends in an ellipsis.
    """
    if width_of(text, size, bold) <= width:
        return text
    while text and width_of(f"{text}…", size, bold) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _broken(word: str, width: float, size: float, bold: bool) -> list[str]:
    parts = [""]
    for letter in word:
        if parts[-1] and width_of(parts[-1] + letter, size, bold) > width:
            parts.append("")
        parts[-1] += letter
    return parts
