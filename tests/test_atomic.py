"""Files and folders that are written whole or not at all, and what killed writers left."""

import os

import pytest

from hcache.atomic import host_mark, making_folder, sweep, write_bytes


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
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
