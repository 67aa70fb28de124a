"""Every method that finds directions, against what was planted or what a plain computation
gives.
"""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.svm import SVC
from tiny import synthetic_run

from hcache.directions import vae as vae_module
from hcache.directions.arithmetic import orthogonal_set, weighted_sum
from hcache.directions.direction import Direction, digest_of, in_units, random_direction, spread
from hcache.directions.fitting import METHODS, Fit, check_options, fit
from hcache.directions.pca import pca_directions
from hcache.directions.store import load_move, save_move
from hcache.directions.unit import net_in_words, net_of
from hcache.edits.recipe_directions import recall_move
from hcache.edits.shift import Shift
from hcache.errors import AnalysisError, UsageError
from hcache.features import Features
from hcache.progress import drive
from hcache.recipes.edits import DirectionRef
from hcache.recipes.window import Window
from hcache.sampling.loop import Moment
from hcache.specs import RunSpec

STEPS, SAMPLES, SHAPE = 3, 90, (3, 4, 4)
POSITIVES, NEGATIVES = tuple(range(0, 30)), tuple(range(30, 90))


@pytest.fixture(scope="module")
def planted():
    """Δh (step, c, h, w), half as long at every step as the one before."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(STEPS, *SHAPE)) * np.array([4.0, 2.0, 1.0])[:, None, None, None]


@pytest.fixture(scope="module")
def run(tmp_path_factory, planted):
    """Unit noise; samples 0 to 29 moved by the planted Δh."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(STEPS, SAMPLES, *SHAPE)) + 3
    h[:, :30] += planted[:, None]
    spec = RunSpec(model="planted", samples=SAMPLES, steps=STEPS, store_dtype="float32")
    return synthetic_run(
        tmp_path_factory.mktemp("methods"), spec, h.astype(np.float32), [(0, 40), (40, SAMPLES)]
    )


@pytest.fixture(scope="module")
def truth(run, planted):
    return in_units(planted.astype(np.float32), spread(run), {})


def made(run, method, model=None, **more):
    return drive(fit(Fit(method=method, run=run.name, **more), run, model))


def rms(array):
    return float(np.sqrt(np.square(array).mean()))


@pytest.mark.parametrize("method", ["naive", "supervised", "boundary"])
def test_methods_with_positives_find_what_was_planted(run, truth, method):
    (found,) = made(
        run, method, positives=POSITIVES, negatives=() if method == "naive" else NEGATIVES
    )
    assert found.cosine(truth) > 0.8
    assert rms(found.delta / found.sigma) == pytest.approx(1, rel=1e-4)
    assert Fit.from_json(found.made_by).method == method


def test_the_first_principal_component_is_what_was_planted(run, truth):
    found = made(run, "pca", options={"count": 2})
    assert abs(found[0].cosine(truth)) > 0.9 > 0.5 > abs(found[1].cosine(truth))


@pytest.mark.parametrize("over", ["joint", "per step"])
def test_components_by_gram_are_those_of_scikit_learn(run, over):
    _, found = [], drive(pca_directions(run, 3, over == "joint"))
    data = np.stack([run.matrix("h", step) for step in range(STEPS)])
    if over == "joint":
        whole = np.concatenate(list(data), 1)
        reference = PCA(3, svd_solver="full").fit(whole).components_.reshape(3, STEPS, *SHAPE)
        for component, expected in zip(found, reference, strict=True):
            a, b = component.delta.ravel(), expected.ravel()
            assert abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) == pytest.approx(1, abs=1e-5)
        return
    for step in range(STEPS):
        reference = PCA(3, svd_solver="full").fit(data[step])
        lengths = [np.linalg.norm(c.delta[step]) for c in found]
        for component, expected, length in zip(found, reference.components_, lengths, strict=True):
            assert abs(component.delta[step].ravel() @ expected) / length == pytest.approx(
                1, abs=1e-5
            )


