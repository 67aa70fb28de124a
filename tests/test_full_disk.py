"""Every command that writes, on a full disk: exit code 5, one line, nothing half written."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
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

from hcache.background import tasks
from hcache.background.kinds import Fitting
from hcache.cache.files import read_json
from hcache.cache.layout import JOB_JSON
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.directions.fitting import Fit
from hcache.errors import told_of

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
        fill(disk)
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


# -- what a browser sends
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def full(copied_run, tmp_path, monkeypatch):
    """A home on a disk without a byte left, as pages see it; but the check of free space, which is
    made a moment before, found some.
    """
    disk = tmp_path / "disk"
    if not mounted(disk, 8 * 2**20):
        pytest.skip("this user may mount no disk")
    home, real = disk / "home", shutil.disk_usage
    shutil.copytree(copied_run.folder.parent.parent, home)
    fill(disk)
    monkeypatch.setenv("HCACHE_HOME", str(home))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real("/"))
    monkeypatch.setattr(tasks, "launch", lambda *_: pytest.fail("nothing is started"))
    st.cache_data.clear()
    st.cache_resource.clear()
    yield home
    subprocess.run(["umount", disk], check=True)


def fill(disk):
    with (disk / "theirs").open("wb", buffering=0) as theirs, contextlib.suppress(OSError):
        while theirs.write(bytes(2**16)):
            pass


def send(page, key, name, data, press, **address):
    """A page on which a file was chosen and a button pressed."""
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.switch_page(f"pages/{page}.py")
    app.query_params.update(address)
    app.run()
    if page == "edit":
        app.selectbox(key="choose-method").set_value("asyrp").run()
    app.file_uploader(key=key).set_value([(name, data, "application/octet-stream")]).run()
    if not app.error:
        app.button(key=press).click().run()
    assert not app.exception, app.exception
    return app


def test_uploaded_blocks_on_a_full_disk_are_told_and_nothing_is_left(full, copied_run):
    before = tree(full)
    app = send(
        "edit",
        "block-files",
        "smiling_LC_CelebA_HQ_t999_ninv40_ngen40_0.pth",
        bytes(9000),
        "start-import",
        run=copied_run.name,
    )
    assert any("no space left" in error.value for error in app.error)
    assert tree(full) == before and partials(full) == []


def test_uploaded_pictures_on_a_full_disk_are_told_and_nothing_is_left(
    full, tiny_folder, given, copied_run
):
    before = tree(full)
    link = {"model": "another folder or hub id …", "other-model": str(tiny_folder)}
    data = (given / "picture.png").read_bytes()
    app = send("extract", "pictures", "picture.png", data, "start-extraction", **link)
    assert any("no space left" in error.value for error in app.error)
    assert tree(full) == before and partials(full) == []


def test_a_full_disk_when_a_task_starts_is_told(full, copied_run):
    work = Fitting(what=Fit(method="random", run=copied_run.name), name="noise")
    folder = full / "runs" / copied_run.name
    with pytest.raises(OSError) as caught:
        tasks.start(folder, work)
    assert told_of(caught.value).exit_code == 5
    assert tasks.list_tasks(folder) == [] and partials(full) == []
