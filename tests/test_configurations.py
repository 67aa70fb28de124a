"""What a model's files say is honoured or refused: pipelines, conditions, fields, tensors."""

import ast
import inspect
import json
import re
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel, StableDiffusionPipeline
from kinds import SD, clip_text, clip_tokenizer, grown, kl, save_kind, text_unet
from safetensors.torch import load_file, save_file
from tiny import make_unet, model_of

from hcache.cli.main import main
from hcache.errors import ModelError, UsageError
from hcache.models.conditioners import ByClass
from hcache.models.configurations import PIPELINES, PIX2PIX, PLAIN
from hcache.models.loading import load_anatomy, load_model
from hcache.models.refused_pipelines import OTHER, REFUSED_PIPELINES, why_refused
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise
from hcache.specs import Conditioning

INDEX, UNET, VAE = "model_index.json", "unet/config.json", "vae/config.json"
KIND_OF = {
    "StableDiffusionPipeline": "SD",
    "StableDiffusionXLPipeline": "SDXL",
    "StableDiffusion3Pipeline": "SD3",
    "FluxPipeline": "FLUX",
}
DOG = Conditioning(prompts=("a dog",), guidance=5)
TABLE = Path(__file__).parents[1] / "docs" / "reference" / "models-table.md"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One folder of each kind, not to be changed."""
    return {
        kind: save_kind(kind, tmp_path_factory.mktemp("kinds") / "m")
        for kind in ("SD", "SDXL", "DDPM", "LDM", "FLUX", "SD3")
    }


@pytest.fixture
def folder(saved, tmp_path):
    return lambda kind: shutil.copytree(saved[kind], tmp_path / kind)


def changed(folder, file, **fields):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def refusal(folder):
    """What is said, in one line: the same by what needs no weights and by what does."""
    said = []
    for load in (load_anatomy, load_model):
        with pytest.raises(ModelError) as caught:
            load(str(folder))
        said.append(str(caught.value))
    assert said[0] == said[1] and "\n" not in said[0], said
    return said[0]


def test_the_table_names_every_pipeline():
    rows = [
        line.split("|")
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    said = {
        cells[1].strip().strip("`"): cells[2].strip() for cells in rows if "Pipeline" in cells[1]
    }
    plain = dict.fromkeys(PLAIN, "as the plain one") | dict.fromkeys(PIX2PIX, "without a picture")
    assert said == dict.fromkeys(PIPELINES, "taken") | plain | dict.fromkeys(
        REFUSED_PIPELINES, "refused"
    )


def pipelines_of_diffusers():
    """All classes of pipelines, read from the source: some cannot be imported without further
    libraries.
    """
    folder = Path(inspect.getfile(diffusers)).parent / "pipelines"
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Pipeline"):
                found.add(node.name)
    return sorted(name for name in found if "Flax" not in name)


def test_every_pipeline_of_diffusers_is_taken_or_has_a_reason():
    """That of no network that is read is left for those which fit no other."""
    names = [n for n in pipelines_of_diffusers() if n not in {*PIPELINES, *PLAIN, *PIX2PIX}]
    assert len(names) > 200
    assert set(PIPELINES) | set(PIX2PIX) <= set(dir(diffusers)) | {"LatentDiffusionUncondPipeline"}
    assert "second network" in why_refused("StableDiffusionXLControlNetImg2ImgPipeline")
    assert "videos" in why_refused("AnimateDiffSDXLPipeline")
    assert "picture that it is given" in why_refused("FluxKontextPipeline")
    assert "embedding of a picture" in why_refused("KandinskyV22CombinedPipeline")
    for other in ("HunyuanDiTPipeline", "Kandinsky3Pipeline", "MyPipeline"):
        assert why_refused(other) == OTHER
    unets = [name for name in names if re.match("StableDiffusion|LDM|IF|Kandinsky(V22)?P", name)]
    assert len(unets) > 30 and not any(why_refused(name) == OTHER for name in unets)


@pytest.mark.parametrize("name", [*REFUSED_PIPELINES, "AnotherPipeline"])
def test_a_pipeline_with_another_loop_is_refused_with_its_reason(name, folder):
    said = refusal(changed(folder("SD"), INDEX, _class_name=name))
    assert f"is a {name}, which is not taken: {why_refused(name)}; expected one of" in said


def test_a_pipeline_of_code_of_its_own_is_refused(folder):
    assert "Mine" in refusal(changed(folder("DDPM"), INDEX, _class_name=["pipeline", "Mine"]))


@pytest.mark.parametrize("name", PLAIN)
def test_a_folder_with_the_parts_of_the_plain_pipeline_is_run_as_that_and_says_so(
    name, folder, saved, caplog
):
    kind = KIND_OF[PLAIN[name]]
    model = load_model(str(changed(folder(kind), INDEX, _class_name=name)))
    assert f"is a {name}" in caplog.text and PLAIN[name] in caplog.text
    plain = load_model(str(saved[kind]))
    pictures = [list(denoise(m, [0], 2, conditioning=DOG))[-1].x_next for m in (model, plain)]
    assert torch.equal(*pictures)


@pytest.mark.parametrize(
    ("kind", "file", "fields", "words"),
    [
        ("SDXL", INDEX, {"requires_aesthetics_score": True}, "requires_aesthetics_score"),
        ("SD", INDEX, {"controlnet": ["diffusers", "ControlNetModel"]}, "controlnet"),
        (
            "SD",
            UNET,
            {"encoder_hid_dim_type": "image_proj", "encoder_hid_dim": 16},
            "embedding of a picture",
        ),
        ("SD", UNET, {"addition_embed_type": "image"}, "addition_embed_type"),
        ("SD", UNET, {"class_embed_type": "projection"}, "class_embed_type"),
        ("SD", UNET, {"num_class_embeds": 1000}, "noise level"),
        ("SD", UNET, {"attention_type": "gated"}, "GLIGEN"),
        ("SD", UNET, {"a_field_of_tomorrow": 3}, "a_field_of_tomorrow"),
        ("DDPM", UNET, {"a_field_of_tomorrow": 3}, "a_field_of_tomorrow"),
        ("DDPM", UNET, {"_class_name": "Kandinsky3UNet"}, "Kandinsky3UNet"),
        ("LDM", "vqvae/config.json", {"a_field_of_tomorrow": [1]}, "a_field_of_tomorrow"),
        ("SD", VAE, {"_class_name": "AutoencoderDC"}, "AutoencoderDC"),
    ],
)
def test_a_field_that_changes_what_is_computed_is_never_dropped(kind, file, fields, words, folder):
    assert words in refusal(changed(folder(kind), file, **fields))


@pytest.mark.parametrize("file", [UNET, VAE, INDEX])
def test_an_unknown_field_that_says_nothing_is_let_be(file, folder, saved):
    found = load_anatomy(str(changed(folder("SD"), file, a_field_of_old=None, another=False)))
    assert found == load_anatomy(str(saved["SD"]))


def added(path, **tensors):
    save_file(load_file(path) | tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("kind", "part", "file"),
    [
        ("SD", "unet", "diffusion_pytorch_model"),
        ("SD", "vae", "diffusion_pytorch_model"),
        ("SD", "text_encoder", "model"),
        ("DDPM", "unet", "diffusion_pytorch_model"),
    ],
)
def test_tensors_without_a_place_are_an_error(kind, part, file, folder):
    at = folder(kind)
    name = "down_blocks.0.attentions.0.to_q.lora.down.weight"
    added(at / part / f"{file}.safetensors", **{name: torch.zeros(2, 2)})
    with pytest.raises(
        ModelError, match="1 tensors that its network has no place for, first down_blocks.*lora"
    ):
        load_model(str(at))


def test_tensors_that_take_no_part_are_none(folder, saved):
    """Counters of positions, and the other half of CLIP."""
    at = folder("SD")
    harmless = {
        "text_model.embeddings.position_ids": torch.arange(16)[None],
        "logit_scale": torch.tensor(1.0),
        "vision_model.post_layernorm.weight": torch.ones(4),
    }
    added(at / "text_encoder/model.safetensors", **harmless)
    texts = [
        load_model(str(path)).condition(DOG, 1).branches["cond"].text for path in (at, saved["SD"])
    ]
    assert torch.equal(*texts) and texts[0].std() > 0


def test_a_text_encoder_that_lacks_a_tensor_is_not_given_a_random_one(folder):
    at = folder("SD")
    path = at / "text_encoder/model.safetensors"
    tensors = load_file(path)
    first = next(name for name in tensors if "mlp" in name)
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != first},
        path,
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError, match="lack 1 tensors"):
        load_model(str(at))


@torch.no_grad()
def test_dit_under_its_old_name_makes_the_pictures_of_its_pipeline(tmp_path, monkeypatch):
    """facebook/DiT-XL-2-256: its files name Transformer2DModel, and its pipeline class 1000 for
    none.
    """
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=1000,
        norm_num_groups=4,
    )
    DiTPipeline(grown(transformer), kl(), DDIMScheduler(clip_sample=False)).save_pretrained(
        tmp_path
    )
    old = {
        "_class_name": "Transformer2DModel",
        "_diffusers_version": "0.12.0.dev0",
        "cross_attention_dim": None,
        "num_vector_embeds": None,
        "only_cross_attention": False,
        "use_linear_projection": False,
    }
    changed(tmp_path, "transformer/config.json", **old)
    changed(
        tmp_path, INDEX, transformer=["diffusers", "Transformer2DModel"], id2label={"3": "shark"}
    )
    model, seeds = load_model(str(tmp_path)), [4, 5]
    assert load_anatomy(str(tmp_path)) == model.anatomy and len(model.anatomy.blocks) == 2
    pipeline = DiTPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    noise = start_noise(seeds, model.anatomy.x)
    monkeypatch.setattr(inspect.getmodule(DiTPipeline), "randn_tensor", lambda *_, **__: noise)
    theirs = pipeline([3, 7], guidance_scale=4.0, num_inference_steps=4, output_type="np").images
    *_, last = denoise(model, seeds, 4, conditioning=Conditioning(classes=(3, 7), guidance=4))
    ours = (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert theirs.std() > 0.01 and np.abs(theirs[0] - theirs[1]).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    other = changed(tmp_path, "transformer/config.json", norm_type="ada_norm_single")
    assert "DiTPipeline around a PixArtTransformer2DModel" in refusal(other)


@torch.no_grad()
def test_distilled_guidance_is_told_as_its_own_pipeline_tells_it(tmp_path):
    """``time_cond_proj_dim`` with a scheduler that is DDIM's: one branch, whose time embedding
    has the scale in it.
    """
    torch.manual_seed(0)
    unet = text_unet(time_cond_proj_dim=6)
    StableDiffusionPipeline(
        vae=kl(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**SD),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    noise = start_noise([1], model.anatomy.x)
    found = {}
    for scale in (1.0, 5.0):
        theirs = pipeline(
            "a dog",
            latents=noise,
            num_inference_steps=3,
            guidance_scale=scale,
            height=16,
            width=16,
            output_type="np",
        ).images
        *_, last = denoise(
            model, [1], 3, conditioning=Conditioning(prompts=("a dog",), guidance=scale)
        )
        found[scale] = (
            (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        )
        np.testing.assert_allclose(found[scale], theirs, atol=2e-5)
    assert np.abs(found[1.0] - found[5.0]).max() > 0.01
    with pytest.raises(UsageError, match="no negative prompt"):
        next(
            denoise(
                model,
                [1],
                3,
                conditioning=Conditioning(prompts=("a",), negative_prompt="b", guidance=2),
            )
        )


def test_a_class_conditional_unet_is_guided_by_the_null_class_it_was_trained_with():
    """Which no file of it says: eps = uncond + guidance (cond - uncond), uncond that of the
    class that was named.
    """
    unet = make_unet(num_class_embeds=11)
    from dataclasses import replace

    model = replace(model_of(unet, clip_sample=False), conditioner=ByClass(11))
    given = Conditioning(classes=(3,), guidance=2.5, null_class=10)
    step = next(denoise(model, [0], 4, conditioning=given))
    with torch.no_grad():
        cond, uncond = (
            unet(step.x_t, step.t, class_labels=torch.tensor([label])).sample for label in (3, 10)
        )
    torch.testing.assert_close(step.eps, uncond + 2.5 * (cond - uncond), atol=1e-4, rtol=1e-4)
    for spoilt, words in (
        (replace(given, null_class=None), "--null-class"),
        (replace(given, null_class=11), "0 to 10"),
    ):
        with pytest.raises(UsageError, match=words):
            next(denoise(model, [0], 4, conditioning=spoilt))
    with pytest.raises(UsageError, match="is 7; got 3"):
        ByClass(7, null=7)(replace(given, null_class=3), 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "class-conditional (0 to 9)"),
        (["--classes", "10"], "0 to 9"),
        (["--classes", "3", "--guidance", "2"], "--null-class"),
        (["--classes", "3", "--guidance", "2", "--null-class", "10"], "0 to 9"),
        (["--classes", "3", "--prompt", "a dog"], "class labels"),
    ],
)
def test_estimate_refuses_the_conditions_that_extract_does(more, words, tmp_path, capsys):
    at = save_kind("classes", tmp_path / "classes")
    for command in ("estimate", "extract"):
        assert main([command, str(at), *more, "--home", str(tmp_path / "home")]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert words in line
    fine = ["--classes", "3", "--guidance", "2", "--null-class", "9"]
    assert main(["estimate", str(at), *fine]) == 0


def test_a_null_class_goes_into_a_run_and_its_name(tmp_path, capsys):
    from hcache.background.extractions import extract_arguments
    from hcache.cache.reading import open_run
    from hcache.cards import default_spec

    at = save_kind("classes", tmp_path / "classes")
    arguments = [
        "extract",
        str(at),
        "--samples",
        "1",
        "--steps",
        "2",
        "--classes",
        "3",
        "--guidance",
        "2",
        "--null-class",
        "9",
        "--home",
        str(tmp_path / "home"),
    ]
    assert main(arguments) == 0
    (made,) = (tmp_path / "home" / "runs").iterdir()
    run = open_run(made)
    assert run.spec.conditioning.null_class == 9 and "--null-class=9" in extract_arguments(
        run.spec, tmp_path
    )
    plain = default_spec(str(at), conditioning=Conditioning(classes=(3,), guidance=2))
    other = default_spec(str(at), conditioning=Conditioning(classes=(3,), guidance=2, null_class=9))
    assert plain.name != other.name
