"""Stable Diffusion as one file: the tiny pipeline's own weights under the original names, read
by diffusers' loader.
"""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from diffusers import DDIMScheduler
from kinds import save_kind
from safetensors.torch import load_file, save_file
from tiny import flattened

from hcache.cards import OWN_CARDS, Card, default_spec, find_card
from hcache.cli.main import main
from hcache.errors import ModelError, UnknownModelError
from hcache.models import checkpoint
from hcache.models.checkpoint import configuration_of, load_checkpoint, schedule_of_file
from hcache.models.loading import load_anatomy, load_model, load_scheduler
from hcache.sampling.loop import denoise
from hcache.specs import Conditioning

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
PLACES = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.resnets.1": "input_blocks.2.0",
    "down_blocks.0.attentions.1": "input_blocks.2.1",
    "down_blocks.0.downsamplers.0": "input_blocks.3.0",
    "down_blocks.1.resnets.0": "input_blocks.4.0",
    "down_blocks.1.resnets.1": "input_blocks.5.0",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.resnets.2": "output_blocks.2.0",
    "up_blocks.0.upsamplers.0": "output_blocks.2.1",
    **{f"up_blocks.1.resnets.{i}": f"output_blocks.{3 + i}.0" for i in range(3)},
    **{f"up_blocks.1.attentions.{i}": f"output_blocks.{3 + i}.1" for i in range(3)},
}


def unet_names(weights):
    """The tiny U-Net's weights under the names of the original Stable Diffusion."""
    result = {}
    for name, tensor in weights.items():
        place = max((p for p in PLACES if name.startswith(p + ".")), key=len)
        part, kind = name.removeprefix(place + ".").rpartition(".")[::2]
        part = RESNET.get(part, "op" if "downsamplers" in place and part == "conv" else part)
        result[".".join(filter(None, ["model.diffusion_model", PLACES[place], part, kind]))] = (
            tensor
        )
    assert len(result) == len(weights)
    return result


def vae_names(weights):
    """Likewise of the autoencoder, whose decoder counts its levels from the other end."""
    result = {}
    for name, tensor in weights.items():
        new = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        new = new.replace("mid_block.resnets.0", "mid.block_1").replace(
            "mid_block.resnets.1", "mid.block_2"
        )
        if "mid_block.attentions.0" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            new = new.replace("to_out.0", "proj_out").replace("to_", "")
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        for level in range(2):
            new = new.replace(f"down_blocks.{level}.resnets", f"down.{level}.block")
            new = new.replace(f"down_blocks.{level}.downsamplers.0", f"down.{level}.downsample")
            new = new.replace(f"up_blocks.{level}.resnets", f"up.{1 - level}.block")
            new = new.replace(f"up_blocks.{level}.upsamplers.0", f"up.{1 - level}.upsample")
        result[f"first_stage_model.{new}"] = tensor.contiguous()
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_kind("SD", tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    tensors = {**unet_names(pipeline.unet.state_dict()), **vae_names(pipeline.vae.state_dict())}
    for name, tensor in pipeline.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = (
            tensor
        )
    path = tmp_path_factory.mktemp("file") / "tiny.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


@pytest.fixture
def card(file, folder, tmp_path, monkeypatch):
    """A card of one's own, which says where the tokenizer is."""
    fields = {
        "source": str(file),
        "config": str(folder),
        "kind": "KL latents, text",
        "guidance": 3.0,
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"my-model": fields}))
    monkeypatch.setenv(OWN_CARDS, str(tmp_path / "mine.yaml"))
    return find_card("my-model")


def test_one_file_makes_what_the_folder_makes(card, folder):
    given = Conditioning(prompts=("a dog",), guidance=3)
    pictures = []
    for model in (load_model("my-model"), load_model(str(folder))):
        *_, last = denoise(model, [1, 2], 3, conditioning=given)
        pictures.append(model.codec.decode(last.x_next))
    torch.testing.assert_close(*pictures)
    assert load_anatomy("my-model") == load_anatomy(str(folder))
    assert default_spec("my-model").weights and default_spec("my-model").conditioning.guidance == 3


