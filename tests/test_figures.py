"""The drawn U: well-formed and complete; pictures as PNGs."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from hcache.figures.pictures import data_uri, png_bytes
from hcache.figures.unet import draw_anatomy
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
    assert (
        "16×4×4" in shown
        and "8×4×4 (2), 4×4×4" in shown
        and not any("stored" in text for text in shown)
    )
    assert len(root.findall(f"{SVG}path")) == 3 * groups + 1, (
        "a line a skip tensor, and the bottleneck"
    )
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter(f"{SVG}rect"):
        if "x" in element.attrib:
            assert (
                0 <= float(element.get("x"))
                and float(element.get("x")) + float(element.get("width")) <= width
            )
            assert (
                0 <= float(element.get("y"))
                and float(element.get("y")) + float(element.get("height")) <= height
            )


def test_the_anatomy_of_a_run_tells_what_is_stored():
    shown = "\n".join(
        texts(ET.fromstring(draw_anatomy(anatomy_of(3), {"h": "full", "skip.2": "pooled"})))
    )
    assert re.search(r"^h  .*stored full$", shown, re.M) and re.search(
        r"^skip.2  .*stored pooled$", shown, re.M
    )
    assert len(re.findall(r"not stored$", shown, re.M)) == 2


def test_a_picture_is_a_png_of_its_own_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(png_bytes(picture)))), picture)
    assert data_uri(picture).startswith("data:image/png;base64,")
