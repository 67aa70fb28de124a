"""Flows other than FLUX: Stable Diffusion 3 and Sana, each against its own pipeline."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
from kinds import save_kind
from safetensors.torch import load_file, save_file

from hcache.errors import ModelError, UsageError
from hcache.models.loading import load_anatomy, load_model
from hcache.sampling.inversion import invert
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise
from hcache.specs import Conditioning

SCHEDULER = "scheduler/scheduler_config.json"
GIVEN = Conditioning(prompts=("a dog",), negative_prompt="a cat", guidance=3)
SEEDS = [4, 5]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    at = tmp_path_factory.mktemp("flows")
    return {kind: save_kind(kind, at / kind) for kind in ("SD3", "Sana")}


@pytest.fixture
def folder(saved, tmp_path):
    return lambda kind: shutil.copytree(saved[kind], tmp_path / kind)


def changed(folder, file, **fields):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def smooth(folder):
    """With a network that changes slowly, so that any solver comes near the solution."""
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["proj_out.weight"] *= 0.1
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def ours(folder, steps, given=GIVEN):
    """Pictures (2, height, width, 3) in 0 to 1."""
    model = load_model(str(folder))
    *_, last = denoise(model, SEEDS, steps, conditioning=given)
    return (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def theirs(folder, steps, **solver):
    """Those of the folder's own pipeline, with its own scheduler."""
    index = json.loads((folder / "model_index.json").read_text())
    empty = dict.fromkeys(part for part, kind in index.items() if kind == [None, None])
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **empty)
    pipeline.set_progress_bar_config(disable=True)
    if solver:
        kind = type(pipeline.scheduler)
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **solver)
    noise = start_noise(SEEDS, load_anatomy(str(folder)).x)
    side = noise.shape[-1] * 2
    sana = {"use_resolution_binning": False, "clean_caption": False}
    return pipeline(
        list(GIVEN.prompts) * 2,
        negative_prompt=[GIVEN.negative_prompt] * 2,
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=GIVEN.guidance,
        height=side,
        width=side,
        output_type="np",
        **(sana if isinstance(pipeline, diffusers.SanaPipeline) else {}),
    ).images


@torch.no_grad()
def test_sanas_own_solver_meets_the_same_pictures_with_many_steps(folder):
    """Its published scheduler is of the second order: both solve the same equation."""
    at = smooth(folder("Sana"))
    mine, its = ours(at, 100), theirs(at, 100)
    assert its.std() > 0.01 and np.abs(its[0] - its[1]).max() > 0.1
    assert np.abs(mine - its).max() <= 1 / 255


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("SD3", {"shift": 1.0}),
        ("SD3", {"use_dynamic_shifting": True, "base_shift": 0.3, "base_image_seq_len": 4}),
        ("Sana", {"flow_shift": 1.0}),
    ],
)
@torch.no_grad()
def test_a_shift_of_the_noise_levels_is_the_pipelines(kind, fields, folder, saved):
    at = changed(folder(kind), SCHEDULER, **fields)
    order = {"solver_order": 1} if kind == "Sana" else {}
    found = ours(at, 5)
    np.testing.assert_allclose(found, theirs(at, 5, **order), atol=2e-5)
    assert np.abs(found - ours(saved[kind], 5)).max() > 0.01, "the shift matters"


@torch.no_grad()
def test_sana_with_eulers_scheduler_is_taken_too(folder):
    at = folder("Sana")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.save_pretrained(at / "scheduler")
    changed(at, "model_index.json", scheduler=["diffusers", type(scheduler).__name__])
    np.testing.assert_allclose(ours(at, 5), theirs(at, 5), atol=2e-5)
    with pytest.raises(ModelError, match="use_dynamic_shifting"):
        load_anatomy(str(changed(at, SCHEDULER, use_dynamic_shifting=True)))


