"""Every file of a run and its home, spoilt in every way, before every command and page: one line of
error at most, and no traceback. Files of a stranger, made at random, likewise.
"""

import builtins
import dataclasses
import errno
import io
import json
import os
import random
import shutil

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tiny import put_task
from writing import furnish

from hcache.background.processes import FAILED
from hcache.background.status import StatusFile
from hcache.cache.index import write_index
from hcache.cache.layout import (
    DIRECTIONS,
    INDEX,
    JOB_JSON,
    LABELS,
    MANIFEST,
    MEASURES,
    PROJECTIONS,
    PROMPTS,
    READERS,
    RENDERS,
    RUN_JSON,
    SHARDS,
    TASKS,
    VERIFY_JSON,
)
from hcache.cache.projections import load_projections, save_projections
from hcache.cache.reading import open_run
from hcache.cache.records import list_records, load_sheet, save_sheet
from hcache.cli.main import main
from hcache.directions.store import damaged_moves, list_moves, load_move
from hcache.edits.render_store import keep_render, kept_render
from hcache.edits.rendered import Rendered
from hcache.errors import HcacheError
from hcache.images.pngs import pixels_digest
from hcache.measures.cells import cells_of
from hcache.measures.kinds import DECODABILITY
from hcache.readers.classifier import Classifier
from hcache.readers.clicks import Clicks
from hcache.readers.function import Function
from hcache.readers.saved import load_description, read_by, save_reader
from hcache.readers.texts import Texts
from hcache.recipes.recipe import recipe_of
from hcache.ui import frame

SLOW = os.environ.get("HCACHE_SLOW") == "1"
TRIES = 1000 if SLOW else 60
"""Random files of each kind."""

PARAMETERS = {"label": "a", "site": "h", "pooled": False}
"""Of the result that ``furnish`` keeps."""


@pytest.fixture(scope="module")
def furnished(tiny_run, tmp_path_factory):
    """A run and a home with a file of every kind."""
    home = tmp_path_factory.mktemp("furnished") / "copy"
    shutil.copytree(tiny_run.folder, home / "runs" / tiny_run.name)
    found = furnish(open_run(tiny_run.name, home))
    write_index(found)
    scores = {"scores": np.zeros((4, 12, 2), np.float32), "explained": np.zeros((4, 2), np.float32)}
    save_projections(
        found, "h", {f"{kind}_{k}": v for kind in ("own", "joint") for k, v in scores.items()}
    )
    save_sheet(found, DECODABILITY, PARAMETERS, np.zeros((2, 2, 16, 16, 3), np.uint8))
    picture = found.images[0]
    recipe = dataclasses.replace(recipe_of(found, 0), pixels=pixels_digest(picture))
    keep_render(found, Rendered(picture=picture, recipe=recipe))
    description = Classifier(model="nowhere", revision="", labels=())
    save_reader(home, "kept", description)
    (found.folder / READERS).mkdir()
    note = {"schema": 1, "digest": "0", "version": "1", "description": description.to_json()}
    (found.folder / READERS / "kept.json").write_text(json.dumps({**note, "name": "kept"}))
    put_task(found.folder, id="fit-1", kind="fit", title="a fit", state=FAILED, message="no")
    StatusFile.of_extraction(found.folder, found.spec).finish(FAILED, "the disk is full")
    (found.folder / PROMPTS).write_text("a prompt\n")
    (found.folder / VERIFY_JSON).write_text("{}")
    assert main(["verify", found.name, "--home", str(home)]) == 0
    return open_run(found.folder)


@pytest.fixture
def run(furnished, tmp_path):
    """A copy of it, to be spoilt."""
    home = shutil.copytree(furnished.home, tmp_path / "copy")
    return open_run(furnished.name, home)


def only(folder, pattern):
    (path,) = sorted(folder.glob(pattern))[:1]
    return path


KINDS = {
    "run.json": lambda run: run.folder / RUN_JSON,
    "manifest": lambda run: run.folder / MANIFEST,
    "shard": lambda run: run.folder / SHARDS / run.shards[0].file,
    "index": lambda run: run.folder / INDEX,
    "labels": lambda run: run.folder / LABELS / "mine.csv",
    "record of labels": lambda run: run.folder / LABELS / "mine.json",
    "direction": lambda run: run.folder / DIRECTIONS / "way.h5",
    "result": lambda run: only(run.folder / MEASURES, "*.json"),
    "sheet": lambda run: only(run.folder / MEASURES, "*.png"),
    "projections": lambda run: run.folder / PROJECTIONS / "h.npz",
    "render": lambda run: only(run.folder / RENDERS, "*.png"),
    "note of a reader": lambda run: run.folder / READERS / "kept.json",
    "reader": lambda run: run.folder.parent.parent / READERS / "kept.json",
    "job": lambda run: run.folder / JOB_JSON,
    "task": lambda run: run.folder / TASKS / "fit-1.json",
    "prompts": lambda run: run.folder / PROMPTS,
    "verdict": lambda run: run.folder / VERIFY_JSON,
}


