"""A home that cannot be read is not taken for one without runs."""

import errno
import importlib
import os

import pytest

from hcache.background.extractions import list_jobs
from hcache.cache import layout
from hcache.cache.layout import linked_names, names_in, run_names
from hcache.cli.main import main
from hcache.errors import CacheError, HomeError
from hcache.readers.saved import list_readers

ASKED = {"run_names": run_names, "linked_names": linked_names, "list_jobs": list_jobs}


@pytest.fixture
def home(copied_run):
    """A home of one run."""
    return copied_run.home


def gone_disk(home, monkeypatch):
    """The home is a link to where a disk is not mounted."""
    home.rename(home.with_name("elsewhere"))
    home.symlink_to(home.with_name("not mounted"))


def gone_runs(home, monkeypatch):
    (home / "runs").rename(home / "kept")
    (home / "runs").symlink_to(home / "not mounted")


def no_folder(home, monkeypatch):
    (home / "runs").rename(home / "kept")
    (home / "runs").write_text("")


def home_is_a_file(home, monkeypatch):
    home.rename(home.with_name("elsewhere"))
    home.write_text("")


def failing(number):
    def fail(home, monkeypatch):
        real = os.listdir

        def listdir(path="."):
            if str(path) == str(home / "runs"):
                raise OSError(number, os.strerror(number), str(path))
            return real(path)

        monkeypatch.setattr(layout.os, "listdir", listdir)

    return fail


HARMS = {
    "a disk that is not there": gone_disk,
    "runs that are not there": gone_runs,
    "runs that are a file": no_folder,
    "a home that is a file": home_is_a_file,
    "no permission": failing(errno.EACCES),
    "an error of the disk": failing(errno.EIO),
    "a stale handle": failing(errno.ESTALE),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_home_that_cannot_be_read_is_told_and_not_empty(home, monkeypatch, capsys, harm):
    assert run_names(home) and list_jobs(home) == []
    HARMS[harm](home, monkeypatch)
    for name, ask in ASKED.items():
        with pytest.raises(HomeError, match="--home or HCACHE_HOME"):
            ask(home)
            pytest.fail(f"{name} found nothing to say")
    assert main(["runs", "--home", str(home)]) == 2
    said = capsys.readouterr()
    assert str(home) in said.err and "no runs" not in said.out + said.err
    assert len(said.err.splitlines()) == 1


def test_a_home_that_is_not_there_yet_has_no_runs(tmp_path, capsys):
    assert names_in(tmp_path / "new") == [] and list_jobs(tmp_path / "new") == []
    assert main(["runs", "--home", str(tmp_path / "new")]) == 0
    assert "no runs in" in capsys.readouterr().out


def test_a_home_that_is_a_link_to_a_disk_that_is_there_is_one(home):
    link = home.with_name("link")
    link.symlink_to(home)
    assert run_names(link) == run_names(home) != []


@pytest.mark.parametrize("harm", ["runs that are not there", "an error of the disk"])
def test_no_demo_is_started_where_it_cannot_be_told_whether_there_are_runs(home, monkeypatch, harm):
    from hcache.ui.loaders import home_is_empty

    assert not home_is_empty(home) and home_is_empty(home / "new")
    HARMS[harm](home, monkeypatch)
    with pytest.raises(HomeError):
        home_is_empty(home)


def test_readers_that_cannot_be_listed_are_told(home):
    assert "toyfaces" in list_readers(home)
    (home / "readers").write_text("")
    with pytest.raises(CacheError, match="could not be read"):
        list_readers(home)


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("hcache.pictures", "Picture"),
        ("hcache.extract", "extract"),
        ("hcache.figures.probes", "probe_heatmap"),
    ],
)
def test_a_name_that_scripts_use_can_still_be_imported(before, name):
    assert callable(getattr(importlib.import_module(before), name))
