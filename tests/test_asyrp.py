"""Asyrp's blocks: as published, from files that cannot be trusted, in the common unit; and trained from two texts."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from kinds import ADM as ADM_UNET
from kinds import TOKENS, clip_tokenizer, save_kind
from safetensors.torch import save_file
from tiny import drain, last_x, make_unet, save_pipeline
from torch.nn import functional as F

from hcache.cards import default_spec
from hcache.directions import asyrp, asyrp_block
from hcache.directions.asyrp_block import ADM, LAYERS, PLAIN, Block, BlockMove
from hcache.directions.asyrp_files import IMPORTED, import_blocks, read_block
from hcache.directions.asyrp_training import Training, first_weights, shuffled, train_block
from hcache.directions.direction import digest_of, spread
from hcache.directions.fitting import Fit, find_method, fit
from hcache.directions.store import list_moves, load_move, save_move
from hcache.edits.shift import Shift
from hcache.edits.window import Window
from hcache.errors import AnalysisError, HcacheError, ModelError, UsageError
from hcache.extract import extract
from hcache.models.loading import load_model
from hcache.sampling.loop import Moment, denoise
from hcache.specs import Conditioning

STEPS, SAMPLES, C, D = 4, 6, 32, 32
WIDE = {"block_out_channels": (8, 16, C)}
WINDOW = Window(first=0, last=STEPS - 1)


def extracted(folder, home, samples=SAMPLES, **spec):
    spec = {"store": {"h": "full"}, "store_dtype": "float32", **spec}
    model = load_model(str(folder))
    return model, extract(model, default_spec(str(folder), samples=samples, steps=STEPS, **spec), home)


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def plain(homes):
    return extracted(save_pipeline(homes / "plain", make_unet(**WIDE)), homes / "home")


@pytest.fixture(scope="module")
def adm(homes):
    return extracted(save_pipeline(homes / "adm", make_unet(**{**ADM_UNET, **WIDE})), homes / "home")


def random_state(kind, c=C, d=D, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=rng) for name, shape in LAYERS[kind].shapes(c, d).items()}


def published(folder, kind, name="smiling_LC_CelebA_HQ_t999_ninv40_ngen40_0.pth", **changes):
    """A file as the published code leaves it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    state = random_state(kind, **changes)
    torch.save({"0": state, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, folder / name)
    return folder / name


def time_embedding(unet, t):
    """The U-Net's own, as its ``forward`` makes it."""
    return unet.time_embedding(unet.time_proj(torch.tensor([t])))


def formula(kind, w, h, temb):
    """f as the published classes compute it, written down once more."""
    if kind == PLAIN:
        x = F.conv2d(h, w["conv1.weight"], w["conv1.bias"])
        x = x + F.linear(F.silu(temb), w["temb_proj.weight"], w["temb_proj.bias"])[:, :, None, None]
        x = F.silu(F.group_norm(x, 32, w["norm2.weight"], w["norm2.bias"], eps=1e-6))
        return F.conv2d(x, w["conv2.weight"], w["conv2.bias"])
    x = F.silu(F.group_norm(h, 32, w["in_layers.0.weight"], w["in_layers.0.bias"], eps=1e-5))
    x = F.conv2d(x, w["in_layers.2.weight"], w["in_layers.2.bias"])
    x = x + F.linear(F.silu(temb), w["emb_layers.1.weight"], w["emb_layers.1.bias"])[:, :, None, None]
    x = F.silu(F.group_norm(x, 32, w["out_layers.0.weight"], w["out_layers.0.bias"], eps=1e-5))
    return F.conv2d(x, w["out_layers.3.weight"], w["out_layers.3.bias"])


def moved(move, model, run, step, strengths, samples=(0, 1, 2)):
    """(h of some samples at a step, what the move makes of it)."""
    h = torch.from_numpy(np.stack([run.features(sample, step).h for sample in samples]))
    with torch.inference_mode():
        return h, move.bind(model)(h, Moment(index=step, t=run.timesteps[step]), torch.tensor(strengths))


@pytest.mark.parametrize("kind", [PLAIN, ADM])
def test_an_imported_block_is_the_published_formula(kind, plain, adm, tmp_path):
    model, run = plain if kind == PLAIN else adm
    move = import_blocks([published(tmp_path, kind, "some_ngen40_0.pth")], run, model)
    unit = move.made_by["published_strength"]
    for step in (0, STEPS - 1):
        h, found = moved(move, model, run, step, [unit, -0.5 * unit, 2.0 * unit])
        with torch.no_grad():
            f = formula(kind, random_state(kind), h, time_embedding(model.network, run.timesteps[step]))
        expected = h + 40 / STEPS * torch.tensor([1, -0.5, 2]).view(-1, 1, 1, 1) * f
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("steps", [10, 40])
def test_the_published_strength_counts_the_steps_a_block_was_trained_along(steps, plain, tmp_path):
    model, run = plain
    forty = import_blocks([published(tmp_path, PLAIN, "block_ngen40_0.pth")], run, model)
    other = import_blocks([published(tmp_path, PLAIN, f"block_ngen{steps}_1.pth")], run, model)
    ratio = other.made_by["published_strength"] / forty.made_by["published_strength"]
    assert ratio == pytest.approx(steps / 40) and other.made_by["trained_steps"] == [steps]
    np.testing.assert_allclose(other.gains, forty.gains)


def test_several_attributes_see_the_same_h_and_share_their_length(plain, tmp_path):
    model, run = plain
    paths = [published(tmp_path, PLAIN, f"{seed}.pth", seed=seed) for seed in range(3)]
    move = import_blocks(paths, run, model)
    unit = move.made_by["published_strength"]
    h, found = moved(move, model, run, 1, [unit] * 3)
    temb = time_embedding(model.network, run.timesteps[1])
    with torch.no_grad():
        total = sum(formula(PLAIN, random_state(PLAIN, seed=seed), h, temb) for seed in range(3))
    torch.testing.assert_close(found, h + 40 / STEPS / 3**0.5 * total, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_a_strength_of_one_is_one_sigma(count, plain, tmp_path):
    model, run = plain
    move = import_blocks([published(tmp_path, PLAIN, f"{i}.pth", seed=i) for i in range(count)], run, model)
    sigma, ratios = spread(run), []
    for step in range(STEPS):
        h, found = moved(move, model, run, step, [1.0] * SAMPLES, range(SAMPLES))
        ratios.append((found - h).numpy() / sigma[step])
    assert np.sqrt(np.square(ratios).mean()) == pytest.approx(1, rel=1e-3)
    assert move.model == run.spec.model and move.timesteps == tuple(run.timesteps)


def test_on_other_steps_a_block_is_as_long_and_its_published_strength_follows(plain, tmp_path):
    model, run = plain
    move = import_blocks([published(tmp_path, PLAIN)], run, model)
    finer = move.resampled(tuple(range(1000, 0, -1000 // (2 * STEPS))))
    assert finer.made_by["published_strength"] == pytest.approx(move.made_by["published_strength"] / 2)
    assert len(finer.timesteps) == 2 * STEPS and digest_of(finer) == digest_of(move)


def test_a_block_edits_asymmetrically_and_strength_zero_is_plain_ddim(plain, tmp_path):
    model, run = plain
    move = import_blocks([published(tmp_path, PLAIN)], run, model)
    seeds = [run.seed(sample) for sample in range(3)]

    def result(strengths, asymmetric=True):
        return last_x(denoise(model, seeds, STEPS, edit=Shift(move, strengths, WINDOW, model), asymmetric=asymmetric))

    unedited = last_x(denoise(model, seeds, STEPS))
    assert torch.equal(result([0.0] * 3), unedited)
    mixed = result([0.0, 1.0, -1.0])
    assert torch.equal(mixed[0], unedited[0]) and not torch.allclose(mixed[1], unedited[1])
    assert not torch.allclose(mixed[1:], result([0.0, 1.0, -1.0], asymmetric=False)[1:])


def test_a_block_is_saved_and_comes_back_the_same(plain, tmp_path):
    model, run = plain
    move = import_blocks([published(tmp_path, PLAIN, seed=i, name=f"{i}.pth") for i in range(2)], run, model)
    save_move(run, "two", move)
    back = load_move(run, "two")
    entry = next(entry for entry in list_moves(run) if entry.name == "two")
    assert isinstance(back, BlockMove) and digest_of(back) == digest_of(move) == entry.digest
    assert entry.kind == "block" and entry.method == IMPORTED and entry.steps == STEPS
    assert back.made_by == move.made_by and back.timesteps == move.timesteps
    before, after = (moved(m, model, run, 2, [1.0, 2.0, 3.0])[1] for m in (move, back))
    assert torch.equal(before, after)
    assert [len(file["sha256"]) for file in back.made_by["files"]] == [64, 64]


def test_blocks_of_text_models_move_both_branches(homes, tmp_path):
    """Time alone is embedded: neither text nor sizes are f's to know."""
    folder = save_kind("SDXL", homes / "SDXL")
    conditioning = {"prompts": ("a face",), "guidance": 3.0}
    model, run = extracted(folder, homes / "home", samples=2, conditioning=Conditioning(**conditioning))
    c, d = asyrp_block.widths_of(model)
    weights = {name: tensor.numpy() for name, tensor in first_weights(c, d, torch.Generator().manual_seed(0)).items()}
    move = asyrp_block.in_run_units([Block(weights=weights, groups=4)], [1.0], run, model, {})
    shift = Shift(move, [0.0, 1.0], WINDOW, model)
    seeds = [run.seed(0), run.seed(1)]
    plain, edited = (
        last_x(denoise(model, seeds, STEPS, edit=edit, conditioning=run.spec.conditioning)) for edit in (None, shift)
    )
    assert torch.equal(plain[0], edited[0]) and not torch.allclose(plain[1], edited[1])


LAYOUTS = {
    "as published": lambda state: {"0": state, "optimizer": {"state": {}}, "scheduler": {"last_epoch": 1}},
    "numbered by a number": lambda state: {0: state},
    "alone": lambda state: state,
    "of a parallel module": lambda state: {"0": {f"module.{name}": tensor for name, tensor in state.items()}},
    "in a whole network": lambda state: {
        "conv_in.weight": torch.zeros(3), **{f"module.layer_0.{name}": tensor for name, tensor in state.items()},
    },
    "of several": lambda state: {"0": state, "1": random_state(PLAIN, seed=9)},
    "as parameters": lambda state: {"0": {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}},
    "in half precision": lambda state: {"0": {name: tensor.half() for name, tensor in state.items()}},
}  # fmt: skip


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
    assert read_block(tmp_path / "block.safetensors").kind == read_block(tmp_path / "old.pth").kind == ADM


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
    with pytest.raises(ModelError, match=r"odd\.pth holds no attribute block .*conv1\.weight.*in_layers\.0.*got") as e:
        read_block(tmp_path / "odd.pth")
    for name in list(MISFITS[misfit].get("0", {}))[:1] if isinstance(MISFITS[misfit].get("0"), dict) else []:
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
    torch.save({"0": {**random_state(PLAIN), "conv2.bias": torch.full((C,), torch.nan)}}, tmp_path / "nan.pth")
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
        AnalysisError, match=r"64 channels and a time embedding of 128, as google/.*celebahq.*32 and 32"
    ):
        import_blocks([published(tmp_path, PLAIN, c=64, d=128)], run, model)
    with pytest.raises(AnalysisError, match="time embedding of 128; .* has 32 and 32"):
        import_blocks([published(tmp_path, PLAIN, "my own.pth", c=64, d=128)], run, model)
    dog = published(tmp_path, ADM, "dog_happy_LC_dog_t999_ninv40_ngen40_0.pth")
    with pytest.raises(AnalysisError, match="afhq_dog_4m.*another kind of U-Net"):
        import_blocks([dog], run, model)
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


@pytest.fixture(scope="module")
def clip_folder(homes):
    """A tiny CLIP of random weights, saved in the real format."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    text = {"vocab_size": 520, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": TOKENS, "bos_token_id": 512, "eos_token_id": 513,
            "pad_token_id": 513}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 24, "patch_size": 8}  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    for parameter in model.parameters():
        parameter.data.mul_(3)
    model.save_pretrained(homes / "clip")
    clip_tokenizer().save_pretrained(homes / "clip")
    return homes / "clip"


def a_fit(run, folder, **options):
    texts = {"clip": str(folder), "source": "face", "target": "smiling face"}
    small = {"iterations": 2, "batch": 3, "t_edit": 400.0}
    return Fit(method="asyrp", run=run.name, options={**texts, **small, **options})


def test_training_lowers_the_loss_and_gives_a_move_that_changes_the_picture(plain, clip_folder):
    model, run = plain
    options = {"iterations": 15, "batch": SAMPLES, "learning_rate": 0.01, "reconstruction": 0.01}
    shares, (move,) = drain(fit(a_fit(run, clip_folder, **options), run, model))
    trained = sum(t >= 400 for t in run.timesteps)
    assert len(shares) == 15 * trained and shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert move.made_by["loss"]["last"] < 0.8 * move.made_by["loss"]["first"]
    seeds = [run.seed(0)]
    plain_x, edited = (
        last_x(denoise(model, seeds, STEPS, edit=edit, asymmetric=True))
        for edit in (None, Shift(move, [move.made_by["published_strength"]], WINDOW, model))
    )
    assert (plain_x - edited).abs().max() > 1e-2


def test_a_training_is_its_seed_and_is_remembered(plain, clip_folder):
    model, run = plain
    (first,), (again,), (other,) = (
        drain(fit(a_fit(run, clip_folder, seed=seed), run, model))[1] for seed in (0, 0, 1)
    )  # fmt: skip
    assert digest_of(first) == digest_of(again) != digest_of(other)
    assert Fit.from_json(first.made_by) == a_fit(run, clip_folder, seed=0)
    assert first.made_by["published_strength"] > 0 and first.timesteps == tuple(run.timesteps)
    save_move(run, "trained", first)
    assert digest_of(load_move(run, "trained")) == digest_of(first)


def test_training_leaves_the_model_and_the_global_generator_alone(plain, clip_folder):
    model, run = plain
    weights, state = [p.clone() for p in model.network.parameters()], torch.get_rng_state()
    drain(fit(a_fit(run, clip_folder), run, model))
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()
    assert all(torch.equal(a, b) for a, b in zip(weights, model.network.parameters(), strict=True))
    assert all(p.grad is None and not p.requires_grad for p in model.network.parameters())


def test_training_follows_the_run_where_nothing_is_edited(plain, clip_folder):
    """With f at zero the edited trajectory is the cached one."""
    from hcache.directions.asyrp_clip import load_clip
    from hcache.directions.asyrp_training import _Trainer

    model, run = plain
    clip = load_clip(str(clip_folder), model.device)
    training = Training(iterations=1, batch=2, learning_rate=1e-6, reconstruction=1.0, t_edit=0)
    weights = {name: torch.zeros_like(tensor) for name, tensor in first_weights(C, D, torch.Generator()).items()}
    trainer = _Trainer(run, model, clip, clip.direction("face", "smiling face"), training, weights)
    _, x = trainer.step([1, 4], trainer.x([1, 4], 0), 0)
    torch.testing.assert_close(x, trainer.x([1, 4], 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["SD", "LDM", "classes", "learned variance"])
def test_every_kind_of_unet_can_be_trained_on(kind, homes, clip_folder):
    """Gradients pass the autoencoder of latent models, all branches of guidance, and noise on the way."""
    conditioning = {"SD": {"prompts": ("a face",), "guidance": 3.0}, "classes": {"classes": (1,)}}.get(kind, {})
    eta = 0.5 if kind == "learned variance" else 0.0
    folder = save_kind(kind, homes / kind)
    model, run = extracted(folder, homes / "home", samples=2, conditioning=Conditioning(**conditioning), eta=eta)
    shares, (move,) = drain(fit(a_fit(run, clip_folder, iterations=1, batch=2), run, model))
    assert shares[-1] == pytest.approx(1) and np.isfinite(move.gains).all()


def test_positives_are_trained_on_if_there_are_any(plain, clip_folder, monkeypatch):
    from hcache.directions import asyrp_training

    model, run = plain

    class Seen(Exception):
        pass

    def look(run, model, samples, *_):
        raise Seen(samples)

    monkeypatch.setattr(asyrp_training, "train_block", look)
    for positives, expected in (((), [0, 2, 5]), ((4, 1), [4, 1])):
        given = replace(a_fit(run, clip_folder, samples=3), positives=positives)
        with pytest.raises(Seen) as seen:
            drain(fit(given, run, model))
        assert seen.value.args[0] == expected


def test_every_sample_comes_once_before_any_comes_again():
    batches = shuffled(range(7), 3, torch.Generator().manual_seed(0))
    for _ in range(2):
        epoch = [next(batches) for _ in range(3)]
        assert [len(batch) for batch in epoch] == [3, 3, 1] and sorted(sum(epoch, [])) == list(range(7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": ""}, "give the option clip, a folder or a hub id"),
        ({"clip": "/nowhere/clip"}, "no CLIP model at /nowhere/clip .*expected a folder.*hf download"),
        ({"clip": "owner/no-such-clip"}, "no CLIP model at owner/no-such-clip .*hf download"),
        ({"target": ""}, "give both texts"),
        ({"target": "face"}, "are the same"),
        ({"iterations": 0}, "iterations must be 1"),
        ({"batch": 0}, "batch must be 1"),
        ({"samples": 0}, "samples must be 1"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"t_edit": 2000.0}, "no step has t >= 2000; the first is at"),
        ({"learning_rate": 1e30}, "lower the learning rate"),
    ],
)
def test_a_training_that_cannot_work_says_so(options, message, plain, clip_folder):
    with pytest.raises(HcacheError, match=message):
        drain(fit(a_fit(plain[1], clip_folder, **options), plain[1], plain[0]))


def test_half_a_clip_is_refused(plain, clip_folder, tmp_path):
    import shutil

    from safetensors.torch import load_file

    shutil.copytree(clip_folder, tmp_path / "half")
    weights = load_file(tmp_path / "half" / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("vision")}
    save_file(kept, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="no whole CLIP model: it lacks .* vision"):
        drain(fit(a_fit(plain[1], tmp_path / "half"), plain[1], plain[0]))
    for path in (tmp_path / "half").glob("*token*"):
        path.unlink()
    (tmp_path / "half" / "model.safetensors").write_bytes((clip_folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="tokenizer"):
        drain(fit(a_fit(plain[1], tmp_path / "half"), plain[1], plain[0]))


def test_clip_sees_what_its_own_processor_would_show_it(clip_folder):
    """Colours and crop, on a wide picture; resizing differs from Pillow's by its rounding."""
    from PIL import Image
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from hcache.directions.asyrp_clip import load_clip

    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 6), (40, 60), mode="bicubic").clamp(0, 1)
    pixels = smooth[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    taken = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    model = CLIPModel.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=taken).pooler_output
        found = load_clip(str(clip_folder), torch.device("cpu")).pictures(2 * smooth - 1)
    assert torch.nn.functional.cosine_similarity(expected, found).item() > 0.999


def test_the_method_is_found_and_needs_its_model(plain):
    assert find_method("asyrp") is asyrp.METHOD
    with pytest.raises(UsageError, match="runs the model"):
        drain(fit(a_fit(plain[1], "x"), plain[1]))


def test_the_loss_is_on_the_way_of_training(plain, clip_folder):
    from hcache.directions.asyrp_clip import load_clip

    model, run = plain
    clip = load_clip(str(clip_folder), model.device)
    training = Training(iterations=1, batch=2, learning_rate=1e-3, reconstruction=1.0, t_edit=0)
    told, block = drain(train_block(run, model, [0, 1], clip, clip.direction("face", "old face"), training))
    assert [round(p.share, 4) for p in told] == [0.25, 0.5, 0.75, 1.0] and all(p.loss > 0 for p in told)
    assert block.kind == PLAIN and block.widths == (C, D)
