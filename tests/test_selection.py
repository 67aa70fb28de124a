"""The selection: its text in the address, what it says of labels, and the figures that show it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import ttest_ind

from hcache.analysis.contrasts import contrast_labels
from hcache.errors import AnalysisError, UsageError
from hcache.figures.components import is_categorical, scatter_of_components, variance_explained
from hcache.figures.contrasts import contrast_chart
from hcache.figures.differences import draw_difference, signed_difference
from hcache.figures.palette import DIVERGING
from hcache.figures.pictures import sprite
from hcache.ui.selection import from_text, to_text


@given(some.sets(some.integers(0, 300)), some.sets(some.integers(0, 300)))
def test_a_selections_text_names_just_its_samples(chosen, known):
    numbers = np.array(sorted(known), np.int64)
    assert from_text(to_text(sorted(chosen)), numbers) == tuple(sorted(chosen & known))


@given(some.text(alphabet="0123456789-, x٣²", max_size=60))
def test_any_text_names_known_samples_or_none(text):
    known = np.array([0, 3, 4, 9, 10**12])
    assert set(from_text(text, known)) <= set(known.tolist())


def test_ranges_are_short():
    assert to_text(range(2000)) == "0-1999" and to_text([]) == "" and to_text([0, 1, 5]) == "0-1,5"
    assert from_text("0-99999999999999999999999", np.array([7])) == (7,)


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    chosen = rng.random(200) < 0.3
    return {"moved": rng.normal(size=200) + 3 * chosen, "still": rng.normal(size=200),
            "flat": np.ones(200)}, chosen  # fmt: skip


def test_a_contrast_is_welchs(labels):
    values, chosen = labels
    values["moved"][:5] = np.nan
    found = {contrast.name: contrast for contrast in contrast_labels(values, chosen)}
    known = np.isfinite(values["moved"])
    a, b = values["moved"][known & chosen], values["moved"][known & ~chosen]
    moved = found["moved"]
    assert moved.difference.value == pytest.approx(a.mean() - b.mean()) and moved.counts == (len(a), len(b))
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (moved.difference.low, moved.difference.high) == pytest.approx((interval.low, interval.high))
    assert moved.in_spreads.value == pytest.approx((a.mean() - b.mean()) / values["moved"][known].std())
    assert [*found][0] == "moved" and not moved.difference.covers(0) and found["still"].difference.covers(0)
    assert np.isnan(found["flat"].difference.low) and found["flat"].difference.value == 0


def test_intervals_cover_nothing_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = [contrast_labels({"x": rng.gamma(2, size=120)}, rng.random(120) < 0.3)[0].difference.covers(0)
               for _ in range(400)]  # fmt: skip
    assert 0.91 < np.mean(covered) < 0.98


def test_others_selected_turns_the_sign_round(labels):
    values, chosen = labels
    there, back = (contrast_labels({"moved": values["moved"]}, flags)[0].difference for flags in (chosen, ~chosen))
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_labels_that_a_group_lacks_are_left_out(labels):
    values, chosen = labels
    assert contrast_labels({"gone": np.where(chosen, np.nan, 1.0)}, chosen) == ()
    assert np.isnan(contrast_labels({"one": values["still"]}, np.arange(200) == 3)[0].difference.low)
    with pytest.raises(AnalysisError, match="flag"):
        contrast_labels(values, chosen[:-1])


def test_the_chart_fills_what_leaves_zero_out(labels):
    values, chosen = labels
    contrasts = contrast_labels(values, chosen)
    (points,) = contrast_chart(contrasts).data
    filled = {name: colour != "rgba(0,0,0,0)" for name, colour in zip(points.y, points.marker.color, strict=True)}
    assert filled == {"moved": True, "still": False, "flat": False}


def test_the_scatter_carries_numbers_rows_and_selection():
    scores = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    ids, flags = np.array([3, 4, 5, 9, 10, 11]), np.array([0, 1, 0, 0, 1, 0], bool)
    colour = np.array([0, 1, 2, 0, 1, np.nan])
    figure = scatter_of_components(scores, np.array([0.5, 0.3, 0.1]), (3, 1), ids, colour, "kind", 9, flags)
    points = figure.data[0]
    assert [row[:2] for row in map(list, points.customdata)] == [[i, r] for r, i in enumerate(ids)]
    assert list(points.selectedpoints) == [1, 4] and list(points.x) == list(scores[:, 2])
    assert len(set(points.marker.color)) == 4, "three classes, and one that is unknown"
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["0", "1", "2"]
    assert "10.0%" in figure.layout.xaxis.title.text and "50.0%" in figure.layout.yaxis.title.text
    paths = np.zeros((2, 7, 2), np.float32)
    assert len(scatter_of_components(scores, np.ones(3), (1, 2), ids, paths=paths).data) == len(paths) + 2


@pytest.mark.parametrize("values, expected", [([0, 1, 1], True), ([0, 0.5, 1], False), (range(9), False), ([], False)])
def test_a_few_whole_numbers_are_classes(values, expected):
    assert is_categorical(np.array([*values, np.nan], float)) == expected


def test_shares_add_up_beside_their_sum():
    bars, total = variance_explained(np.array([0.5, 0.2, 0.1])).data
    np.testing.assert_allclose(total.y, np.cumsum(bars.y))


def test_a_difference_is_signed_and_its_ends_are_the_maps():
    a, b = np.zeros((1, 3, 3), np.uint8), np.zeros((1, 3, 3), np.uint8)
    a[0, 0], b[0, 1] = 200, 200
    difference = signed_difference(a, b)
    np.testing.assert_allclose(difference, [[-200, 200, 0]])
    drawn = draw_difference(difference, 100)
    expected = [[int(DIVERGING[k][1][i : i + 2], 16) for i in (1, 3, 5)] for k in (0, 2, 1)]
    np.testing.assert_array_equal(drawn[0], expected)
    b[0, 2, 0] = 50
    assert signed_difference(a, b, "red")[0, 2] == 50 and signed_difference(a, b, "blue")[0, 2] == 0
    with pytest.raises(UsageError, match="one size"):
        signed_difference(a, b[:, :2])


def test_a_sprite_has_every_picture_in_its_place():
    import io

    from PIL import Image

    colours = np.random.default_rng(0).integers(0, 256, (7, 1, 1, 3), np.uint8)
    sheet = np.asarray(Image.open(io.BytesIO(sprite(np.broadcast_to(colours, (7, 32, 32, 3)), 32))))
    assert sheet.shape == (96, 96, 3)
    for i, colour in enumerate(colours[:, 0, 0]):
        middle = sheet[i // 3 * 32 + 16, i % 3 * 32 + 16]
        assert np.abs(middle.astype(int) - colour).max() < 12, "lossy, but itself"
