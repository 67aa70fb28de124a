"""Masks that are painted: areas drawn on a picture, added up and taken away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from hcache.directions.jacobian import region_mask
from hcache.fields import decoded
from hcache.figures.paint import SIZE, areas_of, draw_paintable
from hcache.recipes.masks import LARGEST, Mask

LEFT = [(0, 0), (0.5, 0), (0.5, 1), (0, 1)]
ALL = [(-1, -1), (2, -1), (2, 2), (-1, 2)]
corner = st.integers(0, LARGEST).map(lambda k: k / LARGEST)


@settings(max_examples=40, deadline=None)
@given(x=st.tuples(corner, corner), y=st.tuples(corner, corner))
def test_a_painted_rectangle_is_that_rectangle(x, y):
    (left, right), (top, bottom) = sorted(x), sorted(y)
    painted = Mask.painted([[(left, top), (right, top), (right, bottom), (left, bottom)]]).at(
        LARGEST, LARGEST
    )
    exact = np.zeros((LARGEST, LARGEST))
    exact[
        round(top * LARGEST) : round(bottom * LARGEST),
        round(left * LARGEST) : round(right * LARGEST),
    ] = 1
    if left < right and top < bottom:
        assert np.abs(painted - exact).max() <= 0.5, "at most a pixel's edge"
        assert abs(painted - exact).mean() < 0.01


def test_areas_add_up_and_are_taken_away():
    left = Mask.painted([LEFT])
    assert left.share == pytest.approx(0.5, abs=0.01)
    whole = Mask.painted([[(0.4, 0), (1, 0), (1, 1), (0.4, 1)]], left)
    assert (whole.at(8, 8) == 1).all() and Mask.painted([ALL]).share == 1
    assert Mask.painted([LEFT], whole, adds=False).at(1, 2)[0].tolist() == pytest.approx(
        [0, 1], abs=0.02
    )
    assert Mask.painted([ALL], whole, adds=False).share == 0
    assert Mask.painted([[(0, 0), (1, 1)], []], left) == left, "no area"
    assert decoded(to_builtins(left), Mask) == left


def test_a_painted_mask_is_a_region_of_a_jacobian():
    seen = region_mask(Mask.painted([LEFT]).png, 16, 16).numpy()
    np.testing.assert_allclose(seen, np.repeat([[1] * 8 + [0] * 8], 16, 0), atol=0.1)


def test_a_selection_gives_its_lassos_and_boxes_as_polygons():
    selection = {
        "lasso": [{"x": [0, 1, 0.5], "y": [0, 0, 1]}],
        "box": [{"x": [0.1, 0.3], "y": [0.2, 0.4]}],
    }
    assert areas_of(selection) == [
        [(0, 0), (1, 0), (0.5, 1)],
        [(0.1, 0.2), (0.3, 0.2), (0.3, 0.4), (0.1, 0.4)],
    ]
    assert areas_of({}) == []


def test_what_is_not_masked_is_dimmed():
    picture = np.full((8, 4, 3), 200, np.uint8)
    figure = draw_paintable(picture, None)
    assert figure.layout.dragmode == "lasso" and figure.layout.height == 2 * SIZE
    values = np.zeros((8, 4))
    values[:, :2] = 1
    assert draw_paintable(picture, values).layout.images[0].source != figure.layout.images[0].source
    assert (
        draw_paintable(picture, np.ones((8, 4))).layout.images[0].source
        == figure.layout.images[0].source
    )
