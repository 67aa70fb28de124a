"""Every site of every kind of model: known answers of swaps and directions, at places inside the
halves, at single resnets, and at a transformer's blocks.
"""

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from kinds import KINDS, TRANSFORMERS, save_kind
from test_cli import failure, json_of
from test_kinds import CONDITIONS
from tiny import drain

from hcache.cards import default_spec
from hcache.directions.direction import digest_of, site_of, spread
from hcache.directions.fitting import METHODS, Fit, fit
from hcache.directions.store import load_move, save_move
from hcache.edits.executor import Change, Executor
from hcache.edits.render import render_again, render_recipes, shift_by
from hcache.edits.swap import SwapEdit
from hcache.edits.swaps import check_identity
from hcache.errors import NotStoredError, NoUNetError, UnknownSiteError, UsageError
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.models.taps import Taps
from hcache.recipes.edits import DonorRef
from hcache.recipes.recipe import recipe_of
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise
from hcache.specs import UNCONDITIONED, Conditioning, is_place

STEPS, SAMPLES, WHOLE = 2, 8, Window(first=0, last=1)
CHOSEN = ("DDPM", "learned variance", "LDM", "SD", "SDXL", *TRANSFORMERS)
SITES = {
    "DDPM": ("down.0", "mid.attn", "up.1", "down.1.resnet.0", "mid.resnet.0", "up.2.resnet.1"),
    "learned variance": ("down.0", "up.1", "down.0.resnet.0", "mid.resnet.1", "up.0.resnet.0"),
    "LDM": ("down.1", "mid.attn", "up.0.resnet.0"),
    "SD": ("down.0", "mid.attn", "up.1", "down.0.resnet.1", "mid.resnet.0", "up.1.resnet.2"),
    "SDXL": ("down.1", "up.0", "down.0.resnet.0", "up.1.resnet.0"),
    **dict.fromkeys(TRANSFORMERS, ("block.0", "block.1")),
}
EVERY = [(kind, site) for kind in CHOSEN for site in SITES[kind]]
LAST = {"FLUX": "block.3", "DiT": "block.2", "SD3": "block.2", "Sana": "block.2"}
"""The last block, after which nothing else of the donor's is computed."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return functools.cache(
        lambda kind: load_model(str(save_kind(kind, tmp_path_factory.mktemp("kind"))))
    )


@pytest.fixture(scope="module")
def runs(models, tmp_path_factory):
    """Eight samples of each kind, with the sites of the tests in full, in float32."""

    @functools.cache
    def run(kind):
        spec = default_spec(
            models(kind).card.name,
            samples=SAMPLES,
            steps=STEPS,
            batch=4,
            conditioning=CONDITIONS.get(kind, UNCONDITIONED),
            store=dict.fromkeys(SITES[kind], "full"),
            store_dtype="float32",
        )
        return extract(models(kind), spec, tmp_path_factory.mktemp("home"))

    return run


def x_of(model, n=2):
    return torch.randn(n, *model.anatomy.x, generator=torch.Generator().manual_seed(0))


def condition_of(model, kind, n=2):
    given = CONDITIONS.get(kind, UNCONDITIONED)
    return next(iter(model.condition(given, n).branches.values()))


def pictures(model, run, edits, samples=(0, 1)):
    recipes = [recipe_of(run, sample, edits) for sample in samples]
    return np.stack(
        [each.picture for each in drain(render_recipes(model, run, recipes, run.home))[1]]
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in TRANSFORMERS])
def test_parts_of_blocks_are_the_blocks_bit_for_bit(kind, models):
    """Held against hooks on the resnets, in the network's own forward."""
    model = models(kind)
    resnets = [site for site in model.anatomy.places if ".resnet." in site]
    unet, heard, handles = model.network, {}, []
    for site in resnets:
        half, *rest = site.split(".")
        block = unet.mid_block if half == "mid" else getattr(unet, f"{half}_blocks")[int(rest[0])]
        module = block.resnets[int(rest[-1])]
        hook = lambda _, __, out, site=site: heard.setdefault(site, out)  # noqa: E731
        handles.append(module.register_forward_hook(hook))
    condition = condition_of(model, kind)
    with torch.no_grad():
        plain = model.trace(x_of(model), 5, condition)[1]
        for handle in handles:
            handle.remove()
        features, output = model.trace(x_of(model), 5, condition, model.anatomy.places)
    assert len(resnets) > 5 and torch.equal(output, plain)
    for site in resnets:
        assert torch.equal(features[site], heard[site]), site
        assert tuple(features[site].shape[1:]) == model.anatomy.shape(site)


