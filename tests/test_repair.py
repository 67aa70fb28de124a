"""Repair is one function for the command line and the dashboard: under the lock, and asked about
where the run came from elsewhere.
"""

import io
import json
import sys

import pytest
from tiny import assert_same_contents, drain

from hcache.background import kinds
from hcache.background.kinds import REPAIR, Repairing
from hcache.background.processes import DONE
from hcache.background.status import StatusFile
from hcache.background.tasks import read_task, task_id
from hcache.cache.layout import HOLDER_JSON, INDEX, LABELS, SHARDS
from hcache.cache.locks import holder_of
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import CacheError, UsageError
from hcache.extraction.repair import repair


@pytest.fixture
def damaged(copied_run):
    """A run whose first shard lost a byte. It was never begun here: its model is somebody's."""
    path = copied_run.folder / SHARDS / copied_run.shards[0].file
    path.write_bytes(path.read_bytes()[:-1])
    return copied_run


def given(run, *more):
    return ["repair", *more, run.name, "--home", str(run.home)]


def contents(run):
    return {path.name: path.read_bytes() for path in (run.folder / SHARDS).iterdir()}


def drive(work, text):
    return drain(work)[1]


def never(spec):
    raise AssertionError("nothing is to be extracted")


def test_an_index_that_a_killed_repair_left_out_is_made_again(copied_run):
    """The repair before had committed every shard, so that nothing else is to be mended."""
    (copied_run.folder / INDEX).unlink()
    repair(copied_run.folder, never, never, drive)
    assert (copied_run.folder / INDEX).is_file() and open_run(copied_run.folder).complete


def test_a_received_run_is_repaired_only_once_that_is_said(damaged, tiny_run, capsys):
    before = contents(damaged)
    assert main(given(damaged)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert damaged.spec.model in line and "--yes" in line and contents(damaged) == before
    assert main(given(damaged, "--yes")) == 0
    assert_same_contents(open_run(damaged.folder), tiny_run)


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("", 2), ("y", 0)])
def test_who_sits_before_it_is_asked(damaged, monkeypatch, capsys, answer, code):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    before = contents(damaged)
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    assert main(given(damaged)) == code
    said = capsys.readouterr()
    assert damaged.spec.model in said.err and "[y/N]" in said.out
    assert (contents(damaged) == before) == (code == 2)


def test_a_run_that_this_user_began_is_not_asked_about(damaged, tiny_run, capsys):
    StatusFile.of_extraction(damaged.folder, damaged.spec).finish(DONE)
    assert main(given(damaged)) == 0
    assert_same_contents(open_run(damaged.folder), tiny_run)


def test_where_no_model_is_run_nothing_is_asked(copied_run):
    (copied_run.folder / LABELS).mkdir(exist_ok=True)
    (copied_run.folder / LABELS / "mine.csv").write_text("no labels")
    done = repair(copied_run.folder, never, never, drive)
    assert [path.name for path in done.set_aside] == ["mine.csv.bad"] and done.exit_code == 0


def test_the_lock_is_held_from_the_first_look_to_the_last(damaged):
    held = []

    def look(work, text):
        held.append(holder_of(damaged.folder / HOLDER_JSON))
        return drain(work)[1]

    def extract(spec):
        held.append(holder_of(damaged.folder / HOLDER_JSON))

    done = repair(damaged.folder, extract, lambda spec: None, look)
    assert len(held) == 3 and None not in held and len({holder.token for holder in held}) == 1
    assert holder_of(damaged.folder / HOLDER_JSON) is None
    assert done.exit_code == 3 and not done.after.complete, "nothing was made again"


def test_what_ends_the_asking_leaves_the_run_as_it_was(damaged):
    def refuse(spec):
        assert spec == damaged.spec
        raise UsageError("no")

    before = contents(damaged)
    with pytest.raises(UsageError, match="^no$"):
        repair(damaged.folder, never, refuse, drive)
    assert contents(damaged) == before


def test_what_could_not_be_read_is_neither_asked_about_nor_touched(damaged, monkeypatch):
    from hcache.cache import verify

    def unreadable(path):
        raise PermissionError(13, "Permission denied", str(path))

    before = contents(damaged)
    monkeypatch.setattr(verify, "opened", unreadable)
    with pytest.raises(CacheError, match="nothing was changed"):
        repair(damaged.folder, never, never, drive)
    assert contents(damaged) == before


def background(monkeypatch, capsys, home, work):
    """What the process does that the dashboard starts: its exit code and what it says."""
    order = {"home": str(home), "run": work.run, "kind": work.kind, "order": work.order()}
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(order).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    return main(["background"]), capsys.readouterr().err


def test_the_dashboards_task_does_the_same(damaged, tiny_run, monkeypatch, capsys):
    work = Repairing(run=damaged.name, spec=damaged.spec)
    (damaged.folder / "tasks").mkdir(exist_ok=True)
    code, _ = background(monkeypatch, capsys, damaged.home, work)
    assert code == 0 and read_task(damaged.folder, task_id(work)).state == DONE
    assert_same_contents(open_run(damaged.folder), tiny_run)


def test_a_task_does_not_repair_what_has_become_another_run(
    damaged, twin_spec, monkeypatch, capsys
):
    work = Repairing(run=damaged.name, spec=twin_spec)
    (damaged.folder / "tasks").mkdir(exist_ok=True)
    before = contents(damaged)
    code, said = background(monkeypatch, capsys, damaged.home, work)
    assert code == 2 and "another run meanwhile" in said and contents(damaged) == before


@pytest.fixture
def twin_spec(damaged):
    import dataclasses

    return dataclasses.replace(damaged.spec, seed=77)


def test_the_work_survives_json_and_says_what_it_does(damaged):
    work = Repairing(run="renamed", spec=damaged.spec)
    assert kinds.read_work(REPAIR, "renamed", json.loads(json.dumps(work.order()))) == work
    told = kinds.in_full(work)
    assert "python -m hcache repair --yes -- renamed" in told and damaged.spec.model in told
    for order in ({}, {"spec": None}, {"spec": {}}, {**work.order(), "more": 1}):
        with pytest.raises(UsageError):
            kinds.read_work(REPAIR, "renamed", order)
