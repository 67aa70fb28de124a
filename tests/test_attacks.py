"""Attacks on a run that stay: kills, full disks, damage, strangers' files, rivals, a run that is
taken away.

Many are marked slow, and ``HCACHE_SLOW=1`` repeats each more often. What every attack must leave
behind is the same: what was committed is there, what is damaged is told and named, what could not
be read is not touched, and nobody sees a traceback.
"""

import csv
import dataclasses
import errno
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import time

import h5py
import numpy as np
import pytest
from tiny import assert_same_contents, code_of, drain, in_a_child
from writing import kill_after, tree

from hcache import atomic
from hcache.background.processes import FAILED
from hcache.background.status import StatusFile
from hcache.cache.files import read_json
from hcache.cache.index import write_index
from hcache.cache.labels import find_label, import_labels, mark_sample, save_labels
from hcache.cache.layout import (
    DIRECTIONS,
    INDEX,
    JOB_JSON,
    LABELS,
    LOCK,
    MANIFEST,
    MEASURES,
    READERS,
    RENDER_BYTES,
    RUN_JSON,
    SHARDS,
)
from hcache.cache.locks import run_lock
from hcache.cache.projections import load_projections, save_projections
from hcache.cache.reading import open_run
from hcache.cache.records import list_records, load_sheet, save_record, save_sheet
from hcache.cache.verify import verify
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.directions.direction import digest_of
from hcache.directions.naive import naive_direction
from hcache.directions.store import list_moves, load_move, save_move, save_moves
from hcache.edits.render_store import keep_render, kept_render, trim
from hcache.edits.rendered import Rendered
from hcache.errors import CacheError, UnknownRunError, UsageError
from hcache.extraction.run import extract
from hcache.images.pictures import Picture, load_prepared
from hcache.images.pngs import pixels_digest
from hcache.readers.classifier import Classifier
from hcache.readers.saved import load_description, save_reader
from hcache.recipes.recipe import recipe_of


def in_slow(values):
    """Values of a parameter that are tried among the slow tests only."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


SLOW = os.environ.get("HCACHE_SLOW") == "1"
SECONDS = 60.0 if SLOW else 1.0
"""How long writers and readers are at it, with every kind of file."""


def report_of(run):
    return drain(verify(run.folder))[1]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "copy"


@pytest.fixture
def furnished(copied_run):
    """A run with one or more of every kind of file."""
    save_labels(copied_run, "mine", {"a": {s: s / 4 for s in range(12)}})
    save_labels(copied_run, "other", {"b": {0: 1.0}})
    save_move(copied_run, "way", naive_direction(copied_run, [0, 1]))
    save_move(copied_run, "back", naive_direction(copied_run, [2, 3]))
    save_record(copied_run, "decodability", {"site": "h"}, {"steps": []})
    save_projections(
        copied_run,
        "h",
        {
            "own_scores": np.zeros((4, 12, 2), np.float32),
            "own_explained": np.zeros((4, 2), np.float32),
        },
    )
    write_index(copied_run)
    report_of(copied_run)
    return open_run(copied_run.folder)


# -- kills
# --------------------------------------------------------------------------------------------------


def test_a_fit_that_was_killed_between_its_directions_is_given_again_and_another_is_refused(
    furnished, home, capsys
):
    fit = [
        "direction",
        "fit",
        furnished.name,
        "--method",
        "pca",
        "--home",
        str(home),
        "--name",
        "pc",
        "--option",
    ]
    assert main([*fit, "count=4"]) == 0
    digests = {entry.name: entry.digest for entry in list_moves(furnished)}
    for kept in (["pc.0"], ["pc.0", "pc.1", "pc.3"]):
        for path in (furnished.folder / DIRECTIONS).glob("pc.*.h5"):
            if path.stem not in kept:
                path.unlink()
        assert main([*fit, "count=3"]) == 2 and "has a direction named" in capsys.readouterr().err
        assert main([*fit, "count=4"]) == 0
        assert {entry.name: entry.digest for entry in list_moves(furnished)} == digests
    assert main([*fit, "count=4"]) == 2, "all of them are there"


@pytest.mark.parametrize("cut", [0, 60, 300])
def test_a_picture_that_was_half_saved_is_saved_again(tmp_path, cut):
    picture = Picture(
        pixels=np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8), notes=()
    )
    path = picture.save(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with pytest.raises(UsageError, match="damaged|not the one"):
        load_prepared(tmp_path, picture.digest)
    assert picture.save(tmp_path).read_bytes() == whole
    np.testing.assert_array_equal(load_prepared(tmp_path, picture.digest), picture.pixels)
    assert [path.name for path in tmp_path.iterdir()] == [f"{picture.digest}.png"]


def test_an_upload_that_is_killed_is_kept_whole_by_the_next(tmp_path):
    """Pictures as the Extract page keeps them: several, saved one after another."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    pictures = [
        Picture(pixels=noise.integers(0, 255, (300, 300, 3), np.uint8), notes=()) for _ in range(4)
    ]
    kills = 0

    def save():
        for picture in pictures:
            picture.save(tmp_path / "images")

    while kills < (20 if SLOW else 4):
        shutil.rmtree(tmp_path / "images", ignore_errors=True)
        kills += kill_after(in_a_child(save), rng.uniform(0, 0.15)) == -signal.SIGKILL
        for path in (tmp_path / "images").glob("*.png"):
            assert len(load_prepared(tmp_path / "images", path.stem)) == 300, "half of it"
        save()
        names = {path.name for path in (tmp_path / "images").iterdir()}
        assert names == {f"{picture.digest}.png" for picture in pictures}


