"""Asyrp's blocks as published: the formula, the common unit, what they do to h and to pictures."""

import numpy as np
import pytest
import torch
from asyrp_blocks import (
    SAMPLES,
    STEPS,
    WINDOW,
    C,
    D,
    extracted,
    formula,
    moved,
    published,
    random_state,
    time_embedding,
)
from kinds import save_kind
from tiny import last_x

from hcache.directions import asyrp_block
from hcache.directions.asyrp_block import ADM, PLAIN, Block, BlockMove, delta_h
from hcache.directions.asyrp_files import IMPORTED, import_blocks, read_block
from hcache.directions.asyrp_training import first_weights
from hcache.directions.direction import digest_of, spread
from hcache.directions.store import list_moves, load_move, save_move
from hcache.edits.shift import Shift
from hcache.sampling.loop import denoise
from hcache.specs import Conditioning


@pytest.mark.parametrize("kind", [PLAIN, ADM])
def test_an_imported_block_is_the_published_formula(kind, plain, adm, tmp_path):
    model, run = plain if kind == PLAIN else adm
    move = import_blocks([published(tmp_path, kind, "some_ngen40_0.pth")], run, model)
    unit = move.made_by["published_strength"]
    for step in (0, STEPS - 1):
        h, found = moved(move, model, run, step, [unit, -0.5 * unit, 2.0 * unit])
        with torch.no_grad():
            f = formula(
                kind, random_state(kind), h, time_embedding(model.network, run.timesteps[step])
            )
        expected = h + 40 / STEPS * torch.tensor([1, -0.5, 2]).view(-1, 1, 1, 1) * f
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", [PLAIN, ADM])
def test_a_block_of_the_published_widths_is_the_formula_to_the_fifth_digit(kind, tmp_path):
    """512 channels, a time embedding of 512 and 32 groups; the formula in float64."""
    block = read_block(published(tmp_path, kind, c=512, d=512))
    assert (block.kind, block.widths, block.groups) == (kind, (512, 512), 32)
    weights = {name: torch.from_numpy(array) for name, array in block.weights.items()}
    noise = torch.Generator().manual_seed(1)
    h, temb = (torch.randn(shape, generator=noise) for shape in ((2, 512, 8, 8), (2, 512)))
    found = delta_h(weights, block.groups, h, temb).double()
    doubled = {name: tensor.double() for name, tensor in random_state(kind, 512, 512).items()}
    expected = formula(kind, doubled, h.double(), temb.double())
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kind", [PLAIN, ADM])
def test_where_h_hardly_varies_the_norms_are_the_published_ones_too(kind):
    """What they add to the variance differs between the kinds, and shows only there."""
    small = {
        name: tensor * (1e-3 if "norm" not in name else 1)
        for name, tensor in random_state(kind).items()
    }
    h, temb = (
        torch.randn(shape, generator=torch.Generator().manual_seed(1))
        for shape in ((2, C, 4, 4), (1, D))
    )
    found, expected = (
        f(*arguments)
        for f, arguments in (
            (delta_h, (small, 32, 1e-3 * h, temb)),
            (formula, (kind, small, 1e-3 * h, temb)),
        )
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


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
    move = import_blocks(
        [published(tmp_path, PLAIN, f"{i}.pth", seed=i) for i in range(count)], run, model
    )
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
    assert finer.made_by["published_strength"] == pytest.approx(
        move.made_by["published_strength"] / 2
    )
    assert len(finer.timesteps) == 2 * STEPS and digest_of(finer) == digest_of(move)


def test_a_block_edits_asymmetrically_and_strength_zero_is_plain_ddim(plain, tmp_path):
    model, run = plain
    move = import_blocks([published(tmp_path, PLAIN)], run, model)
    seeds = [run.seed(sample) for sample in range(3)]

    def result(strengths, asymmetric=True):
        return last_x(
            denoise(
                model,
                seeds,
                STEPS,
                edit=Shift(move, strengths, WINDOW, model),
                asymmetric=asymmetric,
            )
        )

    unedited = last_x(denoise(model, seeds, STEPS))
    assert torch.equal(result([0.0] * 3), unedited)
    mixed = result([0.0, 1.0, -1.0])
    assert torch.equal(mixed[0], unedited[0]) and not torch.allclose(mixed[1], unedited[1])
    assert not torch.allclose(mixed[1:], result([0.0, 1.0, -1.0], asymmetric=False)[1:])


def test_a_block_is_saved_and_comes_back_the_same(plain, tmp_path):
    model, run = plain
    move = import_blocks(
        [published(tmp_path, PLAIN, seed=i, name=f"{i}.pth") for i in range(2)], run, model
    )
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
    model, run = extracted(
        folder, homes / "home", samples=2, conditioning=Conditioning(**conditioning)
    )
    c, d = asyrp_block.widths_of(model)
    weights = {
        name: tensor.numpy()
        for name, tensor in first_weights(c, d, torch.Generator().manual_seed(0)).items()
    }
    move = asyrp_block.in_run_units([Block(weights=weights, groups=4)], [1.0], run, model, {})
    shift = Shift(move, [0.0, 1.0], WINDOW, model)
    seeds = [run.seed(0), run.seed(1)]
    plain, edited = (
        last_x(denoise(model, seeds, STEPS, edit=edit, conditioning=run.spec.conditioning))
        for edit in (None, shift)
    )
    assert torch.equal(plain[0], edited[0]) and not torch.allclose(plain[1], edited[1])
