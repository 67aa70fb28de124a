"""Sparse features: a planted dictionary is recovered, and trainings go on where they stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_cli import out_of
from tiny import drain, synthetic_run

from hcache.cli.main import main
from hcache.directions.direction import digest_of
from hcache.directions.fitting import Fit, fit
from hcache.errors import AnalysisError, NotStoredError, UnknownSiteError, UsageError
from hcache.extraction.run import extract
from hcache.sparse import training
from hcache.sparse.dictionary import dictionary_path, load_dictionary, make_dictionary
from hcache.sparse.network import decoded, first_weights, top_k
from hcache.sparse.plan import plan_of
from hcache.sparse.tokens import Tokens, shuffled
from hcache.specs import RunSpec

N, STEPS, CHANNELS, SIDE, ATOMS = 40, 2, 16, 6, 24
OPTIONS = {"features": 32, "active": 3, "tokens": 120_000, "seed": 0}


def planted(seed=0, n=N):
    """h of which every place is a sum of two of a few directions, and a little noise.

    Returns h (steps, n, c, h, w) and the directions (atoms, c).
    """
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(ATOMS, CHANNELS))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    places = STEPS * n * SIDE**2
    codes = np.zeros((places, ATOMS))
    for _ in range(2):
        codes[np.arange(places), rng.integers(ATOMS, size=places)] = rng.uniform(1, 2, places)
    tokens = codes @ atoms + 0.02 * rng.normal(size=(places, CHANNELS)) + 5
    h = tokens.reshape(STEPS, n, SIDE**2, CHANNELS).swapaxes(2, 3)
    return h.reshape(STEPS, n, CHANNELS, SIDE, SIDE).astype(np.float32), atoms


def run_of(folder, h, shards=None, **changes):
    spec = RunSpec(model="planted", samples=h.shape[1], steps=STEPS, **changes)
    return synthetic_run(folder / "home", spec, h, shards)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A planted run, its directions, and the dictionary that was trained on it."""
    h, atoms = planted()
    run = run_of(tmp_path_factory.mktemp("sparse"), h, [(0, 15), (15, 30), (30, N)])
    shares, found = drain(make_dictionary(run, plan_of(run, "h", OPTIONS)))
    return run, atoms, found, shares


def test_a_planted_dictionary_is_recovered(made):
    _, atoms, found, shares = made
    assert shares == sorted(shares) and 0.99 < shares[-1] <= 1
    sigma = found.array("sigma").mean((0, 2))
    truth = atoms / sigma
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    best = (truth @ found.decoder.T).max(1)
    assert best.min() > 0.9, best.round(2)
    np.testing.assert_allclose(np.linalg.norm(found.decoder, axis=1), 1, atol=1e-5)


def test_held_out_variance_stands_beside_pca_and_the_null(made):
    run, _, found, _ = made
    own, pca, null = (found.about[name] for name in ("explained", "pca", "null"))
    assert own["value"] > 0.9 and own["low"] > null["high"] and own["low"] > pca["high"]
    assert own["n"] == len(found.about["held_out"]) == 8
    assert found.about["losses"][-1] < found.about["losses"][0]


def test_noise_has_no_dictionary(tmp_path):
    """Of independent channels a dictionary explains no more than its null does."""
    h = np.random.default_rng(1).normal(size=(STEPS, 20, 16, 4, 4)).astype(np.float32)
    run = run_of(tmp_path, h)
    _, found = drain(make_dictionary(run, plan_of(run, "h", OPTIONS | {"tokens": 20_000})))
    own, null = found.about["explained"], found.about["null"]
    assert own["low"] < null["high"] and null["low"] < own["high"]


def test_what_features_do_is_what_the_network_says(made):
    """Rates, strengths and samples again, by a plain loop over all places."""
    run, _, found, _ = made
    z = np.stack([run.matrix("h", step) for step in range(STEPS)]).reshape(STEPS, N, CHANNELS, -1)
    z = (z - found.array("mean")[:, None]) / found.array("sigma")[:, None]
    codes = np.maximum((np.moveaxis(z, 2, 3) - found.array("bias")) @ found.array("encoder").T, 0)
    kept = np.sort(codes, -1)[..., -OPTIONS["active"] :, None].min(-2)
    codes = np.where(codes >= kept, codes, 0)
    np.testing.assert_allclose(found.rate, (codes > 0).mean((1, 2)), atol=1e-3)
    np.testing.assert_allclose(found.samples, codes.mean((0, 2)), atol=1e-3)
    strength = np.moveaxis(codes.mean(1), 1, 2)
    np.testing.assert_allclose(found.array("strength"), strength, atol=2e-3)
    energy = np.square(codes).mean((0, 1, 2))
    assert (np.diff(energy) < 1e-3).all(), "the strongest features are first"
    assert found.alive == (energy > 0).sum()
    assert found.top[0, 0] == found.samples[:, 0].argmax()
    sigma, decoder = found.array("sigma"), found.decoder
    expected = strength[:, 3][:, None] * decoder[3][:, None] * sigma
    np.testing.assert_allclose(found.delta(3), expected, atol=2e-2)
    np.testing.assert_allclose(found.delta(3, everywhere=True), decoder[3][:, None] * sigma)


