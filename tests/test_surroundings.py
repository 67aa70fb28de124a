"""A run among other programs, other disks and other users: right, or one line, and nothing lost."""

import ctypes
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest
from tiny import assert_same_contents, code_of, in_a_child, wait_for
from writing import (
    NAMES,
    assert_nothing_lost,
    commands_of,
    furnish,
    partials,
    report_of,
    said_by,
    sources,
    tree,
)

from hcache.cache.labels import save_labels
from hcache.cache.layout import MANIFEST, SHARDS
from hcache.cache.locks import part_lock
from hcache.cache.reading import open_run
from hcache.cache.records import list_records
from hcache.cli.main import main
from hcache.directions.naive import naive_direction
from hcache.directions.store import damaged_moves, list_moves, save_move
from hcache.errors import UsageError
from hcache.foreign import is_foreign, is_second_copy
from hcache.readers.classifier import Classifier
from hcache.readers.saved import list_readers, save_reader

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(40)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return sources(tmp_path_factory.mktemp("given") / "sources")


@pytest.fixture
def run(copied_run):
    found = furnish(copied_run)
    save_reader(found.home, "kept", Classifier(model="nowhere", revision="", labels=()))
    return found


def asked(run, capsys):
    """What the commands that look at a run say, word for word."""
    home = ("--home", str(run.home))
    said = {}
    for command in ("info", "labels-export", "direction list", "tasks", "reader list", "runs"):
        alone = command in ("reader list", "runs")
        capsys.readouterr()
        code = main([*command.split(), *([] if alone else [run.name]), *home, "--json"])
        said[command] = (code, capsys.readouterr().out)
    return said


def files_of(run):
    """Every file of the home, but those that say who works."""
    return [path for path in sorted(run.home.rglob("*")) if path.is_file()]


# -- files of other programs
# --------------------------------------------------------------------------------------------------

SECOND_COPIES = (
    "{stem} (Maria's conflicted copy 2026-03-01){suffix}",  # Dropbox
    "{stem} (conflicted copy 2026-03-01 101010){suffix}",  # Nextcloud
    "{stem} (Case Conflict){suffix}",
    "{stem}.sync-conflict-20260301-101010-ABCDEFG{suffix}",  # Syncthing
    "{stem} (1){suffix}",  # Google Drive
)
BESIDE = ("._{name}", ".{name}.icloud", ".nfs000000000123{stem}{suffix}", ".~lock.{name}#")


@pytest.mark.parametrize("pattern", [*BESIDE, *SECOND_COPIES])
def test_a_file_that_another_program_puts_beside_each_changes_no_answer(run, capsys, pattern):
    before, fresh = asked(run, capsys), report_of(run.folder)
    count = 0
    for path in files_of(run):
        name = pattern.format(stem=path.stem, suffix=path.suffix, name=path.name)
        beside = path.with_name(name)
        beside.write_bytes(path.read_bytes() if pattern in SECOND_COPIES else APPLE_DOUBLE)
        count += run.folder in path.parents
    assert count >= 8
    assert asked(run, capsys) == before
    report = report_of(run.folder)
    assert report.fine and fresh.passed_over == ()
    assert len(report.passed_over) == (count if pattern in SECOND_COPIES else 0)
    assert ("second copies of files" in report.in_words()) == (pattern in SECOND_COPIES)
    assert len(list_records(run)) == 1 and damaged_moves(run) == {}
    assert list_readers(run.home).count("kept") == 1
    assert main(["repair", "--yes", run.name, "--home", str(run.home)]) == 0
    assert_nothing_lost(run)


@pytest.mark.parametrize(
    "name", ["mine.csv", "00000000.h5", "a b.c-d_e.json", "way (smile).h5", "conflict.csv"]
)
def test_a_name_of_our_own_is_none_of_theirs(name):
    assert not is_foreign(name) and not is_second_copy(name)