@pytest.mark.parametrize("joint", [True, False])
def test_components_of_very_many_samples_are_streamed_to_the_same_end(run, monkeypatch, joint):
    """The first alone stands out of the noise, and of such components alone is it promised."""
    exact, _ = drive(pca_directions(run, 2, joint=joint))
    monkeypatch.setattr("hcache.directions.pca.EXACT", SAMPLES - 1)
    streamed = drive(pca_directions(run, 2, joint=joint))
    a, b = exact.delta.ravel(), streamed[0].delta.ravel()
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) == pytest.approx(1, abs=5e-5)
    assert np.linalg.norm(b) == pytest.approx(np.linalg.norm(a), rel=1e-3)
    assert len(streamed) == 2


def test_components_are_as_long_as_a_standard_deviation_along_them(run):
    """Against each other: the ratio of two steps' lengths is that of the singular values."""
    found = drive(pca_directions(run, 1, joint=False))[0]
    values = [
        PCA(1, svd_solver="full").fit(run.matrix("h", step)).singular_values_[0]
        for step in range(STEPS)
    ]
    lengths = [np.linalg.norm(found.delta[step]) for step in range(STEPS)]
    np.testing.assert_allclose(
        np.array(lengths) / lengths[0], np.array(values) / values[0], rtol=1e-4
    )


def test_neighbouring_steps_of_a_component_point_to_the_same_samples(tmp_path):
    """The same coordinates at every step, with signs of h that alternate: scores must not flip."""
    rng = np.random.default_rng(0)
    axis, scores = rng.normal(size=SHAPE), rng.normal(size=40)
    h = np.stack([(-1) ** t * scores[:, None, None, None] * axis for t in range(4)])
    h = h + 0.01 * rng.normal(size=h.shape)
    run = synthetic_run(
        tmp_path,
        RunSpec(model="m", samples=40, steps=4, store_dtype="float32"),
        h.astype(np.float32),
    )
    found = drive(pca_directions(run, 1, joint=False))[0]
    signs = [np.sign((run.matrix("h", t) @ found.delta[t].ravel()) @ scores) for t in range(4)]
    assert len(set(signs)) == 1


def test_a_boundary_is_that_of_a_plain_support_vector_machine(run):
    (found,) = made(run, "boundary", positives=POSITIVES, negatives=NEGATIVES, options={"step": 1})
    h = run.matrix("h", 1)
    z = (h - h.mean(0)) / h.std(0) / np.sqrt(h.shape[1])
    plain = SVC(kernel="linear").fit(z, np.arange(SAMPLES) < 30).coef_[0]
    normal = (found.delta[1].ravel()) / h.std(0)
    assert normal @ plain / np.linalg.norm(normal) / np.linalg.norm(plain) == pytest.approx(
        1, abs=1e-4
    )
    assert not found.delta[[0, 2]].any(), "the other steps are left alone"


@pytest.fixture(scope="module")
def vae(run):
    return made(run, "vae", positives=POSITIVES, options={"iterations": 300})[0]


def test_a_vae_moves_others_onto_the_positives(run, vae, truth):
    """Negatives go where the planted Δh leads, further with more strength; as far as told, in
    the mean of samples.
    """
    model = _StandIn(SHAPE)
    for t in (0, 1):
        h = torch.from_numpy(run.matrix("h", t)[30:60].reshape(-1, *SHAPE))
        before = 0.0
        for strength in (0.5, 1.0, 1.5):
            moved = vae.bind(model)(h, Moment(index=t, t=0), torch.full((30,), strength))
            z = ((moved - h).numpy()) / vae.sigma[t]
            along = (z * (truth.delta[t] / truth.sigma[t])).mean((1, 2, 3)) / rms(
                truth.delta[t] / truth.sigma[t]
            )
            assert along.mean() > before
            profile = rms(truth.delta[t] / truth.sigma[t])
            assert np.sqrt(np.square(z).mean()) == pytest.approx(strength * profile, rel=0.15)
            before = along.mean()
        assert before > 0.3


