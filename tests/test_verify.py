"""Damage of every sort is found, and mended to the same arrays."""

import dataclasses
import hashlib
import json
import random
import shutil

import h5py
import numpy as np
import pytest
from msgspec import structs
from tiny import assert_same_contents, drain, synthetic_run

from hcache.atomic import SET_ASIDE
from hcache.cache.files import checksum_of
from hcache.cache.layout import MANIFEST, RUN_JSON, SCHEMA, SHARDS, VERIFY_JSON
from hcache.cache.reading import open_run
from hcache.cache.records import state_of
from hcache.cache.verify import Report, last_report, set_aside, verify
from hcache.cli.main import main
from hcache.errors import CacheError
from hcache.extraction.rerun import rerun
from hcache.extraction.run import extract
from hcache.specs import RunSpec

PLACES = 50


def report_of(run):
    return drain(verify(run.folder))[1]


def test_a_whole_run_is_fine_and_its_report_is_kept(copied_run):
    report = report_of(copied_run)
    assert report.fine and report.complete and (report.shards, report.samples) == (3, 12)
    assert (
        last_report(copied_run.folder)
        == report
        == Report.from_json(json.loads(json.dumps(report.to_json())))
    )
    assert "all whole" in report.in_words()


def flip(path, place, rng):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def targets(run):
    """50 places: 35 in shards, 15 in the manifest."""
    rng = random.Random(0)
    shards = sorted((run.folder / SHARDS).iterdir())
    for i in range(PLACES):
        path = rng.choice(shards) if i % 10 < 7 else run.folder / MANIFEST
        yield path, rng.randrange(path.stat().st_size), rng


@pytest.mark.parametrize(
    "case", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 5))]
)
def test_a_flipped_byte_is_found_and_mended(copied_run, tiny_run, tmp_path, capsys, case):
    """Ten places each, one after the other: every one found, every one repaired to the arrays
    that were there.
    """
    for path, place, rng in list(targets(copied_run))[10 * case : 10 * case + 10]:
        flip(path, place, rng)
        report = report_of(copied_run)
        assert not (report.fine and report.complete), f"byte {place} of {path.name} was not found"
        home = ("--home", str(tmp_path / "copy"))
        assert main(["repair", "--yes", copied_run.name, *home, "--json"]) == 0
        capsys.readouterr()
        assert report_of(copied_run).fine
        run = open_run(copied_run.folder)
        for step in range(run.spec.steps):
            np.testing.assert_array_equal(run.matrix("h", step), tiny_run.matrix("h", step))
        np.testing.assert_array_equal(run.images, tiny_run.images)