@pytest.mark.parametrize("part", ["model.diffusion_model.", "first_stage_model.", "cond_stage"])
def test_a_tensor_without_its_shape_is_refused_in_one_line(part, card, file, tmp_path):
    tensors = load_file(file)
    names = [n for n, tensor in tensors.items() if n.startswith(part) and tensor.ndim > 1]
    spoilt = tmp_path / "spoilt.safetensors"
    save_file(flattened(tensors, names[len(names) // 2]), spoilt)
    with pytest.raises(ModelError) as refused:
        load_checkpoint(replace(card, source=str(spoilt)), "cpu", torch.float32)
    assert "\n" not in str(refused.value) and str(spoilt) in str(refused.value)


def test_a_lora_changes_one_file_as_it_changes_the_folder(card, folder, tmp_path):
    """U-Net and text encoder; that the folder makes its own pipeline's pictures: test_loras."""
    from test_loras import save_lora

    lora = f"{save_lora('SD', folder, tmp_path / 'lora')}:0.7"
    given = Conditioning(prompts=("a dog",), guidance=3)
    by_file, by_folder, plain = (
        list(denoise(model, [1, 2], 3, conditioning=given))[-1].x_next
        for model in (
            load_model("my-model", lora=lora),
            load_model(str(folder), lora=lora),
            load_model("my-model"),
        )
    )
    torch.testing.assert_close(by_file, by_folder)
    assert (by_file - plain).abs().max() > 0.02, "the LoRA changes the pictures"
    assert load_anatomy("my-model", lora=lora) == load_anatomy(str(folder))


def test_a_file_with_no_tokenizer_to_be_had_says_how_to_name_one(file):
    with pytest.raises(ModelError, match="HCACHE_CARDS|known width"):
        load_model(str(file))


@pytest.mark.parametrize("width", [768, 1024, 2048])
def test_which_stable_diffusion_it_is_shows_in_its_text_width(width, tmp_path):
    place = "input_blocks.4.1" if width == 2048 else "input_blocks.1.1"
    name = f"model.diffusion_model.{place}.transformer_blocks.0.attn2.to_k.weight"
    file = tmp_path / "a.safetensors"
    if width == 1024:
        save_file({name: torch.zeros(4, width)}, file)
        with pytest.raises(ModelError, match="does not say whether it is 2.x"):
            load_anatomy(str(file))
    save_file({name: torch.zeros(4, width)}, file, {"modelspec.resolution": "768x768"})
    anatomy = load_anatomy(str(tmp_path / "a.safetensors"))
    assert round(anatomy.parameters / 1e6) == {768: 860, 1024: 866, 2048: 2567}[width]


@pytest.mark.parametrize("data", [b"", b"junk" * 10, None])
def test_another_file_is_refused_in_words(tmp_path, data):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path) if data is None else path.write_bytes(data)
    for load in (load_model, load_anatomy):
        with pytest.raises(ModelError):
            load(str(path))


def test_a_file_that_is_gone_is_said_to_be(card):
    gone = replace(card, source=card.source + ".gone")
    uses = (
        configuration_of,
        lambda card: schedule_of_file(card, DDIMScheduler()),
        lambda card: load_checkpoint(card, "cpu", torch.float32),
    )
    for use in uses:
        with pytest.raises(ModelError, match="is not a file; expected a checkpoint"):
            use(gone)


def test_the_schedule_of_a_single_file_is_checked_like_that_of_a_folder(monkeypatch, tmp_path):
    from diffusers import EulerDiscreteScheduler, PNDMScheduler

    marks = checkpoint.Marks(width=768, channels=4, predicts_v=None, zero_snr=False, side=None)
    monkeypatch.setattr(checkpoint, "read_marks", lambda *_: marks)
    (tmp_path / "one.safetensors").touch()
    card = Card(name="one", source=str(tmp_path / "one.safetensors"))
    with pytest.raises(ModelError, match="use_karras_sigmas"):
        checkpoint.schedule_of_file(card, EulerDiscreteScheduler(use_karras_sigmas=True))
    made = checkpoint.schedule_of_file(card, PNDMScheduler(steps_offset=1))
    assert not made.config.set_alpha_to_one, "which PNDM's own default is, and not DDIM's"
    assert made.config.steps_offset == 1 and not made.config.clip_sample


def marked(path, width=768, channels=4, metadata=None, **tensors):
    """The few tensors of a single file that say what it is."""
    places = {768: "input_blocks.1.1", 1024: "input_blocks.1.1", 2048: "input_blocks.4.1"}
    cross = f"model.diffusion_model.{places[width]}.transformer_blocks.0.attn2.to_k.weight"
    found = {cross: torch.zeros(4, width), checkpoint.CONV_IN: torch.zeros(8, channels, 3, 3)}
    save_file(found | tensors, path, metadata)
    return str(path)


def refusal(file):
    """What is said, in one line: the same by all that reads a model."""
    said = set()
    for load in (load_model, load_anatomy, load_scheduler):
        with pytest.raises((ModelError, UnknownModelError)) as caught:
            load(file)
        said.add(str(caught.value))
    (message,) = said
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("width", "channels", "what"),
    [
        (1024, 5, "depth (Stable Diffusion 2 depth)"),
        (1024, 7, "a small picture (the x4 upscaler)"),
        (768, 8, "another picture (InstructPix2Pix)"),
        (2048, 8, "another picture (InstructPix2Pix)"),
        (768, 9, "a mask and a masked picture (inpainting)"),
        (1024, 9, "a mask and a masked picture (inpainting)"),
        (2048, 9, "a mask and a masked picture (inpainting)"),
        (768, 13, "something that is not known"),
    ],
)
def test_a_single_file_that_is_given_more_than_noise_and_text_is_refused_by_its_channels(
    width, channels, what, tmp_path, capsys
):
    file = marked(tmp_path / "a.safetensors", width, channels)
    said = refusal(file)
    assert f"takes {channels} channels" in said and f"it is given {what};" in said
    assert "expected a model that takes noise and text alone" in said
    assert ("As a folder in diffusers' format" in said) == (channels in (8, 9))
    for command in ("anatomy", "estimate", "extract"):
        assert main([command, file]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert what in line


def test_a_stable_diffusion_2_base_is_not_taken_for_the_larger_one(tmp_path):
    size = {"modelspec.resolution": "512x512"}
    said = refusal(marked(tmp_path / "a.safetensors", 1024, metadata=size))
    assert "is a Stable Diffusion 2 and is 2.x-base" in said and "HCACHE_CARDS" in said


MARK = torch.tensor([])


@pytest.mark.parametrize(
    ("tensors", "metadata", "prediction", "zero_snr"),
    [
        ({}, None, "epsilon", False),
        ({"v_pred": MARK}, None, "v_prediction", False),
        ({"v_pred": MARK, "ztsnr": MARK}, None, "v_prediction", True),
        ({}, {"modelspec.prediction_type": "v"}, "v_prediction", False),
        ({}, {"modelspec.prediction_type": "epsilon"}, "epsilon", False),
        ({}, {"ss_v_parameterization": "True"}, "v_prediction", False),
        (
            {},
            {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"},
            "v_prediction",
            True,
        ),
    ],
)
@pytest.mark.parametrize("width", [768, 2048])
def test_marks_of_a_single_file_decide_its_schedule_and_are_said(
    width, tensors, metadata, prediction, zero_snr, tmp_path, caplog
):
    file = marked(tmp_path / "a.safetensors", width, metadata=metadata, **tensors)
    found = load_scheduler(file)
    assert found.config.prediction_type == prediction
    assert (float(found.alphas_cumprod[-1]) == 0) == zero_snr
    said = "prediction_type v_prediction by the file's own mark" in caplog.text
    assert said == (prediction == "v_prediction")
    assert ("prediction epsilon likewise" in caplog.text) == (not tensors and not metadata)


def test_zero_snr_without_v_prediction_is_a_contradiction(tmp_path):
    said = refusal(marked(tmp_path / "a.safetensors", ztsnr=MARK))
    assert "(ztsnr) and not as predicting v (v_pred)" in said and "contradict each other" in said


def test_a_marked_file_makes_what_the_folder_of_that_schedule_makes(
    file, folder, tmp_path, monkeypatch
):
    """The mark is read off a whole file, and the loader does not stumble over it."""
    save_file(load_file(file) | {"v_pred": MARK}, tmp_path / "v.safetensors")
    fields = {"source": "v.safetensors", "config": str(folder), "kind": "KL latents, text"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"my-v": fields}))
    monkeypatch.setenv(OWN_CARDS, str(tmp_path / "mine.yaml"))
    model = load_model("my-v")
    shutil.copytree(folder, tmp_path / "v")
    config = tmp_path / "v" / "scheduler" / "scheduler_config.json"
    told = json.loads(config.read_text()) | {"prediction_type": "v_prediction"}
    config.write_text(json.dumps(told))
    given = Conditioning(prompts=("a dog",), guidance=3)
    pictures = [
        list(denoise(each, [1, 2], 3, conditioning=given))[-1].x_next
        for each in (model, load_model(str(tmp_path / "v")))
    ]
    torch.testing.assert_close(*pictures)


def test_a_stated_schedule_goes_before_the_one_of_its_kind_and_not_before_the_files_marks(tmp_path):
    stated = {"_class_name": "DDIMScheduler", "beta_end": 0.03, "prediction_type": "v_prediction"}
    plain = marked(tmp_path / "plain.safetensors")
    found = load_scheduler(plain, stated)
    assert (found.config.beta_end, found.config.prediction_type) == (0.03, "v_prediction")
    assert not found.config.clip_sample and found.config.steps_offset == 1
    v = marked(tmp_path / "v.safetensors", v_pred=MARK)
    assert load_scheduler(v, stated).config.beta_end == 0.03
    with pytest.raises(ModelError, match="marked with prediction_type v_prediction.*epsilon"):
        load_anatomy(v, scheduler="stable-diffusion")


@pytest.mark.parametrize("suffix", ["ckpt", "pt", "pth", "bin"])
def test_a_pickle_given_as_a_model_says_what_to_convert_it_by(suffix, tmp_path, capsys):
    path = tmp_path / f"v1-5-pruned.{suffix}"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, path)
    said = refusal(str(path))
    assert "`python -m hcache convert-adm`" in said and "`python -m hcache convert-ddpm`" in said
    assert "torch.load(..., weights_only=True), then safetensors.torch.save_file" in said
    assert main(["estimate", str(path)]) == 2
    assert "python -m hcache convert-ddpm" in capsys.readouterr().err