def test_a_vae_descends_until_its_loss_is_least(run):
    """At the strength that undoes the unit, h is where it is reconstructed best; half way there
    it is not.
    """
    options = {"iterations": 300, "to_mean": "kept", "components": 0, "latent": 16}
    (vae,) = made(run, "vae", positives=POSITIVES, options=options)
    model, t = _StandIn(SHAPE), 0
    h = torch.from_numpy(run.matrix("h", t)[30:60].reshape(-1, *SHAPE))
    losses = []
    for share in (0.0, 0.5, 1.0):
        strengths = torch.full((30,), share / float(vae.scale[t]))
        moved = Shift(vae, strengths.tolist(), Window(first=0, last=2), model)(
            Features(h=h, skips=()), Moment(index=t, t=0)
        ).h
        losses.append(_reconstruction_loss(vae, moved, t))
    assert losses[0] > losses[1] > losses[2] and losses[2] < 0.02 * losses[0], losses


def _net_of(move, run, rows, strength=1.0):
    """What a move does to h of some rows, in σ: (step, n, d)."""
    sigma, found = spread(run), []
    for t in range(run.spec.steps):
        h = torch.from_numpy(run.matrix("h", t)[rows].reshape(-1, *run.anatomy.h))
        moved = move.bind(_StandIn(run.anatomy.h))(
            h, Moment(index=t, t=0), torch.full((len(h),), strength)
        )
        found.append(((moved - h).numpy() / sigma[t]).reshape(len(h), -1))
    return np.stack(found)


@pytest.mark.parametrize("method", ["vae", "local"])
def test_moves_of_each_sample_have_the_unit_of_directions(run, method):
    """A strength of 1 is a root mean square of 1 in σ over samples and steps, and strength
    multiplies it.
    """
    (move,) = made(
        run, method, positives=POSITIVES, options={"iterations": 100} if method == "vae" else {}
    )
    one = _net_of(move, run, slice(30, 90))
    assert rms(one) == pytest.approx(1, rel=0.03)
    np.testing.assert_allclose(
        _net_of(move, run, slice(30, 90), -2.0), -2 * one, rtol=1e-3, atol=1e-3
    )
    assert 0 < move.made_by["net"]["net_rms"] and -1 <= move.made_by["net"]["to_mean"] <= 1
    alone = np.concatenate([_net_of(move, run, slice(row, row + 1)) for row in (40, 41)], 1)
    np.testing.assert_allclose(
        alone, one[:, 10:12], atol=1e-3, err_msg="whatever samples are moved beside it"
    )


def test_what_any_move_does_in_the_end_is_measured_alike(run, vae):
    model = _StandIn(SHAPE)
    found = net_of(vae, model, run)
    assert found.rms == pytest.approx(1, rel=0.05) and abs(found.to_mean) < 0.01
    (naive,) = made(run, "naive", positives=POSITIVES)
    found = net_of(naive, model, run)
    assert (
        found.rms == pytest.approx(1, rel=1e-3)
        and -1 < found.to_mean < 1
        and set(found.to_json()) == {"net_rms", "to_mean"}
    )


def test_the_way_to_the_mean_is_taken_out_of_a_vaes_move_and_told(run):
    options = {"iterations": 100}
    left, whole = (
        made(run, "vae", positives=POSITIVES, options={**options, "to_mean": each})[0]
        for each in ("removed", "kept")
    )
    cosines = []
    for move in (left, whole):
        delta = _net_of(move, run, slice(30, 90))
        z = np.stack(
            [(h - h.mean(0)) / h.std(0) for h in (run.matrix("h", t) for t in range(STEPS))]
        )[:, 30:90]
        cosines.append(
            (-(delta * z).sum(2) / np.linalg.norm(delta, axis=2) / np.linalg.norm(z, axis=2)).mean()
        )
    assert abs(cosines[0]) < 1e-3 and cosines[1] > 0.2
    assert whole.made_by["net"]["to_mean"] == pytest.approx(cosines[1], abs=0.05)
    assert left.made_by["net"]["to_mean_before"] == pytest.approx(cosines[1], abs=0.05)