# -- full disks
# --------------------------------------------------------------------------------------------------


def writers(run, folder):
    """What writes one file, by name. ``test_full_disk`` has the commands."""
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    way = naive_direction(run, [4, 5])
    return {
        "labels": lambda: save_labels(run, "new", {"a": {s: float(s) for s in range(12)}}),
        "direction": lambda: save_move(run, "new", way),
        "measure": lambda: save_record(run, "new", {}, list(range(2000))),
        "index": lambda: write_index(run),
        "picture": lambda: Picture(pixels=pixels, notes=()).save(folder / "pictures"),
    }


def told(work):
    """5 if a full disk is told as such, in one line; else what came."""
    from hcache.errors import told_of

    try:
        code = work()
        return code if isinstance(code, int) else 0
    except OSError as error:
        return told_of(error).exit_code


WRITERS = ("labels", "direction", "measure", "index", "picture")


@pytest.mark.parametrize("name", [*WRITERS[:2], *in_slow(WRITERS[2:])])
def test_a_limit_on_files_at_any_size_is_exit_code_5_and_leaves_nothing(
    furnished, home, tmp_path, name, capfd
):
    """``RLIMIT_FSIZE`` in a process of its own: what HDF5 does with it would end the process by
    a signal.
    """
    limits = [*range(0, 4000, 200), 20_000, 100_000] if SLOW else [0, 300, 1000, 3000, 20_000]
    codes = []
    for limit in limits:

        def limited(limit=limit):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return told(writers(furnished, tmp_path)[name])

        before = tree(home / "runs" / furnished.name)
        codes.append(code_of(in_a_child(limited)))
        after = tree(home / "runs" / furnished.name)
        assert not [path for path in tmp_path.rglob("*.partial")], (
            f"{name} at {limit} bytes left something"
        )
        assert after == before or codes[-1] == 0
    assert set(codes) <= {0, 5} and 5 in codes, codes
    assert report_of(furnished).fine


