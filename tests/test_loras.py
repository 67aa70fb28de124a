"""A LoRA makes the pictures that its model's own pipeline makes with it, is part of the run, and is
refused where anything of it would be left out.
"""

import json
import logging

import diffusers
import numpy as np
import pytest
import torch
from kinds import packed, save_kind
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from hcache.background.extractions import extract_arguments
from hcache.cache.description import parse_spec
from hcache.cache.reading import open_run
from hcache.cards import check_weights, default_spec, pin_weights
from hcache.cli.main import main
from hcache.edits.render import render_moved
from hcache.errors import CacheError, ModelError, UsageError
from hcache.extraction.run import extract, load_model_of
from hcache.loras import find_lora
from hcache.models import loras as added
from hcache.models.loading import load_anatomy, load_model
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise
from hcache.specs import Conditioning, Lora

STEPS, SEEDS = 3, [4, 5]
DOG = Conditioning(prompts=("a dog",), guidance=3)
PIPELINES = {
    "SD": diffusers.StableDiffusionPipeline,
    "SDXL": diffusers.StableDiffusionXLPipeline,
}
UNET_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"]


def lora_of(module, layers, seed):
    """Random matrices of rank 2 for the layers of a network, by peft."""
    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=2, target_modules=layers, init_lora_weights=False)
    module.add_adapter(config)
    found = get_peft_model_state_dict(module, adapter_name="default")
    return {name: tensor.detach().clone() * 0.7 for name, tensor in found.items()}


def save_lora(kind, model, folder, seed=0, text=True):
    """As diffusers' training scripts leave it: ``pytorch_lora_weights.safetensors``."""
    pipeline = PIPELINES[kind].from_pretrained(model)
    layers = {"unet_lora_layers": lora_of(pipeline.unet, UNET_LAYERS, seed)}
    if text:
        layers["text_encoder_lora_layers"] = lora_of(pipeline.text_encoder, TEXT_LAYERS, seed + 1)
    PIPELINES[kind].save_lora_weights(folder, **layers)
    return folder


def kohya(folder, out, alpha=1.0):
    """The same tensors under the names that kohya's scripts give them, with an alpha a layer."""
    found = {}
    for name, tensor in load_file(folder / "pytorch_lora_weights.safetensors").items():
        part, _, rest = name.partition(".")
        place, matrix = rest.split(".lora_")
        prefix = {"unet": "lora_unet", "text_encoder": "lora_te"}[part]
        if part == "text_encoder" and not place.startswith("text_model."):
            place = f"text_model.{place}"
        new = f"{prefix}_{place.replace('.', '_')}"
        found[f"{new}.lora_{'down' if matrix.startswith('A') else 'up'}.weight"] = tensor
        found[f"{new}.alpha"] = torch.tensor(alpha)
    save_file(found, out)
    return out


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {kind: save_kind(kind, tmp_path_factory.mktemp("kind") / kind) for kind in PIPELINES}


@pytest.fixture(scope="module")
def loras(models, tmp_path_factory):
    """A LoRA of each kind's U-Net and text encoder, and another of its U-Net alone."""
    at = tmp_path_factory.mktemp("loras")
    return {
        kind: (
            save_lora(kind, models[kind], at / f"{kind}-both"),
            save_lora(kind, models[kind], at / f"{kind}-unet", seed=7, text=False),
        )
        for kind in PIPELINES
    }


def ours(model):
    """Pictures (2, height, width, 3) in 0 to 1."""
    *_, last = denoise(model, SEEDS, STEPS, conditioning=DOG)
    return (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def theirs(kind, folder, given):
    """Those of the pipeline: one LoRA fused, several side by side and not fused."""
    pipeline = PIPELINES[kind].from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    for i, (path, _) in enumerate(given):
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=f"a{i}")
    if len(given) == 1:
        pipeline.fuse_lora(lora_scale=given[0][1])
    else:
        pipeline.set_adapters([f"a{i}" for i in range(len(given))], [scale for _, scale in given])
    return pipeline(
        [DOG.prompts[0]] * len(SEEDS),
        latents=start_noise(SEEDS, load_anatomy(str(folder)).x),
        num_inference_steps=STEPS,
        height=16,
        width=16,
        guidance_scale=DOG.guidance,
        output_type="np",
    ).images


def weights_of(folder):
    return folder / "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize("kind", PIPELINES)
