"""A figure as SVG, with its size in points, so that a paper shows it in the intended size.

Texts stay texts. Their font is embedded for browsers. Programs that use the machine's fonts take
Arial or a font with its widths. If there is none, ``textLength`` keeps every text as wide as in the
layout.
"""

from __future__ import annotations

import base64
from functools import cache
from html import escape

from .fonts import FAMILY, font_path, width_of
from .marks import PlacedPicture, Shape, Sheet, Text
from .palette import PAPER
from .pictures import data_uri


def svg_of(figure: Sheet) -> str:
    """Returns the SVG text."""
    parts = [_shape(mark) for mark in figure.shapes]
    parts += [_picture(mark) for mark in figure.pictures]
    parts += [_text(mark) for mark in figure.texts]
    w, h = f"{figure.width:.2f}", f"{figure.height:.2f}"
    fonts = fonts_of({text.bold for text in figure.texts})
    about = f"<title>{escape(figure.title)}</title><desc>{escape(figure.caption)}</desc>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}pt"'
        f' height="{h}pt" font-family="{FAMILY}" style="font-kerning:none"'
        f' role="img">{about}{fonts}<rect width="{w}" height="{h}"'
        f' fill="{PAPER}"/>{"".join(parts)}</svg>'
    )


def fonts_of(weights: set[bool]) -> str:
    """Returns a style sheet with the fonts for browsers. ``weights``: bold or not."""
    return f"<style>{''.join(_face(bold) for bold in sorted(weights))}</style>"


@cache
def _face(bold: bool) -> str:
    data = base64.b64encode(font_path(bold).read_bytes()).decode()
    weight = 700 if bold else 400
    return (
        f"@font-face{{font-family:Arimo;font-weight:{weight};src:url(data:font/ttf;base64,{data})}}"
    )


def _shape(shape: Shape) -> str:
    steps = []
    for i, move in enumerate(shape.moves):
        letter = "M" if i == 0 else ("L" if len(move) == 2 else "C")
        steps.append(letter + " ".join(f"{number:.2f}" for number in move))
    steps += ["Z"] if shape.closed else []
    stroke = f' stroke="{shape.stroke}" stroke-width="{shape.width:.2f}"' if shape.stroke else ""
    dash = f' stroke-dasharray="{" ".join(f"{d:g}" for d in shape.dash)}"' if shape.dash else ""
    return f'<path d="{"".join(steps)}" fill="{shape.fill or "none"}"{stroke}{dash}/>'


def _picture(picture: PlacedPicture) -> str:
    return (
        f'<image x="{picture.x:.2f}" y="{picture.y:.2f}" width="{picture.width:.2f}"'
        f' height="{picture.height:.2f}" preserveAspectRatio="none"'
        f' href="{data_uri(picture.pixels)}"><title>{escape(picture.title)}</title></image>'
    )


def _text(text: Text) -> str:
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    weight = ' font-weight="700"' if text.bold else ""
    turn = f' transform="rotate(-90 {text.x:.2f} {text.y:.2f})"' if text.upward else ""
    return (
        f'<text x="{text.x:.2f}" y="{text.y:.2f}" font-size="{text.size:g}"'
        f' fill="{text.colour}"{anchor}{weight}{turn}'
        f' textLength="{width_of(text.text, text.size, text.bold):.2f}"'
        f' lengthAdjust="spacingAndGlyphs">{escape(text.text)}</text>'
    )