def mounted(folder, size):
    """A disk of so many bytes; False where none may be mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    return done.returncode == 0


@pytest.mark.parametrize("filled", [0, 150_000, 250_000])
def test_a_disk_that_fills_while_a_run_is_extracted_ends_it_with_exit_code_5(
    tiny_folder, tmp_path, monkeypatch, capfd, filled
):
    """A disk that is really full: another program took the space after it had been counted."""
    disk = tmp_path / "disk"
    if not mounted(disk, 512 * 1024):
        pytest.skip("this user may mount no disk")
    try:
        (disk / "theirs").write_bytes(bytes(filled))
        real = shutil.disk_usage
        monkeypatch.setattr(shutil, "disk_usage", lambda path: real("/"))
        given = [
            "extract",
            str(tiny_folder),
            "--samples",
            "40",
            "--steps",
            "4",
            "--batch",
            "4",
            "--home",
            str(disk),
            "--store",
            "h=full",
            "--store",
            "skip.1=full",
            "--device",
            "cpu",
        ]
        assert code_of(in_a_child(lambda: main(given))) == 5
        said = capfd.readouterr().err
        assert "no space left" in said and "Traceback" not in said
        (folder,) = (disk / "runs").iterdir()
        assert read_json(folder / "job.json")["state"] == "failed" and not list(
            disk.rglob("*.partial")
        )
        assert report_of(open_run(folder)).fine
        (disk / "theirs").unlink()
        assert code_of(in_a_child(lambda: main([*given[:3], "4", *given[4:]]))) == 0, (
            "and goes on where there is space"
        )
    finally:
        subprocess.run(["umount", disk], check=True)


# -- damage and surroundings
# --------------------------------------------------------------------------------------------------

LOOKS = ("info", "verify", "runs", "labels-export", "direction list", "tasks")


def look(home, name, capsys):
    """What every command that looks says: name -> exit code. A traceback would come out of here."""
    codes = {}
    for command in LOOKS:
        given = [*command.split(), *([] if command == "runs" else [name]), "--home", str(home)]
        codes[command] = main(given)
        said = capsys.readouterr()
        assert codes[command] in (0, 1, 2, 3) and "Traceback" not in said.err
        assert codes[command] == 0 or command == "verify" or len(said.err.strip().splitlines()) == 1
    return codes


HARMS = {
    "cut": lambda data, other: data[: len(data) // 2],
    "emptied": lambda data, other: b"",
    "zero-tailed": lambda data, other: data[: -len(data) // 3] + bytes(len(data) // 3),
    "a neighbour's": lambda data, other: other,
}


@pytest.mark.parametrize("harm", HARMS)
def test_every_file_of_a_run_spoilt_in_every_way_is_told_and_costs_no_other(
    furnished, home, capsys, harm
):
    files = [
        path
        for path in sorted(furnished.folder.rglob("*"))
        if path.is_file() and not path.name.startswith(LOCK)
    ]
    assert len(files) >= 13
    for place, path in enumerate(files):
        whole = path.read_bytes()
        path.write_bytes(HARMS[harm](whole, files[place - 1].read_bytes()))
        codes = look(home, furnished.name, capsys)
        where = path.relative_to(furnished.folder)
        proves = where.parts[0] in (SHARDS, LABELS) or where.name == INDEX
        if where.parts[0] == DIRECTIONS:  # under another name it is a direction all the same
            proves = harm != "a neighbour's"
        if proves:
            assert codes["verify"] == 3, f"{where} {harm}"
        if where.parts[0] in (LABELS, DIRECTIONS, MEASURES):
            assert codes["info"] == codes["direction list"] == codes["labels-export"] == 0, (
                f"{where} {harm}"
            )
        path.write_bytes(whole)
    assert report_of(furnished).fine


REFUSALS = (errno.EIO, errno.EACCES, errno.EMFILE, errno.ESTALE, errno.EAGAIN, errno.ENOLCK)


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", ["shards", "labels", "directions", MANIFEST, RUN_JSON])
def test_what_the_system_refuses_to_read_is_not_damaged_and_not_touched(
    furnished, home, capsys, monkeypatch, code, kind
):
    before, real = tree(furnished.folder), atomic.os.open

    def refuse(path, *arguments, **options):
        if kind in str(path) and ".partial" not in str(path) and not str(path).endswith(kind):
            raise OSError(code, os.strerror(code), str(path))
        if kind in (MANIFEST, RUN_JSON) and str(path).endswith(kind):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "open", refuse)
        codes = look(home, furnished.name, capsys)
        assert codes["verify"] == 1
        assert main(["repair", "--yes", furnished.name, "--home", str(home)]) == 1
        said = capsys.readouterr().err
    assert os.strerror(code) in said and "damaged" not in said
    assert tree(furnished.folder) == before
    assert main(["verify", furnished.name, "--home", str(home)]) == 0


def test_a_shard_that_may_not_be_looked_at_is_not_computed_again(
    furnished, home, tiny_model, monkeypatch
):
    from hcache.extraction import run as module

    def refuse(_):
        raise OSError(errno.EACCES, "Permission denied")

    before = tree(furnished.folder)
    monkeypatch.setattr(module, "size_on_disk", refuse)
    with pytest.raises(CacheError, match="Permission denied"):
        extract(tiny_model, furnished.spec, home)
    assert tree(furnished.folder) == before


def test_an_unreadable_home_is_not_an_empty_one(home, furnished, capsys, monkeypatch):
    def refuse(_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    assert main(["runs", "--home", str(home)]) == 2
    assert "could not be read: Permission denied" in capsys.readouterr().err


def test_repair_is_refused_while_somebody_extracts(furnished, home, capsys):
    spoilt = furnished.folder / SHARDS / furnished.shards[1].file
    spoilt.write_bytes(bytes(spoilt.stat().st_size))
    before = tree(furnished.folder)
    with run_lock(furnished.folder):
        assert main(["repair", "--yes", furnished.name, "--home", str(home)]) == 1
    assert f"process {os.getpid()}" in capsys.readouterr().err and tree(furnished.folder) == before


# -- another run's, or a stranger's
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def twin(tiny_model, tiny_spec, tmp_path):
    """Another run of the same shape: of other seeds."""
    return extract(tiny_model, dataclasses.replace(tiny_spec, seed=100), tmp_path / "twin")


def test_the_shards_of_another_run_of_the_same_shape_do_not_pass(furnished, twin, home, capsys):
    shutil.rmtree(furnished.folder / SHARDS)
    shutil.copytree(twin.folder / SHARDS, furnished.folder / SHARDS)
    shutil.copy(twin.folder / MANIFEST, furnished.folder / MANIFEST)
    run = open_run(furnished.folder)
    with pytest.raises(CacheError, match="another run"):
        run.matrix("h", 0)
    assert len([fault for fault in report_of(run).faults if "another run" in fault.problem]) == 3


def test_an_older_shard_that_does_not_say_its_run_is_read_and_its_seeds_are_checked(
    furnished, twin
):
    for run in (furnished, twin):
        for shard in run.shards:
            with h5py.File(run.shard_path(shard), "a") as file:
                for name in ("run", "provenance"):
                    del file.attrs[name]
    assert open_run(furnished.folder).matrix("h", 0).shape == (12, furnished.width("h"))
    shutil.copy(twin.shard_path(twin.shards[0]), furnished.shard_path(furnished.shards[0]))
    with pytest.raises(CacheError, match="other seeds"):
        open_run(furnished.folder).matrix("h", 0)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_manifest_that_lost_a_whole_line_does_not_pass_and_is_repaired(
    furnished, tiny_run, home, capsys, lost
):
    path = furnished.folder / MANIFEST
    lines = path.read_text().splitlines(True)
    path.write_text("".join(line for number, line in enumerate(lines) if number != lost))
    assert main(["verify", furnished.name, "--home", str(home)]) == 3
    assert "lines are gone" in capsys.readouterr().out
    assert main(["repair", "--yes", furnished.name, "--home", str(home)]) == 0
    assert_same_contents(open_run(furnished.folder), tiny_run)


def test_a_renamed_run_is_repaired_where_it_is(furnished, tiny_run, home):
    renamed = furnished.folder.rename(home / "runs" / "my-run")
    (renamed / SHARDS / furnished.shards[0].file).unlink()
    assert main(["repair", "--yes", "my-run", "--home", str(home)]) == 0
    assert [path.name for path in (home / "runs").iterdir()] == ["my-run"]
    assert_same_contents(open_run(renamed), tiny_run)


def test_a_linked_run_is_neither_written_nor_read_and_that_is_told(
    furnished, tiny_model, home, tmp_path, capsys
):
    furnished.folder.rename(tmp_path / "elsewhere")
    furnished.folder.symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path / "elsewhere")
    with pytest.raises(UnknownRunError, match="is a link"):
        extract(tiny_model, furnished.spec, home)
    assert (
        main(["info", furnished.name, "--home", str(home)]) == 2
        and "is a link" in capsys.readouterr().err
    )
    assert main(["runs", "--home", str(home)]) == 0 and "is a link" in capsys.readouterr().err
    assert tree(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("name", [SHARDS, LABELS, DIRECTIONS])
def test_a_folder_of_a_run_that_is_a_link_is_refused(furnished, home, tmp_path, capsys, name):
    (furnished.folder / name).rename(tmp_path / "outside")
    (furnished.folder / name).symlink_to(tmp_path / "outside")
    for command in ("info", "verify", "repair", "labels-export"):
        assert main([command, furnished.name, "--home", str(home)]) == 1
        assert "is a link" in capsys.readouterr().err


def external(file, secret):
    del file["h"]
    file["h"] = h5py.ExternalLink(str(secret), "/h")


def stored_outside(file, secret):
    shape, kind = file["h"].shape, file["h"].dtype
    del file["h"]
    file.create_dataset("h", shape, kind, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file, secret):
    shape, kind = file["h"].shape, file["h"].dtype
    del file["h"]
    layout = h5py.VirtualLayout(shape, kind)
    layout[...] = h5py.VirtualSource(str(secret), "h", shape)
    file.create_virtual_dataset("h", layout)


def another_shape(file, secret):
    shape = file["h"].shape
    del file["h"]
    file["h"] = np.zeros((*shape[:-1], shape[-1] + 1), np.float16)


def huge(file, secret):
    shape = file["h"].shape
    del file["h"]
    file.create_dataset(
        "h", (shape[0], shape[1], 10**4, 10**4, 10), "f2", chunks=(1, 1, 100, 100, 1), compression=9
    )


def strange_name(file, secret):
    file["labels/=CMD()/x"] = np.zeros(file["seed"].shape, np.float32)


@pytest.mark.parametrize(
    "harm",
    [external, stored_outside, virtual, another_shape, huge, strange_name],
    ids=lambda harm: harm.__name__,
)
def test_a_strangers_shard_hands_out_nothing_from_outside(
    furnished, twin, home, tmp_path, capsys, harm
):
    """With the right length and checksum in the manifest: the sender has written both."""
    secret = twin.shard_path(twin.shards[0])
    path = furnished.shard_path(furnished.shards[0])
    with h5py.File(path, "a") as file:
        harm(file, secret)
    entries = [json.loads(line) for line in (furnished.folder / MANIFEST).read_text().splitlines()]
    from hcache.cache.files import checksum_of

    entries[0] |= {"bytes": path.stat().st_size, "checksum": checksum_of(path)}
    (furnished.folder / MANIFEST).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    out = tmp_path / "out.csv"
    assert main(["export", furnished.name, str(out), "--home", str(home)]) == 1 and not out.exists()
    assert main(["verify", furnished.name, "--home", str(home)]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_strangers_index_is_told_and_made_anew(furnished, twin, home, capsys):
    with h5py.File(furnished.folder / INDEX, "a") as file:
        virtual(file, twin.folder / INDEX)
    assert main(["verify", furnished.name, "--home", str(home)]) == 3
    assert f"{INDEX}: it refers to" in capsys.readouterr().out
    assert main(["repair", "--yes", furnished.name, "--home", str(home)]) == 0
    assert report_of(furnished).fine


def test_no_cell_of_an_exported_table_is_a_formula(furnished, home, tmp_path):
    for name in ("=CMD", "+1", "-1", "@SUM", "\t=1", "a=b"):
        (furnished.folder / LABELS / f"{name}.csv").write_text("sample,a\n0,1\n")
        (furnished.folder / LABELS / "fine.csv").write_text(f"sample,{name}\n0,1\n")
        out = tmp_path / "out.csv"
        assert main(["export", furnished.name, str(out), "--home", str(home)]) == 0
        with out.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [
            cell for cell in cells if cell and cell[0] in "=+-@\t" and not cell[1:2].isdigit()
        ]
        out.unlink()
        (furnished.folder / LABELS / f"{name}.csv").unlink()


# -- a run that is taken away while it is extracted
# --------------------------------------------------------------------


@pytest.fixture
def growing(tiny_folder):
    return default_spec(str(tiny_folder), samples=4, steps=3, batch=1, store={"h": "full"})


def test_a_run_that_is_removed_while_it_is_extracted_does_not_come_back(
    tiny_model, growing, tmp_path
):
    folder = tmp_path / "runs" / growing.name

    def remove(progress):
        if progress.done == 2:
            shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(CacheError, match="removed or renamed"):
        extract(tiny_model, growing, tmp_path, report=remove)
    assert not folder.exists()


def test_a_run_that_is_renamed_while_it_is_extracted_goes_on_under_its_new_name(
    tiny_model, growing, tmp_path
):
    folder, other = tmp_path / "runs" / growing.name, tmp_path / "runs" / "renamed"

    def rename(progress):
        if progress.done == 2 and not other.exists():
            folder.rename(other)

    with pytest.raises(CacheError, match="removed or renamed"):
        extract(tiny_model, growing, tmp_path, report=rename)
    assert not folder.exists() and len(open_run(other)) >= 2 and report_of(open_run(other)).fine
    assert main(["repair", "--yes", "renamed", "--home", str(tmp_path)]) == 0
    assert len(open_run(other)) == 4 and not folder.exists()


def test_a_run_that_was_replaced_meanwhile_is_not_written_into(tiny_model, growing, tmp_path):
    folder, kept = tmp_path / "runs" / growing.name, tmp_path / "kept"

    def replace(progress):
        if progress.done == 2 and not kept.exists():
            folder.rename(kept)
            shutil.copytree(kept, folder)

    with pytest.raises(CacheError, match="removed or renamed"):
        extract(tiny_model, growing, tmp_path, report=replace)
    assert len(open_run(folder)) == 2


# -- rivals
# --------------------------------------------------------------------------------------------------


def rivals(writing, reading, seconds=SECONDS):
    """Three processes write and three read for a while; none may fail. Prints how often they did,
    which ``pytest -s`` shows.
    """
    counts = mmap.mmap(-1, 6 * 8)

    def repeat(work, number):
        deadline, count = time.monotonic() + seconds, 0
        while time.monotonic() < deadline or count < 3:
            work(number % 3, count)
            count += 1
        struct.pack_into("q", counts, 8 * number, count)

    children = [
        in_a_child(lambda w=work, number=3 * of + k: repeat(w, number))
        for of, work in enumerate((writing, reading))
        for k in range(3)
    ]
    assert [code_of(child) for child in children] == [0] * 6
    done = struct.unpack("6q", counts[:])
    assert min(done) >= 3
    print(f"{sum(done[:3])} writes, {sum(done[3:])} reads")


@pytest.mark.slow
def test_rivals_on_one_label_set_never_leave_or_see_half_of_it(furnished):
    def write(k, count):
        save_labels(
            furnished,
            "mine",
            {"a": {s: float(k) for s in range(12)}, "b": {s: float(k) for s in range(12)}},
        )

    def read(k, count):
        found = furnished.label_files
        assert (
            not found.problems
            and len({float(v) for values in found.sets["mine"].values() for v in values}) <= 12
        )
        a = found.sets["mine"].get("b")
        assert a is None or len(set(a.tolist()) | set(found.sets["mine"]["a"].tolist())) == 1

    rivals(write, read)
    assert not list((furnished.folder / LABELS).glob("*.partial"))


def test_marks_of_rivals_are_all_kept(furnished):
    def write(k, count):
        if count < 4:
            mark_sample(furnished, "hand", f"of {k}", count, 1.0)

    rivals(write, lambda k, count: furnished.labels, 0.1)
    for k in range(3):
        assert np.nansum(find_label(furnished, f"of {k}")) >= 3


@pytest.mark.slow
def test_of_rivals_for_a_directions_name_one_is_told_that_it_lost(furnished):
    moves = [naive_direction(furnished, [k, k + 4]) for k in range(3)]

    def claim(k):
        try:
            save_move(furnished, "claimed", moves[k])
            return 10
        except UsageError as error:
            return 20 if "another direction" in str(error) else 30

    for _ in range(20 if SLOW else 5):
        codes = [code_of(child) for child in [in_a_child(lambda k=k: claim(k)) for k in range(3)]]
        assert sorted(codes) == [10, 20, 20]
        assert digest_of(load_move(furnished, "claimed")) == digest_of(moves[codes.index(10)])
        (furnished.folder / DIRECTIONS / "claimed.h5").unlink()


@pytest.mark.slow
def test_rivals_on_directions_records_and_the_index_see_whole_files(furnished):
    moves = [naive_direction(furnished, [k, k + 4]) for k in range(3)]

    def write(k, count):
        save_moves(furnished, {"shared": moves[k]}, replace=True)
        save_record(furnished, "decodability", {"site": "x"}, {"steps": [k] * 500})
        write_index(furnished)
        report_of(furnished)

    def read(k, count):
        if (furnished.folder / DIRECTIONS / "shared.h5").exists():
            load_move(furnished, "shared")
        for record in list_records(furnished):
            assert len(set(record.result["steps"])) <= 1
        with h5py.File(furnished.folder / INDEX, "r", locking=False) as index:
            assert index["h"].shape[1] == 12
        assert report_of(furnished).fine

    rivals(write, read)
    assert not list(furnished.folder.rglob("*.partial"))


def test_rivals_on_pictures_and_projections_see_whole_files(furnished):
    """Kept renders, projections and the pictures beside a result."""
    pictures = np.stack([np.full(furnished.anatomy.image, 80 * k, np.uint8) for k in range(3)])
    cells = [
        Rendered(
            picture=picture,
            recipe=dataclasses.replace(recipe_of(furnished, 0), pixels=pixels_digest(picture)),
        )
        for picture in pictures
    ]
    digest = cells[0].recipe.digest

    def write(k, count):
        keep_render(furnished, cells[k])
        trim(furnished, 2 if count % 5 == 0 else RENDER_BYTES)
        save_sheet(furnished, "codes", {}, np.broadcast_to(pictures[k], (4, 4, *pictures[k].shape)))
        shape, of = (furnished.spec.steps, len(furnished)), np.float32
        arrays = {
            "own_scores": np.full((*shape, 2), k, of),
            "own_explained": np.full((4, 2), k, of),
        }
        save_projections(furnished, "h", arrays)

    def read(k, count):
        cell = kept_render(furnished, digest)
        assert cell is None or len(np.unique(cell.picture)) == 1
        sheet = load_sheet(furnished, "codes", {})
        assert sheet is None or len(np.unique(sheet)) == 1
        arrays = load_projections(furnished, "h")
        assert arrays is not None and len({float(v.max()) for v in arrays.values()}) == 1

    write(0, 1)
    rivals(write, read)
    assert not list(furnished.folder.rglob("*.partial"))


def test_rivals_on_job_states_and_uploaded_pictures_see_whole_files(furnished, tmp_path):
    pixels = np.stack([np.full((60, 60, 3), 80 * k, np.uint8) for k in range(3)])
    pictures = [Picture(pixels=each, notes=()) for each in pixels]
    folder, job = tmp_path / "images", furnished.folder / JOB_JSON
    StatusFile.of_extraction(furnished.folder, furnished.spec).finish(FAILED, "0" * 500)

    def write(k, count):
        status = StatusFile.of_extraction(furnished.folder, furnished.spec)
        status.finish(FAILED, str(k) * 500)
        for picture in pictures:
            picture.save(folder)

    def read(k, count):
        assert len(set(read_json(job)["message"])) == 1
        for path in folder.glob("*.png"):
            assert len(np.unique(load_prepared(folder, path.stem))) == 1

    rivals(write, read)
    assert len(list(folder.glob("*.png"))) == 3
    assert not list(tmp_path.rglob("*.partial"))


def test_rivals_on_readers_see_whole_files(furnished, home):
    def write(k, count):
        save_reader(home, "shared", Classifier(model=f"model {k}", labels=("x",) * 300 * k), True)

    def read(k, count):
        found = load_description(home, "shared")
        assert len(found.labels) == 300 * int(found.model[-1])

    write(0, 0)
    rivals(write, read)
    assert not list(home.rglob("*.partial"))


def test_of_rivals_for_a_readers_name_one_is_told_that_it_lost(home, furnished):
    def claim(k):
        try:
            save_reader(home, "claimed", Classifier(model=f"model {k}", labels=()))
            return 10 + k
        except UsageError as error:
            return 20 if "another reader" in str(error) else 30

    for _ in range(60 if SLOW else 5):
        codes = [code_of(child) for child in [in_a_child(lambda k=k: claim(k)) for k in range(3)]]
        assert sorted(codes)[1:] == [20, 20] and min(codes) < 13
        assert load_description(home, "claimed").model == f"model {min(codes) - 10}"
        (home / READERS / "claimed.json").unlink()


def test_two_tabs_that_mark_samples_of_one_set_lose_no_click(furnished):
    """Two sessions, which both have read the labels as they were before."""
    tabs = [open_run(furnished.folder) for _ in range(2)]
    assert all("hand" not in run.labels for run in tabs)
    for k, run in enumerate(tabs):
        mark_sample(run, "hand", "smile", k, 1.0)
        mark_sample(run, "hand", f"of tab {k}", 5, 1.0)
    found = open_run(furnished.folder).labels["hand"]
    assert set(found) == {"smile", "of tab 0", "of tab 1"}
    assert found["smile"][:2].tolist() == [1, 1]


def test_what_a_killed_writer_left_is_swept_up_and_what_a_live_one_writes_is_not(
    furnished, tiny_model, home
):
    child = in_a_child(lambda: 0)
    assert code_of(child) == 0
    for pid, kept in ((child, False), (os.getpid(), True)):
        path = (
            furnished.folder
            / LABELS
            / f"mine.csv.{atomic.host_mark()}-{pid}-0a0b0c0d{atomic.PARTIAL}"
        )
        path.write_text("half")
        extract(tiny_model, furnished.spec, home)
        assert path.exists() == kept


def test_import_of_labels_is_all_or_nothing_among_rivals(furnished, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("sample,a\n0,1\n99,1\n")
    before = tree(furnished.folder)
    with pytest.raises(UsageError, match="no sample 99"):
        import_labels(furnished, table, "mine")
    assert tree(furnished.folder) == before