def two_kinds(folder, seed):
    """240 samples of two kinds that h shows, 40 positives; what makes a positive is another Δh
    in each kind.
    """
    rng = np.random.default_rng(seed)
    shows, one, other = np.linalg.qr(rng.normal(size=(128, 3)))[0].T * np.sqrt(128)
    kind = np.where(np.arange(240) % 2, 1, -1)
    h = 0.5 * rng.normal(size=(2, 240, 128)) + 0.3 * rng.normal(size=(240, 6)) @ rng.normal(
        size=(6, 128)
    )
    h += 0.7 * kind[:, None] * shows
    h[:, :40] += np.where(kind[:40, None] > 0, one, other)
    spec = RunSpec(model="planted", samples=240, steps=2, store_dtype="float32")
    return (
        synthetic_run(folder, spec, h.reshape(2, 240, 8, 4, 4).astype(np.float32)),
        kind,
        one,
        other,
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("local", {}),
        ("vae", {"iterations": 200}),
        ("vae", {"iterations": 200, "components": 0, "latent": 16}),
        ("vae", {"iterations": 200, "components": 8, "latent": 2, "networks": "one a step"}),
        ("naive", {}),
    ],
)
def test_of_positives_of_two_kinds_a_sample_goes_to_its_own(tmp_path, method, options):
    """The naive direction goes between them: to a sample's own kind as often as not."""
    run, kind, one, other = two_kinds(tmp_path, 0)
    (move,) = made(run, method, positives=range(40), options=options)
    rows = slice(100, 200)
    delta = _net_of(move, run, rows) * spread(run).reshape(2, 1, -1)
    ahead = np.where(kind[rows] > 0, delta @ one - delta @ other, delta @ other - delta @ one)
    assert (ahead > 0).mean() == 0.5 if method == "naive" else (ahead > 0).mean() > 0.95


ALL_OF_H = {"components": 0, "latent": 16}


@pytest.mark.parametrize("told", [{}, {"descent": "strides"}], ids=["untold", "told"])
def test_a_vae_of_before_there_was_a_unit_is_read_and_made_again(run, tmp_path, told):
    """Its recipe has no word of how it descends, or of how much of h it sees; what it says of
    itself makes it again, bit for bit.
    """
    options = {"iterations": 20}
    strides = {**options, **ALL_OF_H, "descent": "strides"}
    (former,) = made(run, "vae", positives=POSITIVES, options=strides)
    assert former.scale is None and "scale" not in former.arrays()
    made_by = {**former.made_by, "options": {**options, **told}}
    ref = DirectionRef(digest=digest_of(former), name="gone", made_by=made_by)
    again = recall_move(ref, run, None, tmp_path)
    assert digest_of(again) == digest_of(former) and again.scale is None
    save_move(run, "former", former, replace=True)
    assert load_move(run, "former").scale is None
    delta = _net_of(former, run, slice(30, 40))
    assert np.sqrt(np.square(delta).mean(2)).max() <= 1.001, "no further than the way is long"


def test_a_vae_of_before_it_saw_components_is_made_again(run, tmp_path):
    options = {"iterations": 20}
    (former,) = made(run, "vae", positives=POSITIVES, options={**options, **ALL_OF_H})
    (now,) = made(run, "vae", positives=POSITIVES, options=options)
    assert former.axes is None and now.axes is not None
    made_by = {**former.made_by, "options": options}
    ref = DirectionRef(digest=digest_of(former), name="gone", made_by=made_by)
    assert digest_of(recall_move(ref, run, None, tmp_path)) == digest_of(former) != digest_of(now)
    other = DirectionRef(digest="0" * 12, name="gone", made_by=made_by)
    with pytest.raises(UsageError, match="fitted again from its description, but the result diff"):
        recall_move(other, run, None, tmp_path)


