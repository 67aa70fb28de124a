"""Figures for print: one layout, and what PNG, SVG and PDF make of it."""

import base64
import io
import re
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from hcache import figures
from hcache.analysis.pca import PCA
from hcache.analysis.probes import AUC, R2
from hcache.edits.rendered import Rendered
from hcache.errors import UsageError
from hcache.figures import fonts
from hcache.figures.drawing import SCALE, WIDTHS, Style
from hcache.figures.marks import POINTS
from hcache.figures.png import DPI
from hcache.figures.table import Row, Table, draw_table
from hcache.figures.ufigure import Swapped, draw_u
from hcache.images.pngs import read_picture, read_recipe
from hcache.measures.decodability import ProbeMap
from hcache.recipes.recipe import Recipe
from hcache.recipes.sheet import read_cells
from hcache.specs import Anatomy

SVG = "{http://www.w3.org/2000/svg}"
CAPTION = (
    "Swaps in a model: recipient B (sample 0) with the activations of donor A, all steps. Numbers:"
    " Δh/σ × 2."
)


def cell(number=0):
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    return Rendered(picture=pixels, recipe=Recipe(model="m", run="m-1", sample=number, steps=2))


def swapped(groups, members=3, name="sample 1"):
    shapes = tuple(((8, 4, 4),) * members for _ in range(groups))
    anatomy = Anatomy(x=(3, 8, 8), image=(8, 8, 3), h=(8, 2, 2), skips=shapes)
    cells = {site: cell(i + 2) for i, site in enumerate(anatomy.sites)}
    return Swapped(
        anatomy=anatomy,
        donor=cell(1),
        recipient=cell(0),
        cells=cells,
        names=(name, "sample 0"),
        caption=CAPTION,
    )


def table(rows=4, columns=5, groups=2, label="supervised", name="hair length", notes=True):
    found = [
        Row(
            label=f"{label} {i}",
            group=f"sample {i * groups // rows}" if groups else "",
            cells=tuple(cell(i * columns + k) for k in range(columns)),
            notes=("−0.35",) * columns if notes else (),
        )
        for i in range(rows)
    ]
    return Table(
        title="a table",
        rows=tuple(found),
        columns=(name,) * columns,
        caption=CAPTION,
        corner="strength γ",
    )


def assert_laid_out(figure):
    """Nothing beyond the page; no two texts, no text and picture, no two pictures on each other."""
    texts, pictures = (
        [text.box for text in figure.texts],
        [(p.x, p.y, p.x + p.width, p.y + p.height) for p in figure.pictures],
    )
    shapes = [
        (x, y)
        for shape in figure.shapes
        for move in shape.moves
        for x, y in zip(move[::2], move[1::2], strict=False)
    ]
    for left, top, right, bottom in [*texts, *pictures, *((x, y, x, y) for x, y in shapes)]:
        assert (
            -0.01 <= left <= right <= figure.width + 0.01
            and -0.01 <= top <= bottom <= figure.height + 0.01
        )
    boxes = [*texts, *pictures]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            apart = (
                a[2] <= b[0] + 0.01
                or b[2] <= a[0] + 0.01
                or a[3] <= b[1] + 0.01
                or b[3] <= a[1] + 0.01
            )
            assert apart, (a, b)


