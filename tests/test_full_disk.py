"""Every command that writes, on a full disk: exit code 5, one line, nothing half written."""

import os
import resource
import shutil
import signal
import subprocess

import pytest
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

from hcache.cache.files import read_json
from hcache.cache.layout import JOB_JSON
from hcache.cache.reading import open_run
from hcache.cli.main import main

SLOW = os.environ.get("HCACHE_SLOW") == "1"
LIMITS = [*range(0, 4000, 250), 10_000, 30_000, 100_000] if SLOW else [0, 3000]
ANSWERS = {"verify", "status"}
"""These still answer with nothing written, and verify says that its report is not kept."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return sources(tmp_path_factory.mktemp("given") / "sources")


def limited(command, limit):
    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return main(command.given)

    return work


def assert_told(code, said):
    assert "Traceback" not in said, said
    if code:
        lines = [line for line in said.splitlines() if line.startswith("hcache: ")]
        assert len(lines) == 1 and "no space left" in lines[0], said


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_on_files_is_exit_code_5_and_one_line(
    copied_run, tiny_folder, given, tmp_path, name
):
    run, out = furnish(copied_run), tmp_path / "out"
    out.mkdir()
    command = commands_of(run, tiny_folder, given, out)[name]
    codes = []
    for limit in LIMITS:
        command.clear()
        command.before()
        before = tree(run.folder)
        code, said = said_by(limited(command, limit))
        codes.append(code)
        assert code in (0, 5), (code, said)
        assert name not in ANSWERS or (code == 0 and "12 samples: all whole" in said)
        assert (name in ANSWERS and limit == 0) == ("cannot be written, so pages" in said)
        assert_told(code, said)
        assert partials(tmp_path) == [], limit
        after = tree(run.folder)
        if code and name != "repair":
            assert {name: after.get(name) for name in before} == before
        for path in command.outs if code else ():
            assert not path.is_file(), f"{path.name} at {limit} bytes"
        if name in ("extract", "invert"):
            for folder in (command.home / "runs").glob("*"):
                job = folder / JOB_JSON
                assert not job.exists() or read_json(job)["state"] == "failed" or code == 0
            assert main(["runs", "--home", str(command.home)]) == 0
        assert_nothing_lost(run)
    assert 5 in codes or name in ANSWERS, codes
    command.clear()
    command.before()
    code, said = said_by(lambda: main(command.given))
    assert code == 0, said
    assert report_of(run.folder).fine


def mounted(folder, size):
    """A disk of so many bytes; False where none may be mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    return done.returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_without_a_byte_left_is_exit_code_5_and_one_line(
    copied_run, tiny_folder, given, tmp_path, name
):
    """Another program has filled it to the last byte."""
    run, disk = furnish(copied_run), tmp_path / "disk"
    if not mounted(disk, 64 * 2**20):
        pytest.skip("this user may mount no disk")
    try:
        shutil.move(run.folder.parent.parent, disk / "home")
        run = open_run(disk / "home" / "runs" / run.name)
        (disk / "out").mkdir()
        command = commands_of(run, tiny_folder, given, disk / "out")[name]
        command.clear()
        command.before()
        with (disk / "theirs").open("wb", buffering=0) as theirs:
            try:
                while theirs.write(bytes(2**16)):
                    pass
            except OSError:
                pass
        code, said = said_by(lambda: main(command.given))
        assert code == (0 if name in ANSWERS else 5), (code, said)
        assert_told(code, said)
        assert (name in ANSWERS) == ("cannot be written, so pages" in said)
        assert partials(disk) == []
        assert_nothing_lost(run)
        (disk / "theirs").unlink()
        code, said = said_by(lambda: main(command.given))
        assert code == 0, said
        assert report_of(run.folder).fine
    finally:
        subprocess.run(["umount", disk], check=True)