def test_windows_line_ends_in_every_text_file_change_no_answer(run, capsys, tiny_model):
    before = asked(run, capsys)
    changed = 0
    for path in files_of(run):
        if path.suffix in (".json", ".jsonl", ".csv", ".txt"):
            lines = path.read_bytes().replace(b"\r\n", b"\n")
            path.write_bytes(lines.replace(b"\n", b"\r\n"))
            changed += b"\n" in lines
    assert changed >= 5
    assert asked(run, capsys) == before
    assert report_of(run.folder).fine
    shard = run.folder / SHARDS / run.shards[-1].file
    shard.write_bytes(bytes(shard.stat().st_size))
    assert main(["repair", "--yes", run.name, "--home", str(run.home), "--device", "cpu"]) == 0
    assert report_of(run.folder).fine


def test_a_prompt_of_a_file_with_windows_line_ends_is_the_same_prompt(tmp_path):
    from hcache.cli.spec_options import read_prompts

    (tmp_path / "unix.txt").write_bytes(b"a cat\n\na dog\n")
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbfa cat\r\n\r\na dog\r\n")
    read = [read_prompts(str(tmp_path / f"{name}.txt")) for name in ("unix", "windows")]
    assert read == [("a cat", "a dog")] * 2


def test_a_sync_client_that_puts_an_older_manifest_back_is_told(run, capsys):
    """Another computer had the run before its last shards were made."""
    manifest = run.folder / MANIFEST
    lines = manifest.read_bytes().splitlines(keepends=True)
    assert len(lines) >= 3
    manifest.rename(manifest.with_name("manifest (conflicted copy).jsonl"))
    manifest.write_bytes(b"".join(lines[:-2]))
    report = report_of(run.folder)
    assert report.exit_code == 3 and "lines are gone" in report.in_words()
    assert report.passed_over == ("manifest (conflicted copy).jsonl",)
    assert main(["repair", "--yes", run.name, "--home", str(run.home), "--device", "cpu"]) == 0
    after = open_run(run.folder)
    assert len(after) == len(run) and report_of(run.folder).fine


def test_directions_and_readers_that_differ_by_capitals_alone_are_refused(run):
    before = tree(run.home)
    with pytest.raises(UsageError, match="has a direction 'way', and many disks"):
        save_move(run, "Way", naive_direction(run, [3, 4]), replace=True)
    with pytest.raises(UsageError, match="a reader 'kept', and many disks"):
        save_reader(run.home, "KEPT", Classifier(model="other", revision="", labels=()), True)
    assert tree(run.home) == before
    assert {entry.name for entry in list_moves(run)} == {"way"}


# -- disks
# --------------------------------------------------------------------------------------------------

SOME = ("extract", "labels-import", "fit", "measure", "compare", "convert-ddpm")


def tried(command):
    """How a command in a process of its own ended, and the lines in which it told an error."""
    code, said = said_by(lambda: main(command.given))
    assert "Traceback" not in said, said
    return code, [line for line in said.splitlines() if line.startswith("hcache: ")]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK], ids=errno.errorcode.get)
def test_a_disk_without_file_locks_is_written(
    copied_run, tiny_folder, given, tmp_path, monkeypatch, name, code
):
    """Lustre without ``-o flock`` says ENOSYS, NFS without its lock daemon ENOLCK."""

    def flock(*_):
        raise OSError(code, os.strerror(code))

    run, out = furnish(copied_run), tmp_path / "out"
    out.mkdir()
    command = commands_of(run, tiny_folder, given, out)[name]
    command.clear()
    command.before()
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", flock)
        assert tried(command) == (0, [])
    assert_nothing_lost(run)
    assert report_of(run.folder).fine


