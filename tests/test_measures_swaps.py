"""Swaps carry what was planted; SSIM and colour distance are what their papers say; noise levels
are comparable.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcache.analysis.estimate import Estimate
from hcache.analysis.noise_level import at_levels, common_levels, estimates_at, log_snr
from hcache.analysis.similarity import (
    LUMA,
    SIGMA,
    WINDOW,
    colour_distance,
    pixel_distance,
    ssim,
    structure_distance,
)
from hcache.analysis.swaps import (
    COLOUR,
    PIXELS,
    STRUCTURE,
    Pictures,
    SwapEffect,
    swap_effect,
    which_carries,
)
from hcache.cache.records import plain
from hcache.errors import AnalysisError


def pictures(seed=0, n=3, size=24):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def ssim_by_the_book(a, b):
    """One pair, one place at a time, by the formulas of the paper."""
    a, b = a.astype(float) @ LUMA, b.astype(float) @ LUMA
    at = np.arange(WINDOW) - WINDOW // 2
    weight = np.exp(-(at[:, None] ** 2 + at**2) / (2 * SIGMA**2))
    weight /= weight.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for i in range(a.shape[0] - WINDOW + 1):
        for j in range(a.shape[1] - WINDOW + 1):
            p, q = a[i : i + WINDOW, j : j + WINDOW], b[i : i + WINDOW, j : j + WINDOW]
            mp, mq = (weight * p).sum(), (weight * q).sum()
            vp, vq = (weight * (p - mp) ** 2).sum(), (weight * (q - mq) ** 2).sum()
            cov = (weight * (p - mp) * (q - mq)).sum()
            found.append(
                (2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))
            )
    return np.mean(found)


def test_ssim_is_the_papers_formula():
    a = pictures(0, 2, 16)
    near = np.clip(
        a.astype(int) + np.random.default_rng(1).integers(-40, 40, a.shape), 0, 255
    ).astype(np.uint8)
    np.testing.assert_allclose(
        ssim(a, near), [ssim_by_the_book(*pair) for pair in zip(a, near, strict=True)]
    )


def test_ssim_has_the_properties_that_its_paper_claims():
    """Symmetric, at most 1, and 1 only of the same picture; and the closed form for flat
    pictures.
    """
    a, b = pictures(0), pictures(1)
    np.testing.assert_allclose(ssim(a, b), ssim(b, a))
    np.testing.assert_allclose(ssim(a, a), 1)
    assert (np.abs(ssim(a, b)) < 1).all()
    flat = [np.full((1, 16, 16, 3), value, np.uint8) for value in (50, 100)]
    c1 = (0.01 * 255) ** 2
    assert ssim(*flat)[0] == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1))
    negative = 255 - a
    assert (ssim(a, negative) < 0).all(), "structure turned round"


def test_ssim_tells_structure_from_error_of_the_same_size():
    """The paper's own point: a shift of brightness and noise of equal mean square error are not
    equally alike.
    """
    ramp = np.linspace(60, 180, 32)
    image = (ramp + 20 * np.sin(np.arange(32) / 2)[:, None])[None, :, :, None] * np.ones(3)
    shifted = image + 15
    noisy = image + 15 * np.random.default_rng(0).choice((-1, 1), (1, 32, 32, 1))
    np.testing.assert_allclose(pixel_distance(image, shifted), pixel_distance(image, noisy))
    assert ssim(image, shifted)[0] > 0.95 > 0.8 > ssim(image, noisy)[0]


def test_pixel_distance_is_a_share_of_the_range():
    black, white = (np.full((2, 12, 12, 3), value, np.uint8) for value in (0, 255))
    np.testing.assert_allclose(pixel_distance(black, white), 1)
    half = black.copy()
    half[:, :6] = 255
    np.testing.assert_allclose(pixel_distance(black, half), np.sqrt(0.5))


def test_colour_distance_is_of_means_and_covariances_and_blind_to_place():
    a = pictures(0)
    turned = a[:, ::-1, ::-1]
    np.testing.assert_allclose(colour_distance(a, turned), 0, atol=1e-6)
    assert structure_distance(a, turned)[0] > 0.5
    np.testing.assert_allclose(colour_distance(a / 2.0, a / 2.0 + [51, 0, 0]), 0.2, atol=1e-9)
    # Where covariances are diagonal the distance of normals is √(Σ (μ₁ - μ₂)² + (σ₁ - σ₂)²) over
    # the axes.
    signs = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1.0]])
    axes = np.tile(signs[1:].T, (36, 1)).reshape(1, 12, 12, 3)
    one, other = 100 + axes * [20, 10, 5], 120 + axes * [50, 10, 20]
    assert colour_distance(one, other)[0] * 255 == pytest.approx(np.sqrt(3 * 20**2 + 30**2 + 15**2))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_distances_are_symmetric_not_negative_and_know_no_order_of_pairs(seed):
    a, b = pictures(seed, 4, 12), pictures(seed + 1, 4, 12)
    order = np.random.default_rng(seed).permutation(4)
    for distance in (pixel_distance, structure_distance, colour_distance):
        found = distance(a, b)
        assert (found >= 0).all()
        np.testing.assert_allclose(distance(b, a), found, atol=1e-9)
        np.testing.assert_allclose(distance(a[order], b[order]), found[order], atol=1e-9)
        np.testing.assert_allclose(distance(a, a), 0, atol=1e-6)


TEXTURE = np.random.default_rng(9).normal(size=(2, 16, 16, 1))


def drawn(rng, tone, shape):
    """Pictures whose colour is ``tone`` (n, 3) and whose structure blends two textures by
    ``shape`` (n,).
    """
    structure = (
        np.cos(shape)[:, None, None, None] * TEXTURE[0]
        + np.sin(shape)[:, None, None, None] * TEXTURE[1]
    )
    noise = 4 * rng.normal(size=(len(tone), 16, 16, 3))
    images = np.clip(128 + 20 * tone[:, None, None] + 20 * structure + noise, 0, 255).astype(
        np.uint8
    )
    return Pictures(
        images=images,
        readings={
            "tone": tone[:, 0] + 0.2 * rng.normal(size=len(tone)),
            "shape": shape + 0.2 * rng.normal(size=len(tone)),
        },
    )


def swapped(rng, n=24, tone=0.0, shape=0.0, repeats=300, **options):
    """The effect of a swap that carries so much of the donor's tone and of its shape."""
    tones, shapes = rng.normal(size=(3, n, 3)), rng.uniform(0, np.pi / 2, (3, n))
    a, b = (drawn(rng, tones[i], shapes[i]) for i in (0, 1))

    def of(i):
        return drawn(
            rng,
            tone * tones[i] + (1 - tone) * tones[1],
            shape * shapes[i] + (1 - shape) * shapes[1],
        )

    noise = drawn(rng, tones[1] + 0.2 * rng.normal(size=(n, 3)), shapes[1])
    return swap_effect(a, b, of(0), other=of(2), noise=noise, own=b, repeats=repeats, **options)


