"""The command line's directions: fitted, listed, shown; each failure in one line."""

import json

import numpy as np
import pytest
from test_cli import failure, json_of, out_of

from hcache.cards import default_spec
from hcache.directions.direction import digest_of
from hcache.directions.fitting import Fit
from hcache.directions.naive import naive_direction
from hcache.directions.store import load_move
from hcache.errors import UsageError
from hcache.extraction.run import extract
from hcache.specs import parse_samples


@pytest.fixture
def run(tiny_model, tiny_folder, isolated_home):
    spec = default_spec(str(tiny_folder), samples=12, steps=3, store={"h": "full"}, batch=6)
    made = extract(tiny_model, spec, isolated_home)
    labels = made.folder / "labels"
    labels.mkdir()
    (labels / "mine.csv").write_text(
        "sample,age\n" + "".join(f"{i},{(7 * i) % 12}\n" for i in range(12))
    )
    return made


def test_a_direction_from_a_label_is_that_of_its_top_samples(capsys, run):
    out = out_of(
        capsys, "direction", "fit", run.name, "--method", "naive", "--label", "age", "--top", "3"
    )
    assert out.startswith("saved naive (")
    top = [int(i) for i in np.argsort([(7 * i) % 12 for i in range(12)])[::-1][:3]]
    move = load_move(run, "naive")
    np.testing.assert_array_equal(move.delta, naive_direction(run, top).delta)
    assert move.made_by["label"] == "age" and sorted(move.made_by["positives"]) == sorted(top)


def test_fit_list_and_show(capsys, run):
    fitted = json_of(
        capsys,
        "direction",
        "fit",
        run.name,
        "--method",
        "supervised",
        "--label",
        "age",
        "--top",
        "4",
        "--name",
        "age",
        "--end",
        "lowest",
    )
    (entry,) = fitted["directions"]
    assert entry["digest"] == digest_of(load_move(run, "age"))
    out_of(
        capsys,
        "direction",
        "fit",
        run.name,
        "--method",
        "naive",
        "--positives",
        "1,4-6",
        "--name",
        "picked",
    )
    listed = json_of(capsys, "direction", "list", run.name)
    assert [(e["name"], e["method"]) for e in listed] == [
        ("age", "supervised"),
        ("picked", "naive"),
    ]
    assert listed[1]["made_by"]["positives"] == [1, 4, 5, 6]
    shown = json_of(capsys, "direction", "show", run.name, "age")
    assert (
        len(shown["profile"]) == 3
        and set(shown["cosines"]) == {"picked"}
        and shown["digest"] == entry["digest"]
    )
    text = out_of(capsys, "direction", "show", run.name, "age")
    assert "cosine with picked" in text and "length at each step" in text