@torch.no_grad()
def test_stable_diffusion_3_without_its_largest_text_encoder(folder, saved):
    """As many have it: the pipeline then gives zeros for T5's text."""
    at = folder("SD3")
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(at / part)
        changed(at, "model_index.json", **{part: [None, None]})
    found = ours(at, 4)
    np.testing.assert_allclose(found, theirs(at, 4), atol=2e-5)
    assert np.abs(found - ours(saved["SD3"], 4)).max() > 0.01


@pytest.mark.parametrize("kind", ["SD3", "Sana"])
@torch.no_grad()
def test_prompts_matter_and_noise_is_found_again(kind, saved):
    """Both the prompt and the negative one; and inversion leads back."""
    plain = ours(saved[kind], 4)
    for other in (
        Conditioning(prompts=("the sea",), negative_prompt="a cat", guidance=3),
        Conditioning(prompts=("a dog",), guidance=3),
        Conditioning(prompts=("a dog",)),
    ):
        assert np.abs(ours(saved[kind], 4, other) - plain).max() > 1e-3
    model, given = load_model(str(saved[kind])), Conditioning(prompts=("a dog",))
    *_, last = denoise(model, SEEDS, 60, conditioning=given)
    *_, noise = invert(model, last.x_next, 60, given)
    *_, again = denoise(model, None, 60, conditioning=given, x_t=noise)
    error = (again.x_next - last.x_next).abs().mean() / last.x_next.abs().mean()
    assert 0 < float(error) < 0.1


@pytest.mark.parametrize(
    ("kind", "file", "fields", "words"),
    [
        ("Sana", SCHEDULER, {"use_flow_sigmas": False}, "use_flow_sigmas: False.*expected True"),
        ("Sana", SCHEDULER, {"prediction_type": "epsilon"}, "expected 'flow_prediction'"),
        ("Sana", SCHEDULER, {"final_sigmas_type": "sigma_min"}, "ends without noise"),
        ("Sana", SCHEDULER, {"use_karras_sigmas": True}, "use_karras_sigmas"),
        ("Sana", SCHEDULER, {"unheard_of": 1}, "unheard_of"),
        ("Sana", SCHEDULER, {"_class_name": "SCMScheduler"}, "adds fresh noise"),
        ("Sana", SCHEDULER, {"_class_name": "DDIMScheduler"}, "SanaTransformer2DModel is a flow"),
        ("Sana", "transformer/config.json", {"guidance_embeds": True}, "Sana Sprint"),
        ("Sana", "transformer/config.json", {"in_channels": 8}, "8 channels in and 4 out"),
        ("Sana", "transformer/config.json", {"caption_channels": 24}, "width 24.*give 16"),
        ("Sana", "transformer/config.json", {"num_layers": 10**9}, "num_layers"),
        ("Sana", "vae/config.json", {"_class_name": "AutoencoderKL"}, "expected AutoencoderDC"),
        ("SD3", "vae/config.json", {"_class_name": "AutoencoderDC"}, "and nowhere else"),
        ("SD3", SCHEDULER, {"invert_sigmas": True}, "invert_sigmas"),
        ("SD3", SCHEDULER, {"_class_name": "EulerDiscreteScheduler"}, "SD3Transformer2DModel"),
        ("SD3", "transformer/config.json", {"joint_attention_dim": 48}, "joint_attention_dim"),
        ("SD3", "transformer/config.json", {"pooled_projection_dim": 8}, "pooled_projection_dim"),
        (
            "SD3",
            "model_index.json",
            {"_class_name": "StableDiffusion3PAGPipeline"},
            "way of its own",
        ),
    ],
)
def test_what_is_not_the_pipelines_flow_is_refused_before_any_weights(
    kind, file, fields, words, folder
):
    at = changed(folder(kind), file, **fields)
    for load in (load_anatomy, load_model):
        with pytest.raises(ModelError, match=words) as caught:
            load(str(at))
        assert "\n" not in str(caught.value)


def test_eta_is_refused_of_a_flow(saved):
    with pytest.raises(UsageError, match="eta is DDIM's"):
        next(denoise(load_model(str(saved["SD3"])), [1], 2, 0.5, conditioning=GIVEN))
