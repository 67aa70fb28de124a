"""The selection: its text in the address, what it says of labels, and the figures that show it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import ttest_ind

from hcache.analysis.contrasts import contrast_labels
from hcache.errors import AnalysisError, UsageError
from hcache.figures.components import is_categorical, variance_explained
from hcache.figures.contrasts import contrast_chart
from hcache.figures.differences import draw_difference, signed_difference
from hcache.figures.palette import DIVERGING
from hcache.figures.pictures import sprite
from hcache.ui.scatter import Points, packed
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
    return {
        "moved": rng.normal(size=200) + 3 * chosen,
        "still": rng.normal(size=200),
        "flat": np.ones(200),
    }, chosen


def test_a_contrast_is_welchs(labels):
    values, chosen = labels
    values["moved"][:5] = np.nan
    found = {contrast.name: contrast for contrast in contrast_labels(values, chosen)}
    known = np.isfinite(values["moved"])
    a, b = values["moved"][known & chosen], values["moved"][known & ~chosen]
    moved = found["moved"]
    assert moved.difference.value == pytest.approx(a.mean() - b.mean()) and moved.counts == (
        len(a),
        len(b),
    )
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (moved.difference.low, moved.difference.high) == pytest.approx(
        (interval.low, interval.high)
    )
    assert moved.in_spreads.value == pytest.approx(
        (a.mean() - b.mean()) / values["moved"][known].std()
    )
    assert (
        [*found][0] == "moved"
        and not moved.difference.covers(0)
        and found["still"].difference.covers(0)
    )
    assert np.isnan(found["flat"].difference.low) and found["flat"].difference.value == 0


def test_intervals_cover_nothing_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = [
        contrast_labels({"x": rng.gamma(2, size=120)}, rng.random(120) < 0.3)[0].difference.covers(
            0
        )
        for _ in range(400)
    ]
    assert 0.91 < np.mean(covered) < 0.98


def test_others_selected_turns_the_sign_round(labels):
    values, chosen = labels
    there, back = (
        contrast_labels({"moved": values["moved"]}, flags)[0].difference
        for flags in (chosen, ~chosen)
    )
    assert (there.value, there.low, there.high) == pytest.approx(
        (-back.value, -back.high, -back.low)
    )


def test_labels_that_a_group_lacks_are_left_out(labels):
    values, chosen = labels
    assert contrast_labels({"gone": np.where(chosen, np.nan, 1.0)}, chosen) == ()
    assert np.isnan(
        contrast_labels({"one": values["still"]}, np.arange(200) == 3)[0].difference.low
    )
    with pytest.raises(AnalysisError, match="flag"):
        contrast_labels(values, chosen[:-1])


def test_the_chart_fills_what_leaves_zero_out(labels):
    values, chosen = labels
    contrasts = contrast_labels(values, chosen)
    (points,) = contrast_chart(contrasts).data
    filled = {
        name: colour != "rgba(0,0,0,0)"
        for name, colour in zip(points.y, points.marker.color, strict=True)
    }
    assert filled == {"moved": True, "still": False, "flat": False}


def unpacked(points):
    """What the browser gets: the line of JSON, the six columns, and the rest."""
    head, _, body = packed(points, "in words").partition(b"\n")
    about, n = json.loads(head), len(points.samples)
    columns = [
        np.frombuffer(body, kind, n, 4 * n * k)
        for k, kind in enumerate(("<f4", "<f4", "<f4", "<i4", "<u4", "<u4"))
    ]
    return about, columns, np.frombuffer(body, "<f4", offset=24 * n)


def test_the_scatter_carries_numbers_colours_and_the_selection():
    places = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    ids, flags = np.array([3, 4, 5, 9, 10, 11]), np.array([0, 1, 0, 0, 1, 0], bool)
    paths = np.arange(28, dtype=np.float32).reshape(2, 7, 2)
    kinds = np.array([0, 1, 2, 0, 1, np.nan])
    points = Points(
        samples=ids,
        places=places,
        axes=("a", "b"),
        colour=kinds,
        name="a_kind",
        chosen=9,
        selected=flags,
        paths=paths,
    )
    about, (x, y, value, numbers, colours, selected), rest = unpacked(points)
    np.testing.assert_array_equal(np.stack([x, y], 1), places)
    np.testing.assert_array_equal(numbers, ids)
    np.testing.assert_array_equal(selected, flags)
    np.testing.assert_array_equal(value[:5], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(rest, paths.ravel())
    assert (
        about["chosen"] == 3
        and about["marked"] == 2
        and about["alt"] == "in words"
        and about["paths"] == [2, 7]
    )
    assert (
        colours[0] == colours[3] != colours[1] == colours[4] and len(set(colours.tolist())) == 4
    ), "one is unknown"
    assert [name for name, _ in about["classes"]] == ["0", "1", "2"] and about["bar"] is None
    assert about["legend"] == "a kind"


def test_the_scatters_bar_runs_from_the_least_to_the_greatest_value():
    values = np.array([0.5, -1.5, np.nan, 2.5])
    points = Points(
        samples=np.arange(4), places=np.zeros((4, 2)), axes=("a", "b"), colour=values, name="x"
    )
    about, (*_, colours, selected), rest = unpacked(points)
    shades = [int(shade[1:], 16) for shade in about["bar"]["colours"]]
    assert (about["bar"]["low"], about["bar"]["high"]) == (-1.5, 2.5)
    assert (colours[1], colours[3]) == (shades[0], shades[-1]) and colours[2] not in shades
    assert not selected.any() and not len(rest) and about["chosen"] == -1


@pytest.mark.parametrize(
    "values, expected", [([0, 1, 1], True), ([0, 0.5, 1], False), (range(9), False), ([], False)]
)
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