@torch.no_grad()
def test_pictures_are_those_of_the_pipeline_with_the_lora_fused(kind, models, loras):
    both, unet = loras[kind]
    plain = ours(load_model(str(models[kind])))
    for texts, given in (
        ([str(both)], [(weights_of(both), 1.0)]),
        ([f"{both}:0.5"], [(weights_of(both), 0.5)]),
        ([f"{weights_of(unet)}:-0.7"], [(weights_of(unet), -0.7)]),
        ([f"{both}:0.5", str(unet)], [(weights_of(both), 0.5), (weights_of(unet), 1.0)]),
    ):
        model = load_model(str(models[kind]), lora=texts)
        found = ours(model)
        np.testing.assert_allclose(found, theirs(kind, models[kind], given), atol=1 / 255)
        assert np.abs(found - plain).max() > 0.02, "the LoRA changes the pictures"
        assert [lora.scale for lora in model.loras] == [scale for _, scale in given]


@pytest.mark.parametrize("kind", ["SD", "SDXL", "FLUX"])
def test_weights_are_those_of_the_model_plus_scale_times_the_product_of_both_matrices(
    kind, models, loras, tmp_path
):
    if kind == "FLUX":
        models = {kind: save_kind(kind, tmp_path / "flux")}
        pipeline = diffusers.FluxPipeline.from_pretrained(models[kind])
        layers = lora_of(pipeline.transformer, ["to_q", "to_k", "add_v_proj", "proj_mlp"], 3)
        diffusers.FluxPipeline.save_lora_weights(tmp_path / "l", transformer_lora_layers=layers)
        folder = tmp_path / "l"
    else:
        folder = loras[kind][1]
    plain = load_model(str(models[kind])).network.state_dict()
    found = load_model(str(models[kind]), lora=f"{folder}:0.6").network.state_dict()
    expected = {name: tensor.double() for name, tensor in plain.items()}
    tensors = load_file(weights_of(folder))
    for name, down in tensors.items():
        if ".lora_A." in name:
            place = name.partition(".")[2].split(".lora_A")[0]
            up = tensors[name.replace("lora_A", "lora_B")]
            expected[f"{place}.weight"] += 0.6 * up.double() @ down.double()
    assert found.keys() == expected.keys()
    changed = [name for name in plain if not torch.equal(found[name], plain[name])]
    assert len(changed) == len(tensors) // 2 > 8
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].double(), tensor, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_halves_with_a_lora_are_bit_equal_to_the_network_and_leave_nothing_of_peft(models, loras):
    plain = load_model(str(models["SD"]))
    model = load_model(str(models["SD"]), lora=str(loras["SD"][0]))
    x = start_noise([1], model.anatomy.x)
    condition = model.condition(DOG, 1).branches["cond"]
    whole = model.network(x, 500, condition.text).sample
    assert torch.equal(model.decode(model.encode(x, 500, condition), 500, condition), whole)
    assert model.network.state_dict().keys() == plain.network.state_dict().keys()
    assert not any(p.requires_grad for p in model.network.parameters())
    assert model.anatomy == plain.anatomy


@torch.no_grad()
def test_kohyas_names_and_alphas_are_read(models, loras, tmp_path):
    """alpha over rank scales the change: alpha 1 of rank 2 is half of what alpha 2 is."""
    file = kohya(loras["SD"][1], tmp_path / "kohya.safetensors", alpha=1.0)
    half = ours(load_model(str(models["SD"]), lora=str(file)))
    kohya(loras["SD"][1], file, alpha=2.0)
    np.testing.assert_allclose(half, ours(load_model(str(models["SD"]), lora=f"{file}:0.5")), 1e-5)
    assert np.abs(half - ours(load_model(str(models["SD"]), lora=str(file)))).max() > 0.02


@torch.no_grad()
def test_alphas_of_a_text_encoder_are_read_too(models, loras, tmp_path):
    file = kohya(loras["SD"][0], tmp_path / "kohya.safetensors", alpha=1.0)
    found = ours(load_model(str(models["SD"]), lora=str(file)))
    kohya(loras["SD"][0], file, alpha=2.0)
    other = ours(load_model(str(models["SD"]), lora=f"{file}:0.5"))
    np.testing.assert_allclose(found, other, atol=1e-5)


