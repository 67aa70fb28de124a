"""Files and folders that are written whole or not at all, and what killed writers left."""

import errno
import os
import stat
import time

import pytest
from tiny import code_of

from hcache.atomic import NO_FOLDER_SYNC, host_mark, making_folder, sweep, write_bytes


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert code_of(child) == 0
    return child


def test_what_a_dead_writer_left_is_swept_up_and_nothing_else(tmp_path, dead):
    final, mark = tmp_path / "a.csv", host_mark()
    gone = [f"a.csv.{mark}-{dead}-01.partial", f"a.csv.{mark}-{dead}-02.partial"]
    stays = [
        f"a.csv.{mark}-{os.getpid()}-01.partial",
        f"a.csv.{mark}-1-01.partial",
        f"a.csv.ffffff0-{dead}-01.partial",
        f"b.csv.{mark}-{dead}-01.partial",
        f"a.csv.{mark}-x-01.partial",
        f"a.csv.{mark}-{dead}-01",
        "a.csv",
    ]
    for name in (*stays, gone[0]):
        (tmp_path / name).write_text("half")
    (tmp_path / gone[1]).mkdir()
    (tmp_path / gone[1] / "inside").write_text("half")
    sweep(final)
    assert {path.name for path in tmp_path.iterdir()} == set(stays)
    (tmp_path / gone[0]).write_text("half")
    write_bytes(final, b"whole")
    assert not (tmp_path / gone[0]).exists() and final.read_bytes() == b"whole"


def test_a_link_under_such_a_name_is_taken_away_and_what_it_leads_to_is_not(tmp_path, dead):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "data").write_text("whole")
    link = tmp_path / f"a.csv.{host_mark()}-{dead}-01.partial"
    link.symlink_to(tmp_path / "theirs")
    sweep(tmp_path / "a.csv")
    assert not link.is_symlink() and (tmp_path / "theirs" / "data").read_text() == "whole"


def test_a_folder_is_made_whole_or_not_at_all(tmp_path):
    final = tmp_path / "new" / "model"
    with pytest.raises(ZeroDivisionError), making_folder(final) as folder:
        (folder / "half").write_text("")
        raise ZeroDivisionError
    assert list((tmp_path / "new").iterdir()) == []
    final.mkdir()
    with making_folder(final) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("whole")
    assert (final / "deep" / "file").read_text() == "whole"
    with pytest.raises(OSError), making_folder(final) as folder:
        (folder / "other").write_text("")
    assert [path.name for path in final.iterdir()] == ["deep"]
    assert [path.name for path in final.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("host", "pid", "hours", "goes"),
    [
        ("abcdef", "4000000", 23, False),
        ("abcdef", "4000000", 25, True),
        ("abcdef", "1", 25, True),
        (host_mark(), str(os.getpid()), 23, False),
        (host_mark(), str(os.getpid()), 25, True),  # this process began later than that
    ],
    ids=["other host", "other host, old", "other host, first process", "own", "own number again"],
)
def test_what_another_host_left_goes_a_day_after_its_last_change(tmp_path, host, pid, hours, goes):
    path = tmp_path / f"a.csv.{host}-{pid}-01.partial"
    path.write_text("half")
    now = path.stat().st_mtime
    os.utime(path, (now, now - 3600 * hours))
    write_bytes(tmp_path / "a.csv", b"whole")
    assert path.exists() != goes
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        ["a.csv", *([] if goes else [path.name])]
    )


def test_a_clock_of_this_host_that_is_wrong_by_years_takes_nothing_away(tmp_path, monkeypatch):
    path = tmp_path / "a.csv.abcdef-4000000-01.partial"
    path.write_text("half")
    monkeypatch.setattr(time, "time", lambda: 10**10)
    sweep(tmp_path / "a.csv")
    assert path.exists(), "the disk's clock says that it is new"


@pytest.mark.parametrize("code", NO_FOLDER_SYNC, ids=errno.errorcode.get)
def test_a_disk_that_flushes_no_folders_is_written(tmp_path, monkeypatch, code):
    real = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(tmp_path / "new", b"whole")
    assert (tmp_path / "new").read_bytes() == b"whole"