def test_dead_features_are_counted_and_refused(tmp_path):
    """Few different vectors leave most of a dictionary dead."""
    rng = np.random.default_rng(2)
    few = rng.normal(size=(2, 16))
    h = few[rng.integers(2, size=(STEPS, 20, 4, 4))].transpose(0, 1, 4, 2, 3).astype(np.float32)
    run = run_of(tmp_path, h)
    plan = plan_of(run, "h", OPTIONS | {"active": 1, "features": 64, "tokens": 2000})
    _, found = drain(make_dictionary(run, plan))
    assert 1 <= found.alive < 64 and not found.rate[:, found.alive :].any()
    with pytest.raises(UsageError, match=f"feature {found.alive} is dead.*Features 0 to"):
        found.delta(found.alive)
    with pytest.raises(UsageError, match="features 0 to 63, got 64"):
        found.delta(64)


def halted(work, at):
    """Stops a piece of work at a share, as a cancelled task is."""
    for share in work:
        if share >= at:
            work.close()
            return
    raise AssertionError("it came to its end")


def test_a_training_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("hcache.sparse.tokens.CHUNK", 16 * 300)
    h, _ = planted(n=20)
    shards = [(0, 5), (5, 10), (10, 20)]
    plan, results, batches = None, [], []
    original = training.Trainer.batch

    def counted(self, x, share):
        batches.append(len(x))
        return original(self, x, share)

    monkeypatch.setattr(training.Trainer, "batch", counted)
    for name, stops in (("whole", ()), ("stopped", (0.2, 0.6))):
        run = run_of(tmp_path / name, h, shards)
        plan = plan_of(run, "h", OPTIONS | {"tokens": 4000})
        for stop in stops:
            halted(make_dictionary(run, plan), stop)
            assert load_dictionary(run, plan) is None
            assert list((run.folder / "sparse").glob("*.checkpoint"))
        batches.clear()
        _, found = drain(make_dictionary(run, plan))
        results.append((found, len(batches)))
        assert not list((run.folder / "sparse").glob("*.checkpoint"))
    (whole, all_batches), (stopped, rest) = results
    assert rest < all_batches, "it did not begin anew"
    for name in ("encoder", "decoder", "bias", "samples"):
        np.testing.assert_array_equal(whole.array(name), stopped.array(name), err_msg=name)
    assert whole.about["losses"] == stopped.about["losses"]


def test_a_checkpoint_of_something_else_is_not_gone_on_from(tmp_path):
    h, _ = planted(n=20)
    run = run_of(tmp_path, h)
    plan = plan_of(run, "h", OPTIONS | {"tokens": 2000})
    trainer = training.Trainer(Tokens(run, plan), null=False)
    path = run.folder / "sparse" / "x.checkpoint"
    trainer.save(path)
    assert training.Trainer(Tokens(run, plan), null=False).load(path)
    assert not training.Trainer(Tokens(run, plan), null=True).load(path)
    assert not training.Trainer(Tokens(run, replace(plan, seed=1)), null=False).load(path)
    path.write_bytes(b"no checkpoint")
    assert not training.Trainer(Tokens(run, plan), null=False).load(path)


def test_a_run_that_grew_has_other_samples(tmp_path):
    h, _ = planted(n=24)
    small = run_of(tmp_path / "a", h[:, :16], [(0, 16)])
    plan = plan_of(small, "h", OPTIONS | {"tokens": 1000})
    _, found = drain(make_dictionary(small, plan))
    assert load_dictionary(small, plan) is not None
    grown = run_of(tmp_path / "b", h, [(0, 16), (16, 24)])
    grown_path = dictionary_path(grown, plan)
    grown_path.parent.mkdir()
    grown_path.write_bytes(found.path.read_bytes())
    assert load_dictionary(grown, plan) is None
    _, again = drain(make_dictionary(grown, plan))
    assert again.samples.shape == (24, 32) and load_dictionary(grown, plan) is not None
    assert len(load_dictionary(small, plan).samples) == 16


