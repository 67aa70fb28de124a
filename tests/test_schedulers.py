"""Every scheduler of diffusers is taken, and then makes its own pipeline's pictures, or is
refused by name.
"""

import ast
import inspect
import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from kinds import SD, clip_text, clip_tokenizer, kl, save_kind, text_unet
from tiny import make_unet, save_pipeline

from hcache.cli.main import main
from hcache.errors import ModelError
from hcache.models.loading import load_anatomy, load_model, load_scheduler
from hcache.models.schedulers import (
    FEW_STEPS,
    FLOW,
    NEUTRAL,
    READ,
    REFUSED,
    SOLVER,
    TAKEN,
    WITH_ANOTHER,
    scheduler_from,
)
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise, step_noise
from hcache.specs import DIFFUSERS, NEXT, Conditioning

BETAS = {name: SD[name] for name in ("beta_start", "beta_end", "beta_schedule")}
SEEDS, DOG = [1, 2], Conditioning(prompts=("a dog",))
TABLE = Path(__file__).parents[1] / "docs" / "reference" / "models-table.md"
FILE = "scheduler/scheduler_config.json"


def schedulers_of_diffusers():
    """All classes of schedulers, read from the source: some cannot be imported without further
    libraries.
    """
    folder = Path(inspect.getfile(diffusers)).parent / "schedulers"
    found = set()
    for path in folder.rglob("scheduling_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            bases = (
                {ast.unparse(base) for base in node.bases}
                if isinstance(node, ast.ClassDef)
                else set()
            )
            if "flax" not in path.name and bases & {"ConfigMixin", "SchedulerMixin"}:
                found.add(node.name)
    return sorted(found - {"SchedulerMixin", "FlaxSchedulerMixin"})


def test_every_scheduler_of_diffusers_is_taken_or_refused():
    """A new version of diffusers with another one fails here: it is to be looked at."""
    known = [*TAKEN, *FEW_STEPS, FLOW, *REFUSED]
    assert len(set(known)) == len(known)
    assert set(schedulers_of_diffusers()) == set(known)


def test_the_table_says_what_the_code_does():
    rows = [
        line.split("|")
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if "Scheduler`" in line
    ]
    said = {cells[1].strip().strip("`"): cells[2].strip().split(" ")[0] for cells in rows}
    expected = (
        dict.fromkeys([*TAKEN, *FEW_STEPS], "taken")
        | {FLOW: "flows"}
        | dict.fromkeys(REFUSED, "refused")
    )
    assert said == expected


def test_every_field_of_a_taken_scheduler_is_read_or_irrelevant_or_refused():
    known = {*READ, *SOLVER, *WITH_ANOTHER, *NEUTRAL}
    for name in (*TAKEN, *FEW_STEPS):
        fields = set(inspect.signature(getattr(diffusers, name).__init__).parameters) - {"self"}
        assert not fields - known, f"{name}: {fields - known} would be left out"
    assert set(WITH_ANOTHER.values()) <= set(NEUTRAL), "what it is read with is refused"


@pytest.fixture(scope="module")
def parts():
    """Of a Stable Diffusion whose network changes smoothly, so that any solver comes near the
    solution.
    """
    torch.manual_seed(0)
    unet = text_unet(layers_per_block=1)
    unet.conv_out.weight.mul_(0.1)
    return {
        "vae": kl(),
        "text_encoder": clip_text(),
        "tokenizer": clip_tokenizer(),
        "unet": unet,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def pictures_of(parts, scheduler, folder, steps, eta=0.0, schedule=NEXT):
    """(by hcache, by the pipeline with its own scheduler), uint8, of the same noise."""
    StableDiffusionPipeline(scheduler=scheduler, **parts).save_pretrained(folder)
    model = load_model(str(folder))
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler) is type(scheduler)
    noise = start_noise(SEEDS, model.anatomy.x)
    theirs = pipeline(
        ["a dog"] * 2,
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=1,
        height=16,
        width=16,
        output_type="np",
    ).images
    *_, last = denoise(model, SEEDS, steps, eta, conditioning=DOG, schedule=schedule)
    return model.to_images(last.x_next).numpy().astype(int), np.round(theirs * 255).astype(int)


STOCHASTIC = ("DDPMScheduler", "DDPMParallelScheduler", "EulerAncestralDiscreteScheduler")
FIRST_ORDER = ("DDIMScheduler", "DDIMParallelScheduler", "EulerDiscreteScheduler", *STOCHASTIC)


