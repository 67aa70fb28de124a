"""Linearity, controllability and leakage: exact on a model whose decode is a matrix, right on
planted responses.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcache.analysis.controllability import controllability, controllability_by_step, p_of_size
from hcache.analysis.leakage import leakage
from hcache.analysis.linearity import (
    BY_CHANCE,
    LINEAR,
    MONOTONE,
    NOT_LINEAR,
    UNDECIDED,
    additivity,
    additivity_contrast,
    homogeneity_statistic,
    linearity,
    linearity_by_step,
)
from hcache.errors import AnalysisError

STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)
QUICK = {"repeats": 300}


class LinearModel:
    """decode(h) = W h to 12 pixels; a readout is a fixed weighting of them. Random directions
    have length 1.
    """

    def __init__(self, seed=0, n=16, d=40):
        self.rng = np.random.default_rng(seed)
        self.h, self.w = self.rng.normal(size=(n, d)), self.rng.normal(size=(d, 12))
        self.readout = self.rng.normal(size=12)
        self.n, self.d = n, d

    def direction(self):
        found = self.rng.normal(size=self.d)
        return found / np.linalg.norm(found)

    def images(self, delta):
        return (self.h + delta) @ self.w

    def read(self, delta):
        return self.images(delta) @ self.readout

    def responses(self, delta, read=None):
        return np.stack([(read or self.read)(gamma * delta) for gamma in STRENGTHS], 1)


def assert_exactly(found, value):
    """An estimate of a number that no sample differs in."""
    np.testing.assert_allclose((found.value, found.low, found.high), value, atol=1e-9)


@pytest.mark.parametrize("vector", [False, True])
def test_a_direction_in_a_linear_model_is_exactly_linear(vector):
    model = LinearModel()
    delta = model.direction()
    found = linearity(model.responses(delta, model.images if vector else None), STRENGTHS)
    assert_exactly(found.r2, 1)
    assert_exactly(found.asymmetry, 0)
    assert_exactly(found.homogeneity, 1)
    assert found.verdict == LINEAR
    if vector:
        assert found.slope is None
        assert_exactly(found.size, np.linalg.norm(delta @ model.w))
    else:
        assert_exactly(found.slope, delta @ model.w @ model.readout)
        assert_exactly(found.size, abs(delta @ model.w @ model.readout))


def test_directions_in_a_linear_model_add_up_assert_exactly():
    model = LinearModel()
    a, b = model.direction(), 3 * model.direction()
    for read in (model.read, model.images):
        assert_exactly(additivity(read(0), read(a), read(b), read(a + b)), 0)
    one, other = ([model.read(x) for x in (0, p, q, p + q)] for p, q in ((a, b), (b, a)))
    found = additivity_contrast([one], [other, other])
    assert_exactly(found.excess, 0)


def test_controllability_in_a_linear_model_is_the_readouts_own_gradient():
    """Every direction's change is known; so is the best direction, and how far it is beyond
    random ones.
    """
    model = LinearModel()
    gradient = model.w @ model.readout
    best = gradient / np.linalg.norm(gradient)
    randoms = [model.direction() for _ in range(99)]
    nulls = np.stack([model.read(delta) - model.read(0) for delta in randoms])
    found = controllability(model.read(best) - model.read(0), nulls, spread=2.0)
    assert_exactly(found.change, np.linalg.norm(gradient) / 2)
    scale = np.sqrt(np.mean([(delta @ gradient) ** 2 for delta in randoms])) / 2
    assert found.random == pytest.approx(scale) and found.effect.value == pytest.approx(
        found.change.value / scale
    )
    assert found.p == 0.01 and found.effect.low > 1 and found.directions == 99
    orthogonal = randoms[0] - (randoms[0] @ best) * best
    none = controllability(model.read(orthogonal) - model.read(0), nulls)
    assert none.change.value == pytest.approx(0, abs=1e-9) and none.p > 0.99


def responses(rng, shape, n=48, noise=0.1, slope=1.0):
    """Readings (n, strengths) of samples whose slopes differ, in noise."""
    slopes = slope * (1 + 0.2 * rng.normal(size=(n, 1)))
    return (
        rng.normal(size=(n, 1))
        + slopes * shape(np.array(STRENGTHS))
        + noise * rng.normal(size=(n, 5))
    )


def nulls_of(rng, m=6, **options):
    return np.stack(
        [responses(rng, np.asarray, slope=0.2 * rng.normal(), **options) for _ in range(m)]
    )


@pytest.mark.parametrize(
    ("shape", "verdict"),
    [
        (np.asarray, LINEAR),
        (np.square, NOT_LINEAR),
        (np.abs, NOT_LINEAR),
        (lambda g: 5 + np.square(g), NOT_LINEAR),
        (lambda g: np.maximum(g, 0), MONOTONE),
        (lambda g: np.sign(g), MONOTONE),
        (lambda g: np.tanh(1.5 * g), MONOTONE),
        (lambda g: np.clip(g, -1, 1), MONOTONE),
        (lambda g: np.tanh(0.3 * g), LINEAR),
        (lambda g: g + 0.5 * np.square(g), NOT_LINEAR),
        (lambda g: g + 0.1 * np.square(g), UNDECIDED),
    ],
    ids=[
        "line",
        "square",
        "absolute",
        "even",
        "one-sided",
        "step",
        "tanh",
        "spent at half",
        "slightly tanh",
        "bent",
        "slightly bent",
    ],
)
def test_a_response_is_called_what_it_is(shape, verdict):
    rng = np.random.default_rng(1)
    noise = 0.3 if verdict == UNDECIDED else 0.1
    noise = 0.02 if verdict == LINEAR else noise
    found = linearity(
        responses(rng, shape, noise=noise, n=12 if verdict == UNDECIDED else 48), STRENGTHS
    )
    assert found.verdict == verdict, (found.r2, found.asymmetry, found.curvature, found.bend)
    assert found.bend <= 0.05 or verdict in (LINEAR, UNDECIDED)


def test_an_even_response_without_noise_is_not_linear_and_no_error():
    gamma = np.array(STRENGTHS)
    found = linearity(5 + np.arange(6)[:, None] + np.square(gamma), STRENGTHS)
    assert (
        found.verdict == NOT_LINEAR
        and not found.homogeneity.defined
        and found.slope.value == pytest.approx(0)
    )
    assert_exactly(found.curvature, 1)


def test_what_is_straight_is_called_bent_in_5_per_cent_however_skewed_its_noise():
    """200 data sets of 16 samples, whose slopes and whose readings' noise are skewed."""
    bent = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 21])
        noise = rng.exponential(size=(16, 5)) - 1
        found = linearity(
            rng.exponential(size=(16, 1)) * np.array(STRENGTHS) + 0.2 * noise, STRENGTHS, repeats=2
        )
        bent += found.bend <= 0.05
    assert bent <= 17, bent


