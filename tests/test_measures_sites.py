"""Directions measured at other sites than h: known answers, and nothing mixed with those of h."""

import dataclasses

import numpy as np
import pytest
from tiny import drain

from hcache.cache.labels import save_labels
from hcache.cache.records import list_records
from hcache.directions.direction import site_of
from hcache.directions.supervised import difference_direction
from hcache.errors import UsageError
from hcache.extraction.run import extract
from hcache.measures import of_reader
from hcache.measures import setting as setting_module
from hcache.measures.cells import cells_of
from hcache.measures.declared.sites import INTENDED
from hcache.measures.driver import NOISE, SAMPLES, Driver
from hcache.measures.edits import leakage_of
from hcache.measures.evidence import Evidence
from hcache.measures.kinds import DIRECTION, DIRECTION_AT, LEAKAGE_AT
from hcache.measures.registry import find_measure
from hcache.measures.suite import Suite
from hcache.measures.verdict import compare
from hcache.report.exhibits import exhibits

OPTIONS = {"samples": 4, "nulls": 3, "null": "noise"}


def read(images):
    """Two readings that any picture has."""
    pixels = images.astype(np.float64)
    return {"light": pixels.mean((1, 2, 3)), "warm": (pixels[..., 0] - pixels[..., 2]).mean((1, 2))}


@pytest.fixture(autouse=True)
def own_reader(monkeypatch):
    for module in (setting_module, of_reader):
        monkeypatch.setattr(module, "readers_of", lambda run: ["own"])


@pytest.fixture(scope="module")
def run(tiny_model, tiny_spec, tmp_path_factory):
    store = {"h": "full", "up.2": "full", "up.1.resnet.0": "full"}
    spec = dataclasses.replace(tiny_spec, store=store, samples=12, steps=2)
    run = extract(tiny_model, spec, tmp_path_factory.mktemp("sites home"))
    columns = {
        name: dict(zip(run.sample_ids.tolist(), values.tolist(), strict=True))
        for name, values in read(run.images).items()
    }
    save_labels(run, "own", columns)
    return run


@pytest.fixture
def driver(tiny_model, run):
    return Driver(tiny_model, run, read, "own")


def suite_of(run, driver, **options):
    return Suite(run, ("light", "warm"), lambda: driver, {**OPTIONS, **options})


def test_the_null_is_at_the_site_of_its_direction(run, driver):
    like = difference_direction(run, [4, 5, 6], [7, 8, 9], "up.2")
    for kind in (NOISE, SAMPLES):
        found = driver.randoms(2, kind, like, [0, 1])
        in_h = driver.randoms(2, kind, None, [0, 1])
        assert [site_of(each) for each in (*found, *in_h)] == ["up.2", "up.2", "h", "h"]
        for each in found:
            assert each.delta.shape == like.delta.shape
            np.testing.assert_allclose(np.sqrt(np.square(each.profile).mean()), 1, atol=1e-5)


def test_directions_are_measured_at_every_stored_place_and_not_mixed_with_h(run, driver):
    drain(suite_of(run, driver).run_all(("sites",)))
    kinds = {record.kind for record in list_records(run)}
    assert {DIRECTION_AT, LEAKAGE_AT} <= kinds and DIRECTION not in kinds
    cells = cells_of(run)
    for site in ("up.1.resnet.0", "up.2"):
        cell = cells[f"{INTENDED} {site}", "edits"]
        assert cell.estimate.low <= cell.estimate.value <= cell.estimate.high
        assert 0 <= cell.p <= 1 and cell.null is not None
        for question in ("controllable", "linear"):
            assert cells[f"{question} at {site}", "light"].estimate.defined
    assert not any(question in ("controllable", "linear") for question, _ in cells)
    # the last block's output is what the picture is made of: its direction moves the label
    assert cells["controllable at up.2", "light"].estimate.value > 0
    rows = {row.key: row for row in compare([run])}
    assert (f"{INTENDED} up.2", "edits") in rows
    others = [key for key in rows if key[0].endswith(" up.2") and not key[0].startswith(INTENDED)]
    assert not others, "what was not asked for is no missing answer"
    found = exhibits(f"{INTENDED} up.2", "edits", {run.name: Evidence(run)})
    assert len(found) == 3, "the responses of two labels, and the leakage matrix"


def test_h_is_measured_as_before_beside_them(run, driver):
    drain(suite_of(run, driver).run_all(("directions",)))
    records = [each for each in list_records(run) if each.kind == DIRECTION]
    assert records and not any("site" in each.parameters for each in records)


def test_what_cannot_be_measured_is_refused_in_one_line(run, driver, tiny_run):
    measure = find_measure("sites")
    refused = measure.refuses(suite_of(run, driver, direction_site="h"))
    assert "by directions, not by sites" in refused
    refused = measure.refuses(suite_of(run, driver, direction_site="down.0"))
    assert "does not store down.0 in full" in refused and "up.2" in refused
    assert "\n" not in refused
    setting = Suite(tiny_run, ("light",), lambda: driver, OPTIONS)
    assert "no place besides h and skips" in measure.refuses(setting)
    moves = {site: difference_direction(run, [4, 5, 6], [7, 8, 9], site) for site in ("h", "up.2")}
    with pytest.raises(UsageError, match="at one site, got h, up.2"):
        drain(leakage_of(driver, moves, suite_of(run, driver).grid()))