def refuse(monkeypatch, spoilt):
    """The system refuses to open a file, in whatever way it is asked."""
    for module, name in ((os, "open"), (io, "open"), (builtins, "open")):
        real = getattr(module, name)

        def opened(path, *more, real=real, **options):
            if isinstance(path, (str, os.PathLike)) and os.fspath(path) == str(spoilt):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *more, **options)

        monkeypatch.setattr(module, name, opened)


def replaced(change):
    def spoil(path, other, monkeypatch):
        path.write_bytes(change(path.read_bytes(), other))

    return spoil


def made_a_folder(path, other, monkeypatch):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "cut": replaced(lambda data, other: data[: len(data) // 2]),
    "emptied": replaced(lambda data, other: b""),
    "zero-tailed": replaced(lambda data, other: data[: -len(data) // 3] + bytes(len(data) // 3)),
    "a neighbour's": replaced(lambda data, other: other),
    "noise": replaced(lambda data, other: random.Random(0).randbytes(len(data))),
    "gone": lambda path, other, monkeypatch: path.unlink(),
    "a folder": made_a_folder,
    "unreadable": lambda path, other, monkeypatch: refuse(monkeypatch, path),
}

READ = ("run.json", "manifest", "shard", "labels", "result")
"""What exports and measures read."""

PROVED = ("shard", "index", "labels", "record of labels", "direction", "manifest")
"""Of what is in these ``verify`` has to answer."""


def commands(run, out, heavy):
    name = run.name
    light = (
        ["info", name],
        ["runs"],
        ["tasks", name],
        ["labels-export", name],
        ["direction", "list", name],
        ["direction", "show", name, "way"],
        ["reader", "list"],
        ["verify", name],
    )
    more = (
        ["export", name, str(out / "out.csv")],
        ["measure", name, "--what", "decodability", "--label", "b"],
        ["compare", name, "--html", str(out / "out.html")],
    )
    return (*light, *more) if heavy or SLOW else light


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_command_ends_in_a_traceback(run, tmp_path, monkeypatch, capsys, kind, damage):
    neighbour = list(KINDS)[list(KINDS).index(kind) - 1]
    home, path, other = run.folder.parent.parent, KINDS[kind](run), KINDS[neighbour](run)
    codes = {}
    with monkeypatch.context() as patched:
        DAMAGES[damage](path, other.read_bytes(), patched)
        for given in commands(run, tmp_path, kind in READ):
            capsys.readouterr()
            code = codes[given[0]] = main([*given, "--home", str(home)])
            said = [
                line for line in capsys.readouterr().err.splitlines() if line.startswith("hcache: ")
            ]
            assert code in (0, 1, 2, 3), given
            assert code in (0, 3) or len(said) == 1 or given[0] == "verify", (given, said)
    if kind in PROVED and damage in ("cut", "emptied", "zero-tailed", "noise"):
        assert codes["verify"] == 3
    if damage == "unreadable":
        assert codes["verify"] == (1 if kind in (*PROVED, "run.json") else 0)
    if kind not in ("run.json", "manifest", "shard", "labels"):
        assert codes["info"] == codes["labels-export"] == 0
        assert codes.get("export", 0) == codes.get("measure", 0) == 0


@pytest.mark.parametrize("damage", ["cut", "noise", "a folder", "unreadable"])
@pytest.mark.parametrize("kind", ["direction", "render", "shard", "result", "projections"])
def test_no_figure_ends_in_a_traceback(run, tmp_path, monkeypatch, capsys, kind, damage):
    home, out = run.folder.parent.parent, tmp_path / "u.pdf"
    given = ["figure", "u", run.name, "--donor", "0", "--recipient", "1", "--steps", "3-3"]
    with monkeypatch.context() as patched:
        DAMAGES[damage](KINDS[kind](run), b"", patched)
        code = main([*given, "--out", str(out), "--home", str(home)])
    assert code == (1 if kind == "shard" else 0) and out.exists() == (code == 0)
    assert "Traceback" not in capsys.readouterr().err


PAGES = {label: path for path, label, _ in frame.PAGES}
PLACES = [
    (kind, damage, page)
    for k, kind in enumerate(KINDS)
    for d, damage in enumerate(DAMAGES)
    for p, page in enumerate(PAGES)
    if SLOW or (k + d) % 4 == 0 and (k + 2 * d) % len(PAGES) == p
]
"""Every kind of file with two of the damages, each on some page; slowly, all on all pages."""


@pytest.mark.parametrize(("kind", "damage", "page"), PLACES)
def test_no_page_ends_in_a_traceback(run, monkeypatch, kind, damage, page):
    monkeypatch.setenv("HCACHE_HOME", str(run.folder.parent.parent))
    st.cache_data.clear()
    st.cache_resource.clear()
    with monkeypatch.context() as patched:
        DAMAGES[damage](KINDS[kind](run), b"no such file", patched)
        app = AppTest.from_file("../dashboard.py", default_timeout=60)
        if page != "Overview":
            app.switch_page(PAGES[page])
        app.query_params["run"] = run.name
        app.run()
    assert not app.exception, app.exception
    assert app.title[0].value == page or app.error or app.warning


# -- files made at random
# --------------------------------------------------------------------------------------------------

VALUES = (None, True, -1, 2**70, 1e400, "", "x" * 300, "\ud800", [], [[]], {}, {"a": []}, "=CMD()")


def spoilt_json(rng, data):
    """A JSON value of which one part is another, is gone, or is there twice as deep."""
    if isinstance(data, dict) and data and rng.random() < 0.85:
        name = rng.choice(sorted(data))
        if rng.random() < 0.15:
            return {key: value for key, value in data.items() if key != name}
        return {**data, name: spoilt_json(rng, data[name])}
    if isinstance(data, list) and data and rng.random() < 0.7:
        at = rng.randrange(len(data))
        return [spoilt_json(rng, v) if k == at else v for k, v in enumerate(data)]
    return rng.choice(VALUES)


def spoilt_bytes(rng, data):
    """Bytes of which some are others, a piece is gone, or a piece is there twice."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) or 1)
        how, length = rng.randrange(3), rng.randrange(1, 60)
        if how == 0:
            data[at : at + length] = rng.randbytes(len(data[at : at + length]))
        elif how == 1:
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length]
    return bytes(data)


def looked_at(kind, run):
    """What reads a file of that kind, for the command line and for pages."""
    home = run.folder.parent.parent
    if kind == "result":
        assert len(list_records(run)) <= 1
        cells_of(run)
    elif kind == "sheet":
        load_sheet(run, DECODABILITY, PARAMETERS)
    elif kind == "projections":
        load_projections(run, "h")
    elif kind == "render":
        kept_render(run, KINDS[kind](run).stem)
    elif kind in ("labels", "record of labels"):
        assert len(run.label_files.sets) + len(run.label_files.problems) == 2
    elif kind == "note of a reader":
        read_by(run)
        assert main(["info", run.name, "--home", str(home)]) == 0
    elif kind == "reader":
        load_description(home, "kept")
    elif kind == "direction":
        assert {*damaged_moves(run), *(entry.name for entry in list_moves(run))} == {"way"}
        load_move(run, "way")


OTHERS = (
    Texts(model="nowhere", attributes={"a": ("is", "is not")}),
    Function(target="package.module:function"),
    Clicks(
        attribute="a",
        encoder="dino",
        head={"weight": np.zeros(3, np.float32), "bias": np.zeros(1, np.float32)},
        quality={"metric": "AUC", "score": 0.9},
    ),
)
"""Readers of the other kinds."""

FUZZED = (
    "result",
    "sheet",
    "projections",
    "render",
    "labels",
    "record of labels",
    "note of a reader",
    "reader",
)


@pytest.mark.parametrize("kind", [*FUZZED, "direction"])
def test_a_file_made_at_random_is_read_or_refused(run, capsys, kind):
    """Values replaced inside JSON, and bytes anywhere: nothing but an error of hcache's own."""
    rng, path, refused = random.Random(f"fuzz {kind}"), KINDS[kind](run), 0
    originals = [path.read_bytes()]
    if kind == "reader":
        originals += [json.dumps({"schema": 1, **r.to_json()}).encode() for r in OTHERS]
    for number in range(TRIES):
        whole = rng.choice(originals)
        if path.suffix == ".json" and number % 3:
            text = json.dumps(spoilt_json(rng, json.loads(whole)))
            path.write_bytes(text.encode(errors="surrogatepass"))
        else:
            path.write_bytes(spoilt_bytes(rng, whole))
        try:
            looked_at(kind, run)
        except HcacheError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1, error
        assert "Traceback" not in capsys.readouterr().err
    for whole in originals:
        path.write_bytes(whole)
        looked_at(kind, run)
    assert refused or kind not in ("reader", "direction")
    shutil.rmtree(run.folder)