def test_asymmetry_tells_odd_from_even():
    rng = np.random.default_rng(0)
    square = linearity(responses(rng, np.square, noise=0), STRENGTHS)
    assert square.asymmetry.value == pytest.approx(1) and square.r2.value == pytest.approx(
        0, abs=1e-9
    )
    one_sided = linearity(responses(rng, lambda g: np.maximum(g, 0), noise=0), STRENGTHS)
    assert one_sided.asymmetry.value == pytest.approx(1) and one_sided.r2.value == pytest.approx(
        0.5
    )
    assert linearity(
        responses(rng, lambda g: g**3, noise=0), STRENGTHS
    ).asymmetry.value == pytest.approx(0)


def test_what_random_directions_do_as_well_is_no_effect():
    rng = np.random.default_rng(0)
    strong = linearity(responses(rng, np.asarray), STRENGTHS, nulls_of(rng))
    assert strong.verdict == LINEAR and strong.moved.p < 0.05 and len(strong.nulls) == 6
    weak = linearity(responses(rng, np.asarray, slope=0.2), STRENGTHS, nulls_of(rng))
    assert weak.verdict == BY_CHANCE and weak.r2.value > 0.5, "linear, but so is everything"


@pytest.mark.slow
def test_a_random_direction_is_seldom_said_to_have_an_effect():
    """200 runs in which the direction is one more random one: by size (linearity), and by mean
    (controllability).
    """
    sizes = means = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 5])
        every = nulls_of(rng, m=19, n=16)
        sizes += linearity(every[0], STRENGTHS, every[1:], repeats=50).verdict != BY_CHANCE
        change = every[:, :, 3] - every[:, :, 2]
        means += controllability(change[0], change[1:], repeats=50).p <= 0.05
    assert sizes <= 14 and means <= 14, (sizes, means)


