"""Asyrp's attribute files, which cannot be trusted: found however they lie, refused in words,
never run.
"""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from asyrp_blocks import C, D, published, random_state
from safetensors.torch import save_file

from hcache.directions.asyrp_block import ADM, PLAIN, Block, BlockMove
from hcache.directions.asyrp_files import import_blocks, read_block
from hcache.errors import AnalysisError, ModelError, UsageError

LAYOUTS = {
    "as published": lambda state: {
        "0": state,
        "optimizer": {"state": {}},
        "scheduler": {"last_epoch": 1},
    },
    "numbered by a number": lambda state: {0: state},
    "alone": lambda state: state,
    "of a parallel module": lambda state: {
        "0": {f"module.{name}": tensor for name, tensor in state.items()}
    },
    "in a whole network": lambda state: {
        "conv_in.weight": torch.zeros(3),
        **{f"module.layer_0.{name}": tensor for name, tensor in state.items()},
    },
    "of several": lambda state: {"0": state, "1": random_state(PLAIN, seed=9)},
    "as parameters": lambda state: {
        "0": {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    },
    "in half precision": lambda state: {
        "0": {name: tensor.half() for name, tensor in state.items()}
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [PLAIN, ADM])
def test_a_block_is_found_however_it_lies_in_its_file(layout, kind, tmp_path):
    state = random_state(kind)
    torch.save(LAYOUTS[layout](state), tmp_path / "block.pth")
    block = read_block(tmp_path / "block.pth")
    assert block.kind == kind and block.widths == (C, D) and block.groups == 32
    for name, tensor in state.items():
        assert block.weights[name].dtype == np.float32
        np.testing.assert_allclose(block.weights[name], tensor.numpy(), atol=2e-3)


def test_a_block_may_be_a_safetensors_file_and_of_the_old_format(tmp_path):
    save_file(random_state(ADM), tmp_path / "block.safetensors")
    torch.save({"0": random_state(ADM)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert (
        read_block(tmp_path / "block.safetensors").kind
        == read_block(tmp_path / "old.pth").kind
        == ADM
    )


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


MISFITS = {
    "neither kind": {"0": {"layers.0.weight": torch.zeros(8, 8), "layers.0.bias": torch.zeros(8)}},
    "no tensors": {"0": {"conv1.weight": "a string"}},
    "a fixed Δh a step": {"0": torch.zeros(C, 4, 4), "513": torch.zeros(C, 4, 4)},
    "lacks one": {"0": without(random_state(PLAIN), "norm2.bias")},
    "one too many": {"0": {**random_state(PLAIN), "clip_proj.weight": torch.zeros(C, C)}},
    "3x3": {"0": {**random_state(PLAIN), "conv1.weight": torch.zeros(C, C, 3, 3)}},
    "a width of its own": {"0": {**random_state(ADM), "out_layers.3.bias": torch.zeros(C + 1)}},
    "empty": {},
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_file_of_neither_kind_is_refused_with_what_was_expected_and_what_came(misfit, tmp_path):
    torch.save(MISFITS[misfit], tmp_path / "odd.pth")
    with pytest.raises(
        ModelError, match=r"odd\.pth holds no attribute block .*conv1\.weight.*in_layers\.0.*got"
    ) as e:
        read_block(tmp_path / "odd.pth")
    for name in (
        list(MISFITS[misfit].get("0", {}))[:1] if isinstance(MISFITS[misfit].get("0"), dict) else []
    ):
        assert name in str(e.value).split("got")[1]
    assert "\n" not in str(e.value)


def test_spoilt_files_are_refused_in_words(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read_block(tmp_path / "none.pth")
    (tmp_path / "noise.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot be read as tensors"):
        read_block(tmp_path / "noise.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="holds a list"):
        read_block(tmp_path / "list.pth")
    torch.save({"0": random_state(PLAIN, c=16)}, tmp_path / "narrow.pth")
    with pytest.raises(ModelError, match="16 channels.*32 groups"):
        read_block(tmp_path / "narrow.pth")
    torch.save(
        {"0": {**random_state(PLAIN), "conv2.bias": torch.full((C,), torch.nan)}},
        tmp_path / "nan.pth",
    )
    with pytest.raises(ModelError, match="not finite"):
        read_block(tmp_path / "nan.pth")


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_hostile_pickle_runs_nothing(how, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "hostile.pth"
    data = {"0": random_state(PLAIN), "scheduler": Hostile(mark)}
    if how == "torch":
        torch.save(data, path)
    else:
        path.write_bytes(pickle.dumps(data, protocol=2))
    with pytest.raises(ModelError, match="nothing in it was run"):
        read_block(path)
    assert not mark.exists()
    if how == "pickle":
        pickle.loads(path.read_bytes())
        assert mark.exists(), "the pickle is as hostile as the test believes"


def test_a_block_for_another_model_is_refused_and_says_for_which(plain, adm, tmp_path):
    model, run = plain
    with pytest.raises(
        AnalysisError,
        match=r"64 channels and a time embedding of 128, as the original .*ckpt has.*32 and 32",
    ):
        import_blocks([published(tmp_path, PLAIN, c=64, d=128)], run, model)
    with pytest.raises(AnalysisError, match="time embedding of 128; .* has 32 and 32"):
        import_blocks([published(tmp_path, PLAIN, "my own.pth", c=64, d=128)], run, model)
    dog = published(tmp_path, ADM, "dog_happy_LC_dog_t999_ninv40_ngen40_0.pth")
    with pytest.raises(AnalysisError, match="afhq_dog_4m.*another kind of U-Net"):
        import_blocks([dog], run, model)
    church = replace(model, card=replace(model.card, name="google/ddpm-ema-church-256"))
    with pytest.raises(
        AnalysisError,
        match="is for the original DDPM .* CelebA-HQ.*and this run is of .*church",
    ):
        import_blocks([published(tmp_path, PLAIN)], run, church)
    move = import_blocks([dog], adm[1], adm[0])
    assert "AFHQ-Dog" in move.made_by["trained_on"]
    with pytest.raises(AnalysisError, match="trained on"):
        narrow = BlockMove(blocks=(Block(weights=arrays_of(16, 8)),), gains=np.ones(1))
        narrow.bind(model)
    with pytest.raises(UsageError, match="one attribute file or more"):
        import_blocks([], run, model)


def arrays_of(c, d):
    return {name: tensor.numpy() for name, tensor in random_state(PLAIN, c=c, d=d).items()}


def test_a_block_that_moves_nothing_has_no_unit(plain, tmp_path):
    state = {name: torch.zeros_like(tensor) for name, tensor in random_state(PLAIN).items()}
    torch.save({"0": state}, tmp_path / "zero.pth")
    with pytest.raises(AnalysisError, match="length 0"):
        import_blocks([tmp_path / "zero.pth"], plain[1], plain[0])