def test_freeu_and_odd_sizes_are_run_part_by_part_alike(models):
    from hcache.edits.freeu import FreeUEdit, with_freeu

    model = models("SD")
    model = with_freeu(model, FreeUEdit(b1=1.3, b2=1.4, s1=0.9, s2=0.7))
    condition, x = condition_of(model, "SD"), torch.randn(2, 4, 9, 7)
    with torch.no_grad():
        plain = model.trace(x, 5, condition)[1]
        inside = model.trace(x, 5, condition, ["up.0.resnet.1", "up.1.resnet.0", "down.0.resnet.0"])
    assert torch.equal(plain, inside[1]) and len(inside[0].others) == 3


@pytest.mark.parametrize(("kind", "site"), EVERY)
def test_adding_zero_changes_nothing_and_a_direction_adds_what_it_says(kind, site, models, runs):
    model, run = models(kind), runs(kind)
    (move,) = drain(fit(Fit(method="random", run=run.name, site=site), run))[1]
    assert site_of(move) == site and move.delta.shape[1:] == model.anatomy.shape(site)
    np.testing.assert_allclose(np.sqrt(np.square(move.profile).mean()), 1, atol=1e-5)
    plain = list(Executor(model, run).steps([0, 1], Change(), 0))
    executor = Executor(model, run)
    none = list(executor.steps([0, 1], executor.moved(move, [0, 0], WHOLE), 0))
    for one, other in zip(plain, none, strict=True):
        assert torch.equal(one.x_next, other.x_next)
    heard, moved = {}, executor.moved(move, [2, 0], WHOLE).edit

    class Listening:
        """Records what the site was and what it is made. A batch may come in parts."""

        def __init__(self):
            self.at_places = {site: self._at}

        def _at(self, moment):
            act = moved.at_places[site](moment)

            def change(x, rows):
                after = act(x, rows)
                for number, row in enumerate(range(rows.start, rows.stop)):
                    heard[moment.index, moment.branch, row] = x[number], after[number]
                return after

            return change

        def __call__(self, features, moment):
            return features

    edited = list(executor.steps([0, 1], Change(edit=Listening()), 0))
    for (index, _, row), (before, after) in heard.items():
        atol = 1e-5 * float(before.abs().max() + 1)
        if row == 0:
            np.testing.assert_allclose((after - before).numpy(), 2 * move.delta[index], atol=atol)
        else:
            assert torch.equal(after, before), "strength 0 of a row changes nothing of it"
    assert {row for *_, row in heard} == {0, 1} and not torch.equal(
        edited[0].x_0[0], plain[0].x_0[0]
    )
    for one, other in zip(plain, edited, strict=True):
        torch.testing.assert_close(one.x_next[1], other.x_next[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "site"), EVERY)
def test_a_swap_with_itself_changes_nothing_and_with_another_does(kind, site, models, runs):
    model, run = models(kind), runs(kind)

    def swapped(donor):
        edit = SwapEdit(
            sites=(site,), donor=DonorRef(run=run.name, sample=donor), alpha=1, window=WHOLE
        )
        return list((executor := Executor(model, run)).steps([1], executor.change([[edit]]), 0))

    plain = list(Executor(model, run).steps([1], Change(), 0))
    same, other = swapped(1), swapped(0)
    for one, two in zip(plain, same, strict=True):
        torch.testing.assert_close(one.x_next, two.x_next, rtol=1e-4, atol=1e-4)
    assert (other[0].x_0 - plain[0].x_0).abs().max() > 1e-3


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_a_swap_of_the_last_block_gives_the_donors_prediction(kind, models, runs):
    """After the last block only the timestep and the prompt count, which both samples share."""
    model, run = models(kind), runs(kind)
    site = LAST[kind]
    assert site == f"block.{len(model.anatomy.blocks) - 1}"
    condition, x = condition_of(model, kind), x_of(model)
    with torch.no_grad():
        features, outputs = model.trace(x, 5, condition)
        donated = {site: lambda now, rows: features[site][:1].expand_as(now)}
        swapped = model.trace(x, 5, condition, changes=donated)[1]
        first = {"block.0": lambda now, rows: features["block.0"][:1].expand_as(now)}
        early = model.trace(x, 5, condition, changes=first)[1]
    torch.testing.assert_close(swapped[1], outputs[0], rtol=1e-4, atol=1e-5)
    assert (outputs[1] - outputs[0]).abs().max() > 1e-2
    if kind in ("DiT", "Sana"):  # no text tokens pass through the blocks
        torch.testing.assert_close(early[1], outputs[0], rtol=1e-4, atol=1e-5)
    edit = SwapEdit(sites=(site,), donor=DonorRef(run=run.name, sample=0), alpha=1, window=WHOLE)
    executor = Executor(model, run)
    step = next(executor.steps([1], executor.change([[edit]]), 0))
    assert (step.x_0 - next(executor.steps([1], Change(), 0)).x_0).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ("DDPM", "learned variance", "SD", "SDXL"))
