"""The drawn U: well-formed, complete, and safe with names from outside."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from hcache.figures.pictures import data_uri, png_bytes
from hcache.figures.unet import draw_anatomy, draw_swaps
from hcache.specs import Anatomy

SVG = "{http://www.w3.org/2000/svg}"


def anatomy_of(groups):
    skips = tuple(((8, 4 * g, 4 * g),) * 2 + ((4, 4 * g, 4 * g),) for g in range(1, groups + 1))
    return Anatomy(x=(3, 32, 32), image=(32, 32, 3), h=(16, 4, 4), skips=skips)


def texts(root):
    return [element.text or "" for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("groups", [1, 2, 4, 6])
def test_the_anatomy_names_every_site_with_its_shape_and_size(groups):
    anatomy = anatomy_of(groups)
    root = ET.fromstring(draw_anatomy(anatomy))
    shown = texts(root)
    for site in anatomy.sites:
        assert sum(text.startswith(f"{site}  ·") for text in shown) == 1, site
    assert "16×4×4" in shown and "8×4×4 (2), 4×4×4" in shown and not any("stored" in text for text in shown)
    assert len(root.findall(f"{SVG}path")) == 3 * groups + 1, "a line a skip tensor, and the bottleneck"
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter(f"{SVG}rect"):
        if "x" in element.attrib:
            assert 0 <= float(element.get("x")) and float(element.get("x")) + float(element.get("width")) <= width
            assert 0 <= float(element.get("y")) and float(element.get("y")) + float(element.get("height")) <= height


def test_the_anatomy_of_a_run_tells_what_is_stored():
    shown = "\n".join(texts(ET.fromstring(draw_anatomy(anatomy_of(3), {"h": "full", "skip.2": "pooled"}))))
    assert re.search(r"^h  .*stored full$", shown, re.M) and re.search(r"^skip.2  .*stored pooled$", shown, re.M)
    assert len(re.findall(r"not stored$", shown, re.M)) == 2


def swaps(groups=2, donor_name="3", **changes):
    rng = np.random.default_rng(0)
    anatomy = anatomy_of(groups)
    pictures = {site: rng.integers(0, 256, anatomy.image, np.uint8) for site in anatomy.sites}
    a, b = (rng.integers(0, 256, anatomy.image, np.uint8) for _ in range(2))
    pictures.update(changes.get("images", {}))
    return pictures, a, b, ET.fromstring(draw_swaps(anatomy, a, b, pictures, donor_name, "8"))


@pytest.mark.parametrize("groups", [1, 4, 6])
def test_the_u_figure_shows_every_picture_pixel_by_pixel(groups):
    pictures, a, b, root = swaps(groups)
    shown = {}
    for group in root.iter(f"{SVG}g"):
        uri = group.find(f"{SVG}image").get("href")
        data = base64.b64decode(uri.split(",", 1)[1])
        shown[group.find(f"{SVG}title").text] = np.array(Image.open(io.BytesIO(data)))
    assert shown.keys() == {f"swapped {site}" for site in pictures} | {"A, donor 3", "B, recipient 8"}
    for site, picture in pictures.items():
        np.testing.assert_array_equal(shown[f"swapped {site}"], picture)
    np.testing.assert_array_equal(shown["A, donor 3"], a)
    np.testing.assert_array_equal(shown["B, recipient 8"], b)


def test_the_u_figure_tells_how_far_each_swap_went():
    rng = np.random.default_rng(0)
    anatomy = anatomy_of(1)
    a, b = (rng.integers(0, 256, anatomy.image, np.uint8) for _ in range(2))
    shown = texts(ET.fromstring(draw_swaps(anatomy, a, b, {"h": a, "skip.1": b}, "3", "8")))
    moved = dict(zip((t for t in shown if t in anatomy.sites), (t for t in shown if "moves" in t), strict=True))
    assert moved == {"h": "moves B by 1.00", "skip.1": "moves B by 0.00"}
    same = texts(ET.fromstring(draw_swaps(anatomy, b, b, {"h": b, "skip.1": b}, "8", "8")))
    assert not any("moves" in text for text in same), "A is B: there is no distance to share"


def test_names_cannot_break_out_of_the_figure():
    name = '"><script>alert(1)</script>&'
    _, _, _, root = swaps(donor_name=name)
    assert not list(root.iter(f"{SVG}script")) and f"A  donor {name}" in texts(root)


def test_a_picture_is_a_png_of_its_own_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(png_bytes(picture)))), picture)
    assert data_uri(picture).startswith("data:image/png;base64,")