@pytest.mark.slow
def test_intervals_of_linearity_cover_what_was_planted():
    covered = []
    for seed in range(200):
        rng = np.random.default_rng([seed, 11])
        gamma, n = np.array(STRENGTHS), 48
        slopes = 1 + 0.4 * rng.normal(size=(n, 1))
        bend = 0.3 * rng.choice((-1.0, 1.0), size=(n, 1))
        found = linearity(slopes * gamma + bend * np.square(gamma), STRENGTHS, **QUICK)
        squares = np.square(gamma).sum() * 1.16, 0.09 * (gamma**4).sum()
        covered.append(
            [
                found.slope.covers(1),
                found.r2.covers(squares[0] / sum(squares)),
                found.homogeneity.covers(1 / 1.16),
                found.bend > 0.05,
            ]
        )
    slope, r2, homogeneity, straight = np.mean(covered, 0)
    for share in (slope, r2, homogeneity):
        assert 0.90 <= share <= 0.98, (slope, r2, homogeneity)
    assert straight >= 0.93, "bends that cancel out over samples are no bend of the mean"


def test_homogeneity_is_of_different_samples():
    once = np.ones((1, 10))
    assert homogeneity_statistic(np.ones((10, 3)))(once)[0] == pytest.approx(1)
    assert homogeneity_statistic(np.eye(10))(once)[0] == pytest.approx(0), (
        "orthogonal changes have nothing in common"
    )
    opposite = np.tile([[1.0], [-1.0]], (5, 1))
    assert homogeneity_statistic(opposite)(once)[0] == pytest.approx(-1 / 9)
    twice = np.array([[2.0] + [0] * 8 + [1.0]])
    assert homogeneity_statistic(np.eye(10))(twice)[0] == pytest.approx(0), (
        "a sample is not its own pair"
    )


def test_additivity_finds_interaction():
    rng = np.random.default_rng(0)
    f0 = rng.normal(size=(30, 5))
    a, b = rng.normal(size=(2, 30, 5))
    assert_exactly(additivity(f0, f0 + a, f0 - a, f0), 0)
    assert_exactly(
        additivity(f0, f0 + a, f0 + a, f0 + a), 0.5
    )  # the second does nothing that the first has not done
    assert additivity(f0, f0 + a, f0 + b, f0).value > 0.5  # both together undo each other
    assert_exactly(additivity(f0, f0 + a, f0 + a, f0), 1)
    null = additivity_contrast([(f0, f0 + a, f0 + b, f0)], [(f0, f0 + a, f0 + b, f0 + a + b)])
    assert null.above_null and null.null.value == pytest.approx(0, abs=1e-9)


def test_steps_are_measured_each_by_itself():
    rng = np.random.default_rng(0)
    readings = np.stack([responses(rng, np.asarray), responses(rng, np.square)], 2)
    straight, bent = linearity_by_step(readings, STRENGTHS, **QUICK)
    assert (straight.verdict, bent.verdict) == (LINEAR, NOT_LINEAR)
    nulls = np.stack([nulls_of(rng), nulls_of(rng)], 3)
    assert linearity_by_step(readings, STRENGTHS, nulls, **QUICK)[0].verdict == LINEAR
    changes, null = rng.normal(size=(20, 3)) + [0, 5, -5], 0.1 * rng.normal(size=(6, 20, 3))
    found = controllability_by_step(changes, null)
    assert [step.change.value > 1 for step in found] == [False, True, False] and found[
        2
    ].change.high < -1


@pytest.mark.slow
def test_intervals_of_controllability_cover_what_was_planted():
    """The change, and the effect size: planted as 5 times what random directions do, of which
    only 19 are seen.
    """
    covered = []
    for seed in range(200):
        rng = np.random.default_rng([seed, 13])
        nulls = 0.1 * rng.normal(size=(19, 1)) + 0.05 * rng.normal(size=(19, 32))
        found = controllability(0.5 + 0.05 * rng.normal(size=32), nulls, repeats=500)
        covered.append([found.change.covers(0.5), found.effect.covers(5), found.p <= 0.05])
    change, effect, power = np.mean(covered, 0)
    assert 0.90 <= change <= 0.98 and 0.90 <= effect <= 0.98 and power > 0.9