def test_a_swap_of_the_last_resnet_gives_the_donors_prediction(kind, models):
    """Nothing but the output layers follows the last resnet, or its attention."""
    model = models(kind)
    site = model.anatomy.places[-2]
    assert site.startswith("up.") and ".resnet." in site
    condition, x = condition_of(model, kind), x_of(model)
    with torch.no_grad():
        features, outputs = model.trace(x, 5, condition, (site,))
        donated = {site: lambda now, rows: features[site][:1].expand_as(now)}
        swapped = model.trace(x, 5, condition, changes=donated)[1]
    torch.testing.assert_close(swapped[1], outputs[0], rtol=1e-4, atol=1e-5)
    assert (outputs[1] - outputs[0]).abs().max() > 1e-3


def test_a_changed_resnet_changes_the_skip_that_it_is(models):
    """A resnet without attention puts out a skip, and one before it does not."""
    model = models("DDPM")
    with torch.no_grad():
        plain = model.encode(x_of(model), 5)
        taps = Taps(changes={"down.0.resnet.0": lambda x, rows: x + 1})
        moved = model.encode(x_of(model), 5, taps=taps)
    assert torch.allclose(moved["skip.3.0"], plain["skip.3.0"] + 1, atol=1e-5)
    assert torch.equal(moved["skip.3.1"], plain["skip.3.1"]), "conv_in comes before"


@pytest.mark.parametrize(
    "method", ["naive", "supervised", "local", "pca", "boundary", "vae", "random"]
)
@pytest.mark.parametrize(("kind", "site"), [("DDPM", "up.2.resnet.1"), ("DiT", "block.1")])
def test_every_method_fits_there_and_renders_again(method, kind, site, models, runs):
    model, run = models(kind), runs(kind)
    options = {"local": {"neighbours": 1}, "vae": {"iterations": 3}, "pca": {"count": 2}}
    needs = METHODS[method].needs
    what = Fit(
        method=method,
        run=run.name,
        positives=(0, 1, 2, 3, 4) if "positives" in needs else (),
        negatives=(5, 6) if "negatives" in needs else (),
        options=options.get(method, {}),
        site=site,
    )
    move = drain(fit(what, run))[1][0]
    assert site_of(move) == site and move.made_by["site"] == site
    assert Fit.from_json(move.made_by).site == site
    save_move(run, f"{method}-{site}", move, replace=True)
    loaded = load_move(run, f"{method}-{site}")
    assert digest_of(loaded) == digest_of(move) and site_of(loaded) == site
    recipes = [recipe_of(run, 1, [shift_by(move, gamma, WHOLE)]) for gamma in (0, 3)]
    still, moved = drain(render_recipes(model, run, recipes, run.home))[1]
    (again,) = drain(render_again(model, run, [moved.recipe], run.home))[1]
    np.testing.assert_array_equal(again.picture, moved.picture)
    np.testing.assert_array_equal(still.picture, pictures(model, run, [], (1,))[0])
    assert not np.array_equal(moved.picture, still.picture)