def test_a_swap_carries_what_was_planted_and_nothing_else():
    found = swapped(np.random.default_rng(0), tone=0.9)
    assert (
        found.carried["tone"].measured.value == pytest.approx(0.9, abs=0.15)
        and found.carried["tone"].p < 0.01
    )
    assert found.carried["tone"].null.covers(0) and found.kept["tone"].value == pytest.approx(
        0.1, abs=0.15
    )
    assert found.carried[COLOUR].above_null and found.carried[PIXELS].above_null
    assert not found.carried["shape"].above_null and found.kept["shape"].value > 0.7
    assert found.moved[COLOUR].above_null and found.moved[COLOUR].measured.value > 0.5
    assert found.own == 0 and found.pairs == 24
    other = swapped(np.random.default_rng(0), shape=1.0)
    assert other.carried[STRUCTURE].above_null and other.carried["shape"].above_null
    assert not other.carried["tone"].above_null and other.kept["tone"].value > 0.8


def test_a_whole_swap_carries_all_and_none_none():
    rng = np.random.default_rng(1)
    a, b, c = (drawn(rng, rng.normal(size=(20, 3)), rng.uniform(0, 1.5, 20)) for _ in range(3))
    whole = swap_effect(a, b, a, other=c, noise=b, repeats=100)
    for name in (PIXELS, STRUCTURE, COLOUR, "tone", "shape"):
        assert whole.carried[name].measured.value == pytest.approx(1, abs=1e-6)
    assert all(whole.kept[name].value == pytest.approx(0, abs=1e-6) for name in ("tone", "shape"))
    none = swap_effect(a, b, b, other=b, noise=b, repeats=100)
    for name in (PIXELS, STRUCTURE, COLOUR):
        assert (
            none.moved[name].measured.value,
            none.carried[name].measured.value,
        ) == pytest.approx((0, 0), abs=1e-6)
        assert none.carried[name].p > 0.4 and not none.carried[name].above_null
    assert none.own is None and none.kept["tone"].value == pytest.approx(1)