def test_a_direction_that_pushes_every_sample_its_own_way_does_not_control():
    """However little random directions move. Over 200 data sets without a mean."""
    found = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 15])
        found += (
            controllability(rng.normal(size=12), 1e-3 * rng.normal(size=(19, 12)), repeats=20).p
            <= 0.05
        )
    assert found <= 14


def test_sizes_compare_as_lengths_do():
    assert p_of_size(1.0, np.array([0.9, 1.0, 1.1, 1.0])) > 0.3
    assert p_of_size(3.0, np.array([0.9, 1.0, 1.1, 1.0])) < 0.01
    assert p_of_size(1.0, np.zeros(3)) == 0 and p_of_size(1.0, np.ones(3)) == 1
    assert p_of_size(0.0, np.array([1.0, 2.0])) > 0.5


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-50, 50), st.floats(0.01, 100))
def test_linearity_has_no_units(seed, unit, origin, strength_unit):
    """Of the readout, its origin, and the strengths; and no order of samples or strengths."""
    rng = np.random.default_rng(seed)
    readings = responses(rng, lambda g: g + 0.3 * np.square(g), n=10)
    plain = linearity(readings, STRENGTHS, repeats=50)
    order, samples = rng.permutation(5), rng.permutation(10)
    other = linearity(
        unit * readings[samples][:, order] + origin,
        strength_unit * np.array(STRENGTHS)[order],
        repeats=50,
    )
    for name in ("r2", "asymmetry", "homogeneity"):
        assert getattr(other, name).value == pytest.approx(getattr(plain, name).value, abs=1e-6)
    assert other.slope.value * strength_unit / unit == pytest.approx(plain.slope.value, abs=1e-6)


def test_leakage_is_in_each_attributes_own_spread_and_exact_in_a_linear_model():
    model = LinearModel()
    readouts = model.rng.normal(size=(12, 3))
    edits = [model.direction() for _ in range(3)]
    changes = np.stack(
        [model.images(delta) @ readouts - model.images(0) @ readouts for delta in edits]
    )
    nulls = 1e-3 * np.stack(
        [model.images(model.direction()) @ readouts - model.images(0) @ readouts for _ in range(8)]
    )
    found = leakage(changes, [1, 2, 4], ["a", "b", "c"], ["a", "b", "c"], nulls)
    truth = np.stack(edits) @ model.w @ readouts / [1, 2, 4]
    for i in range(3):
        for j in range(3):
            assert_exactly(found.matrix[i][j], truth[i, j])
        assert_exactly(found.shares[i], truth[i, i] ** 2 / np.square(truth[i]).sum())
    assert_exactly(found.share, np.square(np.diag(truth)).sum() / np.square(truth).sum())
    assert len(found.leaks) == 6 and found.chance == 1 / 3


def changes_of(rng, truth, n=32, noise=0.5):
    """Changes (edits, n, attributes) with noise that edits share in a sample."""
    edits, attributes = truth.shape
    return truth[:, None] + noise * (
        rng.normal(size=(edits, n, attributes)) + 0.5 * rng.normal(size=(1, n, 1))
    )


def test_two_entangled_factors_leak_and_the_others_do_not():
    truth = np.eye(4)
    truth[0, 1] = 0.6
    found = leakage(
        changes_of(np.random.default_rng(0), truth), np.ones(4), list("abcd"), list("abcd")
    )
    assert found.leaks == (("a", "b"),) and found.shares[0].high < 0.9 < found.shares[2].value
    assert found.matrix[0][1].low > 0.3 and np.isnan(np.diag(found.p)).all()


def test_edits_meant_for_some_of_the_attributes_are_enough():
    truth = np.array([[0.0, 1.0, 0.0, 0.7]])
    found = leakage(changes_of(np.random.default_rng(0), truth), np.ones(4), ["b"], list("abcd"))
    assert found.meant == (1,) and found.leaks == (("b", "d"),) and found.shares[0].covers(1 / 1.49)