def test_a_damaged_file_is_trained_anew(tmp_path):
    h, _ = planted(n=16)
    run = run_of(tmp_path, h)
    plan = plan_of(run, "h", OPTIONS | {"tokens": 1000})
    _, found = drain(make_dictionary(run, plan))
    found.path.write_bytes(found.path.read_bytes()[:300])
    assert load_dictionary(run, plan) is None


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"active": 33}, UsageError, "expected 1 to 32, got 33"),
        ({"active": 16}, UsageError, "16 channels of h without.*expected 1 to 15 active"),
        ({"features": 5000}, AnalysisError, "takes as many activations; h .* has 512 to train on"),
        ({"features": 2**16, "active": 3}, AnalysisError, "as many activations"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, options, kind, said):
    h = np.random.default_rng(0).normal(size=(STEPS, 20, 16, 4, 4)).astype(np.float32)
    with pytest.raises(kind, match=said):
        plan_of(run_of(tmp_path, h), "h", OPTIONS | options)


def test_too_few_samples_too_large_arrays_and_nan_are_refused(tmp_path, monkeypatch):
    h, _ = planted(n=20)
    with pytest.raises(AnalysisError, match="take 10 samples or more.* has 9"):
        plan_of(run_of(tmp_path / "few", h[:, :9]), "h", OPTIONS)
    run = run_of(tmp_path / "large", h)
    monkeypatch.setattr("hcache.sparse.plan.MOST_NUMBERS", 1000)
    with pytest.raises(UsageError, match="does not fit into memory"):
        plan_of(run, "h", OPTIONS)
    monkeypatch.undo()
    h[1, 3, 2] = np.nan
    broken = run_of(tmp_path / "nan", h)
    with pytest.raises(AnalysisError, match="not finite at step 1 of the samples from 0"):
        drain(make_dictionary(broken, plan_of(broken, "h", OPTIONS)))
    same = run_of(tmp_path / "same", np.ones_like(h))
    with pytest.raises(AnalysisError, match="the same in all samples"):
        drain(make_dictionary(same, plan_of(same, "h", OPTIONS)))


def test_automatic_sizes_follow_the_site(tmp_path):
    h, _ = planted(n=20)
    plan = plan_of(run_of(tmp_path, h), "h", OPTIONS | {"features": 0, "active": 0, "tokens": 0})
    assert (plan.features, plan.active, plan.tokens) == (64, 2, 100 * 16 * STEPS * SIDE**2)


def test_an_epoch_sees_every_training_token_once(tmp_path, monkeypatch):
    monkeypatch.setattr("hcache.sparse.tokens.CHUNK", 16 * 2000)
    h, _ = planted(n=20)
    run = run_of(tmp_path, h, [(0, 7), (7, 20)])
    tokens = Tokens(run, plan_of(run, "h", OPTIONS | {"tokens": 16 * STEPS * SIDE**2}))
    _, spread = drain(tokens.spread())
    assert tokens.share == 1 and tokens.epochs == 1
    seen = np.concatenate([tokens.chunk(c, i, spread) for i, c in enumerate(tokens.chunks())])
    z = np.stack([run.matrix("h", s) for s in range(STEPS)])[:, ~tokens.held_out]
    np.testing.assert_allclose(spread.mean.reshape(STEPS, -1), z.mean(1), atol=1e-4)
    np.testing.assert_allclose(spread.sigma.reshape(STEPS, -1), z.std(1), atol=1e-4)
    z = np.moveaxis(spread.scaled(z), 2, 3).reshape(-1, 16)
    np.testing.assert_allclose(np.sort(seen, 0), np.sort(z, 0), atol=1e-5)
    few = Tokens(run, replace(tokens.plan, tokens=200))
    assert sum(len(few.chunk(c, i, spread)) for i, c in enumerate(few.chunks())) in (199, 200, 201)


def test_shuffled_channels_keep_their_values_and_lose_each_other():
    x = np.random.default_rng(0).normal(size=(500, 1)) * np.ones((1, 3))
    apart = shuffled(x, 0)
    np.testing.assert_array_equal(np.sort(apart, 0), np.sort(x, 0))
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.2


def test_top_k_is_the_papers():
    weights = first_weights(6, 4, 0)
    before = torch.tensor([[3.0, -1.0, 2.0, 0.5, -2.0, 1.0], [-1.0, -2, -3, -4, -5, -6]])
    values, features = top_k(before, 2)
    assert sorted(values[0].tolist()) == [2, 3] and set(features[0].tolist()) == {0, 2}
    assert values[1].tolist() == [0, 0], "what is not above 0 does not fire"
    expected = 3 * weights["decoder"][0] + 2 * weights["decoder"][2]
    torch.testing.assert_close(decoded(weights, values, features)[0], expected)