@pytest.mark.parametrize(
    ("sets", "mean", "largest", "cover"),
    [(50, 0.09, 8, (0.86, 1)), pytest.param(200, 0.07, 20, (0.9, 0.98), marks=pytest.mark.slow)],
)
def test_swaps_of_nothing_are_called_significant_in_5_per_cent_and_intervals_cover(
    sets, mean, largest, cover
):
    """Swaps that change the picture at random, and as many that carry half of the tone."""
    false, covered = {name: 0 for name in (PIXELS, STRUCTURE, COLOUR, "tone", "shape")}, []
    for seed in range(sets):
        found = swapped(np.random.default_rng([seed, 31]), n=16, repeats=20)
        for name in false:
            false[name] += found.carried[name].p <= 0.05
        half = swapped(np.random.default_rng([seed, 37]), n=24, tone=0.5, repeats=300)
        # The readings' own noise weakens the slope on the donor by 1 / (1 + 0.2²).
        covered.append(
            [half.carried["tone"].measured.covers(0.5 / 1.04), half.kept["tone"].covers(0.5 / 1.04)]
        )
    assert sum(false.values()) <= mean * 5 * sets and max(false.values()) <= largest, false
    for share in np.mean(covered, 0):
        assert cover[0] <= share <= cover[1], np.mean(covered, 0)


