"""Sizes and channels: what has an anatomy can be run, and what cannot is refused by ``anatomy``
and ``estimate``.
"""

import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from kinds import save_kind
from tiny import make_unet, save_pipeline

from hcache.cli.main import main
from hcache.errors import ModelError
from hcache.models.loading import load_anatomy, load_model
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise
from hcache.specs import Conditioning

CONFIG, VAE = "unet/config.json", "vae/config.json"


def changed(folder, file, **fields):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


@pytest.mark.parametrize("size", [30, 17, [16, 18], [15, 16]])
def test_a_size_that_the_network_cannot_halve_is_refused_at_once(size, tmp_path, capsys):
    folder = save_pipeline(tmp_path / "odd", make_unet(sample_size=size))
    for command in ("anatomy", "estimate", "extract"):
        assert main([command, str(folder)]) == 1
        assert "multiples of 4" in capsys.readouterr().err


@pytest.mark.parametrize("size", [20, [16, 24], [4, 8]])
def test_what_has_an_anatomy_runs(size, tmp_path):
    """At sizes that are no square and no power of two."""
    folder = save_pipeline(tmp_path / "even", make_unet(sample_size=size))
    anatomy, model = load_anatomy(str(folder)), load_model(str(folder))
    assert anatomy == model.anatomy
    *_, last = denoise(model, [0], 2)
    assert tuple(model.to_images(last.x_next).shape[1:]) == anatomy.image
    assert tuple(last.features.h.shape[1:]) == anatomy.h


@pytest.mark.parametrize("size", [[16], [16, 16, 16], "16", [0, 16], 16.5, [16, None]])
def test_a_size_that_is_none_is_refused(size, tmp_path):
    folder = changed(save_pipeline(tmp_path / "m", make_unet()), CONFIG, sample_size=size)
    for load in (load_anatomy, load_model):
        with pytest.raises(ModelError, match="sample_size"):
            load(str(folder))


