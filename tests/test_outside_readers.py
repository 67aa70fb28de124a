"""Readers of packages outside: what they give is checked, and no clash of names is silent."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from outside import install
from streamlit.testing.v1 import AppTest
from test_cli import failure, json_of, out_of
from tiny import drain

from hcache.cache.reading import open_run
from hcache.errors import UsageError
from hcache.readers import find_reader
from hcache.readers.checks import error_of
from hcache.readers.function import Function
from hcache.readers.reading import read_run, reader_of
from hcache.readers.registry import INSTALLED
from hcache.readers.saved import delete_reader, list_readers, open_saved, save_reader

SOURCE = """
def read(pictures):
    return {"mean": pictures.mean((1, 2, 3))}

def least(pictures):
    return {"least": pictures.min((1, 2, 3))}

number = 3

class Reads:
    pass
"""

FIRST = """
[hcache.readers]
brightness = first_readers:read
toyfaces = first_readers:read
number = first_readers:number
kind = first_readers:Reads
missing = first_readers:nothing
module = first_readers
a/b = first_readers:read
"""

SECOND = """
[hcache.readers]
brightness = first_readers:least
"""


KIND = '''
"""A kind of reader in one file: how many pixels are brighter than a threshold."""

from dataclasses import dataclass

from hcache.errors import UsageError
from hcache.readers.forms import SOURCE, FlagField, TextField
from hcache.readers.reader import Description, Reader, digest_of
from hcache.readers.registry import KINDS


@dataclass(frozen=True, kw_only=True)
class Bright(Description):
    KIND = "bright"
    TITLE = "Bright: the share of bright pixels"
    TAKES = "THRESHOLD"
    WORDS = {"probability": "give shares in place of counts"}
    FORM = (
        TextField(name=SOURCE, key="reader-threshold", label="Threshold"),
        FlagField(name="probability", key="reader-shares", label="Shares in place of counts"),
    )
    MISSING = "Give a threshold."

    threshold: str
    share: bool = False

    @classmethod
    def made(cls, run, asked):
        if not asked.source.isdigit():
            raise UsageError(f"a threshold is a whole number, got {asked.source!r}")
        return cls(threshold=asked.source, share=asked.probability)

    @classmethod
    def proposed(cls, source):
        return f"over {source}"

    @property
    def of(self):
        return f"pixels over {self.threshold}"

    def to_json(self):
        return {"kind": self.KIND, "threshold": self.threshold, "share": self.share}

    def open(self, name, device="auto"):
        def read(pictures):
            over = pictures > int(self.threshold)
            return {"bright": over.mean((1, 2, 3)) if self.share else over.sum((1, 2, 3))}

        return Reader(name=name, version="1", digest=digest_of(self.to_json()), function=read)


KINDS[Bright.KIND] = Bright
'''

USES = '''
"""Everything that iterates over the kinds, in a process that adds one."""

import io
import sys

import own_kind
import streamlit as st
from streamlit.testing.v1 import AppTest

from hcache.background import kinds
from hcache.cache.reading import open_run
from hcache.cli.main import build_parser, main
from hcache.errors import UsageError

home, folder, dashboard = sys.argv[1:]
run = open_run(folder)
assert main(["read", run.name, "--reader", "bright:100", "--home", home]) == 0
assert "bright" in open_run(folder).labels["over 100"]
assert main(["reader", "list", "--home", home]) == 0
assert main(["read", run.name, "--reader", "bright:much", "--home", home]) == 2

work = kinds.Reading(run=run.name, name="b", form="bright", source="9", probability=True)
assert kinds.read_work("read", run.name, work.order()) == work
assert build_parser().parse_args(work.arguments()).reader == "bright:9"
try:
    kinds.read_work("read", run.name, {**work.order(), "encoder": "owner/clip"})
    raise AssertionError("it has no encoder")
except UsageError as error:
    assert "encoder: a reader of the form bright takes none" in str(error), error

from hcache.ui import tasks

started = []
tasks.start = lambda folder, work: started.append(work)
app = AppTest.from_file(dashboard, default_timeout=60).run().switch_page("pages/gallery.py").run()
assert not app.exception and not app.error, (app.exception, app.error)
assert any("(bright, pixels over 100)" in each.value for each in app.markdown)
app.selectbox(key="reader-form").set_value("bright").run()
assert app.button(key="start-read").disabled
assert any(each.value == "Give a threshold." for each in app.caption)
app.text_input(key="reader-threshold").input("7").run()
app.toggle(key="reader-shares").set_value(True).run()
app.button(key="start-read").click().run()
(work,) = started
assert (work.name, work.form, work.source, work.probability) == ("over 7", "bright", "7", True)
main(["read", "--help"])
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """One package with readers, of which a single one can be used."""
    install(tmp_path / "first", "first-readers", {"first_readers": SOURCE}, FIRST)
    monkeypatch.syspath_prepend(tmp_path / "first")
    yield tmp_path
    sys.modules.pop("first_readers", None)


@pytest.fixture
def second(package, monkeypatch):
    """Another package, found after the first, with a reader of the same name."""
    install(package / "second", "second-readers", {}, SECOND, version="2.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(package / "second")])


@pytest.fixture
def home(copied_run, tmp_path, monkeypatch):
    """A home with a saved reader that is named like the reader of a package installed later."""
    (tmp_path / "saved_reader.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    save_reader(copied_run.home, "brightness", Function(target="saved_reader:least"))
    drain(read_run(copied_run, "brightness", "cpu"))
    yield copied_run.home
    sys.modules.pop("saved_reader", None)


def test_what_a_package_gives_is_checked_and_told_in_one_line_each(package, caplog):
    assert list(INSTALLED) == ["toyfaces", "toydogs", "brightness"]
    assert "mean" in find_reader("brightness")(np.zeros((2, 8, 8, 3), np.uint8))
    assert INSTALLED.place("brightness") == "first_readers:read"
    said = {line.split("'")[1]: line for line in INSTALLED.problems()}
    assert [record.getMessage() for record in caplog.records] == list(INSTALLED.problems())
    assert said.keys() == {"toyfaces", "number", "kind", "missing", "module", "a/b"}
    assert all("package first-readers 1.0" in p and "\n" not in p for p in said.values())
    assert "expected a function from pictures to readings, got int" in said["number"]
    assert "got the class Reads" in said["kind"] and "got module" in said["module"]
    assert "letters, digits, spaces, dots, - and _" in said["a/b"]
    with pytest.raises(UsageError, match="no attribute reader 'missing'.*is left out"):
        find_reader("missing")
    with pytest.raises(UsageError, match="did you mean brightness"):
        find_reader("brightnes")


def test_a_reader_named_like_one_of_ours_is_refused(package):
    (line,) = (line for line in INSTALLED.problems() if "'toyfaces'" in line)
    assert "taken by the reader 'toyfaces' of hcache; rename the entry point" in line
    assert INSTALLED.place("toyfaces") == "hcache.toyfaces.reader:read", "ours stays"


def test_of_two_packages_the_second_is_told(second):
    (line,) = (line for line in INSTALLED.problems() if "second-readers 2.0" in line)
    assert "taken by the reader 'brightness' of first-readers 1.0" in line
    assert "or uninstall the package" in line
    assert INSTALLED.place("brightness") == "first_readers:read"
    assert list(INSTALLED).count("brightness") == 1


def test_a_saved_and_an_installed_reader_of_one_name_are_listed_once(home, package, capsys):
    assert list_readers(home).count("brightness") == 1
    entries = json_of(capsys, "reader", "list", "--home", str(home))
    (entry,) = [entry for entry in entries if entry["name"] == "brightness"]
    assert entry["kind"] == "two readers"
    assert "two readers are named brightness: one of first-readers 1.0" in entry["problem"]
    assert "python -m hcache reader delete brightness" in entry["problem"]
    shown = out_of(capsys, "reader", "list", "--home", str(home))
    assert shown.splitlines()[-1] == entry["problem"]


def test_neither_of_them_is_opened_until_one_is_gone(home, package, copied_run, capsys):
    run = open_run(copied_run.folder)
    for opens in (lambda: open_saved(home, "brightness"), lambda: reader_of(run, "brightness")):
        with pytest.raises(UsageError, match="two readers are named brightness"):
            opens()
    line = ("read", run.name, "--reader", "brightness", "--home", str(home))
    assert "two readers are named brightness" in failure(capsys, 2, *line)
    assert error_of(run, "brightness", "least") == "", "nothing is known of either"
    delete_reader(home, "brightness")
    assert "mean" in open_saved(home, "brightness")(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="is a function of first-readers 1.0"):
        delete_reader(home, "brightness")


def test_a_name_of_a_package_is_not_given_to_a_saved_reader(copied_run, package):
    with pytest.raises(
        UsageError, match="of first-readers 1.0, which is installed; choose another"
    ):
        save_reader(copied_run.home, "brightness", Function(target="first_readers:least"))
    with pytest.raises(UsageError, match="there is a reader 'brightness'"):
        save_reader(copied_run.home, "Brightness", Function(target="first_readers:least"))


def test_the_gallery_tells_a_clash_and_what_is_left_out(home, package, monkeypatch):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(home))
    app = AppTest.from_file("../dashboard.py", default_timeout=60).run()
    app = app.switch_page("pages/gallery.py").run()
    assert not app.exception
    told = [warning.value for warning in app.warning if "first-readers" in warning.value]
    assert len(told) == len(INSTALLED.problems()) == 6
    (error,) = app.error
    assert "two readers are named brightness" in error.value


def test_a_kind_in_one_file_is_known_to_commands_tasks_and_page(copied_run, tmp_path):
    """What the guide says: one file, and a line that names it in ``KINDS``."""
    root = Path(__file__).parents[1]
    (tmp_path / "own_kind.py").write_text(KIND)
    (tmp_path / "uses.py").write_text(USES)
    paths = (copied_run.home, copied_run.folder, root / "dashboard.py")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "uses.py"), *map(str, paths)],
        env={**os.environ, "PYTHONPATH": str(root), "HCACHE_HOME": str(copied_run.home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "over 100 bright pixels over 100" in said, "in the list"
    assert "bright:THRESHOLD" in said and "bright: give shares in place of counts" in said
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("hcache: "))
    assert line == "hcache: a threshold is a whole number, got 'much'"


def test_the_reader_in_the_guide_is_one(tmp_path, monkeypatch):
    """The code block of the page that says how a reader is added, as it stands there."""
    guide = Path(__file__).parents[1] / "hcache" / "guide" / "extending.md"
    page = guide.read_text(encoding="utf-8").partition("## An attribute reader")[2]
    code, entry = (page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "toml"))
    assert entry == '[project.entry-points."hcache.readers"]\nbrightness = "brightness:read"\n'
    entries = "[hcache.readers]\nbrightness = brightness:read\n"
    install(tmp_path / "site", "brightness", {"brightness": code}, entries)
    monkeypatch.syspath_prepend(tmp_path / "site")
    try:
        found = find_reader("brightness")(np.full((2, 4, 4, 3), 7, np.uint8))
        assert found["brightness"].tolist() == [7, 7] and not INSTALLED.problems()
    finally:
        sys.modules.pop("brightness", None)