@pytest.mark.parametrize("width", [(8, 1, 1), (512, 4, 4)], ids=["few channels", "few samples"])
def test_a_vae_sees_as_many_components_as_there_are(tmp_path, width):
    """Components without variance are not made of what rounding left."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(2, 20, *width)).astype(np.float32)
    h[:, :, :2] = 1.0  # without variance
    spec = RunSpec(model="planted", samples=20, steps=2, store_dtype="float32")
    run = synthetic_run(tmp_path, spec, h)
    (move,) = made(run, "vae", positives=range(6), options={"iterations": 20})
    steps, count, channels = move.axes.shape
    assert (steps, count, channels) == (2, min(19, math.prod(width)), math.prod(width))
    for axes in move.axes.astype(np.float64):
        products = axes @ axes.T / np.square(axes).sum(1).mean()
        np.testing.assert_allclose(products, np.eye(count), atol=1e-4)
    assert net_of(move, _StandIn(width), run).rms == pytest.approx(1, abs=0.3)


def test_components_of_a_large_run_are_those_of_some_of_its_samples(run, monkeypatch):
    """A matrix of all pairs of 100,000 samples would take 80 GB."""
    options = {"iterations": 20, "components": 3}
    (whole,) = made(run, "vae", positives=POSITIVES, options=options)
    monkeypatch.setattr(vae_module, "SEEN", len(run) // 2)
    (half,) = made(run, "vae", positives=POSITIVES, options=options)
    (again,) = made(run, "vae", positives=POSITIVES, options=options)
    assert digest_of(half) == digest_of(again) != digest_of(whole)
    for one, other in zip(whole.axes, half.axes, strict=True):
        shared = np.linalg.svd(_unit(one) @ _unit(other).T, compute_uv=False)
        assert shared[0] > 0.9, "the first planted directions are seen by both"


def _unit(axes):
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def test_what_a_move_of_each_sample_is_in_the_end_is_told_in_words(run):
    (vae,) = made(run, "vae", positives=POSITIVES, options={"iterations": 20})
    said = net_in_words(vae.made_by["net"])
    assert "root mean square of" in said and "that part was taken out" in said
    options = {"iterations": 20, "to_mean": "kept"}
    (kept,) = made(run, "vae", positives=POSITIVES, options=options)
    (local,) = made(run, "local", positives=POSITIVES)
    for move in (kept, local):
        said = net_in_words(move.made_by["net"])
        assert said.endswith(f"of all samples is {move.made_by['net']['to_mean']:.2f}.")
    for nothing in (None, {}, "much", {"net_rms": "1"}, [1]):
        assert net_in_words(nothing) == ""


def _reconstruction_loss(vae, h, t):
    from hcache.directions.vae_network import one_hot, reconstruct

    weights = {name: torch.from_numpy(a) for name, a in vae.weights.items()}
    z = ((h - torch.from_numpy(vae.mean[t])) / torch.from_numpy(vae.sigma[t])).flatten(1)
    return float((z - reconstruct(weights, z, one_hot(t, STEPS, z))[0]).square().mean())


class _StandIn:
    """What a move asks of a model."""

    device = torch.device("cpu")

    def __init__(self, h):
        from hcache.cards import Card
        from hcache.specs import Anatomy

        self.anatomy, self.card = (
            Anatomy(x=(3, 8, 8), image=(8, 8, 3), h=h),
            Card(name="stand-in", source="none"),
        )


def test_the_same_fit_gives_the_same_direction(run):
    """From what it says of itself, through JSON: that is what recipes stand on."""
    for method, more in (
        ("naive", {"positives": POSITIVES}),
        ("supervised", {"positives": POSITIVES, "negatives": NEGATIVES}),
        ("boundary", {"positives": POSITIVES, "negatives": NEGATIVES, "options": {"c": 0.5}}),
        ("vae", {"positives": POSITIVES, "options": {"iterations": 20}}),
        (
            "vae",
            {
                "positives": POSITIVES,
                "options": {"iterations": 20, "components": 5, "networks": "one a step"},
            },
        ),
        ("local", {"positives": POSITIVES}),
        ("pca", {"options": {"count": 3, "over": "per step"}}),
        ("random", {"options": {"seed": 3}}),
    ):
        moves = made(run, method, **more)
        for move in moves:
            again = Fit.from_json(json.loads(json.dumps(move.made_by)))
            assert digest_of(drive(fit(again, run))[again.component]) == digest_of(move), method
        assert len({digest_of(move) for move in moves}) == len(moves)


def test_every_method_says_what_it_is():
    for name in METHODS:
        method = METHODS[name]
        assert method.name == name and method.title and method.text.endswith(".")
        assert all(option.text for option in method.options.values())


def test_sums_are_sums(run):
    a, b = (random_direction(spread(run), seed, "planted", run.timesteps) for seed in (0, 1))
    total = weighted_sum([a, b], [1, -1])
    expected = in_units(a.delta - b.delta, a.sigma, {})
    np.testing.assert_allclose(total.delta, expected.delta, rtol=1e-4, atol=1e-6)
    with pytest.raises(AnalysisError, match="cancel"):
        weighted_sum([a, a], [1, -1])
    with pytest.raises(UsageError, match="weights"):
        weighted_sum([a, b], [1])


def test_an_orthogonal_set_is_orthogonal_and_keeps_the_first(run):
    found = orthogonal_set(
        [random_direction(spread(run), seed, "planted", run.timesteps) for seed in range(3)]
    )
    flat = np.stack([(d.delta / d.sigma).ravel().astype(np.float64) for d in found])
    gram = flat @ flat.T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-4 * gram.max())
    assert digest_of(found[0]) == digest_of(
        random_direction(spread(run), 0, "planted", run.timesteps)
    )


def test_projecting_out_what_was_fitted_leaves_nothing_to_fit(run, planted, tmp_path):
    """Take the direction's part out of every sample's h."""
    (found,) = made(run, "supervised", positives=POSITIVES, negatives=NEGATIVES)
    h = np.stack([run.matrix("h", t) for t in range(STEPS)])
    flat = found.delta.reshape(STEPS, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    h = h - np.einsum("tn,td->tnd", np.einsum("tnd,td->tn", h, unit), unit)
    spec = RunSpec(model="without", samples=SAMPLES, steps=STEPS, store_dtype="float32")
    without = synthetic_run(tmp_path, spec, h.reshape(STEPS, SAMPLES, *SHAPE).astype(np.float32))
    with pytest.raises(AnalysisError, match="no length"):
        made(without, "supervised", positives=POSITIVES, negatives=NEGATIVES)
    (other,) = made(without, "supervised", positives=range(45), negatives=range(45, 90))
    left = np.einsum("td,td->t", other.delta.reshape(STEPS, -1), unit) / np.linalg.norm(other.delta)
    assert np.abs(left).max() < 1e-5, "nor along it, whatever is fitted"


def test_arithmetic_takes_saved_directions_by_name(run):
    for name, seed in (("one", 0), ("two", 1)):
        save_move(
            run, name, random_direction(spread(run), seed, "planted", run.timesteps), replace=True
        )
    (total,) = made(run, "arithmetic", options={"of": "one, two", "weights": "2,-1"})
    assert [operand["name"] for operand in total.made_by["operands"]] == ["one", "two"]
    (alone,) = made(run, "arithmetic", options={"of": "one,two", "operation": "without"})
    assert abs(alone.cosine(random_direction(spread(run), 1))) < 1e-6, "in the cosine that is shown"
    assert len(made(run, "arithmetic", options={"of": "one,two", "operation": "orthogonal"})) == 2
    for options, words in (
        ({"of": "one"}, "2 saved directions"),
        ({"of": "one,twp"}, "two"),
        ({"of": "one,two", "weights": "1,x"}, "numbers"),
        ({"of": "one,two", "operation": "times"}, "one of sum"),
    ):
        with pytest.raises(UsageError, match=words):
            made(run, "arithmetic", options=options)


def test_moves_of_each_sample_do_not_add_up(run, vae):
    save_move(run, "vae", vae, replace=True)
    save_move(run, "one", random_direction(spread(run), 0, "planted", run.timesteps), replace=True)
    with pytest.raises(AnalysisError, match="by its own"):
        made(run, "arithmetic", options={"of": "one,vae"})


def test_options_are_checked_by_name_and_type(run):
    method = METHODS["vae"]
    assert check_options(method, {"iterations": "12", "beta": "0.5"})["iterations"] == 12
    for options, words in (
        ({"iteration": 1}, "iterations"),
        ({"iterations": "many"}, "iterations of vae: expected a whole number, got"),
        ({"iterations": 0}, "1 or more"),
    ):
        with pytest.raises(UsageError, match=words):
            made(run, "vae", positives=POSITIVES, options=options)


@pytest.mark.parametrize(
    ("method", "more", "error", "words"),
    [
        ("vae", {"positives": (1, 2)}, AnalysisError, "needs 5 positives or more; got 2"),
        (
            "local",
            {"positives": (1, 2, 3)},
            AnalysisError,
            "16 neighbours .* take 17 or more of either, got 3 and 87",
        ),
        (
            "local",
            {"positives": POSITIVES, "options": {"neighbours": 0}},
            UsageError,
            "1 or more, got 0",
        ),
        ("boundary", {"positives": (1, 2), "negatives": (3,)}, AnalysisError, "2 negatives"),
        ("boundary", {"positives": (1, 2), "negatives": (2, 3)}, UsageError, "sample 2 is among"),
        ("naive", {"positives": (1, 500)}, UsageError, "not in run"),
        ("navie", {}, UsageError, "naive"),
        ("jacobian", {}, UsageError, "runs the model"),
        ("pca", {"options": {"count": 100}}, UsageError, "1 to 89"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_words(run, method, more, error, words):
    with pytest.raises(error, match=words):
        made(run, method, **more)


def test_a_direction_on_other_steps_is_brought_to_them(run):
    (found,) = made(run, "naive", positives=POSITIVES)
    assert found.timesteps == run.timesteps == (2, 1, 0)
    finer = found.resampled((2.0, 1.5, 1.0, 0.5, 0.0))
    assert finer.delta.shape[0] == 5 and rms(finer.delta / finer.sigma) == pytest.approx(
        1, rel=1e-4
    )
    middle = finer.delta[1] / np.linalg.norm(finer.delta[1])
    expected = found.delta[0] + found.delta[1]
    np.testing.assert_allclose(middle, expected / np.linalg.norm(expected), atol=1e-5)
    np.testing.assert_allclose(found.resampled(found.timesteps).delta, found.delta, rtol=1e-4)
    with pytest.raises(AnalysisError, match="timesteps"):
        Direction(delta=found.delta, sigma=found.sigma).resampled((1.0,))


def test_a_direction_of_another_model_is_refused_by_its_shape(run, tiny_model):
    (found,) = made(run, "naive", positives=POSITIVES)
    with pytest.raises(AnalysisError, match="3x4x4.*16x4x4"):
        Shift(found, [1.0], Window(first=0, last=2), tiny_model)


def test_per_step_every_step_has_unit_length(run):
    (found,) = made(run, "naive", positives=POSITIVES)
    np.testing.assert_allclose(found.per_step().profile, 1, rtol=1e-4)
    assert found.profile[0] > 1.5 * found.profile[2]


def test_an_option_is_taken_typed_from_json_and_from_numpy_and_no_number_is_cut():
    vae = METHODS["vae"]
    for value in (3, "3", np.int64(3)):
        assert check_options(vae, {"iterations": value})["iterations"] == 3
    assert check_options(vae, {"beta": 2})["beta"] == 2.0
    for value in (2.7, "2.7", True, None, [3]):
        with pytest.raises(UsageError, match="option iterations of vae: expected a whole number"):
            check_options(vae, {"iterations": value})
    with pytest.raises(UsageError, match="option beta of vae: expected a number, got 'nan'"):
        check_options(vae, {"beta": math.nan})
