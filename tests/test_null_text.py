"""Null-text inversion: closer to the picture under guidance, and kept with the run."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from kinds import save_kind
from PIL import Image
from tiny import drain

from hcache.cache.plan import make_plan
from hcache.cache.reading import open_run
from hcache.cache.verify import verify
from hcache.cli.main import main
from hcache.edits.executor import Change, Executor
from hcache.errors import UsageError
from hcache.extraction.rerun import rerun
from hcache.models.conditioners import COND, UNCOND
from hcache.models.loading import load_model
from hcache.sampling.conditions import conditions_of
from hcache.sampling.inversion import invert
from hcache.sampling.loop import denoise
from hcache.sampling.null_text import NullText, check_null_text, invert_null_text
from hcache.specs import NULL_TEXT, Conditioning, RunSpec

PROMPT, GUIDANCE, STEPS = "a face", 7.5, 4
GUIDED = Conditioning(prompts=(PROMPT,), guidance=GUIDANCE)
LONG = NullText(iterations=100)
"""Random networks react to a text less than trained ones, so a step takes more iterations."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folders = {kind: tmp_path_factory.mktemp("null-text") / kind for kind in ("SD", "SDXL")}
    for kind, folder in folders.items():
        save_kind(kind, folder)
    return {kind: (load_model(str(folder)), folder) for kind, folder in folders.items()}


def pictures_of(model, n=2):
    return torch.randn(n, *model.anatomy.x, generator=torch.Generator().manual_seed(0))


def off(found, x):
    return (found - x).square().mean((1, 2, 3)).sqrt()


@torch.no_grad()
def plain_error(model, x, conditioning):
    *_, noise = invert(model, x, STEPS, conditioning)
    *_, last = denoise(model, steps=STEPS, conditioning=conditioning, x_t=noise)
    return off(last.x_next, x)


def null_text_error(model, x, options):
    _, found = drain(invert_null_text(model, x, STEPS, GUIDED, null_text=options))
    guided = replace(model.condition(GUIDED, len(x)), null_text=found.null_text.__getitem__)
    *_, last = denoise(model, steps=STEPS, conditioning=guided, x_t=found.x_t)
    return off(last.x_next, x), found


@pytest.mark.slow
def test_its_error_is_below_that_of_plain_and_of_negative_prompt_inversion(models):
    model, _ = models["SD"]
    x = pictures_of(model)
    error, _ = null_text_error(model, x, LONG)
    assert (error < plain_error(model, x, GUIDED)).all()
    assert (error < plain_error(model, x, GUIDED.inverted_by_prompt())).all()


def test_the_pooled_prompt_of_sdxl_stays_and_plain_inversion_is_worse(models):
    model, _ = models["SDXL"]
    x = pictures_of(model)
    error, found = null_text_error(model, x, NullText(iterations=30))
    assert (error < plain_error(model, x, GUIDED)).all()
    before = model.condition(GUIDED, 2)
    after = replace(before, null_text=found.null_text.__getitem__).at(1)
    assert torch.equal(after.branches[UNCOND].pooled, before.branches[UNCOND].pooled)
    assert torch.equal(after.branches[COND].text, before.branches[COND].text)


def test_a_sample_is_optimised_on_its_own(models):
    model, _ = models["SD"]
    x, options = pictures_of(model), NullText(iterations=3)
    _, both = null_text_error(model, x, options)
    _, alone = null_text_error(model, x[1:], options)
    torch.testing.assert_close(both.null_text[:, 1:], alone.null_text, atol=1e-3, rtol=1e-3)
    moved = (both.null_text[1:] - both.null_text[:-1]).abs().amax((1, 2, 3))
    assert (moved > 0).all(), "every step has a text of its own"


def test_a_step_that_is_near_enough_is_left_as_it_is(models):
    model, _ = models["SD"]
    x = pictures_of(model)
    _, found = null_text_error(model, x, NullText(enough=(1e9, 0.0)))
    text = model.condition(GUIDED, 2).branches[UNCOND].text
    assert torch.equal(found.null_text, text.expand(STEPS, *text.shape))