styles = some.builds(
    Style,
    width=some.sampled_from([3.3, 5.0, 6.9]),
    size=some.sampled_from([6.0, 7.0, 8.0, 10.0]),
    captioned=some.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(some.integers(1, 6), some.integers(1, 3), styles)
def test_no_u_figure_has_texts_on_each_other_or_beyond_the_page(groups, members, style):
    assert_laid_out(draw_u(swapped(groups, members), style))


@settings(max_examples=40, deadline=None)
@given(
    some.integers(1, 6),
    some.integers(1, 8),
    some.integers(0, 3),
    some.booleans(),
    styles,
    some.text("ab ÄγЖ", max_size=30),
)
def test_no_table_has_texts_on_each_other_or_beyond_the_page(
    rows, columns, groups, notes, style, name
):
    assert_laid_out(draw_table(table(rows, columns, groups, f"{name} way", name, notes), style))


def probes(sites=3, steps=20, metric=R2):
    scores = np.random.default_rng(0).random((sites, steps))
    cells = {
        (f"skip.{row}", step): {"score": {"value": score, "n": 64}, "control": score / 9}
        for (row, step), score in np.ndenumerate(scores)
    }
    return ProbeMap(
        label="hair_colour",
        metric=metric,
        sites=tuple(f"skip.{i}" for i in range(sites)),
        steps=steps,
        cells=cells,
    )


@settings(max_examples=20, deadline=None)
@given(
    some.integers(1, 7),
    some.integers(1, 60),
    some.floats(1e-6, 1e6),
    some.sampled_from(["single", "double"]),
)
def test_no_plot_has_texts_on_each_other_or_beyond_the_page(sites, steps, scale, width):
    rng = np.random.default_rng(steps)
    scores = (rng.normal(size=(steps + 1, 2)) * scale).astype(np.float32)
    pca = PCA(scores=scores, explained=np.array([0.5, 0.1]), baseline=np.array([0.3, 0.3]))
    assert_laid_out(figures.heat_map(probes(sites, steps), range(steps, 0, -1), width=width))
    assert_laid_out(figures.scatter(pca, values=scores[:, 0], name="hair_length", width=width))
    assert_laid_out(
        figures.response_curve(
            [-1, 0, 2], rng.normal(size=(steps + 1, 3)) * scale, "smile", width=width
        )
    )


def test_plots_show_every_number():
    shown = figures.heat_map(probes(2, 4), [9, 5, 2, 1])
    fills = [shape.fill for shape in shown.shapes if shape.fill]
    assert (
        len(fills) == 2 * 2 * 4 + 32
        and "t = 9 to 1" in shown.caption
        and "hair colour, 64 samples" in shown.caption
    )
    order = np.argsort(probes(2, 4).values("score").ravel())
    assert [int(fill[3:5], 16) for fill in np.array(fills[:8])[order]] == sorted(
        int(f[3:5], 16) for f in fills[:8]
    )
    assert "Colours begin at chance (0.5)" in figures.heat_map(probes(1, 2, AUC), [2, 1]).caption
    readings = np.array([[0.0, 1.0], [0.0, 3.0]])
    curve = figures.response_curve([0, 1], readings, "smile")
    low, high = sorted(
        disc.moves[0][1] for disc in curve.shapes if len(disc.moves) == 5 and disc.fill
    )
    ticks = {float(text.text): text.y for text in curve.texts if text.anchor == "end"}
    per_unit = (ticks[0] - ticks[2]) / 2
    assert (high - low) / per_unit == pytest.approx(2.0), "the mean goes from 0 to 2"


def test_the_u_figure_tells_how_far_each_swap_went():
    what = swapped(2)
    what = replace(what, cells={"h": what.donor, "skip.1": what.recipient})
    assert [text.text for text in draw_u(what).texts if "." in text.text][:4] == [
        "skip.2",
        "skip.1",
        "0.00",
        "1.00",
    ]
    same = draw_u(replace(what, donor=what.recipient))
    assert not {"0.00", "1.00", "nan"} & {text.text for text in same.texts}, (
        "A is B: there is no distance to share"
    )


def test_a_long_name_is_cut_and_a_caption_can_be_another_or_none():
    figure = draw_u(
        swapped(4, name="sample 12345 of a run with quite a long name"), Style(width=3.3)
    )
    assert_laid_out(figure)
    assert any(text.text.endswith("…") for text in figure.texts)
    plain, other = (draw_u(swapped(4), Style(captioned=c), caption="Mine.") for c in (False, True))
    assert (
        "Mine." in [text.text for text in other.texts] and other.caption == plain.caption == "Mine."
    )
    assert "Mine." not in [text.text for text in plain.texts] and plain.height < other.height


def test_lines_are_no_wider_than_asked_and_lose_nothing():
    for width in (20, 60, 200):
        lines = fonts.wrapped(CAPTION, width, 8)
        assert all(fonts.width_of(text, 8) <= width for text in lines)
        assert "".join(lines).replace(" ", "") == CAPTION.replace(" ", "")
    with pytest.raises(UsageError, match="no '犬'"):
        fonts.width_of("犬", 8)


@pytest.fixture(scope="module", params=["u", "table"])
def figure(request):
    style = Style(width=WIDTHS["single"])
    return draw_u(swapped(3), style) if request.param == "u" else draw_table(table(), style)


def test_the_svg_has_every_text_and_every_picture_to_the_pixel(figure):
    root = ET.fromstring(figure.svg)
    assert (root.get("width"), root.get("height")) == (
        f"{figure.width:.2f}pt",
        f"{figure.height:.2f}pt",
    )
    assert [element.text for element in root.iter(f"{SVG}text")] == [
        text.text for text in figure.texts
    ]
    assert {float(element.get("font-size")) for element in root.iter(f"{SVG}text")} == {
        t.size for t in figure.texts
    }
    images = list(root.iter(f"{SVG}image"))
    assert [image.find(f"{SVG}title").text for image in images] == [
        picture.title for picture in figure.pictures
    ]
    for image, picture in zip(images, figure.pictures, strict=True):
        pixels = np.array(
            Image.open(io.BytesIO(base64.b64decode(image.get("href").split(",", 1)[1])))
        )
        np.testing.assert_array_equal(pixels, picture.pixels)
        assert float(image.get("x")) == pytest.approx(picture.x, abs=0.01)
    assert figure._repr_svg_() == figure.svg and root.find(f"{SVG}desc").text == CAPTION


def test_the_pdf_is_a_page_of_the_right_size_with_its_font_and_its_pictures_inside(figure):
    pdf = figure.pdf
    assert figure.pdf == pdf, "the same bytes every time"
    (box,) = re.findall(rb"/MediaBox \[\s*([\d. ]+)\]", pdf)
    assert [float(n) for n in box.split()] == pytest.approx(
        [0, 0, 3.3 * POINTS, figure.height], abs=0.01
    )
    assert (
        b"/FontFile2" in pdf
        and b"Arimo" in pdf
        and pdf.count(b"/Subtype /Image") == len(figure.pictures)
    )
    content = b"".join(_streams(pdf))
    assert content.count(b" Tj") >= len(figure.texts)
    placed = [
        tuple(map(float, m))
        for m in re.findall(rb"([\d.]+) 0 0 ([\d.]+) ([\d.]+) ([\d.]+) cm\s*/", content)
    ]
    expected = [(p.width, p.height, p.x, figure.height - p.y - p.height) for p in figure.pictures]
    np.testing.assert_allclose(
        placed, expected, atol=0.01, err_msg="in the same order, at the same places"
    )


def _streams(pdf):
    """What can be unpacked of a PDF's streams."""
    for data in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.S):
        try:
            yield zlib.decompress(base64.a85decode(data.strip().removesuffix(b"~>")))
        except (ValueError, zlib.error):
            continue


