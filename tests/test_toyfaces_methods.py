"""The comparison of methods on toyfaces: what is measured is what the table says."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hcache.cards import default_spec
from hcache.directions.asyrp_clip import load_clip
from hcache.directions.fitting import METHODS, Fit
from hcache.toyfaces import methods
from hcache.toyfaces.clip import FOLDER, held_out, told_apart
from hcache.toyfaces.factors import NAMES
from hcache.toyfaces.measure import ATTRIBUTES, MODEL, UNSEEN_SEED
from hcache.toyfaces.reader import WEIGHTS
from hcache.toyfaces.report import methods_table

README = (Path(__file__).parent.parent / "docs" / "results" / "methods.md").read_text(
    encoding="utf-8"
)
MEASURED = WEIGHTS.parent / "methods.json"

ELSEWHERE = {"arithmetic", "sparse"}
"""Methods that the table leaves out: `measure --what steering` compares sparse features, and
arithmetic combines directions.
"""


def test_changes_are_per_unit_of_strength_and_in_spreads():
    rng = np.random.default_rng(0)
    before = {name: rng.normal(size=500) for name in NAMES}
    after = {
        name: values + 3 * (name == "yaw") + rng.normal(size=500) for name, values in before.items()
    }
    found = methods.changes(before, after, {name: 2.0 for name in NAMES}, 0.5)
    mean, low, high, absolute = found["yaw"]
    assert mean == pytest.approx(3, abs=0.15) and low < 3.05 and high > 2.95 and absolute >= mean
    assert all(abs(found[name][0]) < 0.15 < 0.6 < found[name][3] for name in NAMES if name != "yaw")


def test_the_table_has_a_line_a_cell_with_its_worst_side_effect():
    def cell(method, attribute, **moved):
        changes = {
            name: [moved.get(name, 0.0), -0.1, 0.1, abs(moved.get(name, 0.0))] for name in NAMES
        }
        return {"method": method, "attribute": attribute, "seconds": 1.0, "changes": changes}

    chosen = {"component": 3, "sign": -1}
    facts = {
        "cells": [
            cell("naive", "smile", smile=0.5, yaw=-0.3, skin=0.1),
            {**cell("PCA", "hair_colour", hair_colour=0.4, yaw=1.0), **chosen},
            cell("random", "", skin=0.2, yaw=-0.1),
        ]
    }
    head, _, first, second, *random = methods.as_table(facts).splitlines()
    assert head.startswith("| attribute | method")
    assert first.startswith("| smile | naive | +0.50 (-0.10 to +0.10) | yaw -0.30 | 0.06 | 1.0 |")
    assert second.startswith("| hair colour | PCA, -3 | +0.40") and "yaw +1.00" in second
    assert [line.split(" | ")[0][2:] for line in random] == [
        name.replace("_", " ") for name in ATTRIBUTES
    ]
    assert any(
        line.startswith("| yaw | random | -0.10") and "skin +0.20" in line for line in random
    )


def test_a_change_has_its_rank_among_random_positives():
    def cell(method, attribute, moved):
        changes = {name: [moved, -0.1, 0.1, abs(moved)] for name in NAMES}
        return {"method": method, "attribute": attribute, "seconds": 1.0, "changes": changes}

    chance = [cell(f"{methods.BY_CHANCE} {k}", "", 0.1 * (-1) ** k * k) for k in range(19)]
    facts = {"cells": [cell("naive", "yaw", 2.0), cell("VAE", "yaw", -1.75), *chance]}
    head, _, far, near, *rest = methods.as_table(facts).splitlines()
    assert head.endswith("| p, random positives |")
    assert far.endswith("| 0.05 |") and near.endswith("| 0.10 |"), "1.8 is larger than 1.75"
    assert len(rest) == len(ATTRIBUTES) and "9 of 10 within 1.62" in rest[0]


def test_few_positives_are_chosen_as_their_names_say():
    class Labelled:
        labels = {"toyfaces": {}}
        sample_ids = np.arange(400)

    rng, run = np.random.default_rng(0), Labelled()
    run.labels = {"toyfaces": {"glasses": rng.random(400), "yaw": rng.uniform(-1, 1, 400)}}
    chosen, yaw = methods.few_positives(run), run.labels["toyfaces"]["yaw"]
    assert [len(samples) for samples in chosen.values()] == [5, 20, 100, 20, 20]
    one, two = yaw[list(chosen["20 of one pose"])], yaw[list(chosen["20 of two poses"])]
    assert np.abs(one).max() < 0.2 and np.abs(two).min() > 0.7 and abs(two.mean()) < 0.2
    assert all(
        (run.labels["toyfaces"]["glasses"][list(samples)] > 0.5).all()
        for samples in chosen.values()
    )


@pytest.mark.parametrize(
    ("attribute", "planted"), [("smile", (1, -1)), ("yaw", (2, 1)), ("glasses", (0, 1))]
)
def test_the_component_that_moves_an_attribute_most_stands_for_it_with_its_sign(
    monkeypatch, attribute, planted
):
    """Planted: component by component, what one unit adds to the readings. It is fitted and
    tried once for all.
    """
    adds = [{"glasses": 0.3, "smile": 0.2}, {"smile": -0.9, "yaw": 0.1}, {"yaw": 0.6, "smile": 0.8}]
    rng, tried = np.random.default_rng(0), []
    start = {name: rng.normal(size=methods.CHOICE_SAMPLES) for name in NAMES}

    class Labelled:
        name, labels = "run", {"toyfaces": {name: np.array([-2.0, 2.0]) for name in NAMES}}
        spec = SimpleNamespace(steps=20)

    def moved(model, seeds, steps, move, strength, text):
        tried.append(list(seeds))
        return {
            name: values + strength * adds[move].get(name, 0.0) for name, values in start.items()
        }

    monkeypatch.setattr(methods, "sample_images", lambda *_, **__: start)
    monkeypatch.setattr(methods, "moved_images", moved)
    monkeypatch.setattr(methods, "read", lambda readings: readings)
    monkeypatch.setattr(methods, "fit_moves", lambda *_: (0, 1, 2))
    components = methods.Components(Labelled(), None, Fit(method="pca", run="run"), 0.5)
    made = components.made(attribute)
    assert (made.move, made.sign) == planted
    assert made.told["component"] == planted[0] + 1 and made.told["sign"] == planted[1]
    assert made.told["choice"] == pytest.approx([added.get(attribute, 0.0) / 2 for added in adds])
    components.made("skin")
    assert len(tried) == 3 and not set(sum(tried, [])) & set(range(UNSEEN_SEED, UNSEEN_SEED + 64))


class LabelledRun:
    """A run of which labels and the number of samples are asked alone."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return 512


