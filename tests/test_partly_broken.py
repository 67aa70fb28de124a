"""A run that is broken in part: the pages say what is wrong, and the rest of them is there. A
link brings nothing.
"""

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from hcache.cache.layout import LABELS, SHARDS, VERIFY_JSON
from hcache.cli.main import main
from hcache.directions.naive import naive_direction
from hcache.directions.store import list_moves, save_move
from hcache.models import hub
from hcache.ui import frame

PAGES = {label: path for path, label, _ in frame.PAGES}


@pytest.fixture(autouse=True)
def home(copied_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    st.cache_data.clear()
    st.cache_resource.clear()
    return tmp_path / "copy"


def show(page, **address):
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    if page != "Overview":
        app.switch_page(PAGES[page])
    app.query_params.update(address)
    app.run()
    assert not app.exception, app.exception
    return app


def lose_shard(run):
    next((run.folder / SHARDS).iterdir()).unlink()


def cut_shard(run):
    path = next((run.folder / SHARDS).iterdir())
    path.write_bytes(path.read_bytes()[:500])


def zero_shard(run):
    path = next((run.folder / SHARDS).iterdir())
    path.write_bytes(bytes(path.stat().st_size))


def spoil_labels(run):
    (run.folder / LABELS).mkdir(exist_ok=True)
    (run.folder / LABELS / "bad.csv").write_bytes(b"\xff\xfe\0 no table")


def spoil_report(run):
    (run.folder / VERIFY_JSON).write_text("[1, 2")


BREAKS = (lose_shard, cut_shard, zero_shard, spoil_labels, spoil_report)


@pytest.mark.parametrize("spoil", BREAKS, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("page", PAGES)
def test_no_page_ends_in_a_traceback(page, spoil, copied_run):
    spoil(copied_run)
    app = show(page, run=copied_run.name)
    assert app.title[0].value == page and app.selectbox(key="choose-run").value == copied_run.name


@pytest.mark.parametrize("spoil", BREAKS, ids=lambda spoil: spoil.__name__)
def test_the_overview_still_lists_the_runs_and_can_verify(spoil, copied_run):
    spoil(copied_run)
    app = show("Overview", run=copied_run.name)
    headings = [heading.value for heading in app.subheader]
    assert (
        "Runs" in headings
        and "Integrity" in headings
        and any("Anatomy" in heading for heading in headings)
    )
    assert copied_run.name in app.dataframe[0].value.to_string() or app.error
    assert app.button(key="run-verify"), "what one would need now"
    assert len(app.get("page_link")) > len(PAGES), "the questions, beside the navigation"


def test_a_link_downloads_nothing(monkeypatch, copied_run):
    """Not even configurations, before a button was pressed that says what comes."""
    asked = []

    def download(*given, **more):
        asked.append((given, more))
        raise OSError("no network in tests")

    monkeypatch.setattr("hcache.models.hub.snapshot_download", download)
    link = {"model": "another folder or hub id …", "other-model": "owner/name"}
    app = show("Extract", **link)
    assert asked == [] and any(
        "owner/name" in info.value and "configuration" in info.value for info in app.info
    )
    app.button(key="read-configuration").click().run()
    assert not app.exception and "nor can it be downloaded now" in app.error[0].value
    (((source,), more),) = asked
    assert source == "owner/name" and more["allow_patterns"] == hub.CONFIGS
    assert not any(
        "safetensors" in pattern or "bin" in pattern for pattern in more["allow_patterns"]
    )


def test_a_direction_is_deleted_from_the_page_and_from_the_shell(copied_run, home, capsys):
    for name in ("one", "two"):
        save_move(copied_run, name, naive_direction(copied_run, [0, 1]))
    (copied_run.folder / "directions" / "bad.h5").write_bytes(b"no HDF5")
    app = show("Edit", run=copied_run.name, direction="one")
    app.button(key="delete-direction").click().run()
    assert not app.exception and [entry.name for entry in list_moves(copied_run)] == ["two"]
    command = ("direction", "delete", copied_run.name, "--home", str(home))
    assert main([*command, "two"]) == 0 and "naive" in capsys.readouterr().out
    assert main([*command, "bad"]) == 0 and not list((copied_run.folder / "directions").iterdir())
    assert main([*command, "two"]) == 2 and "no direction" in capsys.readouterr().err


def test_stale_results_are_taken_away_when_asked(copied_run, home, capsys):
    from hcache.cache.records import save_record

    save_record(copied_run, "codes", {"a": 1}, {})
    save_record(copied_run, "codes", {"a": 2}, {})
    path = sorted((copied_run.folder / "measures").iterdir())[0]
    path.write_text(path.read_text().replace('"state": "', '"state": "0'))
    assert main(["measure", copied_run.name, "--forget-stale", "--home", str(home)]) == 0
    assert "1 stale result deleted" in capsys.readouterr().out and not path.exists()
    assert len(list((copied_run.folder / "measures").iterdir())) == 1