def test_methods_with_several_directions_number_them(capsys, run):
    out_of(capsys, "direction", "fit", run.name, "--method", "pca", "--option", "count=2")
    out_of(
        capsys,
        "direction",
        "fit",
        run.name,
        "--method",
        "jacobian",
        "--option",
        "count=2",
        "--option",
        "last=0",
        "--option",
        "iterations=2",
        "--device",
        "cpu",
    )
    names = [entry["name"] for entry in json_of(capsys, "direction", "list", run.name)]
    assert names == ["jacobian.0", "jacobian.1", "pca.0", "pca.1"]
    out_of(
        capsys,
        "direction",
        "fit",
        run.name,
        "--method",
        "arithmetic",
        "--name",
        "both",
        "--option",
        "of=pca.0,pca.1",
    )
    assert "no saved" not in out_of(capsys, "direction", "list", run.name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "--method", "naiv", "--label", "age"), "naive"),
        (("fit", "--method", "naive", "--label", "aeg"), "age"),
        (("fit", "--method", "naive", "--positives", "1"), "2 to 11 positives|needs 2 positives"),
        (("fit", "--method", "naive"), "give --label LABEL .* or --positives"),
        (("fit", "--method", "naive", "--positives", "1,x"), "1,4,10-12"),
        (("fit", "--method", "naive", "--label", "age", "--positives", "1"), "leave --positives"),
        (("fit", "--method", "supervised", "--label", "age", "--top", "7"), "1 to 6"),
        (("fit", "--method", "pca", "--option", "count"), "NAME=VALUE"),
        (("fit", "--method", "pca", "--option", "cuont=2"), "count"),
        (("fit", "--method", "pca", "--name", "../x"), "80 letters"),
        (("show", "none"), "no direction"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(capsys, run, arguments, words):
    import re

    command, *rest = arguments
    code = 1 if "positives|" in words else 2
    assert re.search(words, failure(capsys, code, "direction", command, run.name, *rest))


def test_a_name_that_is_taken_is_not_taken_away(capsys, run):
    fit = ("direction", "fit", run.name, "--method", "naive", "--name", "mine")
    out_of(capsys, *fit, "--positives", "1,2")
    before = digest_of(load_move(run, "mine"))
    assert "--replace" in failure(capsys, 2, *fit, "--positives", "3,4")
    assert digest_of(load_move(run, "mine")) == before
    out_of(capsys, *fit, "--positives", "3,4", "--replace")
    assert digest_of(load_move(run, "mine")) != before


def test_samples_are_numbers_and_ranges():
    assert parse_samples("1, 4,10-12") == (1, 4, 10, 11, 12) and parse_samples(None) == ()
    for text in ("a", "1-b", "-"):
        with pytest.raises(UsageError, match="numbers and ranges"):
            parse_samples(text)


def test_what_made_a_direction_makes_it_again(capsys, run):
    out_of(capsys, "direction", "fit", run.name, "--method", "pca", "--option", "count=2")
    made_by = json_of(capsys, "direction", "show", run.name, "pca.1")["made_by"]
    again = ("direction", "fit", run.name, "--name", "again", "--made-by")
    found = json_of(capsys, *again, json.dumps(made_by))["directions"]
    assert [entry["name"] for entry in found] == [
        "again.0",
        "again.1",
    ], "the whole fit, whichever component was named"
    assert [entry["digest"] for entry in found] == [
        digest_of(load_move(run, f"pca.{k}")) for k in range(2)
    ]
    for data, more, words in (
        ("{", (), "takes JSON"),
        ("{}", (), "not the description"),
        (json.dumps({**made_by, "run": "other"}), (), "of run other"),
        (json.dumps(made_by), ("--label", "age"), "leave --label out"),
    ):
        assert words in failure(capsys, 2, *again, data, *more)
    assert "--made-by" in failure(capsys, 2, "direction", "fit", run.name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": "abc"}, "options: expected names with values, got 'abc'"),
        ({"options": ["count"]}, "options: expected names with values, got ['count']"),
        ({"positives": [0.7, True]}, "positives[0]: expected the number of a sample, got 0.7"),
        ({"negatives": [1, True]}, "negatives[1]: expected the number of a sample, got True"),
        ({"positives": [-1]}, "positives[0]: expected the number of a sample, got -1"),
        ({"positives": "12"}, "positives: expected a list, got '12'"),
        ({"label": {}}, "label: expected text, got {}"),
        ({"component": "x"}, "component: expected a whole number from 0 to"),
        ({"site": 3}, "site: expected text, got 3"),
        ({"method": ["pca"]}, "method: expected text, got ['pca']"),
        ({"run": 3}, "run: expected text, got 3"),
    ],
    ids=str,
)
def test_a_description_with_a_wrong_value_is_refused_in_one_line(capsys, run, changes, words):
    """It names the key, what was expected and what came."""
    made_by = {"method": "pca", "run": run.name, **changes}
    line = failure(capsys, 2, "direction", "fit", run.name, "--made-by", json.dumps(made_by))
    assert "not the description of a direction: " + words in line and "direction show" in line


def test_a_description_may_be_any_json_and_say_more(capsys, run):
    for data in ([1], 3, None, "pca"):
        line = failure(capsys, 2, "direction", "fit", run.name, "--made-by", json.dumps(data))
        assert "what it holds: expected names with values, got" in line
    more = {"method": "pca", "run": run.name, "net": {"net_rms": 1}, "operands": [1]}
    assert Fit.from_json(more) == Fit(method="pca", run=run.name)