@pytest.mark.parametrize("name", TAKEN)
def test_a_taken_scheduler_makes_the_pictures_of_its_own_pipeline(
    name, parts, tmp_path, monkeypatch
):
    """To 1 of 255. Solvers of the first order are DDIM, step by step; those of higher order solve
    the same equation, and all meet in its solution; those that add noise are DDIM with eta 1, given
    the same noise."""
    kind = getattr(diffusers, name)
    spaced = "timestep_spacing" in inspect.signature(kind.__init__).parameters
    scheduler = kind(**BETAS, **({"timestep_spacing": "trailing"} if spaced else {}))
    steps = 8 if name in FIRST_ORDER else 100
    if name in STOCHASTIC:
        given_noise(monkeypatch, kind, steps)
    ours, theirs = pictures_of(
        parts, scheduler, tmp_path, steps, eta=1.0 if name in STOCHASTIC else 0.0
    )
    assert theirs.std() > 10 and abs(theirs[0] - theirs[1]).max() > 50, (
        "it would pass on a constant"
    )
    assert abs(ours - theirs).max() <= 1


def given_noise(monkeypatch, kind, steps):
    """Has a scheduler that adds noise draw that of hcache."""
    drawn = iter(range(steps))

    def draw(shape, *_, **__):
        return step_noise(SEEDS, next(drawn), tuple(shape[1:]))

    monkeypatch.setattr(inspect.getmodule(kind), "randn_tensor", draw)


@pytest.mark.parametrize("spacing", ["leading", "linspace"])
@pytest.mark.parametrize("name", FIRST_ORDER)
def test_every_spacing_of_timesteps_is_that_of_its_own_pipeline(
    name, spacing, parts, tmp_path, monkeypatch
):
    """DDIM's own by the schedule ``diffusers``: under ``linspace`` it does not end a step where
    the next one begins, and ``next`` does.
    """
    kind, noisy = getattr(diffusers, name), name in STOCHASTIC
    if noisy:
        given_noise(monkeypatch, kind, 8)
    odd = name.startswith("DDIM") and spacing == "linspace"
    scheduler, eta = kind(**BETAS, timestep_spacing=spacing), 1.0 if noisy else 0.0
    schedule = DIFFUSERS if odd else NEXT
    ours, theirs = pictures_of(parts, scheduler, tmp_path / "a", 8, eta, schedule)
    assert theirs.std() > 10 and abs(ours - theirs).max() <= 1
    if odd:
        ours, theirs = pictures_of(parts, scheduler, tmp_path / "b", 8, eta)
        assert abs(ours - theirs).max() > 1, "the known fault of diffusers' DDIM"


def test_another_diffusion_makes_other_pictures(parts, tmp_path):
    """What the test above would see, were betas made up: those of DDPM, which are the defaults."""
    ours, _ = pictures_of(
        parts,
        diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
        tmp_path / "a",
        8,
    )
    other, _ = pictures_of(
        parts, diffusers.EulerDiscreteScheduler(timestep_spacing="trailing"), tmp_path / "b", 8
    )
    assert abs(ours - other).max() > 5