@pytest.mark.parametrize("harm", ["gone", "cut", "not finite", "swapped"])
def test_other_damage_is_named(copied_run, capsys, tmp_path, harm):
    first, second = sorted((copied_run.folder / SHARDS).iterdir())[:2]
    if harm == "gone":
        first.unlink()
    elif harm == "cut":
        first.write_bytes(first.read_bytes()[:-100])
    elif harm == "swapped":
        kept = first.read_bytes()
        shutil.copy(second, first)
        second.write_bytes(kept)
    else:
        with h5py.File(first, "r+") as file:
            file["h"][0, 0] = np.inf
        lines = (copied_run.folder / MANIFEST).read_text().splitlines()
        entry = json.loads(lines[0])
        entry.update(checksum=checksum_of(first), bytes=first.stat().st_size)
        (copied_run.folder / MANIFEST).write_text("\n".join([json.dumps(entry), *lines[1:]]) + "\n")
    report = report_of(copied_run)
    assert [fault.file for fault in report.faults][0] == first.name
    assert main(["verify", copied_run.name, "--home", str(tmp_path / "copy"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["faults"]
    assert main(["repair", "--yes", copied_run.name, "--home", str(tmp_path / "copy")]) == 0
    assert report_of(copied_run).fine
    aside = list((copied_run.folder / SHARDS).glob(f"*{SET_ASIDE}"))
    assert bool(aside) == (harm != "gone"), "what was bad is kept aside"


def spoil(run, spots):
    """Puts values into the first shard, with its checksum, as a run of before may hold them."""
    shard = run.shards[0]
    path = run.shard_path(shard)
    with h5py.File(path, "r+") as file:
        for (name, step, row), value in spots.items():
            file[name][step, row, 0] = value
    entries = [json.loads(line) for line in (run.folder / MANIFEST).read_text().splitlines()]
    entries[0] |= {"checksum": checksum_of(path), "bytes": path.stat().st_size}
    (run.folder / MANIFEST).write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_what_is_not_finite_is_named_by_site_sample_and_step(copied_run, capsys, tmp_path):
    run = copied_run
    spoil(run, {("h", 1, 2): np.nan, ("h", 1, 3): np.inf, ("skip.1.0", 0, 1): -np.inf})
    (fault,) = report_of(run).faults
    assert fault.problem == (
        "not finite: h of sample 2 at step 1 (and of 1 other samples); skip.1.0 of sample 1 at"
        " step 0"
    )
    assert main(["verify", run.name, "--home", str(tmp_path / "copy")]) == 3
    assert "not finite: h of sample 2 at step 1" in capsys.readouterr().out
    spoil(run, {("h", 1, 2): 0, ("h", 1, 3): 0, ("skip.1.0", 0, 1): 0})
    assert report_of(run).fine, "finite values pass, whatever they are"
    last = run.spec.steps
    spoil(run, {("x", last, 0): np.nan})
    assert report_of(run).faults[0].problem == f"not finite: x of sample 0 at step {last}"


def test_a_run_of_schema_1_which_has_sha256_is_read_verified_and_gone_on_with(
    copied_run, tiny_model
):
    path = copied_run.folder / MANIFEST
    sums = [
        hashlib.sha256((copied_run.folder / SHARDS / shard.file).read_bytes())
        for shard in copied_run.shards
    ]
    entries = [
        structs.asdict(shard) | {"sha256": found.hexdigest()}
        for shard, found in zip(copied_run.shards, sums, strict=True)
    ]
    path.write_text(
        "".join(json.dumps({k: v for k, v in e.items() if k != "checksum"}) + "\n" for e in entries)
    )
    description = copied_run.folder / RUN_JSON
    description.write_text(json.dumps({**json.loads(description.read_text()), "schema": 1}))
    before = path.read_text(), description.read_text()
    old = open_run(copied_run.folder)
    set_aside(old.folder, report_of(old))
    extract(tiny_model, old.spec, copied_run.folder.parents[1])
    assert before == (
        path.read_text(),
        description.read_text(),
    ), "as long as nothing is new, an older hcache reads it"
    assert [shard.checksum for shard in old.shards] == [
        f"sha256:{found.hexdigest()}" for found in sums
    ]
    assert report_of(old).fine
    state = "".join(
        f"{shard.start} {shard.stop} {found.hexdigest()}\n"
        for shard, found in zip(old.shards, sums, strict=True)
    )
    assert state_of(old) == hashlib.sha256(state.encode()).hexdigest()[:16], (
        "what was measured of it still counts"
    )
    grown = extract(
        tiny_model, dataclasses.replace(old.spec, samples=13), copied_run.folder.parents[1]
    )
    assert [shard.checksum.partition(":")[0] for shard in grown.shards] == ["sha256"] * 3 + [
        "xxh3_128"
    ]
    assert report_of(grown).fine and json.loads(description.read_text())["schema"] == SCHEMA
    (copied_run.folder / SHARDS / old.shards[0].file).write_bytes(b"\0" * old.shards[0].bytes)
    assert "checksum" in report_of(grown).faults[0].problem


def test_a_broken_manifest_line_names_the_cure(copied_run):
    path = copied_run.folder / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"start"', b'"stant"', 1))
    with pytest.raises(CacheError, match="repair"):
        open_run(copied_run.folder)


def test_computed_again_a_run_is_what_it_was(copied_run, tiny_model, tmp_path, capsys):
    _, found = drain(rerun(tiny_model, copied_run, [0, 7, 11]))
    assert set(found) == {
        "x",
        "h",
        "skip.1.0",
        "skip.1.1",
        "skip.2.0",
        "skip.2.1",
        "skip.3.0",
        "skip.3.1",
    }
    assert all(difference.fine and difference.tolerance > 0 for difference in found.values())
    home = ("--home", str(tmp_path / "copy"))
    assert main(["verify", copied_run.name, "--rerun", "2", *home, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["rerun"]) == set(found)


def test_computed_again_a_run_that_is_another_models_is_not(copied_run, tiny_model):
    """A checksum cannot tell that; a rerun can."""
    from tiny import make_unet, model_of

    _, found = drain(rerun(model_of(make_unet(seed=5)), copied_run, [3]))
    assert not found["h"].fine and not found["x"].fine


def test_a_report_that_is_spoilt_is_none(copied_run):
    report_of(copied_run)
    for text in ("", "{}", "[]", '{"faults": 3}'):
        (copied_run.folder / VERIFY_JSON).write_text(text)
        assert last_report(copied_run.folder) is None


def test_an_unfinished_run_is_fine_but_not_complete(tmp_path):
    spec = RunSpec(model="m", samples=9, steps=1)
    run = synthetic_run(tmp_path, spec, np.ones((1, 4, 1, 2, 2), np.float32))
    report = report_of(run)
    assert report.fine and not report.complete and report.missing == ((4, 9),)
    assert "5 of 9" in report.in_words()


def test_repairing_what_is_whole_changes_nothing(copied_run, tiny_run, tmp_path, capsys):
    assert main(["repair", "--yes", copied_run.name, "--home", str(tmp_path / "copy")]) == 0
    assert_same_contents(open_run(copied_run.folder), tiny_run)