def refusal(model, lora):
    """What is said, in one line."""
    with pytest.raises((ModelError, UsageError)) as caught:
        load_model(str(model), lora=str(lora))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed_lora(folder, out, change):
    save_file(change(load_file(weights_of(folder))), out)
    return out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {**t, "unet.down_blocks.9.x.lora_A.weight": torch.zeros(2, 8)}, "down_blocks.9"),
        (lambda t: {n: torch.zeros(2, 99) if "lora_A" in n else v for n, v in t.items()}, "99"),
        (lambda t: {f"transformer.{n}": v for n, v in t.items()}, "no place"),
        (lambda t: {**t, "unet.mid_block.x.hada_w1_a": torch.zeros(2, 8)}, "LoHa"),
        (lambda t: {**t, "unet.mid_block.x.dora_scale": torch.zeros(8)}, "DoRA"),
        (lambda t: {**t, "unet.mid_block.x.lokr_w1": torch.zeros(2, 8)}, "LoKr"),
        (lambda t: {"unet.conv_in.weight": torch.zeros(2)}, "is not a LoRA"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_in_one_line(
    change, words, models, loras, tmp_path
):
    odd = changed_lora(loras["SD"][1], tmp_path / "odd.safetensors", change)
    said = refusal(models["SD"], odd)
    assert words in said and str(odd) in said


def test_a_lora_of_another_kind_of_model_is_refused(models, loras):
    said = refusal(models["SD"], loras["SDXL"][1])
    assert "expected one that was trained on this kind of model" in said
    assert str(weights_of(loras["SDXL"][1])) in said


def test_a_model_that_takes_no_lora_says_so(loras, tmp_path):
    at = save_kind("DDPM", tmp_path / "ddpm")
    said = refusal(at, loras["SD"][0])
    assert "is a DDPMPipeline, which takes no LoRA" in said and "Leave --lora out" in said
    with pytest.raises(ModelError, match="takes no LoRA"):
        load_anatomy(str(at), lora=str(loras["SD"][0]))


def test_without_peft_the_command_that_installs_it_is_named(models, loras, monkeypatch):
    monkeypatch.setattr(added, "is_peft_available", lambda: False)
    assert "pip install peft" in refusal(models["SD"], loras["SD"][0])


def test_files_and_folders_are_found_or_refused(tmp_path, loras):
    folder = loras["SD"][0]
    whole = Lora(file=str(weights_of(folder).resolve()), sha256=find_lora(str(folder)).sha256)
    assert find_lora(str(folder)) == find_lora(str(weights_of(folder))) == whole
    assert len(whole.sha256) == 64 and find_lora(f"{folder}:0.25").scale == 0.25
    colon = tmp_path / "a:1"
    colon.write_bytes(b"")
    assert find_lora(str(colon)).file == str(colon) and find_lora(f"{colon}:2").scale == 2
    (tmp_path / "x.bin").write_bytes(b"")
    (tmp_path / "many").mkdir()
    for name in ("a", "b"):
        (tmp_path / "many" / f"{name}.safetensors").write_bytes(b"")
    for text, words in (
        (tmp_path / "none", "there is no LoRA at"),
        (tmp_path / "x.bin", "is a pickle"),
        (tmp_path / "many", "a.safetensors, b.safetensors"),
        (f"{folder}:nan", "finite"),
        (f"{folder}:strong", "there is no LoRA at"),
    ):
        with pytest.raises(UsageError, match=words):
            find_lora(str(text))


def spec_of(model, *loras, **more):
    given = {"samples": 2, "steps": STEPS, "conditioning": DOG, **more}
    return default_spec(str(model), loras=tuple(map(find_lora, map(str, loras))), **given)


def test_a_run_with_a_lora_is_another_run(models, loras, tmp_path):
    both, unet = loras["SD"]
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(weights_of(both).read_bytes())
    plain, one = spec_of(models["SD"]), spec_of(models["SD"], both)
    others = [
        spec_of(models["SD"], f"{both}:0.5"),
        spec_of(models["SD"], unet),
        spec_of(models["SD"], both, unet),
    ]
    assert len({spec.name for spec in (plain, one, *others)}) == 5
    assert len({spec.weights for spec in (plain, one, *others)}) == 5
    assert spec_of(models["SD"], copied).name == one.name, "its bytes count, not its place"
    assert "loras" not in plain.to_json() and parse_spec(one.to_json()) == one
    with pytest.raises(UsageError, match="twice"):
        spec_of(models["SD"], both, f"{both}:2")


def test_a_lora_that_changes_or_goes_is_noticed(models, loras, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(weights_of(loras["SD"][0]).read_bytes())
    spec = spec_of(models["SD"], file)
    check_weights(spec)
    file.write_bytes(weights_of(loras["SD"][1]).read_bytes())
    assert pin_weights(spec).weights != spec.weights
    with pytest.raises(ModelError, match="or of its LoRAs have changed"):
        check_weights(spec)
    file.unlink()
    with pytest.raises(ModelError, match="is not there any more"):
        check_weights(spec)


def test_a_run_keeps_its_lora_and_is_rendered_with_it(models, loras, tmp_path, capsys):
    from hcache.directions.naive import naive_direction
    from hcache.recipes.window import Window

    both, unet = loras["SD"]
    home = tmp_path / "home"
    more = ["--samples", "3", "--steps", str(STEPS), "--prompt", "a dog", "--home", str(home)]
    given = ["--lora", f"{both}:0.5", "--lora", str(unet)]
    assert main(["estimate", str(models["SD"]), *given, *more]) == 0
    assert main(["extract", str(models["SD"]), *given, *more]) == 0
    (made,) = (home / "runs").iterdir()
    run = open_run(made)
    assert [lora.scale for lora in run.spec.loras] == [0.5, 1.0]
    assert [lora["file"] for lora in run.provenance["loras"]] == [
        str(weights_of(folder).resolve()) for folder in (both, unet)
    ]
    capsys.readouterr()
    assert main(["info", run.name, "--home", str(home)]) == 0
    assert f"{weights_of(both).resolve()}, scale 0.5" in capsys.readouterr().out
    assert f"--lora={weights_of(both).resolve()}:0.5" in extract_arguments(run.spec, home)
    model = load_model_of(run, "cpu")
    assert [lora.content for lora in model.loras] == [lora.content for lora in run.spec.loras]
    still = render_moved(
        model, run, [1], naive_direction(run, [0, 2]), [0.0], Window(first=0, last=STEPS - 1), False
    )
    *_, pictures = _all(still)
    assert np.abs(pictures[0].astype(int) - run.images[1]).max() <= 1
    plain = load_model(str(models["SD"]))
    with pytest.raises(UsageError, match="loaded with the LoRAs"):
        extract(plain, run.spec, tmp_path / "other")


def _all(generator):
    from tiny import drain

    yielded, result = drain(generator)
    return [*yielded, result]


def test_a_description_with_a_strange_lora_is_refused(models, loras, tmp_path):
    spec = spec_of(models["SD"], loras["SD"][0], samples=1)
    run = extract(load_model(str(models["SD"]), lora=spec.loras), spec, tmp_path)
    path = run.folder / "run.json"
    for spoilt in ({"file": 3}, {"scale": "x"}, {"sha256": "z"}, None):
        data = json.loads(path.read_text())
        lora = data["spec"]["loras"][0]
        data["spec"]["loras"] = [lora | spoilt if spoilt else "a.safetensors"]
        (tmp_path / "run.json").write_text(json.dumps(data))
        kept = path.read_bytes()
        path.write_text(json.dumps(data))
        with pytest.raises(CacheError, match=r"spec\.loras\[0\]"):
            open_run(run.folder)
        path.write_bytes(kept)


def test_diffusers_is_as_talkative_afterwards_as_before(models, loras):
    before = logging.getLogger("diffusers").level
    load_model(str(models["SD"]), lora=str(loras["SD"][1]))
    assert logging.getLogger("diffusers").level == before


TRANSFORMERS = {
    "FLUX": ("FluxPipeline", ["to_q", "to_k", "add_v_proj", "proj_mlp"]),
    "SD3": ("StableDiffusion3Pipeline", ["to_q", "to_k", "add_v_proj", "ff.net.0.proj"]),
    "Sana": ("SanaPipeline", ["to_q", "to_k", "to_v"]),
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
@torch.no_grad()
def test_pictures_of_a_transformer_are_those_of_its_pipeline_with_the_lora_fused(kind, tmp_path):
    """FLUX, Stable Diffusion 3 and Sana, the last by a solver of the first order, as Euler's."""
    name, layers = TRANSFORMERS[kind]
    at, own = save_kind(kind, tmp_path / kind), getattr(diffusers, name)
    found = lora_of(own.from_pretrained(at).transformer, layers, 3)
    own.save_lora_weights(tmp_path / "lora", transformer_lora_layers=found)
    plain = ours(load_model(str(at)))
    mine = ours(load_model(str(at), lora=f"{tmp_path / 'lora'}:0.6"))
    assert np.abs(mine - plain).max() > 0.02, "the LoRA changes the pictures"
    pipeline = own.from_pretrained(at)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(tmp_path / "lora"))
    pipeline.fuse_lora(components=["transformer"], lora_scale=0.6)
    noise, more = start_noise(SEEDS, load_anatomy(str(at)).x), {}
    side = noise.shape[-1] * 2
    if kind == "FLUX":
        noise = packed(noise)
    if kind == "Sana":
        more = {"use_resolution_binning": False, "clean_caption": False}
        solver = type(pipeline.scheduler)
        pipeline.scheduler = solver.from_config(pipeline.scheduler.config, solver_order=1)
    its = pipeline(
        [DOG.prompts[0]] * len(SEEDS),
        latents=noise,
        num_inference_steps=STEPS,
        height=side,
        width=side,
        guidance_scale=DOG.guidance,
        output_type="np",
        **more,
    ).images
    assert its.std() > 0.01
    np.testing.assert_allclose(mine, its, atol=1 / 255)
