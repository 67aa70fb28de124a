"""Figures for print: one layout, and what PNG, SVG and PDF make of it."""

import base64
import io
import re
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
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
from hcache.figures.table import PictureRow, Table, draw_table
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
        PictureRow(
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


def assert_plot_laid_out(plot):
    """Nothing beyond the page, and no two texts on each other, as matplotlib lays them out."""
    plot.figure.set_dpi(SCALE * DPI)
    plot.figure.draw_without_rendering()
    plot.figure.draw_without_rendering()  # the ticks of the first layout change the second
    width, height = plot.figure.get_size_inches() * plot.figure.dpi
    boxes = [text.get_window_extent() for text in shown_texts(plot.figure) if text.get_text()]
    assert len(boxes) > 4
    for i, a in enumerate(boxes):
        assert -1 <= a.x0 <= a.x1 <= width + 1 and -1 <= a.y0 <= a.y1 <= height + 1
        for b in boxes[:i]:
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart, (a, b)


def shown_texts(figure):
    """The texts of a figure, without the labels of ticks beyond the limits."""
    yield from figure.texts
    for ax in figure.axes:
        yield from (child for child in ax.get_children() if isinstance(child, Text))
        for axis in (ax.xaxis, ax.yaxis):
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high:
                    yield from (t for t in (tick.label1, tick.label2) if t.get_visible())


@pytest.mark.parametrize(
    "sites, steps, scale, width",
    [(1, 1, 1.0, "single"), (7, 60, 1e-6, "single"), (4, 20, 1e6, "double")],
)
def test_no_plot_has_texts_on_each_other_or_beyond_the_page(sites, steps, scale, width):
    rng = np.random.default_rng(steps)
    scores = (rng.normal(size=(steps + 1, 2)) * scale).astype(np.float32)
    pca = PCA(scores=scores, explained=np.array([0.5, 0.1]), baseline=np.array([0.3, 0.3]))
    readings = rng.normal(size=(steps + 1, 3)) * scale
    for plot in (
        figures.heat_map(probes(sites, steps), range(steps, 0, -1), width=width),
        figures.scatter(pca, values=scores[:, 0], name="hair_length", width=width),
        figures.response_curve([-1, 0, 2], readings, "smile", width=width),
    ):
        assert_plot_laid_out(plot)


def test_plots_show_every_number():
    shown = figures.heat_map(probes(2, 4), [9, 5, 2, 1])
    for ax, quantity in zip(shown.axes, ("score", "control"), strict=True):
        values = np.ma.getdata(ax.collections[0].get_array())
        np.testing.assert_array_equal(values, probes(2, 4).values(quantity))
    assert "t = 9 to 1" in shown.caption and "hair colour, 64 samples" in shown.caption
    assert "Colours begin at chance (0.5)" in figures.heat_map(probes(1, 2, AUC), [2, 1]).caption
    readings = np.array([[0.0, 1.0], [0.0, 3.0]])
    *samples, mean = figures.response_curve([0, 1], readings, "smile").ax.lines
    assert [list(line.get_ydata()) for line in samples] == readings.tolist()
    assert list(mean.get_ydata()) == [0.0, 2.0]


def test_a_sample_without_a_label_and_a_cell_that_is_not_known_stay_grey():
    scores = np.arange(8, dtype=np.float32).reshape(4, 2)
    pca = PCA(scores=scores, explained=np.array([0.5, 0.1]), baseline=np.array([0.3, 0.3]))
    ax = figures.scatter(pca, values=np.array([1.0, np.nan, 2.0, 3.0]), name="yaw").ax
    grey, coloured = ax.collections
    np.testing.assert_array_equal(grey.get_offsets(), scores[1:2])
    np.testing.assert_array_equal(coloured.get_array(), [1.0, 2.0, 3.0])
    unknown = figures.scatter(pca, values=np.full(4, np.nan), name="yaw").ax
    assert len(unknown.collections[0].get_offsets()) == 4 and len(unknown.collections) == 1
    found = probes(2, 3)
    found = replace(found, cells={k: v for k, v in found.cells.items() if k != ("skip.1", 2)})
    mesh = figures.heat_map(found, [3, 2, 1]).ax.collections[0]
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[False] * 3, [False, False, True]]


def test_plots_are_drawn_on_axes_of_ones_own():
    """In a figure of the caller's, under the caller's settings, which are left as they were."""
    scores = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    pca = PCA(scores=scores, explained=np.array([0.5, 0.1]), baseline=np.array([0.3, 0.3]))
    before = dict(matplotlib.rcParams)
    axes = Canvas().subplots(1, 3)
    drawn = [
        figures.draw_heat_map(probes(2, 4), axes[0], quantity="control"),
        figures.draw_scatter(pca, axes[1], values=scores[:, 0], name="cost_in_$"),
        figures.draw_response_curve([0, 1], scores, "smile", axes[2]),
    ]
    assert drawn == list(axes) and all(ax.has_data() for ax in axes)
    axes[1].figure.savefig(io.BytesIO(), format="svg")  # a name with a dollar is no formula
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="module")
def plot():
    readings = np.random.default_rng(0).normal(size=(6, 3))
    return figures.response_curve([-1, 0, 2], readings, "a<b>&_$c$")


def test_a_plot_has_one_size_and_its_texts_in_every_format(plot, tmp_path):
    root = ET.fromstring(plot.svg)
    width, height = plot.figure.get_size_inches() * POINTS
    assert width == pytest.approx(3.3 * POINTS)
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(width, abs=0.01)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a<b>& $c$", "strength γ", "−1.0"} <= set(texts)
    assert "interval." in plot.caption and any("interval." in text for text in texts)
    assert root.find(f"{SVG}desc").text == plot.caption and fonts.FAMILY in plot.svg
    (box,) = re.findall(rb"/MediaBox \[\s*([\d. ]+)\]", plot.pdf)
    assert [float(n) for n in box.split()] == pytest.approx([0, 0, width, height], abs=0.01)
    assert b"/FontFile2" in plot.pdf and b"Arimo" in plot.pdf
    image = Image.open(io.BytesIO(plot.png(1)))
    assert image.info["dpi"] == pytest.approx((DPI,) * 2, rel=1e-3)
    assert image.size == pytest.approx((width / POINTS * DPI, height / POINTS * DPI), abs=1)
    assert plot.save(tmp_path / "p.pdf").read_bytes()[:5] == b"%PDF-"
    with pytest.raises(UsageError, match="scale of a PNG is 1 to 8"):
        plot.png(9)
    assert plot._repr_svg_().startswith("<?xml")


def test_a_plot_is_the_same_bytes_each_time_it_is_made():
    def made():
        return figures.response_curve([0, 1], np.arange(6.0).reshape(3, 2), "smile")

    first, second = made(), made()
    assert first.pdf == second.pdf and first.png(1) == second.png(1)
    assert made().svg == made().svg


def test_what_is_drawn_on_the_axes_of_a_plot_is_saved(plot):
    plot.ax.set_title("mine")
    assert ">mine</text>" in plot.svg
    plot.ax.set_title("犬")
    with pytest.raises(UsageError, match="no '犬'"):
        plot.save("never.pdf")
    plot.ax.set_title("")


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


def test_every_name_of_the_figures_can_be_imported():
    """What the front of the package offers is there."""
    for name in figures.__all__:
        assert getattr(figures, name).__module__.startswith("hcache.figures."), name
    with pytest.raises(AttributeError, match="nonsense"):
        figures.nonsense  # noqa: B018
