"""PixArt as DiT: its blocks as ``block.k``, its pictures those of its own pipeline."""

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)
from kinds import TOKENS, grown, kl
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from hcache.cards import default_spec
from hcache.errors import ModelError, UsageError
from hcache.extraction.run import extract
from hcache.models.loading import load_anatomy, load_model
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise
from hcache.specs import DIFFUSERS, Conditioning

PIPELINES = {
    "alpha": (PixArtAlphaPipeline, False),
    "alpha, sizes": (PixArtAlphaPipeline, True),
    "sigma": (PixArtSigmaPipeline, False),
}
GIVEN = Conditioning(prompts=("a dog",), negative_prompt="cat", guidance=3)
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
SEEDS, STEPS = [4, 5], 4


def pieces():
    letters = ((chr(c), -2.0) for c in range(97, 123))
    return [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *letters]


def save_pixart(kind, folder, caption=32):
    torch.manual_seed(0)
    pipeline, sizes = PIPELINES[kind]
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        cross_attention_dim=24,
        sample_size=8,
        caption_channels=caption,
        use_additional_conditions=sizes,
        norm_num_groups=4,
    )
    t5 = T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    pipeline(
        tokenizer=T5TokenizerFast(vocab=pieces(), model_max_length=TOKENS, extra_ids=0),
        text_encoder=grown(T5EncoderModel(t5)),
        vae=kl(),
        transformer=grown(transformer),
        scheduler=DPMSolverMultistepScheduler(**BETAS),
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", PIPELINES)
@torch.no_grad()
def test_it_makes_the_pictures_of_its_own_pipeline(kind, tmp_path):
    folder = save_pixart(kind, tmp_path / "m")
    model = load_model(str(folder))
    assert load_anatomy(str(folder)) == model.anatomy
    *_, last = denoise(model, SEEDS, STEPS, conditioning=GIVEN, schedule=DIFFUSERS)
    ours = (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    pipeline = PIPELINES[kind][0].from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(model.scheduler.config)
    if PIPELINES[kind][1]:  # the pipeline goes by the size of the published model of 1024
        side = torch.full((4, 2), 16.0)
        given = {"resolution": side, "aspect_ratio": torch.ones(4, 1)}
        forward = pipeline.transformer.forward
        pipeline.transformer.forward = lambda *a, **k: forward(
            *a, **{**k, "added_cond_kwargs": given}
        )
    theirs = pipeline(
        [GIVEN.prompts[0]] * 2,
        negative_prompt=[GIVEN.negative_prompt] * 2,
        latents=start_noise(SEEDS, model.anatomy.x),
        num_inference_steps=STEPS,
        guidance_scale=GIVEN.guidance,
        height=16,
        width=16,
        use_resolution_binning=False,
        clean_caption=False,
        output_type="np",
    ).images
    assert theirs.std() > 0.01 and np.abs(theirs[0] - theirs[1]).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_its_blocks_are_cached_like_those_of_dit(tmp_path):
    folder = save_pixart("alpha", tmp_path / "m")
    spec = default_spec(str(folder), samples=3, steps=2, conditioning=GIVEN)
    run = extract(load_model(str(folder)), spec, tmp_path / "home")
    assert run.anatomy.sites == ("block.0", "block.1", "block.2")
    assert "PixArtTransformer2DModel is a transformer" in run.anatomy.without
    matrix = run.matrix("block.1", 1)
    assert matrix.shape == (3, 24) and np.isfinite(matrix).all() and matrix.std(0).max() > 0
    other = dataclasses.replace(GIVEN, prompts=("the sea",))
    changed = extract(
        load_model(str(folder)), dataclasses.replace(spec, conditioning=other), tmp_path / "home"
    )
    assert not np.allclose(changed.matrix("block.1", 1), matrix), "the text matters"


def test_what_it_does_not_take_is_refused(tmp_path):
    folder = save_pixart("sigma", tmp_path / "m")
    with pytest.raises(UsageError, match="prompts, not class labels"):
        next(denoise(load_model(str(folder)), [0], 2, conditioning=Conditioning(classes=(1,))))
    with pytest.raises(ModelError, match="takes no LoRA"):
        (tmp_path / "a.safetensors").write_bytes(b"")
        load_anatomy(str(folder), lora=str(tmp_path / "a.safetensors"))
    wide = save_pixart("sigma", tmp_path / "wide", caption=48)
    with pytest.raises(ModelError, match="takes text of width 48 .caption_channels.*give 32"):
        load_anatomy(str(wide))