@pytest.mark.slow
def test_nothing_leaks_where_nothing_does_and_intervals_cover(monkeypatch):
    """Over 200 data sets: no leak at all in 93 %; the planted share, and a planted leak, in
    their intervals.
    """
    monkeypatch.setattr("hcache.analysis.leakage.PERMUTATIONS", 199)
    false = covered_share = covered_cell = 0
    truth = np.eye(4)
    mixed = truth + 0.4 * np.roll(truth, 1, 1)
    for seed in range(200):
        rng = np.random.default_rng([seed, 17])
        false += bool(
            leakage(
                changes_of(rng, truth), np.ones(4), list("abcd"), list("abcd"), repeats=20
            ).leaks
        )
        found = leakage(changes_of(rng, mixed), np.ones(4), list("abcd"), list("abcd"), repeats=300)
        covered_share += found.share.covers(1 / 1.16)
        covered_cell += found.matrix[0][1].covers(0.4)
    assert false <= 14, false
    assert 180 <= covered_share <= 196 and 180 <= covered_cell <= 196, (covered_share, covered_cell)


def _rare(rng, shape):
    return ((rng.random(shape) < 0.05) - 0.05) / 0.22


CHANCE = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape) - 1,
    "jumps": _rare,
}


@pytest.mark.parametrize("kind", CHANCE)
@pytest.mark.parametrize("random", [0, 8])
@pytest.mark.slow
def test_nothing_leaks_where_changes_of_no_effect_are_skewed(kind, random, monkeypatch):
    """8 readings of 4 edits in 16 samples, all but the diagonal chance: 5 % of 200 at most,
    within binomial bounds.
    """
    monkeypatch.setattr(
        "hcache.analysis.leakage.PERMUTATIONS", 199
    )  # exact whatever the number, and quicker
    names, false = [f"a{i}" for i in range(8)], 0
    for seed in range(200):
        rng = np.random.default_rng([8, seed])
        changes = CHANCE[kind](rng, (4, 16, 8))
        changes[np.arange(4), :, np.arange(4)] += 1
        nulls = CHANCE[kind](rng, (random, 16, 8)) if random else None
        false += bool(
            leakage(changes, np.ones(8), names[:4], names, nulls, repeats=2, seed=seed).leaks
        )
    assert false <= 16, false


def test_what_random_directions_do_as_well_is_no_leak(monkeypatch):
    """Any direction moves the last reading by about 1, either way; an edit that does so too
    leaks nothing.
    """
    monkeypatch.setattr("hcache.analysis.leakage.PERMUTATIONS", 199)
    false = 0
    for seed in range(100):
        rng = np.random.default_rng([9, seed])
        effects = np.concatenate([np.eye(3, 4), np.zeros((12, 4))])
        effects[:, 3] = rng.normal(size=15)
        changes = effects[:, None] + 0.2 * rng.normal(size=(15, 16, 4))
        false += bool(
            leakage(
                changes[:3], np.ones(4), list("abc"), list("abcd"), changes[3:], repeats=2
            ).leaks
        )
    assert false <= 10, false
    changes[0, :, 3] += 12
    assert leakage(
        changes[:3], np.ones(4), list("abc"), list("abcd"), changes[3:], repeats=2
    ).leaks == (("a", "d"),)


def test_a_share_by_chance_is_called_so():
    """With 4 edits of 4 attributes the true dealing is one of 24; edits that mean nothing get p
    at its rate.
    """
    found = leakage(
        changes_of(np.random.default_rng(0), np.eye(4)),
        np.ones(4),
        list("abcd"),
        list("abcd"),
        repeats=5,
    )
    assert found.p_of_share == pytest.approx(1 / 24)
    few = [
        leakage(
            changes_of(rng, rng.normal(size=(4, 4))),
            np.ones(4),
            list("abcd"),
            list("abcd"),
            repeats=2,
        ).p_of_share
        for rng in map(np.random.default_rng, range(60))
    ]
    assert np.mean(np.array(few) <= 0.05) <= 0.1 and 0.3 < np.median(few) < 0.7