def test_the_png_has_its_size_in_inches_and_every_picture_where_it_says(figure):
    data = figure.png()
    image = Image.open(io.BytesIO(data))
    assert image.info["dpi"] == pytest.approx((DPI * SCALE,) * 2, rel=1e-3)
    assert image.size == tuple(
        round(side / POINTS * DPI * SCALE) for side in (figure.width, figure.height)
    )
    sheet, cells = read_picture(data), read_cells(read_recipe(data))
    assert [c.title for c in cells] == [p.title for p in figure.pictures], (
        "the order of all formats"
    )
    for found, picture in zip(cells, figure.pictures, strict=True):
        assert found.recipe == picture.recipe
        box = found.box
        shown = sheet[box.top : box.top + box.height, box.left : box.left + box.width]
        expected = Image.fromarray(picture.pixels).resize(
            (box.width, box.height), Image.Resampling.BICUBIC
        )
        np.testing.assert_array_equal(shown, np.asarray(expected))
    ink = (sheet < 128).all(-1)
    left, top, right, bottom = (round(side / POINTS * DPI * SCALE) for side in figure.texts[-1].box)
    assert ink[top:bottom, left:right].any(), "the caption is set where the layout says"


def test_names_cannot_break_out_of_the_figure(tmp_path):
    name = '"><script>&'
    figure = draw_u(swapped(2, name=name))
    root = ET.fromstring(figure.svg)
    assert not list(root.iter(f"{SVG}script")) and name in [
        element.text for element in root.iter(f"{SVG}text")
    ]
    for ending in ("png", "svg", "pdf"):
        assert figure.save(tmp_path / f"figure.{ending}").stat().st_size > 1000
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf; got 'figure.gif'"):
        figure.save(tmp_path / "figure.gif")
    with pytest.raises(UsageError, match="cannot be written"):
        figure.save(tmp_path / "nowhere" / "figure.svg")