WORDS = {
    errno.EDQUOT: (5, "no space left"),
    errno.EIO: (1, "the system refuses"),
    errno.ESTALE: (1, "the system refuses"),
}


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("code", WORDS, ids=errno.errorcode.get)
def test_a_disk_that_says_so_only_when_it_is_flushed_is_told(
    copied_run, tiny_folder, given, tmp_path, monkeypatch, name, code
):
    """NFS tells of a quota, and of a server that is gone, when a file is flushed."""
    run, out = furnish(copied_run), tmp_path / "out"
    out.mkdir()
    command = commands_of(run, tiny_folder, given, out)[name]
    command.clear()
    command.before()
    before = tree(run.folder)

    def fsync(handle):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        ended, lines = tried(command)
    expected, words = WORDS[code]
    assert ended in (expected, 2) and len(lines) == 1, lines
    assert os.strerror(code) in lines[0]
    assert lines[0].startswith(f"hcache: {words}") or ended == 2
    after = tree(run.folder)
    assert {name: after.get(name) for name in before} == before
    assert partials(tmp_path) == []
    assert_nothing_lost(run)
    command.clear()
    command.before()
    assert tried(command) == (0, [])


@pytest.mark.parametrize("name", ["labels-import", "fit", "compare"])
@pytest.mark.parametrize("code", [errno.EBUSY, errno.EACCES], ids=errno.errorcode.get)
def test_a_file_that_somebody_else_holds_open_on_an_smb_disk_is_told(
    copied_run, tiny_folder, given, tmp_path, monkeypatch, name, code
):
    """There a file cannot take the place of another that is open."""

    def replace(source, target):
        raise OSError(code, os.strerror(code), str(source), None, str(target))

    run, out = furnish(copied_run), tmp_path / "out"
    out.mkdir()
    command = commands_of(run, tiny_folder, given, out)[name]
    before = tree(run.folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        ended, lines = tried(command)
    assert ended in (1, 2) and len(lines) == 1 and os.strerror(code) in lines[0]
    assert tree(run.folder) == before and partials(tmp_path) == []


@pytest.fixture
def plugged(tmp_path):
    """A USB disk in its place: (what is on it, where it is mounted)."""
    disk, place = tmp_path / "disk", tmp_path / "usb"
    disk.mkdir()
    place.mkdir()
    if subprocess.run(["mount", "--bind", disk, place], capture_output=True).returncode:
        pytest.skip("this user may mount no disk")
    yield disk, place
    subprocess.run(["umount", "-l", place], capture_output=True)


def test_a_disk_that_is_pulled_out_during_an_extraction_leaves_what_was_committed(
    plugged, tiny_folder, tmp_path
):
    disk, place = plugged
    given = ["extract", str(tiny_folder), "--samples", "24", "--steps", "4", "--batch", "2"]
    given += ["--store", "h=full", "--device", "cpu", "--home"]
    assert main([*given, str(tmp_path / "whole")]) == 0
    (whole,) = (tmp_path / "whole" / "runs").iterdir()
    manifest = disk / "runs" / whole.name / MANIFEST

    def pulled():
        os.setpgid(0, 0)
        return main([*given, str(place)])

    child = in_a_child(pulled)
    wait_for(lambda: manifest.exists() and len(manifest.read_bytes()) > 100, "the first shards")
    os.kill(child, signal.SIGSTOP)
    assert subprocess.run(["umount", "-l", place]).returncode == 0
    os.kill(child, signal.SIGCONT)
    assert code_of(child) in (1, 5)
    assert list(place.iterdir()) == [], "nothing is written where the disk was"
    assert report_of(disk / "runs" / whole.name).fine
    assert subprocess.run(["mount", "--bind", disk, place]).returncode == 0
    assert main([*given, str(place)]) == 0, "and goes on once it is back"
    assert_same_contents(open_run(whole), open_run(place / "runs" / whole.name))


def test_an_extraction_that_slept_goes_on_and_nobody_took_its_place(tiny_folder, tmp_path, capfd):
    """As on a laptop whose lid is closed: its processes sleep, and there is no heartbeat."""
    given = ["extract", str(tiny_folder), "--samples", "24", "--steps", "4", "--batch", "2"]
    given += ["--store", "h=full", "--device", "cpu", "--home", str(tmp_path / "home")]
    child = in_a_child(lambda: main(given))
    found = wait_for(lambda: list((tmp_path / "home").glob("runs/*/holder.json")), "its lease")
    os.kill(child, signal.SIGSTOP)
    os.utime(found[0], (time.time() - 10**5,) * 2)
    assert main(given) == 1
    assert f"is being extracted by process {child}" in capfd.readouterr().err
    os.kill(child, signal.SIGCONT)
    assert code_of(child) == 0
    (folder,) = (tmp_path / "home" / "runs").iterdir()
    assert len(open_run(folder)) == 24 and report_of(folder).fine


# -- other users
# --------------------------------------------------------------------------------------------------

COLLEAGUE = 12345
"""The number of another user."""


def squashed(given):
    """A command of a user who has no rights over a colleague's files, not even as root.

    An NFS server does that to root (root_squash). The child gives up its capabilities, and root
    without them is a user like any other.
    """

    def work():
        header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
        assert ctypes.CDLL(None).capset(header, none) == 0
        return main(given)

    return work


def belongs_to_colleague(folder, of_folders, of_files=0o644):
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, COLLEAGUE, COLLEAGUE)
        path.chmod(of_folders if path.is_dir() else of_files)


