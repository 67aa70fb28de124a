"""Conversion of guided-diffusion checkpoints: against what the original code computed, and
against every misfit.
"""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import flattened

from hcache.cli.main import main
from hcache.errors import ModelError, UsageError
from hcache.models import adm_network, halves
from hcache.models.adm import convert_adm
from hcache.models.adm_network import LEGACY, NEW, AdmStructure, read_structure, unet_of
from hcache.models.loading import load_model

GOLDEN = Path(__file__).parent / "data" / "adm_legacy_attention.safetensors"
"""A small guided-diffusion model of random weights, an input, and what the original code made of
it.
"""


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


@pytest.fixture
def checkpoint(golden, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_file({name: tensor for name, tensor in golden.items() if name.startswith("model.")}, path)
    return path


@torch.no_grad()
def test_the_converted_model_computes_what_the_original_did(golden, checkpoint, tmp_path):
    convert_adm(checkpoint, tmp_path / "out", image_size=32, head_channels=16)
    unet = load_model(str(tmp_path / "out")).network
    features = halves.encode(unet, golden["io.x"], golden["io.t"])
    output = halves.decode(unet, features, golden["io.t"])
    torch.testing.assert_close(output, golden["io.out"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features.h, golden["io.h"], atol=1e-5, rtol=1e-5)
    in_forward_order = [member for group in reversed(features.skips) for member in reversed(group)]
    for i, skip in enumerate(in_forward_order):
        torch.testing.assert_close(skip, golden[f"io.skip.{i}"], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_wrong_attention_order_loads_and_is_wrong(golden, checkpoint, tmp_path):
    """Why the order has to be asked for."""
    convert_adm(checkpoint, tmp_path / "out", image_size=32, head_channels=16, order=NEW)
    output = load_model(str(tmp_path / "out")).network(golden["io.x"], golden["io.t"]).sample
    assert (output - golden["io.out"]).norm() > 0.01 * golden["io.out"].norm()


def guided_names(unet, structure, order, head):
    """The weights of a diffusers U-Net under guided-diffusion's names: the conversion backwards,
    done another way.
    """
    weights, result = unet.state_dict(), {}
    rename = {new: old for old, new in adm_network.RESNET.items()}
    ends = {new: old for old, new in adm_network.ENDS.items()}
    for old, new in adm_network.places_of(structure).items():
        for name in [name for name in weights if name.startswith(new + ".")]:
            part, kind = name.removeprefix(new + ".").rsplit(".", 1)
            if part in rename:
                result[f"{old}.{rename[part]}.{kind}"] = weights[name]
            elif part == "conv":
                result[f"{old}.{'op' if 'downsamplers' in new else 'conv'}.{kind}"] = weights[name]
            elif part == "group_norm":
                result[f"{old}.norm.{kind}"] = weights[name]
            elif part == "to_out.0":
                result[f"{old}.proj_out.{kind}"] = (
                    weights[name][..., None] if kind == "weight" else weights[name]
                )
            elif part == "to_q":
                q, k, v = (weights[f"{new}.to_{which}.{kind}"] for which in "qkv")
                if order == LEGACY:
                    heads = [
                        torch.cat(rows)
                        for rows in zip(*(m.split(head) for m in (q, k, v)), strict=True)
                    ]
                    joined = torch.cat(heads)
                else:
                    joined = torch.cat([q, k, v])
                result[f"{old}.qkv.{kind}"] = joined[..., None] if kind == "weight" else joined
    for name, tensor in weights.items():
        prefix, kind = name.rsplit(".", 1)
        if prefix in ends:
            result[f"{ends[prefix]}.{kind}"] = tensor
        elif prefix == "class_embedding":
            result["label_emb.weight"] = tensor
    assert sum(t.numel() for t in result.values()) == sum(t.numel() for t in weights.values()), (
        "nothing left out"
    )
    return result


STRUCTURES = {
    "as published": {"widths": (32, 32, 64), "attention": (False, True, False)},
    "several attention levels": {"widths": (32, 64, 64), "attention": (False, True, True)},
    "three resnets": {"widths": (32, 64), "attention": (True, True), "resnets": 3},
    "convolutions resample": {
        "widths": (32, 64),
        "attention": (False, True),
        "resampling_resnets": False,
    },
    "no scale and shift": {"widths": (32, 64), "attention": (False, False), "scale_shift": False},
    "three outputs": {"widths": (32, 64), "attention": (False, True), "channels": (3, 3)},
    "classes": {"widths": (32, 64), "attention": (False, True), "classes": 7},
    "one level": {"widths": (32,), "attention": (True,), "resampling_resnets": False},
}


@pytest.mark.parametrize("order", [LEGACY, NEW])
@pytest.mark.parametrize("case", STRUCTURES)
@torch.no_grad()
def test_any_structure_is_read_off_the_tensors_and_converted(case, order, tmp_path):
    usual = {
        "resnets": 1,
        "resampling_resnets": True,
        "scale_shift": True,
        "channels": (3, 6),
        "classes": None,
    }
    structure = AdmStructure(**{**usual, **STRUCTURES[case]})
    torch.manual_seed(0)
    unet = unet_of(structure, 16, 16).eval()
    tensors = guided_names(unet, structure, order, 16)
    assert read_structure(tensors) == structure
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        tmp_path / "a.pt",
    )
    convert_adm(tmp_path / "a.pt", tmp_path / "out", image_size=16, head_channels=16, order=order)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([5, 900])
    labels = torch.tensor([1, 2]) if structure.classes else None
    again = load_model(str(tmp_path / "out")).network
    assert torch.equal(again(x, t, labels).sample, unet(x, t, labels).sample)


def test_a_tensor_without_its_shape_is_refused_before_memory_is_taken(golden, tmp_path):
    tensors = {name: tensor for name, tensor in golden.items() if name.startswith("model.")}
    attention = [name for name in tensors if "middle_block.1." in name]
    for name in [*attention, *list(tensors)[::10]]:
        save_file(
            {n: t.contiguous() for n, t in flattened(tensors, name).items()},
            tmp_path / "a.safetensors",
        )
        with pytest.raises(ModelError, match="checkpoint") as refused:
            convert_adm(
                tmp_path / "a.safetensors", tmp_path / "out", image_size=32, head_channels=16
            )
        assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def spoilt(golden, change):
    tensors = {name: tensor.clone() for name, tensor in golden.items() if name.startswith("model.")}
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("model.out.0.bias"), "1 missing"),
        (lambda t: t.update({"model.extra.weight": torch.zeros(1)}), "1 unexpected.*extra.weight"),
        (lambda t: t.update({"model.output_blocks.0.0.more.weight": torch.zeros(1)}), "unexpected"),
        (lambda t: t.pop("model.time_embed.0.weight"), "no guided-diffusion checkpoint"),
        (lambda t: t.pop("model.input_blocks.1.0.out_layers.3.weight"), "lacks"),
        (lambda t: t.update({"model.out.2.bias": torch.zeros(5)}), "does not fit"),
        (
            lambda t: [t.pop(n) for n in list(t) if n.startswith("model.output_blocks.3.")],
            "do not make",
        ),
    ],
    ids=range(7),
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_words(
    golden, change, words, tmp_path, capsys
):
    save_file(spoilt(golden, change), tmp_path / "bad.safetensors")
    with pytest.raises(ModelError, match=words):
        convert_adm(tmp_path / "bad.safetensors", tmp_path / "out", 32, 16)
    assert not (tmp_path / "out").exists()
    arguments = [
        "convert-adm",
        str(tmp_path / "bad.safetensors"),
        str(tmp_path / "out"),
        "--head-channels",
        "16",
    ]
    assert main(arguments) == 1 and "Traceback" not in capsys.readouterr().err