def test_recipients_that_come_several_times_are_drawn_as_one():
    rng = np.random.default_rng(0)
    plain = swapped(rng, n=24, tone=0.9)
    grouped = swapped(np.random.default_rng(0), n=24, tone=0.9, clusters=np.arange(24) // 3)
    assert grouped.carried[PIXELS].measured.n == 8 and plain.carried[PIXELS].measured.n == 24


def test_the_table_says_which_site_carries_what_and_ranks_none_that_overlap():
    effects = {
        "h": swapped(np.random.default_rng(0), n=80),
        "skip.1": swapped(np.random.default_rng(1), n=80, tone=0.9),
        "skip.2": swapped(np.random.default_rng(2), n=80, tone=0.3),
        "skip.3": swapped(np.random.default_rng(3), n=80, tone=0.85),
        "skip.4": swapped(np.random.default_rng(4), n=80, shape=1.0),
    }
    table = {row.quantity: row for row in which_carries(effects)}
    assert set(table) == {PIXELS, STRUCTURE, COLOUR, "tone", "shape"}
    tone = table["tone"]
    assert set(tone.most) == {"skip.1", "skip.3"}, "skip.2 carries less, and these are not ranked"
    assert set(tone.nothing) == {"h", "skip.4"}
    assert table["shape"].most == ("skip.4",) and table["shape"].sites["h"].p > 0.05
    assert which_carries({}) == ()


def alike(n=24, size=24):
    """Recipients, donors that differ from them in colour alone, and swaps that bring the colour
    over.
    """
    rng = np.random.default_rng(0)
    base = rng.integers(60, 180, (n, size, size, 3)).astype(np.int64)
    tint = rng.integers(-40, 40, (n, 1, 1, 3))
    other = rng.integers(0, 255, (n, size, size, 3))
    made = {
        "donor": base + tint,
        "recipient": base,
        "swapped": base + tint,
        "other": other,
        "noise": base + 3,
    }
    readings = {name: {"tone": rng.normal(size=n)} for name in made}
    return {
        name: Pictures(images=images.astype(np.uint8), readings=readings[name])
        for name, images in made.items()
    }


def test_what_is_carried_is_undefined_where_donor_and_recipient_are_alike_in_it():
    """A swap that breaks the picture's structure, where donors have the recipients' own: -9 and
    4.23 were such.
    """
    found = swap_effect(**alike(), repeats=50)
    assert not found.carried[STRUCTURE].excess.defined and "alike in structure" in str(
        found.carried[STRUCTURE].excess
    )
    assert found.carried["tone"].measured.defined
    parts = alike()
    near = np.where(
        np.random.default_rng(1).random(parts["recipient"].images.shape) < 0.5, 1, 0
    ).astype(np.uint8)
    parts["donor"] = Pictures(
        images=parts["recipient"].images + near, readings={"tone": np.linspace(0, 1e-3, 24)}
    )
    found = swap_effect(**parts, repeats=50)
    for name in (PIXELS, STRUCTURE, COLOUR):
        assert not found.carried[name].measured.defined and "choose other pairs" in str(
            found.carried[name].measured
        )
    assert not found.carried["tone"].measured.defined and "hardly differ in tone" in str(
        found.kept["tone"]
    )
    table = {row.quantity: row for row in which_carries({"h": found})}
    assert all(row.most == () and row.nothing == ("h",) for row in table.values())
    again = SwapEffect.from_json(json.loads(json.dumps(plain(found))))
    assert str(again.carried[PIXELS].excess) == str(found.carried[PIXELS].excess)


@pytest.mark.parametrize("value", [1.0, 0.1])
def test_a_reading_that_all_donors_share_is_undefined_and_the_rest_is_told(value):
    rng = np.random.default_rng(0)
    roles = ("donor", "recipient", "swapped", "other", "noise")
    parts = {role: drawn(rng, rng.normal(size=(6, 3)), rng.uniform(0, 1, 6)) for role in roles}
    parts["donor"] = Pictures(
        images=parts["donor"].images,
        readings={**parts["donor"].readings, "tone": np.full(6, value)},
    )
    for role in (
        "recipient",
        "swapped",
        "other",
    ):  # nothing that is read varies: no number may come of rounding
        parts[role] = Pictures(
            images=parts[role].images, readings={**parts[role].readings, "tone": np.full(6, value)}
        )
    found = swap_effect(
        parts["donor"],
        parts["recipient"],
        parts["swapped"],
        other=parts["other"],
        noise=parts["noise"],
    )
    why = "all donors have the same tone"
    assert not found.carried["tone"].measured.defined and why in str(found.carried["tone"].measured)
    assert not found.kept["tone"].defined and why in str(found.kept["tone"])
    assert found.carried["shape"].measured.defined and found.carried[PIXELS].measured.defined
    (row,) = [row for row in which_carries({"h": found}) if row.quantity == "tone"]
    assert row.most == () and row.nothing == ("h",)


def without(part, name):
    return Pictures(
        images=part.images, readings={k: v for k, v in part.readings.items() if k != name}
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"other": lambda p: Pictures(images=p.images[:-1])}, "the same shape"),
        ({"swapped": lambda p: without(p, "tone")}, "the swapped has no reading of tone"),
        (
            {
                "donor": lambda p: Pictures(
                    images=p.images, readings={**p.readings, "tone": np.full(6, np.nan)}
                )
            },
            "finite",
        ),
        ({"donor": None}, "same pictures"),
    ],
)
def test_swaps_that_cannot_be_measured_are_refused_in_words(changes, words):
    rng = np.random.default_rng(0)
    roles = ("donor", "recipient", "swapped", "other", "noise")
    parts = {role: drawn(rng, rng.normal(size=(6, 3)), rng.uniform(0, 1, 6)) for role in roles}
    for role, change in changes.items():
        parts[role] = parts["recipient"] if change is None else change(parts[role])
    with pytest.raises(AnalysisError, match=words):
        swap_effect(
            parts["donor"],
            parts["recipient"],
            parts["swapped"],
            other=parts["other"],
            noise=parts["noise"],
        )