@pytest.fixture
def spoilable(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.mark.parametrize("name", [*REFUSED, FLOW])
def test_a_refused_scheduler_is_named_with_its_reason_at_once(name, spoilable, capsys):
    """Whichever of a folder's two files names it, and before any weights are read."""
    (spoilable / "unet/diffusion_pytorch_model.safetensors").unlink()
    kept = (spoilable / FILE).read_text()
    (spoilable / FILE).write_text(json.dumps({"_class_name": name}))
    reason = REFUSED.get(name, "flow")
    for load in (load_model, load_anatomy, load_scheduler):
        with pytest.raises(ModelError) as caught:
            load(str(spoilable))
        assert (
            name in str(caught.value)
            and reason in str(caught.value)
            and "\n" not in str(caught.value)
        )
    for command in ("anatomy", "estimate", "extract"):
        assert main([command, str(spoilable)]) == 1
        assert name in capsys.readouterr().err
    (spoilable / FILE).write_text(kept)
    index = json.loads((spoilable / "model_index.json").read_text())
    (spoilable / "model_index.json").write_text(
        json.dumps(index | {"scheduler": ["diffusers", name]})
    )
    with pytest.raises(ModelError, match=name):
        load_anatomy(str(spoilable))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"beta_schedule": "sigmoid"}, "sigmoid.*trained_betas"),
        ({"beta_schedule": "laplace"}, "laplace"),
        ({"rescale_betas_zero_snr": True}, "without any signal.*v_prediction"),
        ({"thresholding": True}, "thresholding"),
        ({"prediction_type": "flow_prediction"}, "flow_prediction"),
        ({"predict_epsilon": False}, "prediction_type"),
        ({"timestep_spacing": "karras"}, "karras"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas.*training timesteps"),
        ({"use_exponential_sigmas": True}, "use_exponential_sigmas"),
        ({"use_beta_sigmas": True}, "use_beta_sigmas"),
        ({"use_lu_lambdas": True}, "use_lu_lambdas"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting"),
        ({"sigma_max": 80.0}, "sigma_max"),
        ({"sigma_min": 0.002}, "sigma_min"),
        ({"timestep_type": "continuous"}, "timestep_type"),
        ({"lambda_min_clipped": -5.1}, "lambda_min_clipped"),
        ({"final_sigmas_type": "half"}, "final_sigmas_type"),
        ({"trained_betas": [0.1, 0.2]}, "2 trained_betas"),
        ({"snr_shift_scale": 3.0}, "snr_shift_scale"),
        ({"beta_end": 2.0}, "schedule"),
        ({"beta_start": "much"}, "schedule"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_field_that_cannot_be_honoured_is_named(fields, words):
    with pytest.raises(ModelError, match=words):
        scheduler_from({"_class_name": "DDPMScheduler", **fields}, "scheduler_config.json")


def test_every_neutral_field_is_tried():
    source = inspect.getsource(test_a_field_that_cannot_be_honoured_is_named)
    assert source and all(name in Path(__file__).read_text() for name in NEUTRAL)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"_class_name": "HeunDiscreteScheduler"},
            {"beta_start": 0.00085, "timestep_spacing": "linspace"},
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3},
            {"timestep_spacing": "linspace", "clip_sample": False, "set_alpha_to_one": True},
        ),
        (
            {"_class_name": "UniPCMultistepScheduler", "final_sigmas_type": "sigma_min"},
            {"set_alpha_to_one": False},
        ),
        (
            {"_class_name": "PNDMScheduler"},
            {"set_alpha_to_one": False, "clip_sample": False, "steps_offset": 0},
        ),
        ({"_class_name": "DDPMScheduler"}, {"set_alpha_to_one": True, "clip_sample": True}),
        (
            {"_class_name": "DDIMScheduler", "trained_betas": [0.1, 0.2], "num_train_timesteps": 2},
            {"num_train_timesteps": 2},
        ),
        (
            {"_class_name": "DDIMScheduler", "clip_sample_range": 3.0, "unheard_of": None},
            {"clip_sample_range": 3.0},
        ),
        (
            {"_class_name": "EulerDiscreteScheduler", "set_alpha_to_one": False},
            {"set_alpha_to_one": False},
        ),
    ],
)
def test_what_a_configuration_leaves_out_is_what_its_own_class_takes(fields, expected):
    config = scheduler_from(fields, "scheduler_config.json").config
    assert {name: config[name] for name in expected} == expected


def test_stable_diffusion_is_run_with_what_its_pipeline_sets(tmp_path):
    """Whatever the file says: its pipeline warns, and sets it."""
    folder = save_kind("SD", tmp_path / "sd")
    config = json.loads((folder / FILE).read_text()) | {"steps_offset": 0, "clip_sample": True}
    (folder / FILE).write_text(json.dumps(config))
    theirs = StableDiffusionPipeline.from_pretrained(folder).scheduler.config
    ours = load_model(str(folder)).scheduler.config
    assert (
        (ours.steps_offset, ours.clip_sample)
        == (theirs.steps_offset, theirs.clip_sample)
        == (1, False)
    )


def test_a_flow_is_taken_of_flux_alone_and_nothing_else_of_flux(tmp_path):
    folder = save_kind("FLUX", tmp_path / "flux")
    config = json.loads((folder / FILE).read_text())
    refused = {
        "FluxTransformer2DModel is a flow": {"_class_name": "DDIMScheduler"},
        "invert_sigmas": {"invert_sigmas": True},
        "stochastic_sampling": {"stochastic_sampling": True},
        "unheard_of": {"unheard_of": 1},
    }
    for words, change in refused.items():
        (folder / FILE).write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=words):
            load_anatomy(str(folder))
    (folder / FILE).unlink()
    with pytest.raises(ModelError, match="lacks scheduler"):
        load_anatomy(str(folder))


def test_a_folder_whose_schedule_is_gone_is_not_given_another(spoilable):
    (spoilable / FILE).unlink()
    with pytest.raises(ModelError, match="lacks scheduler"):
        load_model(str(spoilable))


def test_zero_signal_is_taken_of_v_prediction(tmp_path):
    zero = {
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
    }
    model = load_model(str(save_pipeline(tmp_path / "v", make_unet(), **zero)))
    *_, last = denoise(model, [0], 4)
    assert torch.isfinite(last.x_next).all() and isinstance(model.scheduler, DDIMScheduler)
    with pytest.raises(ModelError, match="without any signal"):
        load_model(
            str(
                save_pipeline(
                    tmp_path / "eps", make_unet(), **zero | {"prediction_type": "epsilon"}
                )
            )
        )
    assert DDPMScheduler(rescale_betas_zero_snr=True).alphas_cumprod[-1] == 0
