"""Every kind of model through the same code: load, anatomy, extract, probe, swap, edit; and each
against diffusers.
"""

import dataclasses
import functools
import inspect

import diffusers
import numpy as np
import pytest
import torch
from kinds import KINDS, TRANSFORMERS, packed, save_kind
from tiny import drain, render_swaps

from hcache.analysis.decoding import decode
from hcache.analysis.pca import principal_components
from hcache.cards import default_spec
from hcache.directions.naive import naive_direction
from hcache.edits.cached import cached_features
from hcache.edits.render import render_moved
from hcache.errors import NotStoredError, NoUNetError, UsageError
from hcache.extraction.run import extract
from hcache.models.loading import load_anatomy, load_model
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise, predict
from hcache.sampling.noise import start_noise
from hcache.specs import UNCONDITIONED, Conditioning

STEPS, WHOLE = 4, Window(first=0, last=3)
CONDITIONS = {
    "classes": Conditioning(classes=(3,)),
    "SD": Conditioning(prompts=("a dog",), negative_prompt="a cat", guidance=5),
    "SD, v": Conditioning(prompts=("a dog",), guidance=5),
    "SDXL": Conditioning(prompts=("a dog",), guidance=5),
    "DiT": Conditioning(classes=(3,), guidance=4),
    "FLUX": Conditioning(prompts=("a dog",), guidance=3.5),
    "SD3": Conditioning(prompts=("a dog",), negative_prompt="a cat", guidance=4),
    "Sana": Conditioning(prompts=("a dog",), negative_prompt="a cat", guidance=4),
}
FLOWS = ("FLUX", "SD3", "Sana")
UNETS = [kind for kind in KINDS if kind not in TRANSFORMERS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return functools.cache(lambda kind: save_kind(kind, tmp_path_factory.mktemp("kind")))


@pytest.fixture(scope="module")
def models(folders):
    return functools.cache(lambda kind: load_model(str(folders(kind))))


@pytest.fixture(scope="module")
def runs(folders, models, tmp_path_factory):
    """Eight samples of each kind, in shards of five and three."""

    @functools.cache
    def run(kind):
        given = CONDITIONS.get(kind, UNCONDITIONED)
        store = {"block.*": "pooled"} if kind in TRANSFORMERS else {"h": "full", "skip.1": "full"}
        spec = default_spec(
            str(folders(kind)), samples=8, steps=STEPS, batch=5, conditioning=given, store=store
        )
        return extract(models(kind), spec, tmp_path_factory.mktemp("home"))

    return run


def by_diffusers(folder, kind, noise):
    """What the model's own pipeline makes of the same noise, under DDIM where it is not a flow.

    Sana's solver is told to be of the first order: then it is Euler's method.
    """
    given = CONDITIONS.get(kind, UNCONDITIONED)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if kind == "Sana":
        solver = type(pipeline.scheduler)
        pipeline.scheduler = solver.from_config(pipeline.scheduler.config, solver_order=1)
    elif kind not in FLOWS:
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    n = len(noise)
    if given.prompts:
        more = (
            {}
            if kind == "FLUX"
            else {"negative_prompt": [given.negative_prompt] * n if given.negative_prompt else None}
        )
        side = noise.shape[-1] * 2
        if kind == "Sana":
            more |= {"use_resolution_binning": False, "clean_caption": False}
        if kind == "FLUX":
            noise = packed(noise)
            more = {"max_sequence_length": 512}
        return pipeline(
            [given.prompts[0]] * n,
            latents=noise,
            num_inference_steps=STEPS,
            height=side,
            width=side,
            guidance_scale=given.guidance,
            output_type="np",
            **more,
        ).images
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(STEPS)
    x, network = noise, pipeline.transformer if kind == "DiT" else pipeline.unet
    for t in scheduler.timesteps:
        if kind == "DiT":
            labels = torch.tensor([3, 3, 10, 10])
            cond, uncond = (
                network(torch.cat([x, x]), t.expand(4), class_labels=labels).sample[:, :4].chunk(2)
            )
            output = uncond + given.guidance * (cond - uncond)
        else:
            labels = torch.tensor(given.classes).expand(len(x)) if given.classes else None
            output = network(x, t, class_labels=labels).sample[:, :3]
        x = scheduler.step(output, t, x).prev_sample
    if kind == "DiT":
        x = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample
    if kind == "LDM":
        x = pipeline.vqvae.decode(x).sample  # not divided by the factor it was not trained with
    return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_makes_the_pictures_that_its_diffusers_pipeline_makes(kind, folders, models):
    model, seeds = models(kind), [4, 5]
    *_, last = denoise(model, seeds, STEPS, conditioning=CONDITIONS.get(kind, UNCONDITIONED))
    ours = (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    theirs = by_diffusers(folders(kind), kind, start_noise(seeds, model.anatomy.x))
    assert theirs.std() > 0.01 and np.abs(theirs[0] - theirs[1]).max() > 0.01, (
        "it would pass on a constant"
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_its_anatomy_needs_no_weights(kind, folders, models):
    found = load_anatomy(str(folders(kind)))
    assert found == models(kind).anatomy
    assert bool(found.h) == bool(found.skips) == (not found.without) == (not found.blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_extracted_and_analysed_like_any_other(kind, runs):
    run = runs(kind)
    site = "block.1" if kind in TRANSFORMERS else "h"
    assert len(run) == 8 and run.complete
    assert run.images.shape == (8, *run.anatomy.image) and run.images.std() > 1
    matrix = run.matrix(site, 2)
    assert np.isfinite(matrix).all() and matrix.std(0).max() > 0
    assert principal_components(matrix).explained.sum() > 0.5
    found = decode(matrix, run.images.mean((1, 2, 3)), folds=3, controls=2, repeats=20)
    assert np.isfinite(found.score.value) and found.metric == "R²"
    assert run.provenance["branch"] == "cond"
    assert "Infinity" not in (run.folder / "run.json").read_text(), "which is no JSON"
    assert run.trajectory(0).std() > 0


@pytest.mark.parametrize("kind", UNETS)
def test_what_is_not_stored_is_computed_again_as_storing_would_have_given(
    kind, models, runs, tmp_path
):
    """Within half a unit in the last place of the storage dtype, and the rounding of another
    batch.
    """
    model, part = models(kind), runs(kind)
    everything = dataclasses.replace(part.spec, store=dict.fromkeys(part.anatomy.sites, "full"))
    whole = extract(model, everything, tmp_path)
    nothing = extract(model, dataclasses.replace(part.spec, store={}), tmp_path)
    assert dict(nothing.features(6, 0).items()) == {}
    for sample, step in ((0, 0), (6, 1), (7, STEPS - 1)):
        stored = dict(whole.features(sample, step).items())
        for run in (nothing, part):
            found = dict(cached_features(model, run, sample, step).items())
            assert found.keys() == stored.keys() and len(found) > 3
            for name, tensor in found.items():
                scale = float(np.abs(stored[name]).max())
                np.testing.assert_allclose(
                    tensor[0].numpy(),
                    stored[name],
                    rtol=2**-10,
                    atol=1e-4 * scale,
                    err_msg=f"{name} at {step}",
                )


@pytest.mark.parametrize("kind", UNETS)
def test_a_swap_with_itself_changes_nothing_and_one_with_another_does(kind, models, runs):
    _, (images, check) = drain(render_swaps(models(kind), runs(kind), 1, 0, WHOLE))
    assert check.identical and check.largest_difference == 0
    changed = [
        np.abs(picture.astype(int) - runs(kind).images[0]).max() for picture in images.values()
    ]
    assert max(changed) > 0


@pytest.mark.parametrize("kind", UNETS)
@pytest.mark.parametrize("asymmetric", [False, True])
def test_moving_h_moves_the_picture_and_strength_0_does_not(kind, asymmetric, models, runs):
    run = runs(kind)
    direction = naive_direction(run, [0, 3])
    _, pictures = drain(
        render_moved(models(kind), run, [2, 2], direction, [0.0, 8.0], WHOLE, asymmetric)
    )
    assert np.abs(pictures[0].astype(int) - run.images[2]).max() <= 1, "one grey level of rounding"
    assert np.abs(pictures[1].astype(int) - run.images[2]).max() > 1


@pytest.mark.parametrize("kind", UNETS)
def test_guidance_runs_both_branches_and_the_cache_holds_the_conditional_one(kind, models):
    model, given = models(kind), CONDITIONS.get(kind, UNCONDITIONED)
    seen = []
    edit = lambda features, moment: seen.append((moment.branch, features)) or features  # noqa: E731
    step, *_ = denoise(model, [1, 2], STEPS, edit=edit, conditioning=given)
    branches = {branch: features for branch, features in seen[: 2 if given.guidance > 1 else 1]}
    assert set(branches) == ({"cond", "uncond"} if given.guidance > 1 else {"cond"})
    assert torch.equal(step.features.h, branches["cond"].h)
    if given.guidance > 1:
        assert not torch.equal(branches["cond"].h, branches["uncond"].h)
    ahead = predict(model, branches, step.x_t, 0, STEPS, given)
    torch.testing.assert_close(ahead, step.x_0, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["SD", "SDXL"])
def test_a_sample_has_its_own_prompt_whatever_batch_it_is_in(kind, models):
    prompts = ("a dog", "a cat", "the sea")
    together = Conditioning(prompts=prompts, guidance=3)
    *_, batch = denoise(models(kind), [0, 1, 2], STEPS, conditioning=together)
    for i in range(3):
        *_, alone = denoise(models(kind), [i], STEPS, conditioning=together.rows([i]))
        torch.testing.assert_close(alone.x_next[0], batch.x_next[i], atol=1e-4, rtol=1e-4)
    *_, other = denoise(
        models(kind), [0], STEPS, conditioning=Conditioning(prompts=("a cat",), guidance=3)
    )
    assert not torch.allclose(other.x_next[0], batch.x_next[0], atol=1e-3)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_a_transformer_says_what_it_has_not(kind, models, runs):
    model, run = models(kind), runs(kind)
    for attempt in (
        lambda: model.encode(torch.zeros(1, *model.anatomy.x), 1),
        lambda: next(denoise(model, [0], 2, edit=lambda f, m: f, conditioning=CONDITIONS[kind])),
        lambda: run.anatomy.need_unet("swapping"),
    ):
        with pytest.raises(NoUNetError, match="no U-Net"):
            attempt()
    assert not any(site.startswith(("h", "skip")) for site in run.anatomy.sites)
    with pytest.raises(UsageError):
        run.matrix("h", 0)


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_block_outputs_are_the_image_tokens_alone(kind, models, monkeypatch):
    """Of the last block: what the network's head makes its prediction of."""
    model, hooks, register = models(kind), [], torch.nn.Module.register_forward_hook

    network = set(model.network.modules())

    def remembered(module, hook, **named):
        handle = register(module, hook, **named)
        hooks.extend([handle] if module in network else ())
        return handle

    monkeypatch.setattr(torch.nn.Module, "register_forward_hook", remembered)
    guided = model.condition(CONDITIONS[kind], 1)
    x = start_noise([3], model.anatomy.x)
    with torch.inference_mode():
        features, output = model.trace(x, 500.0 if kind in FLOWS else 500, guided.branches["cond"])
    assert len(features.blocks) == len(model.anatomy.blocks)
    assert [tuple(b.shape[1:]) for b in features.blocks] == list(model.anatomy.blocks)
    assert output.shape == x.shape
    assert hooks and not any(hook.id in (hook.hooks_dict_ref() or ()) for hook in hooks), (
        "no hook is left behind"
    )


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("DDPM", Conditioning(guidance=2), "unconditional"),
        ("DDPM", Conditioning(prompts=("a",)), "unconditional"),
        ("classes", UNCONDITIONED, "class-conditional"),
        ("classes", Conditioning(classes=(10,)), "0 to 9"),
        ("classes", Conditioning(classes=(1,), guidance=2), "no class"),
        ("SD", Conditioning(classes=(1,)), "prompts"),
        ("DiT", Conditioning(prompts=("a",)), "class labels"),
    ],
)
def test_a_conditioning_that_the_model_does_not_take_is_refused(kind, given, words, models):
    with pytest.raises(UsageError, match=words):
        next(denoise(models(kind), [0], STEPS, conditioning=given))


def test_fewer_prompts_than_samples_are_refused(folders):
    with pytest.raises(UsageError, match="2 prompts.*5 samples"):
        default_spec(str(folders("SD")), samples=5, conditioning=Conditioning(prompts=("a", "b")))


def test_what_is_not_stored_of_a_transformer_is_not_there(runs):
    run = runs("DiT")
    assert run.matrix("block.0", 0).shape == (8, 16)
    with pytest.raises(NotStoredError):
        dataclasses.replace(run, spec=dataclasses.replace(run.spec, store={})).matrix("block.0", 0)


def test_no_kind_is_left_out():
    """Every pipeline that the loader names is among the kinds, or has a file of its own."""
    from hcache.models.configurations import TEXT_PIPELINES

    source = "".join(
        inspect.getsource(__import__(name)) for name in ("kinds", "test_pixart", "test_few_steps")
    )
    assert all(name in source for name in TEXT_PIPELINES)


def test_latents_of_a_vq_model_are_not_scaled_and_of_a_kl_model_are(models):
    """The configured factor of ldm-celebahq-256 is one that it was not trained with."""
    vq, kl, flux = (models(kind).codec for kind in ("LDM", "SD", "FLUX"))
    assert vq.network.config.scaling_factor != 1 and (vq.scale, vq.shift) == (1.0, 0.0)
    assert (kl.scale, kl.shift) == (pytest.approx(0.18215), 0.0) and flux.shift == pytest.approx(
        0.1
    )


@pytest.mark.parametrize("kind", ["LDM", "SD", "FLUX"])
@torch.inference_mode()
def test_encoding_leads_to_where_decoding_comes_from(kind, models):
    """``encode`` and ``decode`` use the same scale and shift, each the other way round."""
    codec = models(kind).codec
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = codec.encode(pictures)
    raw = latents / codec.scale + codec.shift
    torch.testing.assert_close(codec.decode(latents), codec.network.decode(raw).sample.float())
    inner = codec.network.encode(pictures)
    torch.testing.assert_close(
        raw, inner.latents if kind == "LDM" else inner.latent_dist.mean, atol=1e-5, rtol=1e-5
    )


def test_the_preview_of_latents_is_the_best_linear_one(models):
    """On latents from which colour follows linearly it is exact."""
    codec = models("SD").codec
    weights, bias = codec.colours
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.01
    expected = torch.einsum("nchw,cd->ndhw", latents, weights) + bias.view(1, 3, 1, 1)
    assert torch.equal(codec.preview(latents), expected.clamp(-1, 1)) and weights.abs().max() > 0
