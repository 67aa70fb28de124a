"""Models that are refused, each saved by its own pipeline class in its own layout: the reason is
the real one, in one line, and before any weights are read.
"""

import shutil

import diffusers
import pytest
import torch
from kinds import SD, clip_text, clip_tokenizer, kl, save_kind, text_unet
from test_pixart import pieces
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from hcache.cli.main import main
from hcache.errors import ModelError
from hcache.models.loading import load_anatomy, load_model

NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def clip_parts():
    return {"text_encoder": clip_text(), "tokenizer": clip_tokenizer()}


def kandinsky():
    """kandinsky-2-2-decoder: text is replaced by a picture's embedding; ``movq/`` beside it."""
    movq = diffusers.VQModel(
        block_out_channels=(32, 32),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4,
        num_vq_embeddings=32,
        norm_num_groups=4,
        norm_type="spatial",
        vq_embed_dim=4,
    )
    unet = text_unet(
        encoder_hid_dim=16,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        out_channels=8,
    )
    return diffusers.KandinskyV22Pipeline(unet, diffusers.DDPMScheduler(), movq)


def deepfloyd():
    """DeepFloyd/IF-I: pixels, SimpleCrossAttn blocks, learned variance, dynamic thresholding."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=16,
        encoder_hid_dim=32,
        encoder_hid_dim_type="text_proj",
        norm_num_groups=4,
        attention_head_dim=4,
    )
    t5 = T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return diffusers.IFPipeline(
        tokenizer=T5TokenizerFast(vocab=pieces(), model_max_length=16, extra_ids=0),
        text_encoder=T5EncoderModel(t5),
        unet=unet,
        scheduler=diffusers.DDPMScheduler(thresholding=True, variance_type="learned_range"),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def marigold():
    """prs-eth/marigold-depth-v1-0: its sample is a map of what it is given."""
    return diffusers.MarigoldDepthPipeline(
        unet=text_unet(in_channels=8, out_channels=4),
        vae=kl(),
        scheduler=diffusers.DDIMScheduler(**SD, prediction_type="v_prediction"),
        prediction_type="depth",
        **clip_parts(),
    )


def upscaler():
    """stabilityai/stable-diffusion-x4-upscaler: a small picture, and its noise level as a class."""
    return diffusers.StableDiffusionUpscalePipeline(
        vae=kl(),
        unet=text_unet(in_channels=7, out_channels=4, num_class_embeds=1000),
        low_res_scheduler=diffusers.DDPMScheduler(),
        scheduler=diffusers.DDIMScheduler(**SD, prediction_type="v_prediction"),
        **clip_parts(),
    )


def score():
    """google/ncsnpp-celebahq-256: its variance explodes."""
    from tiny import make_unet

    return diffusers.DDPMPipeline(make_unet(), diffusers.ScoreSdeVeScheduler())


def playground():
    """playground-v2.5: SDXL's parts, noise levels as EDM has them."""
    from kinds import sdxl

    pipeline = sdxl()
    pipeline.register_modules(scheduler=diffusers.EDMDPMSolverMultistepScheduler())
    return pipeline


LAYOUTS = {
    kandinsky: "conditioned on the embedding of a picture",
    deepfloyd: "DDPM's learned variance and dynamic thresholding, not with DDIM",
    marigold: "the depth of a picture that it is given",
    upscaler: "given a picture beside x_t",
    score: "its variance explodes",
    playground: "adds noise as EDM does",
}

BARE = {
    kandinsky: "its text is replaced or joined by the embedding of a picture",
    deepfloyd: "thresholding: True",
    marigold: "editing or estimation (InstructPix2Pix, Marigold): a picture",
    upscaler: "a noise level, beside the text",
    score: "ScoreSdeVeScheduler",
    playground: "EDMDPMSolverMultistepScheduler",
}
"""The same models as old repositories have them, the U-Net in the root and no
``model_index.json``: what is refused then, off their parts.
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    at = tmp_path_factory.mktemp("layouts")
    torch.manual_seed(0)
    for make in LAYOUTS:
        make().save_pretrained(at / make.__name__)
    return at


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_published_layout_is_refused_by_its_real_reason(make, saved, tmp_path, capsys):
    whole = saved / make.__name__
    bare = shutil.copytree(whole / "unet", tmp_path / "bare")
    for part in ("scheduler", "vae"):
        if (whole / part).is_dir():
            shutil.copytree(whole / part, bare / part)
    for folder, words in ((whole, LAYOUTS[make]), (bare, BARE[make])):
        for file in folder.rglob("*.safetensors"):
            file.unlink()
        for load in (load_anatomy, load_model):
            with pytest.raises(ModelError) as caught:
                load(str(folder))
            message = str(caught.value)
            assert words in message and "\n" not in message, message
            assert "no autoencoder beside it" not in message
        assert main(["estimate", str(folder)]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert words in line


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "ControlNetModel"}, "is a ControlNetModel; expected one of"),
        ({"_class_name": "AutoencoderKL"}, "is a AutoencoderKL; expected one of"),
        ({"_class_name": "UNet3DConditionModel"}, "is a UNet3DConditionModel; expected one of"),
        ({"architectures": ["CLIPModel"]}, "expected one of"),
    ],
)
def test_another_kind_of_folder_says_what_it_is(config, words, tmp_path):
    """What people have in folders of their own: ControlNets, autoencoders, video networks."""
    import json

    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        load_anatomy(str(tmp_path))
    assert words in str(caught.value) and "\n" not in str(caught.value), caught.value


def test_a_bare_unet_that_takes_text_says_what_is_missing(tmp_path):
    """latent-consistency/lcm-sdxl, sdxl-lightning: a U-Net alone, without its text encoders."""
    at = save_kind("SD", tmp_path / "sd")
    bare = shutil.copytree(at / "unet", tmp_path / "unet")
    for load in (load_anatomy, load_model):
        with pytest.raises(ModelError, match="no autoencoder beside it") as caught:
            load(str(bare))
        assert "\n" not in str(caught.value)