@pytest.mark.parametrize("size", [[8, 16], [12, 8]])
@torch.no_grad()
def test_sdxl_is_told_height_and_width_apart(size, tmp_path):
    """Of a pair ``sample_size``; its own pipeline, given both sides, makes the same picture."""
    folder = changed(save_kind("SDXL", tmp_path / "xl"), CONFIG, sample_size=size)
    model = load_model(str(folder))
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    from diffusers import DDIMScheduler

    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    height, width, _ = model.anatomy.image
    assert (height, width) == (2 * size[0], 2 * size[1])
    noise = start_noise([3], model.anatomy.x)
    theirs = pipeline(
        "a dog",
        latents=noise,
        num_inference_steps=3,
        guidance_scale=5,
        height=height,
        width=width,
        output_type="np",
    ).images
    *_, last = denoise(model, [3], 3, conditioning=Conditioning(prompts=("a dog",), guidance=5))
    ours = (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert theirs.std() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@torch.no_grad()
def test_sdxl_decodes_with_the_moments_of_its_latents(tmp_path):
    """``latents_mean`` and ``latents_std``, which SDXL's pipeline reads and no other does."""
    moments = {"latents_mean": [0.5, -1.0, 0.2, 0.1], "latents_std": [2.0, 1.5, 0.7, 1.2]}
    folder = changed(save_kind("SDXL", tmp_path / "xl"), VAE, **moments)
    model = load_model(str(folder))
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = start_noise([3], model.anatomy.x)
    latents = pipeline(
        "a dog", latents=noise, num_inference_steps=2, height=16, width=16, output_type="latent"
    ).images
    pictures = pipeline(
        "a dog", latents=noise, num_inference_steps=2, height=16, width=16, output_type="np"
    ).images
    ours = (model.codec.decode(latents) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, pictures, atol=2e-5)
    plain = load_model(str(changed(save_kind("SDXL", tmp_path / "plain"), VAE)))
    assert abs(plain.codec.decode(latents) - model.codec.decode(latents)).max() > 0.01
    seen = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = (
        torch.tensor(moments[name]).view(1, -1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    torch.testing.assert_close(
        model.codec.encode(seen), plain.codec.encode(seen) / std - mean * plain.codec.scale / std
    )
    with pytest.raises(ModelError, match="both or none"):
        load_model(str(changed(folder, VAE, latents_std=None)))
    with pytest.raises(ModelError, match="only SDXL"):
        load_anatomy(str(changed(save_kind("SD", tmp_path / "sd"), VAE, **moments)))


@pytest.mark.parametrize(
    ("kind", "file", "fields", "words"),
    [
        ("SD", CONFIG, {"in_channels": 9}, "inpainting: a mask"),
        ("SD", CONFIG, {"in_channels": 8}, "InstructPix2Pix, Marigold"),
        ("SD", CONFIG, {"in_channels": 5}, "depth map"),
        ("SD", CONFIG, {"in_channels": 7}, "upscaling"),
        ("SD", CONFIG, {"out_channels": 3}, "expected 4 in, and 4 out"),
        ("SD", VAE, {"latent_channels": 16}, "its autoencoder 16"),
        ("SD", VAE, {"out_channels": 4}, "expected 3, pictures"),
        ("SD", "text_encoder/config.json", {"hidden_size": 24}, "text of width 16.*24"),
        ("SDXL", "text_encoder_2/config.json", {"hidden_size": 24}, r"width 32.*16 \+ 24"),
        ("LDM", CONFIG, {"in_channels": 6}, "super-resolution"),
        ("DDPM", CONFIG, {"in_channels": 6}, "super-resolution"),
        ("DDPM", CONFIG, {"in_channels": 2, "out_channels": 2}, "2 channels in"),
        ("DDPM", CONFIG, {"out_channels": 4}, "3 channels in, 4 out"),
        ("DiT", "transformer/config.json", {"sample_size": 9}, "same shape|sample_size"),
        ("FLUX", "transformer/config.json", {"in_channels": 24}, "24 channels in.*expected 16"),
        ("FLUX", "text_encoder/config.json", {"hidden_size": 24}, "pooled_projection_dim.*24"),
        ("FLUX", "text_encoder_2/config.json", {"d_model": 48}, "joint_attention_dim.*48"),
        ("SD3", "transformer/config.json", {"in_channels": 8}, "8 channels in and 4 out"),
    ],
)
def test_channels_that_do_not_fit_are_refused_at_once(kind, file, fields, words, tmp_path):
    folder = changed(save_kind(kind, tmp_path / "m"), file, **fields)
    for load in (load_anatomy, load_model):
        with pytest.raises(ModelError, match=words):
            load(str(folder))


MANY = 10**9


@pytest.mark.parametrize(
    ("kind", "file", "fields", "words"),
    [
        ("DDPM", CONFIG, {"layers_per_block": MANY}, "layers_per_block: 1000000000; expected 200"),
        ("DDPM", CONFIG, {"layers_per_block": 1e300}, "layers_per_block: a larger number"),
        ("DDPM", CONFIG, {"norm_num_groups": MANY}, "norm_num_groups"),
        ("DDPM", CONFIG, {"block_out_channels": [8, MANY]}, "block_out_channels"),
        ("DDPM", CONFIG, {"block_out_channels": [8] * 5000}, "5000 entries"),
        ("DDPM", CONFIG, {"num_class_embeds": MANY}, "num_class_embeds"),
        ("DDPM", CONFIG, {"sample_size": [16, MANY]}, "sample_size"),
        ("SD", CONFIG, {"transformer_layers_per_block": [1, MANY]}, "transformer_layers_per_block"),
        (
            "SD",
            CONFIG,
            {"transformer_layers_per_block": 150, "layers_per_block": 100},
            "100 layers .layers_per_block. with 150 transformer blocks",
        ),
        ("SD", VAE, {"layers_per_block": MANY}, "autoencoder .*layers_per_block"),
        ("SD", "text_encoder/config.json", {"num_hidden_layers": MANY}, "num_hidden_layers"),
        ("DiT", "transformer/config.json", {"num_layers": MANY}, "num_layers"),
        ("FLUX", "transformer/config.json", {"num_single_layers": MANY}, "num_single_layers"),
        ("DDPM", CONFIG, {"sample_size": 10**5}, "sample_size: 100000; expected 8192"),
        ("DiT", "transformer/config.json", {"sample_size": 10**5}, "expected 8192"),
        ("SD3", "transformer/config.json", {"pos_embed_max_size": 10**5}, "expected 8192"),
        ("Sana", VAE, {"encoder_layers_per_block": [1, MANY]}, "encoder_layers_per_block"),
        ("Sana", "text_encoder/config.json", {"num_hidden_layers": MANY}, "num_hidden_layers"),
    ],
)
def test_sizes_that_no_model_has_are_refused_before_anything_is_built(
    kind, file, fields, words, tmp_path, monkeypatch
):
    folder = changed(save_kind(kind, tmp_path / "m"), file, **fields)
    monkeypatch.setattr(torch.nn.Module, "__init__", _never)
    for load in (load_anatomy, load_model):
        with pytest.raises(ModelError, match=words) as caught:
            load(str(folder))
        assert "\n" not in str(caught.value)


def _never(*_, **__):
    raise AssertionError("a module was built")


@pytest.mark.parametrize(("kind", "file"), [("DDPM", CONFIG), ("SD", VAE)])
def test_a_network_larger_than_its_weights_is_refused_without_its_memory(kind, file, tmp_path):
    """A width that could be a model's, but is not this one's: 36 TB of convolutions."""
    wide = [8, 1_000_000] if kind == "SD" else [8, 8, 1_000_000]
    folder = changed(save_kind(kind, tmp_path / "m"), file, block_out_channels=wide)
    with pytest.raises(ModelError, match="cannot be loaded: .* parameters, .* bytes"):
        load_model(str(folder))
