"""Drawn dogs: the data set, its reader's outputs, and what is measured of breeds."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hcache.models.loading import load_model
from hcache.sampling.loop import denoise
from hcache.toyfaces import breeds, dogs, dogs_reader
from hcache.toyfaces import card as card_module


def test_a_seed_is_a_dog():
    again, (images, factors) = dogs.draw_dataset([7, 8]), dogs.draw_dataset([7, 8])
    assert np.array_equal(again[0], images) and np.array_equal(again[1], factors)
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.uint8 and factors.shape == (2, 8)
    assert not np.array_equal(images[0], images[1])


def test_factors_are_independent_of_each_other_and_of_the_breed():
    values = np.stack([dogs.sample_dog(seed).as_array() for seed in range(3000)])
    assert values[:, 4:].sum(1) == pytest.approx(np.ones(3000))
    assert values[:, 4:].mean(0) == pytest.approx(np.full(4, 0.25), abs=0.03)
    correlation = np.corrcoef(values.T)
    assert np.abs(correlation[:4, 4:]).max() < 0.07  # 3.8 standard errors
    assert np.abs(correlation[:4, :4] - np.eye(4)).max() < 0.07


@pytest.mark.parametrize("factor", dogs.FACTORS, ids=lambda factor: factor.name)
@pytest.mark.parametrize("breed", range(4))
def test_every_factor_shows_in_every_breed(factor, breed):
    low, high = (
        np.asarray(dogs.draw_dog(dogs.Dog(breed=breed, **{factor.name: end})), float)
        for end in (factor.low, factor.high)
    )
    assert (np.abs(low - high).max(2) > 24).sum() > 60


def test_breeds_do_not_look_alike():
    heads = [np.asarray(dogs.draw_dog(dogs.Dog(breed=k)), float) for k in range(4)]
    for i, a in enumerate(heads):
        for b in heads[:i]:
            assert (np.abs(a - b).max(2) > 24).mean() > 0.2


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="happy must lie in"):
        dogs.Dog(happy=2)
    with pytest.raises(ValueError, match="breed must be 0 to 3, got 4"):
        dogs.Dog(breed=4)


def test_readings_of_breeds_are_probabilities_and_the_loss_falls_at_the_truth():
    network = dogs_reader.DogReader()
    images, factors = dogs.draw_dataset(range(4))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        readings = network(tensor.float() / 127.5 - 1)
        assert readings.shape == (4, len(dogs_reader.READINGS))
        assert readings[:, 4:].sum(1) == pytest.approx(np.ones(4), abs=1e-5)
        rng, truth = torch.Generator().manual_seed(0), torch.from_numpy(factors)
        loss = float(dogs_reader.dog_reader_loss(network)(tensor, truth, rng))
        network.logits = lambda _: torch.cat([truth[:, :4], 20 * truth[:, 4:]], 1)
        assert float(dogs_reader.dog_reader_loss(network)(tensor, truth, rng)) < 1e-3 < loss


def made_up_run(n=400):
    rng = np.random.default_rng(0)
    breed = rng.integers(4, size=n)
    readings = {"happy": rng.random(n)}
    readings |= {f"breed {name}": (breed == k) * 0.9 + 0.02 for k, name in enumerate(dogs.NAMES)}
    run = SimpleNamespace(
        name="dogs",
        labels={breeds.READER: readings},
        sample_ids=np.arange(n),
        position=lambda sample: sample,
    )
    return run, breed, readings


def test_positives_are_the_happiest_of_all_or_of_one_breed():
    run, breed, readings = made_up_run()
    chosen = breeds.chosen_positives(run, 20)
    assert list(chosen) == [breeds.MIXED, *dogs.NAMES, breeds.RANDOM]
    assert set(chosen[breeds.MIXED]) == set(np.argsort(readings["happy"])[-20:])
    for k, name in enumerate(dogs.NAMES):
        assert (breed[list(chosen[name])] == k).all() and len(chosen[name]) == 20
    assert len({*chosen[breeds.RANDOM]}) == 20
    fits = breeds.fits(run, 20)
    against = {name: f"{name}, against unhappy ones" for name in (breeds.MIXED, *dogs.NAMES)}
    assert {name: fit.method for name, fit in fits.items() if name not in chosen} == {
        **dict.fromkeys(against.values(), "supervised"),
        "mixed breeds, VAE": "vae",
        "mixed breeds, local naive": "local",
    }
    mixed = {fit.positives for name, fit in fits.items() if name.startswith(breeds.MIXED)}
    assert mixed == {chosen[breeds.MIXED]}
    for name, words in against.items():
        rows = list(fits[words].negatives)
        assert fits[words].positives == chosen[name] and len(rows) == 20
        assert readings["happy"][rows].max() < readings["happy"][list(chosen[name])].min()
        assert name == breeds.MIXED or set(breed[rows]) == {dogs.NAMES.index(name)}


def test_a_change_is_of_the_recipients_breed_and_in_spreads():
    _, breed, before = made_up_run()
    after = {**before, "happy": before["happy"] + 0.5 * (breed == 2)}
    found = breeds.change_by_breed(before, after, 0.25)
    assert found[dogs.NAMES[2]]["happy"] == pytest.approx([2, 2, 2])
    assert found[dogs.NAMES[0]]["happy"] == found[dogs.NAMES[0]]["own breed"] == [0, 0, 0]


def test_the_table_has_a_row_for_each_set_of_positives_and_strength():
    effect = {
        name: {"happy": [0.5, 0.4, 0.6], "own breed": [-0.2, -0.3, 0.0]} for name in dogs.NAMES
    }
    facts = {
        "effects": {breeds.MIXED: {"1": effect, "2": effect}},
        "alignment": {breeds.MIXED: {"alignment": {"value": 0.25}}},
    }
    lines = breeds.as_table(json.loads(json.dumps(facts))).splitlines()
    assert len(lines) == 4 and lines[3].startswith("| mixed breeds | 0.25 | 2 | +0.50 (+0.40")
    assert lines[3].endswith("| -0.20, -0.20, -0.20, -0.20 |")


def test_the_strip_has_a_row_for_everything_with_its_name():
    rows = {"unedited": np.zeros((64, 256, 3), np.uint8), "mixed breeds": np.zeros((64, 256, 3))}
    found = np.asarray(breeds.strip({k: v.astype(np.uint8) for k, v in rows.items()}))
    height, width, _ = found.shape
    assert height == 128 and width > 256
    names = found[:, : width - 256]
    assert (names[:64] < 128).any() and (names[64:] < 128).any() and not found[:, -256:].any()


def test_the_card_of_dogs_has_what_was_measured():
    effect = {
        name: {"happy": [0.5, 0.4, 0.6], "own breed": [-0.2, -0.3, 0.0]} for name in dogs.NAMES
    }
    facts = {
        "settings": {"weights": "abc", "fit": 1024, "unseen": 128},
        "network": {"parameters": 2_850_771, "h": [96, 8, 8], "skips": [3, 3, 3, 3]},
        "effects": {breeds.MIXED: {"1": effect}},
        "alignment": {breeds.MIXED: {"alignment": {"value": 0.25}}},
    }
    training = {
        **{"introduction": "Dogs.", "structure": "a U-Net", "noise": "v", "hours": 0.5},
        **{"faces": 20000, "steps": 7500, "batch": 16, "rate": "5e-4", "machine": "a core"},
        "tried": ["this"],
    }
    card = card_module.write_dogs_card(facts, training)
    assert "2.85 M parameters; h is 96 x 8 x 8; 12 skips in 4 groups of 3" in card
    assert (
        "| mixed breeds | 0.25 | 1 | +0.50 (+0.40 to +0.60)" in card and "of 1024, applied" in card
    )


def test_the_shipped_reader_reads_held_out_drawings():
    images, truth = dogs.draw_dataset(range(3_000_000, 3_000_200))
    readings = dogs_reader.read(images)
    for place, factor in enumerate(dogs.FACTORS):
        error = np.square(readings[factor.name] - truth[:, place]).mean()
        assert error < 0.02 * truth[:, place].var(), factor.name
    assert (breeds.breed_of(readings) == truth[:, 4:].argmax(1)).mean() > 0.99


def test_the_shipped_model_draws_dogs_of_every_breed():
    model = load_model(breeds.MODEL)
    assert model.anatomy.h == (96, 8, 8) and len(model.anatomy.skips) == 4
    *_, last = denoise(model, range(16), 8)
    readings = dogs_reader.read(model.to_images(last.x_next).numpy())
    sure = np.stack([readings[f"breed {name}"] for name in dogs.NAMES]).max(0)
    assert set(breeds.breed_of(readings)) == {0, 1, 2, 3} and np.median(sure) > 0.9
    assert readings["happy"].std() > 0.1


def test_all_weights_that_ship_are_small():
    weights = Path(breeds.__file__).parent / "weights"
    assert sum(path.stat().st_size for path in weights.rglob("*.safetensors")) <= 40_000_000
