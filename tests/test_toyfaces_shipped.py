"""The shipped results are those of the files beside the weights, with the digest that they
belong to.
"""

import dataclasses
import json

import pytest

from hcache.toyfaces.shipped import FOLDER, shipped_results


def test_every_toy_model_ships_results_with_the_digest_of_its_weights():
    found = shipped_results()
    assert [each.model for each in found] == [
        "toyfaces-adm-64",
        "toyfaces-ddpm-64",
        "toyfaces-ldm-64",
    ]
    for each in found:
        facts = json.loads((FOLDER / f"{each.model}.facts.json").read_text())
        assert (
            each.weights == facts["settings"]["weights"]
            and each.frechet == facts["data"]["frechet"]
        )
        assert {effect.attribute for effect in each.effects} >= {"yaw", "smile", "glasses"}
        for effect in each.effects:
            at = f"{effect.strength:g}"
            own, null = (
                facts["directions"][effect.attribute][at],
                facts["directions"]["random positives"][at],
            )
            assert [effect.change.value, effect.change.low, effect.change.high] == own[
                effect.attribute
            ]
            assert [effect.null.value, effect.null.low, effect.null.high] == null[effect.attribute]
            assert effect.change.n == each.unseen


def test_results_of_other_weights_are_not_current(tmp_path):
    each = shipped_results()[0]
    assert not dataclasses.replace(each, weights="0" * 64).current
    assert not dataclasses.replace(each, model="no such model").current


def test_a_model_whose_facts_are_missing_has_no_results(tmp_path):
    assert shipped_results(tmp_path) == ()
    (tmp_path / "m.facts.json").write_text("{}")
    with pytest.raises(KeyError):
        shipped_results(tmp_path)