@pytest.fixture
def root():
    if os.geteuid() or not sys.platform.startswith("linux"):
        pytest.skip("only root on Linux can give files to another user")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("extract", "invert")])
def test_a_run_of_a_colleague_that_may_be_read_and_not_written(
    root, run, tiny_folder, given, tmp_path, name
):
    out = tmp_path / "out"
    out.mkdir()
    command = commands_of(run, tiny_folder, given, out)[name]
    command.before()
    home = command.home or run.home
    belongs_to_colleague(home, 0o755)
    before = tree(home)
    code, said = said_by(squashed(command.given))
    lines = [line for line in said.splitlines() if line.startswith("hcache: ")]
    assert "Traceback" not in said, said
    assert code in (0, 1, 2), said
    if code == 0 and name in ("verify", "status"):
        assert "cannot be written, so pages do not show this" in lines[0]
    else:
        assert len(lines) == (code != 0), said
        assert code == 0 or "ermission denied" in lines[0], lines
    assert tree(home) == before


@pytest.mark.parametrize("lock_mode", [None, 0o644], ids=["as made now", "as made before"])
def test_colleagues_who_may_write_the_folders_label_one_run(root, run, given, lock_mode):
    """A shared folder: the locks that one has made are no bar to the other."""
    (run.folder / "lock.labels").unlink()
    belongs_to_colleague(run.home, 0o777)
    save_labels(run, "mine", {"a": {s: s / 4 for s in range(12)}})
    lock = run.folder / "lock.labels"
    os.chown(lock, COLLEAGUE, COLLEAGUE)
    if lock_mode is not None:
        lock.chmod(lock_mode)
    home = ("--home", str(run.home))
    theirs = ["labels-import", run.name, str(given / "table.csv"), "--set", "mine", *home]
    code, said = said_by(squashed(theirs))
    assert code == 0, said
    assert run.labels["mine"]["a"][3] == 4
    with part_lock(run.folder / "labels"):
        held = in_a_child(squashed(theirs))
        time.sleep(0.5)
        assert os.waitpid(held, os.WNOHANG) == (0, 0), "it waits for its turn"
    assert code_of(held) == 0
    save_labels(run, "mine", {"a": {0: 9.0}})
    assert run.labels["mine"]["a"][0] == 9 and report_of(run.folder).fine


def test_a_models_folder_that_may_not_be_looked_at_is_not_absent(root, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "theirs" / "model")
    belongs_to_colleague(tmp_path / "theirs", 0o700)
    home = str(tmp_path / "home")
    for model in (tmp_path / "theirs" / "model", tmp_path / "theirs"):
        code, said = said_by(squashed(["extract", str(model), "--samples", "2", "--home", home]))
        assert code == 2 and "Traceback" not in said
        assert "could not be read: Permission denied; make it readable" in said
    code, said = said_by(squashed(["extract", str(tmp_path / "none"), "--home", home]))
    assert code == 2 and "neither a card nor a folder" in said
