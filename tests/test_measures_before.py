"""Results that an earlier version stored are read and shown as they were then."""

import json
import shutil
from pathlib import Path

import pytest

from hcache.cache.reading import open_run
from hcache.cache.records import list_records, load_sheet, stale_results
from hcache.measures.cells import cells_of
from hcache.measures.declared.swaps import carriers
from hcache.measures.evidence import Evidence
from hcache.measures.kinds import SWAP
from hcache.measures.verdict import compare
from hcache.report.document import verdict_report
from hcache.report.exhibits import exhibits

FOLDER = Path(__file__).parent / "files_of_before" / "measures"
SAID = json.loads((FOLDER / "cells.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A copy of the run: opening one may write beside it."""
    (folder,) = (path for path in FOLDER.iterdir() if path.is_dir())
    copy = tmp_path_factory.mktemp("before") / "runs" / folder.name
    shutil.copytree(folder, copy)
    return open_run(copy)


def test_the_verdict_says_what_it_said(run):
    assert {" | ".join(key): str(cell) for key, cell in cells_of(run).items()} == SAID
    assert len(SAID) == 10
    answered = {row.key for row in compare([run]) if row.cells}
    assert {tuple(key.split(" | ")) for key in SAID} == answered


def test_every_result_is_current_and_the_pictures_are_found(run):
    records = list_records(run)
    assert len(records) == len(list((run.folder / "measures").glob("*.json"))) > 10
    assert stale_results(run) == []
    whole = [each for each in records if each.kind == SWAP and each.parameters["own"]]
    assert [load_sheet(run, SWAP, each.parameters).shape[1] for each in whole] == [5]


def test_all_evidence_is_drawn(run):
    evidence = {run.name: Evidence(run)}
    for row in compare([run]):
        if row.cells:
            found = exhibits(row.question, row.subject, evidence)
            assert any(each.figure is not None and len(each.figure.data) for each in found), row.key
    assert {row.quantity for row in carriers(evidence[run.name]).rows} >= {"pixels", "light"}
    html = verdict_report([run])
    assert html.count('class="chart"') >= len(SAID) and "-0.36 (-0.54 to -0.17) of n 12" in html