@pytest.fixture(scope="module")
def inverted(models, tmp_path_factory):
    """The folder of a run of two pictures, inverted by the command; and what it said."""
    network, folder = models["SD"]
    place = tmp_path_factory.mktemp("inverted")
    height, width, _ = network.anatomy.image
    paths = [place / f"{i}.png" for i in range(2)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    asked = ["invert", str(folder), *map(str, paths), "--prompt", PROMPT, "--steps", "3"]
    asked += ["--guidance", str(GUIDANCE), "--inversion", "null-text", "--json"]
    asked += ["--home", str(place / "home")]
    return asked, place / "home"


def test_the_texts_are_kept_with_the_run(models, inverted, capsys):
    model, _ = models["SD"]
    asked, home = inverted
    assert main(asked) == 0
    told = json.loads(capsys.readouterr().out)
    run = open_run(next((home / "runs").iterdir()))
    assert run.spec.inversion == NULL_TEXT
    for name in ("reconstruction_error", "plain_reconstruction_error"):
        np.testing.assert_allclose(told[name], run.labels["inversion"][name], rtol=1e-6)
    assert main(asked) == 0, "again: nothing is computed"
    assert (
        json.loads(capsys.readouterr().out)["plain_reconstruction_error"]
        == told["plain_reconstruction_error"]
    )
    texts = np.stack([run.null_text(1, step) for step in range(3)])
    plan = make_plan(run.spec, run.anatomy)
    assert plan.parts["null_text"] == 2 * texts.nbytes, "of two pictures"
    assert "null_text" not in make_plan(replace(run.spec, inversion="ddim"), run.anatomy).parts
    assert texts.shape[1:] == model.condition(GUIDED, 1).branches[UNCOND].text.shape[1:]
    assert not drain(verify(run.folder))[1].faults
    _, again = drain(rerun(model, run, [0, 1]))
    assert all(each.largest <= each.tolerance for each in again.values())


def test_edits_and_previews_take_the_texts_of_sample_and_step(models, inverted):
    model, _ = models["SD"]
    run = open_run(next((inverted[1] / "runs").iterdir()))
    executor = Executor(model, run)
    _, pictures = drain(executor.pictures([1, 0], Change(), 1))
    assert np.abs(pictures.astype(int) - run.images[[1, 0]].astype(int)).max() <= 1
    guided = conditions_of(model, run, [1]).at(2)
    np.testing.assert_array_equal(guided.branches[UNCOND].text[0].numpy(), run.null_text(1, 2))
    start = executor.start(1, 2)
    fresh = model.encode(start.x_t, run.timesteps[2], guided.branches[UNCOND])
    torch.testing.assert_close(start.features[UNCOND].h, fresh.h)
    usual = model.condition(run.spec.conditioning, 1).branches[UNCOND]
    other = model.encode(start.x_t, run.timesteps[2], usual)
    assert not torch.allclose(start.features[UNCOND].h, other.h)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"images": ()}, "of real pictures"),
        ({"conditioning": Conditioning(prompts=("a",))}, "guidance above 1"),
        ({"dtype": "float16"}, "float16 loses"),
        ({"inversion": "other"}, "got 'other'"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, why):
    given = {"images": ("0" * 64,), "conditioning": GUIDED, "inversion": NULL_TEXT}
    with pytest.raises(UsageError, match=why):
        RunSpec(model="m", samples=1, steps=2, **{**given, **changes})


def test_a_run_by_ddim_has_the_name_of_before():
    spec = RunSpec(model="m", samples=1, steps=2)
    assert "inversion" not in spec.to_json()
    given = {"images": ("0" * 64,), "conditioning": GUIDED}
    names = {
        RunSpec(model="m", samples=1, steps=2, inversion=way, **given).name
        for way in ("ddim", NULL_TEXT)
    }
    assert len(names) == 2


def test_a_model_without_a_second_text_refuses(tmp_path):
    save_kind("DDPM", tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    with pytest.raises(UsageError, match="which .* does not have"):
        check_null_text(model, Conditioning())