@pytest.mark.parametrize(("kind", "site"), [("DDPM", "up.2.resnet.1"), ("DiT", "block.1")])
def test_a_jacobian_of_a_site_is_what_moves_the_prediction_most(kind, site, models, runs):
    """Held against the change of the prediction by a random direction of the same length."""
    model, run = models(kind), runs(kind)
    options = {"sample": 0, "count": 1, "first": 0, "last": 0, "iterations": 20}
    (found,) = drain(
        fit(Fit(method="jacobian", run=run.name, options=options, site=site), run, model)
    )[1]
    (null,) = drain(fit(Fit(method="random", run=run.name, site=site), run))[1]
    x, t = torch.from_numpy(run.x(0, 0))[None], run.timesteps[0]
    condition = condition_of(model, kind, 1)

    def change(delta):
        step = torch.from_numpy(delta[0] / np.linalg.norm(delta[0])) * 1e-2
        with torch.no_grad():
            plain = model.trace(x, t, condition)[1]
            moved = model.trace(x, t, condition, changes={site: lambda now, rows: now + step})[1]
        return float((moved - plain).norm())

    assert site_of(found) == site and change(found.delta) > 2 * change(null.delta)
    (pulled,) = drain(
        fit(Fit(method="pullback", run=run.name, options={"count": 1}, site=site), run, model)
    )[1]
    executor = Executor(model, run)
    step = executor.moved(pulled, [1.0], WHOLE)
    assert pulled.kind == "x" and step.nudge is not None and step.edit is None
    assert spread(run, site).shape == (STEPS, *model.anatomy.shape(site))


def test_arithmetic_stays_at_its_site_and_does_not_mix_sites(models, runs):
    run = runs("DDPM")
    for name, site, seed in (("a", "down.0", 1), ("b", "down.0", 2), ("c", "up.1", 1)):
        what = Fit(method="random", run=run.name, site=site, options={"seed": seed})
        save_move(run, name, drain(fit(what, run))[1][0], replace=True)
    made = Fit(method="arithmetic", run=run.name, options={"of": "a,b"})
    (total,) = drain(fit(made, run))[1]
    assert site_of(total) == "down.0" and total.delta.shape == load_move(run, "a").delta.shape
    (again,) = drain(fit(Fit.from_json(total.made_by), run))[1]
    assert digest_of(again) == digest_of(total)
    mixed = Fit(method="arithmetic", run=run.name, options={"of": "a,c"})
    with pytest.raises(Exception, match=r"different sites \(down.0, up.1\)"):
        drain(fit(mixed, run))
    elsewhere = Fit(method="arithmetic", run=run.name, options={"of": "a,b"}, site="up.1")
    with pytest.raises(UsageError, match="at down.0, not at up.1"):
        drain(fit(elsewhere, run))


def test_what_cannot_be_fitted_or_moved_is_refused_in_one_line(models, runs, tiny_run):
    run, flow = runs("DDPM"), runs("DiT")
    for what, error, words in (
        ({"method": "asyrp", "site": "down.0"}, UsageError, "in h only, not at down.0"),
        ({"method": "random", "site": "down.9"}, UnknownSiteError, "down.9"),
        ({"method": "random", "site": "down.2"}, NotStoredError, "--store down.2=full"),
        ({"method": "random", "site": "skip.1.0"}, NotStoredError, "--store skip.1=full"),
        ({"method": "random", "site": "skip.1"}, UsageError, "name one of skip.1.0"),
    ):
        with pytest.raises(error, match=words):
            drain(fit(Fit(run=run.name, **what), run))
    with pytest.raises(NoUNetError):
        drain(fit(Fit(method="random", run=flow.name), flow))
    swap = SwapEdit(sites=("h",), donor=DonorRef(run=flow.name, sample=0), alpha=1, window=WHOLE)
    with pytest.raises(UnknownSiteError, match="h"):
        Executor(models("DiT"), flow).change([[swap]])
    (skip,) = drain(fit(Fit(method="random", run=tiny_run.name, site="skip.1.0"), tiny_run))[1]
    assert site_of(skip) == "skip.1.0" and not is_place("skip.1.0")


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_an_asymmetric_edit_of_a_block_leaves_the_unedited_noise(kind, models, runs):
    model, run = models(kind), runs(kind)
    (move,) = drain(fit(Fit(method="random", run=run.name, site="block.0"), run))[1]
    executor = Executor(model, run)
    change = executor.moved(move, [3.0], WHOLE)
    plain = next(executor.steps([0], Change(), 1))  # in step 0 of a flow, x_t is all noise
    apart = next(executor.steps([0], change, 1, asymmetric=True))
    both = next(executor.steps([0], change, 1))
    assert torch.equal(apart.eps, plain.eps) and not torch.equal(both.eps, plain.eps)
    torch.testing.assert_close(apart.x_0, both.x_0)
    assert torch.equal(both.features["block.1"], plain.features["block.1"]), "from before the edit"
    with pytest.raises(NoUNetError):
        next(
            denoise(
                model,
                [0],
                STEPS,
                edit=lambda features, moment: features,
                conditioning=run.spec.conditioning.rows([0]),
            )
        )