def test_what_is_known_is_not_measured_again_and_cells_stand_in_their_order(
    monkeypatch, tmp_path, capsys
):
    """A component that stands for two attributes is tried once; cells that are no longer asked
    for go.
    """
    images, moved = np.zeros((2, 64, 64, 3), np.uint8), []
    labels = {"toyfaces": {name: np.array([0.0, 2.0]) for name in NAMES}}
    shared = object()

    def made(*_):
        yield "naive", "yaw", lambda: methods.Made(move=object(), seconds=1.0)
        yield (
            "PCA",
            "yaw",
            lambda: methods.Made(move=shared, seconds=2.0, told={"component": 1, "sign": 1}),
        )
        yield (
            "PCA",
            "smile",
            lambda: methods.Made(move=shared, seconds=2.0, told={"component": 1, "sign": 1}),
        )
        yield "PCA", "glasses", lambda: methods.Made(move=shared, sign=-1, seconds=2.0)

    def move(model, seeds, steps, made, strength, text):
        moved.append((text, strength))
        return images

    for name, value in (
        ("load_model", None),
        ("extract", LabelledRun(labels)),
        ("sample_images", images),
        ("clip_accuracy", {}),
    ):
        monkeypatch.setattr(methods, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(methods, "cells", made)
    monkeypatch.setattr(methods, "moved_images", move)
    known = json.loads(MEASURED.read_text())
    kept = [
        cell for cell in known["cells"] if (cell["method"], cell["attribute"]) == ("naive", "yaw")
    ]
    settings = {**known["settings"], "weights": default_spec(MODEL).weights, "fit": 512}
    given = {"settings": settings, "cells": [{**kept[0], "method": "gone"}, *kept]}
    (tmp_path / "methods.json").write_text(json.dumps(given))
    methods.main(["--work", str(tmp_path), "--strength", "1"])
    found = json.loads((tmp_path / "methods.json").read_text())["cells"]
    assert [(cell["method"], cell["attribute"]) for cell in found] == [
        ("naive", "yaw"),
        ("PCA", "yaw"),
        ("PCA", "smile"),
        ("PCA", "glasses"),
    ]
    assert (
        found[0] == kept[0]
        and found[1]["component"] == 1
        and found[2]["changes"] == found[1]["changes"]
    )
    assert moved == [("PCA yaw", 1.0), ("PCA glasses", -1.0)]
    assert methods.as_table({"cells": found}) in capsys.readouterr().out


def test_asyrp_is_fitted_towards_the_high_end_on_all_steps(monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    asked = []

    def fitted(chosen, *_):
        asked.append(chosen)
        return (SimpleNamespace(made_by={"loss": {"first": 1.0, "last": 0.5}}),)

    monkeypatch.setattr(methods, "fit_moves", fitted)
    told = methods.made_by_asyrp(SimpleNamespace(name="run"), None, "glasses", tmp_path).told
    assert (
        asked[0].method == "asyrp"
        and asked[0].options["t_edit"] == 0
        and asked[0].options["clip"] == str(tmp_path)
    )
    assert told["texts"] == [asked[0].options[name] for name in ("source", "target")]
    assert (
        told["texts"] == ["face without glasses", "face with glasses"]
        and told["loss"]["last"] == 0.5
    )
    assert told["clip"] == methods.clip_digest(tmp_path)


def test_the_table_of_methods_is_what_was_measured_and_names_its_weights():
    facts = json.loads(MEASURED.read_text())
    assert methods_table(facts) in README
    measured = {cell["method"].split(",")[0].split()[0].lower() for cell in facts["cells"]}
    assert set(METHODS) - ELSEWHERE <= measured | {"conditional"}
    assert {cell["attribute"] for cell in facts["cells"] if cell["attribute"]} == set(ATTRIBUTES)


def test_what_the_readme_says_of_the_clip_is_what_was_measured_of_the_one_that_ships():
    facts = json.loads(MEASURED.read_text())
    digests = {cell["clip"] for cell in facts["cells"] if cell["method"] == "Asyrp"}
    assert digests == {facts["clip"]["digest"]} == {methods.clip_digest(FOLDER)}, (
        "measure again: the CLIP has changed"
    )
    told = facts["clip"]
    for name in ATTRIBUTES:
        drawings, samples = (told[of][name]["share"] for of in ("drawings", "samples"))
        words = f"{name.replace('_', ' ')} {drawings:.0%} of drawings and {samples:.0%} of samples"
        assert words.replace("%", " %") in README


def test_the_clip_that_ships_tells_the_texts_of_every_attribute_apart():
    clip = load_clip(str(FOLDER), torch.device("cpu"))
    found = told_apart(clip, *held_out(100), ATTRIBUTES)
    assert all(one["share"] > 0.9 and one["count"] > 50 for one in found.values())