def test_pictures_that_cannot_be_compared_are_refused_in_words():
    with pytest.raises(AnalysisError, match="11 pixels"):
        ssim(*np.zeros((2, 1, 10, 16, 3)))
    with pytest.raises(AnalysisError, match="both of the same shape"):
        pixel_distance(pictures(n=2), pictures(n=3))
    with pytest.raises(AnalysisError, match="not finite"):
        colour_distance(*np.full((2, 1, 12, 12, 3), np.nan))
    four = Pictures(images=pictures(n=3))
    with pytest.raises(AnalysisError, match="4 pairs"):
        swap_effect(four, four, four, other=four, noise=four)


def test_log_snr_is_0_where_signal_and_noise_are_equal():
    np.testing.assert_allclose(log_snr(np.array([0.5, 0.8, 0.2])), [0, np.log(4), -np.log(4)])
    for wrong in (0.0, 1.0, np.nan):
        with pytest.raises(AnalysisError, match="strictly between"):
            log_snr(np.array([0.5, wrong]))


def test_two_schedules_of_one_curve_agree_at_equal_noise():
    """A measure that depends on the noise alone; at equal step index the two would differ
    throughout.
    """
    linear = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    cosine = np.cos(np.linspace(0.05, 1.55, 1000) / 1.0) ** 2
    steps = np.arange(990, 5, -20)
    levels = [log_snr(curve[steps]) for curve in (linear, cosine)]
    measure = [np.tanh(level / 3) for level in levels]
    wanted = common_levels(levels, 12)
    a, b = (at_levels(values, own, wanted) for values, own in zip(measure, levels, strict=True))
    np.testing.assert_allclose(a, b, atol=0.02)
    np.testing.assert_allclose(a, np.tanh(wanted / 3), atol=0.02)
    assert np.abs(measure[0] - measure[1]).max() > 0.3
    assert wanted[0] == max(level.min() for level in levels) and wanted[-1] == min(
        level.max() for level in levels
    )


def test_nothing_is_extrapolated_and_intervals_come_along():
    own = np.array([-2.0, 0.0, 2.0])
    assert np.isnan(at_levels(own, own, np.array([-3, 3]))).all()
    np.testing.assert_allclose(
        at_levels(np.stack([own, 2 * own], 1), own[::-1], np.array([1.0])), [[-1, -2]]
    )
    estimates = [
        Estimate(value=v, low=v - 1, high=v + 2, n=n) for v, n in ((0.0, 10), (4.0, 8), (6.0, 9))
    ]
    found = estimates_at(estimates, own, np.array([-1.0, 5.0]))
    assert found == (Estimate(value=2.0, low=1.0, high=4.0, n=8), None)
    with pytest.raises(AnalysisError, match="no noise level in common"):
        common_levels([np.array([0.0, 1]), np.array([2.0, 3])])
    with pytest.raises(AnalysisError, match="different noise levels"):
        at_levels(own, np.zeros(3), own)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_levels_know_no_order_of_steps(seed):
    rng = np.random.default_rng(seed)
    own, values = rng.normal(size=8).cumsum(), rng.normal(size=(8, 2))
    order = rng.permutation(8)
    wanted = np.linspace(own.min(), own.max(), 5)
    np.testing.assert_allclose(
        at_levels(values[order], own[order], wanted), at_levels(values, own, wanted)
    )