@pytest.mark.parametrize("kind", ["DDPM", "SD", *TRANSFORMERS])
def test_a_swap_of_a_sample_with_itself_at_all_sites_is_it_bit_for_bit(kind, models, runs):
    found = drain(check_identity(models(kind), runs(kind), 1, WHOLE))[1]
    assert found.identical and found.largest_difference == 0


def test_the_command_fits_lists_and_draws_at_a_site(models, runs, tmp_path, capsys):
    for kind, site in (("DDPM", "down.1.resnet.0"), ("DiT", "block.0")):
        run = runs(kind)
        home, name = str(run.home), f"at-{site}"
        fit_it = ["direction", "fit", run.name, "--method", "random", "--site", site]
        made = json_of(capsys, *fit_it, "--name", name, "--home", home)
        (saved,) = made["directions"]
        assert saved["made_by"]["site"] == site
        again = ["direction", "fit", run.name, "--name", "again", "--home", home]
        same = json_of(capsys, *again, "--made-by", json.dumps(saved["made_by"]))
        assert same["directions"][0]["digest"] == saved["digest"]
        listed = {
            each["name"]: each["site"]
            for each in json_of(capsys, "direction", "list", run.name, "--home", home)
        }
        assert listed[name] == listed["again"] == site
        out = str(tmp_path / f"{kind}.svg")
        drawn = json_of(
            capsys,
            *("figure", "strip", run.name, "--way", "random", "--site", site, "--strengths", "0,3"),
            *("--samples", "1", "--out", out, "--home", home),
        )
        assert f"Fitted directions move {site}, not h." in drawn["caption"]
    refused = failure(capsys, 2, *fit_it[:-1], "block.9", "--home", home)
    assert "block.9" in refused
    words = failure(capsys, 2, "direction", "fit", run.name, "--method", "random", "--home", home)
    assert "no U-Net" in words and "block.0" in words


def test_sparse_features_of_a_site_move_it(models, tmp_path):
    model, site = models("DDPM"), "mid.resnet.0"
    spec = default_spec(model.card.name, samples=28, steps=2, batch=14, store={site: "full"})
    run = extract(model, spec, tmp_path)
    options = {"features": 8, "active": 2, "count": 1}
    (move,) = drain(fit(Fit(method="sparse", run=run.name, options=options, site=site), run))[1]
    assert site_of(move) == site and move.delta.shape == (2, *model.anatomy.shape(site))
    executor = Executor(model, run)
    plain = next(executor.steps([0], Change(), 0))
    moved = next(executor.steps([0], executor.moved(move, [3.0], WHOLE), 0))
    assert not torch.equal(plain.x_0, moved.x_0)


def test_threads_that_share_a_transformer_do_not_hear_each_other(models):
    model = models("DiT")
    condition = model.condition(Conditioning(classes=(3,)), 1).branches["cond"]
    many = model.condition(Conditioning(classes=(3,)), 3).branches["cond"]
    shape, rng = model.anatomy.x, torch.Generator().manual_seed(0)
    one, three = (torch.randn(n, *shape, generator=rng) for n in (1, 3))
    expected = model.trace(one, 500, condition)[0].blocks, model.trace(three, 500, many)[0].blocks

    def often(x, given):
        return [model.trace(x, 500, given)[0].blocks for _ in range(20)]

    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(often, one, condition), pool.submit(often, three, many)]
        found = [work.result() for work in works]
    for each, alone in zip(found, expected, strict=True):
        for blocks in each:
            assert len(blocks) == len(alone)
            assert all(torch.equal(a, b) for a, b in zip(blocks, alone, strict=True))