@pytest.mark.slow
def test_edits_of_nothing_have_the_share_of_chance_on_average():
    shares = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(4, 4))
        shares.append(
            leakage(
                changes_of(rng, truth), np.ones(4), list("abcd"), list("abcd"), repeats=2
            ).share.value
        )
    assert np.mean(shares) == pytest.approx(0.25, abs=0.03)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_leakage_knows_no_units_and_no_order(seed, unit):
    rng = np.random.default_rng(seed)
    changes = changes_of(rng, np.eye(3) + 0.3, n=9)
    plain = leakage(changes, [1, 1, 1], list("abc"), list("abc"), repeats=20)
    moved = changes[:, rng.permutation(9)] * [1, unit, 1]
    other = leakage(moved, [1, unit, 1], list("abc"), list("abc"), repeats=20)
    assert other.share.value == pytest.approx(plain.share.value, abs=1e-9)
    assert other.matrix[0][1].value == pytest.approx(plain.matrix[0][1].value, abs=1e-9)


@pytest.mark.parametrize("kind", [*CHANCE, "heavy"])
def test_a_direction_that_is_one_more_random_one_controls_nothing_however_skewed_its_changes(kind):
    """200 data sets; 19 random directions, whose rank is p. Part of a direction's change is that
    of all samples.
    """
    draw = {**CHANCE, "heavy": lambda rng, shape: rng.standard_t(2, size=shape)}[kind]
    false = 0
    for seed in range(200):
        rng = np.random.default_rng([10, seed])
        changes = draw(rng, (20, 12)) + 2 * draw(rng, (20, 1))
        false += controllability(changes[0], changes[1:], repeats=2).p <= 0.05
    assert false <= 17, false


def test_the_rank_among_random_directions_is_p_however_many_they_are():
    rng = np.random.default_rng(0)
    changes, nulls = 1 + 0.1 * rng.normal(size=12), 0.05 * rng.normal(size=(19, 12))
    found = controllability(changes, nulls, repeats=20)
    assert found.p == 0.05 and len(found.drawn) == 19 and max(found.drawn) < 0.1
    few = controllability(changes, nulls[:8], repeats=20)
    assert few.p == pytest.approx(1 / 9), "of fewer it is a rank too, and cannot reach 0.05"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: linearity(np.ones((4, 3)), (-1, 0, 1)), "no response"),
        (lambda: linearity(np.ones((4, 3)), (1, 2, 3)), "include 0"),
        (lambda: linearity(np.ones((4, 3)), (0, 1)), "at 2 strengths"),
        (lambda: linearity(np.ones((1, 3)), (-1, 0, 1)), "2 samples"),
        (lambda: linearity(np.full((4, 3), np.nan), (-1, 0, 1)), "not finite"),
        (
            lambda: linearity(np.arange(12.0).reshape(4, 3), (-1, 0, 1), np.ones((2, 5, 3))),
            "shape of the readings",
        ),
        (
            lambda: linearity(np.arange(12.0).reshape(4, 3), (-1, 0, 1), np.ones((1, 4, 3))),
            "2 random directions",
        ),
        (lambda: additivity(*np.ones((4, 5, 2))), "neither direction"),
        (lambda: additivity(np.ones(5), np.ones(5), np.ones(5), np.ones(4)), "the same shape"),
        (lambda: controllability(np.ones(5), np.ones((1, 5))), "2 random directions"),
        (lambda: controllability(np.ones(5), np.ones((3, 4))), "nulls"),
        (lambda: controllability(np.ones(5), np.zeros((3, 5))), "do not move"),
        (lambda: controllability(np.ones(5), np.ones((3, 5)), 0.0), "above 0; got 0"),
        (lambda: controllability(np.full(5, np.nan), np.ones((3, 5))), "not finite"),
        (
            lambda: leakage(np.ones((1, 5, 2)), [1, 1], ["c"], ["a", "b"]),
            "'c' has no attribute of its name",
        ),
        (lambda: leakage(np.ones((1, 5, 2)), [1, 0], ["a"], ["a", "b"]), "b came with none"),
        (lambda: leakage(np.ones((1, 5, 3)), [1, 1], ["a"], ["a", "b"]), "got \\(1, 5, 3\\)"),
        (lambda: leakage(np.zeros((1, 5, 2)), [1, 1], ["a"], ["a", "b"]), "no edit changes"),
        (lambda: leakage(np.full((1, 5, 2), np.inf), [1, 1], ["a"], ["a", "b"]), "not finite"),
    ],
)
def test_what_has_no_measure_is_refused_in_words(call, words):
    with pytest.raises(AnalysisError, match=words):
        call()