def test_options_that_do_not_fit_are_refused(checkpoint, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for out, size, head, order in (
        ("out", 32, 7, LEGACY),
        ("out", 0, 16, LEGACY),
        ("full", 32, 16, LEGACY),
        ("out", 32, 16, "random"),
        ("out", 32, 0, LEGACY),
    ):
        with pytest.raises(UsageError):
            convert_adm(checkpoint, tmp_path / out, size, head, order)
    with pytest.raises(UsageError, match="no file"):
        convert_adm(tmp_path / "nothing.pt", tmp_path / "out", 32)


class Hostile:
    """What a pickle can do to whoever unpickles it."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch"])
def test_a_hostile_pickle_runs_nothing(plain, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "hostile.pt"
    (
        path.write_bytes(pickle.dumps(Hostile(mark)))
        if plain
        else torch.save({"a": Hostile(mark)}, path)
    )
    with pytest.raises(ModelError, match="nothing in it was run"):
        convert_adm(path, tmp_path / "out", 32)
    assert not mark.exists()
    torch.load(path, weights_only=False) if not plain else pickle.loads(path.read_bytes())
    assert mark.exists(), "the pickle is as hostile as the test believes"


def test_a_model_folder_with_a_hostile_pickle_runs_nothing(tiny_folder, tmp_path):
    import shutil

    folder, mark = shutil.copytree(tiny_folder, tmp_path / "model"), tmp_path / "mark"
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Hostile(mark)}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(folder))
    assert not mark.exists()