def fitted(run, **options):
    what = Fit(method="sparse", run=run.name, options=OPTIONS | options)
    return drain(fit(what, run))[1]


def test_features_are_directions_in_the_usual_unit(made):
    run, _, found, _ = made
    strongest = fitted(run, count=3)
    assert [each.made_by["feature"] for each in strongest] == [0, 1, 2]
    for k, direction in enumerate(strongest):
        z = direction.delta / direction.sigma
        assert np.sqrt(np.square(z).mean()) == pytest.approx(1, rel=1e-4)
        expected = found.delta(k).reshape(direction.delta.shape) / direction.sigma
        cosine = (z * expected).sum() / np.linalg.norm(z) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1, abs=1e-5)
        again = fit(Fit.from_json(direction.made_by), run)
        moves = drain(again)[1]
        assert digest_of(moves[direction.made_by.get("component", 0)]) == digest_of(direction)
    (one,) = fitted(run, chosen="2", where="everywhere")
    assert np.ptp(one.profile) < 0.2 and one.made_by["feature"] == 2
    assert 0.5 < one.cosine(strongest[2]) < 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chosen": "1,x"}, "numbers of features such as 0,7; got '1,x'"),
        ({"chosen": "1,1"}, "names a feature twice"),
        ({"chosen": "32"}, "features 0 to 31, got 32"),
        ({"count": 33}, "count of sparse is 1 to 32, got 33"),
    ],
)
def test_features_that_are_not_there_are_refused(made, options, said):
    with pytest.raises(UsageError, match=said):
        fitted(made[0], **options)


def test_the_command_fits_features_as_directions(made, capsys):
    run, home = made[0], ("--home", str(made[0].home))
    options = [f"--option={name}={value}" for name, value in (OPTIONS | {"count": 2}).items()]
    out_of(capsys, "direction", "fit", run.name, "--method=sparse", *options, *home)
    assert "sparse.0" in out_of(capsys, "direction", "list", run.name, *home)
    assert "feature: 1" in out_of(capsys, "direction", "show", run.name, "sparse.1", *home)
    wrong = ("--name=other", "--option=chosen=99", *options[:-1], *home)
    assert main(["direction", "fit", run.name, "--method=sparse", *wrong]) == 2
    assert "features 0 to 31, got 99" in capsys.readouterr().err


@pytest.fixture(scope="module")
def places(tiny_model, tiny_spec, tmp_path_factory):
    """The tiny model's h pooled, a skip group and other places."""
    store = {"h": "pooled", "skip.1": "full", "down.0": "pooled", "mid.attn": "full"}
    spec = replace(tiny_spec, store=store, samples=12)
    return extract(tiny_model, spec, tmp_path_factory.mktemp("sparse places"))


def test_every_stored_site_has_a_dictionary(places):
    for site in places.stored_sites:
        shapes = [places.anatomy.shape(member) for member in places.anatomy.members(site)]
        if len({shape[1:] for shape in shapes}) > 1 and places.policy(site) == "full":
            with pytest.raises(UsageError, match=f"different sizes.*take one of {site}.0"):
                plan_of(places, site, OPTIONS)
            site, shapes = f"{site}.0", shapes[:1]
        pooled = places.policy(site) == "pooled"
        channels = sum(shape[0] for shape in shapes)
        options = {"features": 12, "active": 2, "tokens": 1000, "seed": 0}
        _, found = drain(make_dictionary(places, plan_of(places, site, options)))
        assert found.decoder.shape == (12, channels), site
        expected = 1 if pooled else int(np.prod(shapes[0][1:]))
        assert found.array("strength").shape == (places.spec.steps, 12, expected), site
        flat = found.delta(0, everywhere=True).reshape(places.spec.steps, -1)
        assert flat.shape[1] == places.width(site)
        step = np.stack([places.matrix(site, s) for s in range(places.spec.steps)])
        trained = ~np.isin(places.sample_ids, found.about["held_out"])
        sigma = found.array("sigma").reshape(places.spec.steps, -1)
        np.testing.assert_allclose(sigma, step[:, trained].std(1), rtol=1e-2, atol=1e-4)


def test_what_is_not_stored_or_there_is_refused(places):
    with pytest.raises(NotStoredError, match="does not store skip.2"):
        plan_of(places, "skip.2", OPTIONS)
    with pytest.raises(UnknownSiteError, match="no site 'skip.9'"):
        plan_of(places, "skip.9", OPTIONS)
    with pytest.raises(NotStoredError, match="does not store h in full"):
        fitted(places, features=12, active=2)


def test_directions_are_refused_where_h_is_not_full_before_any_training(places):
    with pytest.raises(NotStoredError):
        next(fit(Fit(method="sparse", run=places.name), places))
