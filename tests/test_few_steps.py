"""Models that were distilled to a few steps, with their own schedulers' steps: LCM and TCD."""

import dataclasses
import inspect

import diffusers
import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, LCMScheduler, TCDScheduler
from kinds import KINDS, SD, clip_text, clip_tokenizer, kl, text_unet
from test_cli import failure_at_last
from tiny import drain

from hcache.cards import DISTILLED, default_spec
from hcache.directions.fitting import Fit, fit
from hcache.edits.executor import Change, Executor
from hcache.edits.render import render_again, render_recipes, shift_by
from hcache.errors import ModelError, UsageError
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.models.schedulers import FEW_STEPS, scheduler_from
from hcache.recipes.recipe import recipe_of
from hcache.recipes.window import Window
from hcache.sampling.inversion import invert
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise, step_noise
from hcache.sampling.schedule import make_schedule
from hcache.specs import Conditioning

SEEDS, PROMPT = [3, 5], "a dog"


def latent_consistency():
    """As SimianLuo/LCM_Dreamshaper_v7: guidance is told beside time."""
    return diffusers.LatentConsistencyModelPipeline(
        vae=kl(),
        unet=text_unet(time_cond_proj_dim=6),
        scheduler=LCMScheduler(**SD),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def with_scheduler(kind, scheduler):
    """A pipeline of such a kind, as with an LCM or TCD LoRA merged into it."""
    pipeline = KINDS[kind]()
    pipeline.register_modules(scheduler=scheduler)
    return pipeline


BETAS = {name: SD[name] for name in ("beta_start", "beta_end", "beta_schedule")}
V = {**SD, "prediction_type": "v_prediction"}
PIPELINES = {
    "LCM": (latent_consistency, 8.0, 0.0),
    "SD LCM": (lambda: with_scheduler("SD", LCMScheduler(**SD)), 1.0, 0.0),
    "SD LCM guided": (lambda: with_scheduler("SD", LCMScheduler(**SD)), 2.0, 0.0),
    "SD LCM v": (lambda: with_scheduler("SD", LCMScheduler(**V, timestep_scaling=0.001)), 1.0, 0.0),
    "SDXL LCM": (lambda: with_scheduler("SDXL", LCMScheduler(**SD)), 1.0, 0.0),
    "SD TCD": (lambda: with_scheduler("SD", TCDScheduler(**SD)), 1.0, 0.3),
    "SD TCD steady": (lambda: with_scheduler("SD", TCDScheduler(**V)), 1.0, 0.0),
    "SDXL TCD": (lambda: with_scheduler("SDXL", TCDScheduler(**SD)), 1.0, 1.0),
    "SDXL Turbo": (
        lambda: with_scheduler(
            "SDXL", EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing")
        ),
        1.0,
        1.0,
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(name):
        if name not in made:
            torch.manual_seed(0)
            made[name] = tmp_path_factory.mktemp("few") / "model"
            PIPELINES[name][0]().save_pretrained(made[name])
        return str(made[name])

    return folder


def by_pipeline(name, folder, steps, monkeypatch):
    """The pictures of the model's own pipeline, which draws the noise that hcache draws."""
    _, guidance, eta = PIPELINES[name]
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    drawn = iter(range(steps))
    own = inspect.getmodule(type(pipeline.scheduler))
    monkeypatch.setattr(
        own, "randn_tensor", lambda shape, *_, **__: step_noise(SEEDS, next(drawn), shape[1:])
    )
    noise = start_noise(SEEDS, (4, 8, 8))
    if "Turbo" in name:  # its scheduler takes the first x_t as all noise, 0.1 % smaller than DDIM's
        sigma = pipeline.scheduler.sigmas[0]
        noise = noise * (sigma**2 + 1) ** 0.5 / sigma
    taken = inspect.signature(pipeline.__call__).parameters
    more = {"eta": eta} if "eta" in taken else {}
    found = pipeline(
        [PROMPT] * 2,
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=16,
        width=16,
        output_type="np",
        **more,
    ).images
    return found, next(drawn, steps)


def by_hcache(name, folder, steps):
    _, guidance, eta = PIPELINES[name]
    model = load_model(folder)
    asked = Conditioning(prompts=(PROMPT,), guidance=guidance)
    *_, last = denoise(model, SEEDS, steps, eta, conditioning=asked)
    pictures = (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1)
    return pictures.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", PIPELINES)
@torch.no_grad()
def test_pictures_are_those_of_the_models_own_pipeline(name, steps, folders, monkeypatch):
    theirs, next_draw = by_pipeline(name, folders(name), steps, monkeypatch)
    ours = by_hcache(name, folders(name), steps)
    assert theirs.std() > 0.01 and np.abs(theirs[0] - theirs[1]).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    noisy = PIPELINES[name][2] > 0 or "LCM" in name
    assert next_draw == (steps if "Turbo" in name else steps - 1 if noisy else 0)


@pytest.mark.parametrize("name", ["LCM", "SD TCD"])
def test_an_edit_has_the_noise_of_its_original(name, folders, tmp_path):
    """A strength of 0 gives the run's own pictures, from any step on, and a recipe renders
    again.
    """
    _, guidance, eta = PIPELINES[name]
    model = load_model(folders(name))
    spec = default_spec(
        folders(name),
        samples=8,
        steps=4,
        batch=4,
        eta=eta,
        conditioning=Conditioning(prompts=(PROMPT,), guidance=guidance),
        store={"h": "full", "up.1": "full"},
    )
    run = extract(model, spec, tmp_path)
    assert np.ptp(run.images.astype(int), axis=0).max() > 5
    for site in ("h", "up.1"):
        what = Fit(method="naive", run=run.name, positives=(0, 1, 2), site=site)
        (move,) = drain(fit(what, run))[1]
        for window in (Window(first=0, last=3), Window(first=2, last=3)):
            recipes = [recipe_of(run, 6, [shift_by(move, gamma, window)]) for gamma in (0, 4)]
            still, moved = drain(render_recipes(model, run, recipes, tmp_path))[1]
            assert np.abs(still.picture.astype(int) - run.picture(6)).max() <= 1
            assert np.abs(moved.picture.astype(int) - run.picture(6)).max() > 1
            (again,) = drain(render_again(model, run, [moved.recipe], tmp_path))[1]
            np.testing.assert_array_equal(again.picture, moved.picture)


def test_an_asymmetric_edit_of_lcm_is_a_symmetric_one(folders, tmp_path):
    """Its steps have no D_t, in which the unedited noise could stay; TCD's have."""
    for name, same in (("SD LCM", True), ("SD TCD", False)):
        model, eta = load_model(folders(name)), PIPELINES[name][2]
        asked = Conditioning(prompts=(PROMPT,))

        def add(features, moment):
            return features.replace({"h": features.h + 1})

        steps = [
            next(denoise(model, SEEDS, 4, eta, add, conditioning=asked, asymmetric=asymmetric))
            for asymmetric in (True, False)
        ]
        assert torch.equal(steps[0].x_next, steps[1].x_next) == same


def test_what_cannot_be_is_refused_in_one_line(folders, capsys, tmp_path):
    lcm = load_model(folders("SD LCM"))
    asked = Conditioning(prompts=(PROMPT,))
    for words, work in {
        "steps must lie in 1 to 50": lambda: next(denoise(lcm, SEEDS, 51, conditioning=asked)),
        "leave it, and a noise boost, at 0": lambda: next(
            denoise(lcm, SEEDS, 4, 0.5, conditioning=asked)
        ),
        "give seeds": lambda: next(
            denoise(lcm, None, 4, conditioning=asked, x_t=torch.zeros(1, 4, 8, 8))
        ),
        "every step replaces the noise": lambda: next(
            invert(lcm, torch.zeros(1, 4, 8, 8), 4, asked)
        ),
        "sampled by DDIM": lambda: next(
            denoise(
                lcm,
                SEEDS,
                4,
                edit=lambda features, _: features,
                conditioning=asked,
                asymmetric=True,
                calibrate=lambda index: None,
            )
        ),
    }.items():
        with pytest.raises(UsageError, match=words) as caught:
            work()
        assert "\n" not in str(caught.value)
    said = failure_at_last(
        capsys,
        2,
        *("extract", folders("SD LCM"), "--samples", "1", "--steps", "4", "--eta", "0.5"),
        *("--prompt", PROMPT, "--home", str(tmp_path)),
    )
    assert "eta is not for LCM" in said and not list(tmp_path.glob("runs/*/run.json"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"original_inference_steps": 0}, "original_inference_steps: 0.*1 to 1000"),
        ({"original_inference_steps": 5.5}, "original_inference_steps"),
        ({"timestep_scaling": 0}, "timestep_scaling: 0; expected a number above 0"),
        ({"timestep_scaling": "ten"}, "timestep_scaling"),
        ({"thresholding": True}, "thresholding"),
        ({"rescale_betas_zero_snr": True}, "without any signal"),
        ({"beta_schedule": "sigmoid"}, "sigmoid"),
    ],
)
@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_a_field_that_makes_no_schedule_is_named(name, fields, words):
    with pytest.raises(ModelError, match=words):
        scheduler_from({"_class_name": name, **fields}, "scheduler_config.json")


def test_trajectory_consistency_without_noise_is_inverted(folders):
    """γ 0 is DDIM's step, so its inversion comes back, up to the error of any inversion."""
    model, asked = load_model(folders("SD TCD steady")), Conditioning(prompts=(PROMPT,))
    *_, last = denoise(model, SEEDS, 50, conditioning=asked)
    *_, noise = invert(model, last.x_next, 50, asked)
    *_, back = denoise(model, None, 50, conditioning=asked, x_t=noise)
    error = (back.x_next - last.x_next).norm() / last.x_next.norm()
    assert 0 < error < 0.2
    levels = make_schedule(model.scheduler, 4)
    assert [levels.noisy(k, 0.0) for k in range(4)] == [False] * 4
    assert [levels.noisy(k, 0.5) for k in range(4)] == [True, True, True, False]


def test_a_boost_of_noise_is_refused_of_lcm(folders, tmp_path):
    model = load_model(folders("SD LCM"))
    asked = Conditioning(prompts=(PROMPT,))
    spec = default_spec(folders("SD LCM"), samples=2, steps=2, conditioning=asked)
    run = extract(model, dataclasses.replace(spec, store={"h": "full"}), tmp_path)
    with pytest.raises(UsageError, match="noise boost"):
        list(Executor(model, run).steps([0], Change(), 0, t_boost=1000))


def test_the_default_of_their_folders_is_few_steps(folders, tiny_folder):
    assert set(DISTILLED) == set(FEW_STEPS)
    for name, steps in (("LCM", 4), ("SD TCD", 4), ("SDXL Turbo", 20)):
        assert default_spec(folders(name)).steps == steps, "of Turbo the folder does not tell"
    assert default_spec(str(tiny_folder)).steps == 20
