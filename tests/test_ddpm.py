"""Original DDPM checkpoints: the converted network, and Asyrp's edits on it, against the
original code written anew.
"""

import json

import pytest
import torch
from asyrp_blocks import formula, published, random_state
from ddpm_reference import Reference, asymmetric, random_tensors
from safetensors.torch import save_file
from tiny import flattened

from hcache.cards import PACKAGE, default_spec
from hcache.cli.main import main
from hcache.directions.asyrp_block import PLAIN
from hcache.directions.asyrp_files import import_blocks
from hcache.edits.shift import Shift
from hcache.errors import ModelError, UsageError
from hcache.extraction.run import extract
from hcache.models.ddpm import DdpmStructure, convert_ddpm, read_structure, unet_of
from hcache.models.loading import load_model
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise

STEPS = 5


def doubled(tensors):
    return {name: tensor.double() for name, tensor in tensors.items()}


CASES = {
    "as published, small": {
        "widths": (32, 32, 64),
        "attention": (False, True, False),
        "resnets": 2,
    },
    "one resnet": {"widths": (32, 64), "attention": (False, True), "resnets": 1},
    "two levels attend": {"widths": (32, 64), "attention": (True, True), "resnets": 1},
    "grey": {"widths": (32,), "attention": (True,), "resnets": 1, "channels": 1},
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_converted_network_computes_what_the_original_does(case, tmp_path):
    tensors = random_tensors(**CASES[case])
    torch.save(tensors, tmp_path / "a.ckpt")
    convert_ddpm(tmp_path / "a.ckpt", tmp_path / "out", image_size=16)
    model = load_model(str(tmp_path / "out"))
    model.network.double()
    x = torch.randn(2, CASES[case].get("channels", 3), 16, 16, dtype=torch.float64)
    t = torch.tensor([0, 871])
    expected = Reference(doubled(tensors))(x, t)
    assert expected.std() > 0.05
    torch.testing.assert_close(
        model.network(x, t).sample, expected, atol=1e-5, rtol=0
    )  # the angles of time are float32


def test_a_tensor_without_its_shape_is_refused_before_memory_is_taken(tmp_path):
    """A flattened weight may describe a network of any size."""
    tensors = random_tensors(widths=(32, 64), attention=(True, True), resnets=1)
    chosen = ["conv_in.weight", "down.0.block.0.conv1.weight", *list(tensors)[::12]]
    for name in chosen:
        torch.save(flattened(tensors, name), tmp_path / "a.ckpt")
        with pytest.raises(ModelError, match="checkpoint") as refused:
            convert_ddpm(tmp_path / "a.ckpt", tmp_path / "out", image_size=16)
        assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_the_form_is_that_of_googles_celebahq(tmp_path):
    """Every tensor of that network, by its shape; nothing is computed."""
    config = json.loads((PACKAGE / "configs/google--ddpm-ema-celebahq-256/config.json").read_text())
    structure = DdpmStructure(
        widths=(128, 128, 256, 256, 512, 512),
        resnets=2,
        channels=(3, 3),
        attention=(False, False, False, False, True, False),
    )
    with torch.device("meta"):
        found = unet_of(structure, 256)
        expected = type(found).from_config(config)
        for name, value in config.items():
            if name[0] != "_":
                assert json.loads(json.dumps(found.config[name])) == value, name
    shapes = [
        {name: t.shape for name, t in unet.state_dict().items()} for unet in (found, expected)
    ]
    assert shapes[0] == shapes[1]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddpm")
    tensors = random_tensors((32, 32, 64), (False, True, False))
    torch.save(tensors, folder / "celeba_hq.ckpt")
    convert_ddpm(folder / "celeba_hq.ckpt", folder / "out", image_size=16)
    model = load_model(str(folder / "out"))
    spec = default_spec(
        str(folder / "out"), samples=4, steps=STEPS, store={"h": "full"}, store_dtype="float32"
    )
    return tensors, model, extract(model, spec, folder / "home")


@pytest.mark.parametrize("t_edit", [0, 400])
def test_a_whole_asymmetric_edit_is_the_original_codes(t_edit, converted, tmp_path):
    tensors, model, run = converted
    file = published(tmp_path, PLAIN, "smiling_LC_own_ngen40_0.pth", c=64, d=128)
    move = import_blocks([file], run, model)
    strength, window = move.made_by["published_strength"], Window.down_to(run.timesteps, t_edit)
    seeds = [3, 4]
    *_, last = denoise(
        model, seeds, STEPS, edit=Shift(move, [strength] * 2, window, model), asymmetric=True
    )
    state = doubled(random_state(PLAIN, c=64, d=128))
    x = start_noise(seeds, model.anatomy.x).double()
    original = Reference(doubled(tensors))
    times = [int(t) for t in run.timesteps]
    with torch.no_grad():
        expected = asymmetric(
            original, x, times, t_edit, lambda h, e: formula(PLAIN, state, h, e), 40 / STEPS
        )
        plain = asymmetric(original, x, times, 2000, None, 0)
    assert (expected - plain).norm() > 0.02 * plain.norm(), "the edit does something"
    assert (last.x_next.double() - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_block_equals_its_formula_to_the_fifth_digit(converted, tmp_path):
    _, model, run = converted
    move = import_blocks([published(tmp_path, PLAIN, "own_ngen40_0.pth", c=64, d=128)], run, model)
    h = torch.from_numpy(run.features(0, 1).h)[None]
    temb = model.network.time_embedding(model.network.time_proj(torch.tensor([run.timesteps[1]])))
    with torch.inference_mode():
        found = (
            move.delta_on(model)(h, run.timesteps[1])
            * move.made_by["published_strength"]
            / (40 / STEPS)
        )
        state = doubled(random_state(PLAIN, c=64, d=128))
        expected = formula(PLAIN, state, h.double(), temb.double())
    assert (found.double() - expected).abs().max() < 1e-5 * expected.abs().max()


def test_an_import_says_which_weights_its_blocks_were_trained_on(converted, tmp_path, capsys):
    _, _, run = converted
    home = str(run.folder.parent.parent)
    file = published(tmp_path, PLAIN, c=64, d=128)
    assert main(["direction", "import", run.name, str(file), "--home", home]) == 0
    said = capsys.readouterr().out
    assert "celeba_hq.ckpt" in said and "may have other weights" in said and "convert-ddpm" in said
    own = published(tmp_path, PLAIN, "mine.pth", c=64, d=128)
    assert main(["direction", "import", run.name, str(own), "--home", home]) == 0
    assert "do not say which weights" in (said := capsys.readouterr().out)
    assert "--trained-on" in said
    again = ["direction", "import", run.name, str(own), "--home", home, "--replace"]
    assert main([*again, "--trained-on", "CelebA_HQ"]) == 0
    assert "the weights of celeba_hq.ckpt" in capsys.readouterr().out
    assert main([*again, "--trained-on", "our second network"]) == 0
    assert "the weights of our second network, as was said" in capsys.readouterr().out
    assert main(["direction", "show", run.name, "mine", "--home", home]) == 0
    assert "our second network" in capsys.readouterr().out
    assert main([*again, "--trained-on", run.spec.model]) == 0
    assert "weights" not in capsys.readouterr().out
    assert main([*again, "--trained-on", "dog"]) == 1
    assert "another kind of U-Net" in capsys.readouterr().err


def test_the_command_takes_a_training_state_and_finds_the_size(tmp_path, capsys):
    raw, ema = (random_tensors((32, 64), (False, True), seed=seed) for seed in (0, 1))
    wrapped = [{f"module.{name}": t for name, t in tensors.items()} for tensors in (raw, ema)]
    torch.save([wrapped[0], {"state": {}}, 3, 7, wrapped[1]], tmp_path / "ckpt.pth")
    assert main(["convert-ddpm", str(tmp_path / "ckpt.pth"), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "moving average" in said and "image size 32" in said and "linear" in said
    net = load_model(str(tmp_path / "out"))
    assert net.anatomy.image == (32, 32, 3) and torch.equal(
        net.network.conv_in.weight, ema["conv_in.weight"]
    )
    assert net.scheduler.config.clip_sample is False
    assert (
        main(
            ["convert-ddpm", str(tmp_path / "ckpt.pth"), str(tmp_path / "raw"), "--weights", "raw"]
        )
        == 0
    )
    found = load_model(str(tmp_path / "raw")).network.conv_in.weight
    assert torch.equal(found, raw["conv_in.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("mid.attn_1.q.weight"), "no tensor mid.attn_1.q.weight"),
        (lambda t: t.pop("up.0.block.0.conv1.weight"), "1 missing"),
        (lambda t: t.update({"layer_0.conv1.weight": torch.zeros(2)}), "1 unexpected"),
        (lambda t: t.update({"conv_out.bias": torch.zeros(9)}), "does not fit the network"),
        (lambda t: t.pop("temb.dense.0.weight"), "no checkpoint of the original DDPM"),
        (lambda t: t.pop("down.0.downsample.conv.weight"), "without convolutions"),
        (lambda t: t.pop("down.1.block.0.conv1.weight"), "is incomplete"),
    ],
)
def test_what_is_no_such_checkpoint_is_refused_in_words(change, words, tmp_path):
    tensors = random_tensors((32, 64), (False, True))
    change(tensors)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=words):
        convert_ddpm(tmp_path / "a.safetensors", tmp_path / "out", image_size=16)
    assert not (tmp_path / "out").exists()


def test_a_size_that_does_not_show_is_asked_for(tmp_path):
    tensors = random_tensors((32, 64), (True, True))
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="--image-size"):
        convert_ddpm(tmp_path / "a.safetensors", tmp_path / "out")
    assert read_structure(tensors).widths == (32, 64)
