"""Training an Asyrp block from two texts with CLIP."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from asyrp_blocks import SAMPLES, STEPS, WINDOW, C, D, extracted
from kinds import TOKENS, clip_tokenizer, save_kind
from safetensors.torch import save_file
from tiny import drain, last_x

from hcache.directions import asyrp
from hcache.directions.asyrp_block import PLAIN
from hcache.directions.asyrp_training import BlockTraining, first_weights, shuffled, train_block
from hcache.directions.direction import digest_of
from hcache.directions.fitting import METHODS, Fit, fit
from hcache.directions.store import load_move, save_move
from hcache.edits.shift import Shift
from hcache.errors import HcacheError, ModelError, UsageError
from hcache.sampling.loop import denoise
from hcache.specs import Conditioning


@pytest.fixture(scope="module")
def clip_folder(homes):
    """A tiny CLIP of random weights, saved in the real format."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    text = {
        "vocab_size": 520,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": TOKENS,
        "bos_token_id": 512,
        "eos_token_id": 513,
        "pad_token_id": 513,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 24,
        "patch_size": 8,
    }
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
    assert (
        len(shares) == 15 * trained and shares == sorted(shares) and shares[-1] == pytest.approx(1)
    )
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
    )
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
    from hcache.directions.asyrp_training import BlockTrainer

    model, run = plain
    clip = load_clip(str(clip_folder), model.device)
    training = BlockTraining(
        iterations=1, batch=2, learning_rate=1e-6, reconstruction=1.0, t_edit=0
    )
    weights = {
        name: torch.zeros_like(tensor)
        for name, tensor in first_weights(C, D, torch.Generator()).items()
    }
    trainer = BlockTrainer(
        run, model, clip, clip.direction("face", "smiling face"), training, weights
    )
    _, x = trainer.step([1, 4], trainer.x([1, 4], 0), 0)
    torch.testing.assert_close(x, trainer.x([1, 4], 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["SD", "LDM", "classes", "learned variance"])
def test_every_kind_of_unet_can_be_trained_on(kind, homes, clip_folder):
    """Gradients pass the autoencoder of latent models, all branches of guidance, and noise on
    the way.
    """
    conditioning = {
        "SD": {"prompts": ("a face",), "guidance": 3.0},
        "classes": {"classes": (1,)},
    }.get(kind, {})
    eta = 0.5 if kind == "learned variance" else 0.0
    folder = save_kind(kind, homes / kind)
    model, run = extracted(
        folder, homes / "home", samples=2, conditioning=Conditioning(**conditioning), eta=eta
    )
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
        assert [len(batch) for batch in epoch] == [3, 3, 1] and sorted(sum(epoch, [])) == list(
            range(7)
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": ""}, "give the option clip, a folder or a hub id"),
        (
            {"clip": "/nowhere/clip"},
            "no CLIP model at /nowhere/clip .*expected a folder.*hf download",
        ),
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
    with pytest.raises(ModelError, match="not a complete CLIP model: it lacks .* vision"):
        drain(fit(a_fit(plain[1], tmp_path / "half"), plain[1], plain[0]))
    for path in (tmp_path / "half").glob("*token*"):
        path.unlink()
    (tmp_path / "half" / "model.safetensors").write_bytes(
        (clip_folder / "model.safetensors").read_bytes()
    )
    with pytest.raises(ModelError, match="tokenizer"):
        drain(fit(a_fit(plain[1], tmp_path / "half"), plain[1], plain[0]))


def test_clip_sees_what_its_own_processor_would_show_it(clip_folder):
    """Colours and crop, on a wide picture; resizing differs from Pillow's by its rounding."""
    from PIL import Image
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from hcache.directions.asyrp_clip import load_clip

    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 6), (40, 60), mode="bicubic"
    ).clamp(0, 1)
    pixels = smooth[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}
    )
    taken = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    model = CLIPModel.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=taken).pooler_output
        found = load_clip(str(clip_folder), torch.device("cpu")).pictures(2 * smooth - 1)
    assert torch.nn.functional.cosine_similarity(expected, found).item() > 0.999


def test_the_method_is_found_and_needs_its_model(plain):
    assert METHODS["asyrp"] is asyrp.METHOD
    with pytest.raises(UsageError, match="runs the model"):
        drain(fit(a_fit(plain[1], "x"), plain[1]))


def test_the_loss_is_on_the_way_of_training(plain, clip_folder):
    from hcache.directions.asyrp_clip import load_clip

    model, run = plain
    clip = load_clip(str(clip_folder), model.device)
    training = BlockTraining(
        iterations=1, batch=2, learning_rate=1e-3, reconstruction=1.0, t_edit=0
    )
    told, block = drain(
        train_block(run, model, [0, 1], clip, clip.direction("face", "old face"), training)
    )
    assert [round(p.share, 4) for p in told] == [0.25, 0.5, 0.75, 1.0] and all(
        p.loss > 0 for p in told
    )
    assert block.kind == PLAIN and block.widths == (C, D)
