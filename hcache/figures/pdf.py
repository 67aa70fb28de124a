"""A figure as PDF: one page of its size, with texts in an embedded font and lossless pictures. The
bytes are the same every time.
"""

from __future__ import annotations

import io

from PIL import Image
from reportlab.lib.colors import HexColor
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from .fonts import font_name
from .marks import PlacedPicture, Shape, Sheet, Text


def pdf_of(figure: Sheet) -> bytes:
    """Returns the PDF file."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(figure.width, figure.height), pageCompression=1, invariant=1)
    canvas.setTitle(figure.title)
    canvas.setSubject(figure.caption)
    canvas.setCreator("hcache")
    for shape in figure.shapes:
        _draw_shape(canvas, shape, figure.height)
    for picture in figure.pictures:
        _draw_picture(canvas, picture, figure.height)
    for text in figure.texts:
        _draw_text(canvas, text, figure.height)
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _draw_shape(canvas: Canvas, shape: Shape, height: float) -> None:
    """Draws a shape. ``height`` is that of the sheet, because a PDF measures from below."""
    drawn = canvas.beginPath()
    for i, move in enumerate(shape.moves):
        numbers = [height - number if k % 2 else number for k, number in enumerate(move)]
        (drawn.moveTo if i == 0 else drawn.lineTo if len(move) == 2 else drawn.curveTo)(*numbers)
    if shape.closed:
        drawn.close()
    if shape.fill:
        canvas.setFillColor(HexColor(shape.fill))
    if shape.stroke:
        canvas.setStrokeColor(HexColor(shape.stroke))
        canvas.setLineWidth(shape.width)
        canvas.setDash(*([list(shape.dash)] if shape.dash else []))
    canvas.drawPath(drawn, stroke=int(bool(shape.stroke)), fill=int(bool(shape.fill)))


def _draw_picture(canvas: Canvas, picture: PlacedPicture, height: float) -> None:
    image = ImageReader(Image.fromarray(picture.pixels))
    canvas.drawImage(
        image, picture.x, height - picture.y - picture.height, picture.width, picture.height
    )


def _draw_text(canvas: Canvas, text: Text, height: float) -> None:
    canvas.saveState()
    canvas.setFont(font_name(text.bold), text.size)
    canvas.setFillColor(HexColor(text.colour))
    canvas.translate(text.x, height - text.y)
    if text.upward:
        canvas.rotate(90)
    draw = {
        "start": canvas.drawString,
        "middle": canvas.drawCentredString,
        "end": canvas.drawRightString,
    }
    draw[text.anchor](0, 0, text.text)
    canvas.restoreState()
