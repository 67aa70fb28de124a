"""The verdict reads what was measured, says nothing that was not, and ranks only what may be
ranked.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs
from test_cli import failure, json_of, out_of
from tiny import synthetic_run

from hcache.analysis.estimate import Estimate
from hcache.cache.files import write_json
from hcache.cache.layout import LABELS, RUN_JSON
from hcache.cache.reading import first_samples, open_run
from hcache.cache.records import SCHEMA, Record, save_record
from hcache.figures.verdict import verdict_table
from hcache.measures.cell import Cell
from hcache.measures.cells import cells_of, with_families
from hcache.measures.declared.decodability import DECODABLE, IN_X
from hcache.measures.declared.directions import CONTROLLABLE, LINEAR
from hcache.measures.kinds import DECODABILITY, DIRECTION
from hcache.measures.noise import log_snr_of, middle_step, spread_steps, windows_of
from hcache.measures.registry import as_of_today, measured_by
from hcache.measures.verdict import Row, compare, ranking, why_not_ranked
from hcache.recipes.window import Window
from hcache.specs import RunSpec

STEPS, SAMPLES = 4, 60


def planted(home, seed, alpha_bar=None, signal=3.0):
    """A run whose h holds a label at steps 2 and 3."""
    rng = np.random.default_rng(seed)
    label = rng.normal(size=SAMPLES)
    h = rng.normal(size=(STEPS, SAMPLES, 2, 4, 4))
    h[2:] += signal * label[None, :, None, None, None]
    spec = RunSpec(model="planted", samples=SAMPLES, steps=STEPS, store_dtype="float32", seed=seed)
    x = rng.normal(size=(STEPS + 1, SAMPLES, 3, 8, 8)).astype(np.float32)
    run = synthetic_run(home, spec, h.astype(np.float32), x=x)
    description = json.loads((run.folder / RUN_JSON).read_text())
    write_json(
        run.folder / RUN_JSON,
        description | {"provenance": {"alpha_bar": alpha_bar} if alpha_bar else {}},
    )
    (run.folder / LABELS).mkdir()
    rows = "".join(f"{i},{value}\n" for i, value in enumerate(label))
    (run.folder / LABELS / "mine.csv").write_text("sample,age\n" + rows)
    return open_run(run.folder)


def estimate(value, width=0.1):
    return {"value": value, "low": value - width, "high": value + width, "n": 9, "level": 0.95}


@pytest.fixture
def run(tmp_path):
    return planted(tmp_path, 0, [0.05, 0.3, 0.45, 0.9])


def test_the_step_of_equal_signal_and_noise_is_chosen_whatever_it_scores(run):
    np.testing.assert_allclose(log_snr_of(run)[2], np.log(0.45 / 0.55))
    assert middle_step(run, range(4)) == 2 and middle_step(run, [0, 1]) == 1


def test_a_run_that_does_not_say_its_noise_takes_the_middle_step(tmp_path):
    run = planted(tmp_path, 0)
    assert np.isnan(log_snr_of(run)).all() and middle_step(run, [0, 1, 3]) == 1


def test_windows_are_cut_at_noise_levels(run, tmp_path):
    """log SNRs of -2.9, -0.8, -0.2 and 2.2."""
    assert windows_of(run, (-2.0, 0.0)) == [
        Window(first=0, last=0),
        Window(first=1, last=2),
        Window(first=3, last=3),
    ]
    assert windows_of(run, (5.0,)) == [Window(first=0, last=3)], (
        "a window without a step is left out"
    )
    assert spread_steps(run, 2) == [0, 2, 3], "and those on either side of log SNR 0"
    unsaid = planted(tmp_path / "other", 0)
    assert windows_of(unsaid, (0.0,)) == [Window(first=0, last=1), Window(first=2, last=3)]


def test_what_is_decodable_is_said_with_its_step_and_null(run, capsys):
    out = out_of(
        capsys,
        "measure",
        run.name,
        "--what",
        "decodability",
        "--home",
        str(run.folder.parent.parent),
    )
    assert "decodable age" in out
    cells = cells_of(run)
    assert set(cells) == {(DECODABLE, "age"), (IN_X, "age")}
    cell = cells[DECODABLE, "age"]
    assert (
        cell.estimate.value > 0.8
        and cell.note == "at log SNR 0, between steps 2 and 3"
        and cell.p == 0.01
    )
    assert (cell.family_p, cell.asked, len(cell.drawn)) == (
        0.01,
        1,
        99,
    ) and cell.estimate.n == SAMPLES
    assert cell.unit == "R²" and cell.null < 0.2
    rows = {row["step"]: row["score"]["value"] for row in cell.evidence.result["steps"]}
    assert min(rows[2], rows[3]) <= cell.estimate.value <= max(rows[2], rows[3])
    assert cells[IN_X, "age"].p > 0.05, "there is only noise"


def test_nothing_is_said_of_what_was_not_measured(run):
    assert cells_of(run) == {}
    save_record(run, "responses", {"move": ""}, {"readings": {}})
    assert cells_of(run) == {}, "kinds that answer none of the questions are passed over"


def test_a_direction_answers_for_what_it_is_named_after(run):
    found = {
        "controllability": {
            "change": estimate(0.7),
            "effect": estimate(5),
            "p": 0.01,
            "random": 0.1,
            "directions": 8,
        },
        "linearity": {"r2": estimate(0.95), "nulls": [{"r2": estimate(0.4)}, {"r2": None}]},
        "verdict": "linear",
    }
    save_record(run, DIRECTION, {"name": "smile"}, {"readings": {"smile": found, "yaw": found}})
    save_record(run, DIRECTION, {"name": "other"}, {"readings": {"smile": found}})
    cells = cells_of(run)
    assert set(cells) == {(CONTROLLABLE, "smile"), (LINEAR, "smile")}
    assert "5.0 times a random direction" in str(cells[CONTROLLABLE, "smile"])
    assert "linear" in str(cells[LINEAR, "smile"]) and cells[LINEAR, "smile"].null == pytest.approx(
        0.4
    )


def test_too_few_samples_are_told_with_how_many_would_do(run, capsys):
    found = {
        "controllability": {
            "change": estimate(0.7),
            "effect": estimate(5),
            "p": 0.01,
            "random": 0.1,
            "directions": 8,
        },
        "linearity": {"r2": estimate(0.95), "nulls": []},
        "verdict": "undecided",
    }
    save_record(run, DIRECTION, {"name": "smile"}, {"readings": {"smile": found}})
    assert "half as wide takes about 36" in cells_of(run)[LINEAR, "smile"].note
    home = ("--home", str(run.folder.parent.parent))
    rows = json_of(capsys, "measure", run.name, "--what", "decodability", "--width", "0.1", *home)
    needed = {row["question"]: row["needed"] for row in rows}
    assert needed[LINEAR] == 36, "9 samples gave 0.2"
    text = out_of(capsys, "measure", run.name, "--what", "decodability", "--width", "0.1", *home)
    assert "n for a width of 0.1" in text
    assert "above 0" in failure(capsys, 2, "measure", run.name, "--width", "0", *home)


def test_what_was_measured_before_the_run_grew_is_not_said(run):
    save_record(
        run,
        DECODABILITY,
        {"label": "age", "site": "h", "pooled": False},
        {"metric": "R²", "steps": [{"step": 2, "score": estimate(0.5), "control": 0, "p": 0.05}]},
    )
    assert len(cells_of(run)) == 1
    manifest = run.folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"bytes": ', '"bytes":  '))
    assert len(cells_of(open_run(run.folder))) == 1, "the same shards"
    shorter = open_run(run.folder)
    object.__setattr__(shorter, "shards", ())
    assert cells_of(shorter) == {}


def test_what_was_measured_of_other_values_is_not_said(run, capsys):
    out_of(
        capsys,
        "measure",
        run.name,
        "--what",
        "decodability",
        "--home",
        str(run.folder.parent.parent),
    )
    assert (DECODABLE, "age") in cells_of(run)
    (run.folder / LABELS / "mine.csv").write_text(
        "sample,age\n" + "".join(f"{i},{i}\n" for i in range(SAMPLES))
    )
    assert cells_of(open_run(run.folder)) == {}


def cell(value, unit="R²", n=9):
    record = Record(
        kind="direction", parameters={}, result=None, samples=9, state="", schema=SCHEMA
    )
    return Cell(
        question="q",
        subject="s",
        estimate=Estimate(**{**estimate(value), "n": n}),
        null=0.0,
        p=None,
        note="",
        unit=unit,
        evidence=record,
    )


def test_intervals_of_a_section_are_drawn_on_one_scale_for_each_unit():
    """Each is 0.2 wide; beside a value of 9 that is a short line, in another unit it is not."""
    rows = [
        Row(question=DECODABLE, subject=name, cells={"a": cell(value, unit)}, groups=())
        for name, value, unit in (("p", 0.0, "R²"), ("q", 9.0, "R²"), ("r", 0.0, "AUC"))
    ]
    ends = re.findall(r"class='interval' x1='([\d.]+)' x2='([\d.]+)'", verdict_table(rows, ["a"]))
    one, two, alone = (float(end) - float(start) for start, end in ends)
    assert one == pytest.approx(two, abs=0.2) and alone > 20 * one


def test_runs_are_ranked_only_where_their_difference_is_known():
    assert ranking({"a": cell(0.1), "b": cell(0.9)}) == (("b",), ("a",))
    assert ranking({"a": cell(0.1), "b": cell(0.2)}) == (("b", "a"),)
    assert ranking({"a": cell(0.1), "b": cell(0.9, "AUC")}) == (("a", "b"),), (
        "different units are not compared"
    )
    assert ranking({"a": cell(0.1), "b": cell(0.9, n=512)}) == (("a", "b"),), (
        "nor are different numbers of samples"
    )
    near = {"a": cell(0.1), "b": cell(0.26)}
    assert len(ranking(near)) == 2 and len(ranking(near, comparisons=200)) == 1, (
        "a large table takes more"
    )
    definition = structs.replace(cell(0.9).evidence, parameters={"definition": 2})
    older = replace(cell(0.9), evidence=definition)
    assert why_not_ranked({"a": cell(0.1), "b": older}) == "different definitions"


def test_only_known_pairs_are_drawn():
    cells = {
        "a": cell(0.1),
        "b": cell(0.9),
        "c": replace(cell(0.5), estimate=Estimate(**estimate(0.5, 0.5))),
    }
    row = Row(question=DECODABLE, subject="s", cells=cells, groups=(), larger=(("b", "a"),))
    assert "B &gt; A</td>" in verdict_table([row], ["a", "b", "c"]), (
        "c overlaps both and is nobody's equal"
    )
    nothing = replace(cells["c"], estimate=Estimate.undefined("donor and recipient are alike", 9))
    row = Row(question=DECODABLE, subject="s", cells={"a": nothing}, groups=())
    table = verdict_table([row], ["a"])
    assert "undefined: donor and recipient are alike" in table and "<svg" not in table
    assert str(nothing) == "undefined: donor and recipient are alike"


def drawn_cells(draws, unit="R²", names="l"):
    """A cell for each row of draws (k, 1 + m): the answer, and m draws of its null."""
    return {
        (DECODABLE, f"{names}{i}"): replace(
            cell(0.0, unit),
            p=float((row >= row[0]).mean()),
            estimate=Estimate(**estimate(row[0])),
            drawn=tuple(row[1:]),
        )
        for i, row in enumerate(draws)
    }


@pytest.mark.parametrize("mixed", [False, True], ids=["one unit", "two units"])
def test_the_answers_to_one_question_are_a_family(mixed):
    """Of 20 labels of nothing, some p of their own are small; as a family they are so in 5 % of
    runs. Classes have fewer shuffles and another unit than values.
    """
    alone = family = 0
    for seed in range(100):
        draws = np.random.default_rng([3, seed]).normal(size=(20, 100))
        cells = drawn_cells(draws[:12] if mixed else draws)
        if mixed:
            cells |= drawn_cells(draws[12:, :20], "AUC", "c")
        alone += any(each.p <= 0.05 for each in cells.values())
        found = with_families(cells)
        family += any(each.family_p <= 0.05 for each in found.values())
        assert {each.asked for each in found.values()} == {20}
    assert alone > 50 and family <= 10, (alone, family)
    bare = {key: replace(each, drawn=(), p=0.01) for key, each in cells.items()}
    assert with_families(bare)[DECODABLE, "l0"].family_p == pytest.approx(0.2), (
        "by Holm, where no draws were kept"
    )


def test_labels_of_two_units_can_both_be_called():
    """Seven values with 99 shuffles, and glasses with 19: by Holm over all of them the least p of
    any was 0.08, however well they were decoded.
    """
    draws = np.random.default_rng(0).normal(size=(8, 100))
    draws[:, 0] = 99
    found = with_families({**drawn_cells(draws[:7]), **drawn_cells(draws[7:, :20], "AUC", "c")})
    assert found[DECODABLE, "l3"].family_p == pytest.approx(0.02)
    assert found[DECODABLE, "c0"].family_p == pytest.approx(0.05)


def test_results_of_an_older_definition_are_read_and_said_to_be_so(run):
    row = {"step": 2, "score": estimate(0.5), "control": 0.0, "p": 0.05}
    given = {"label": "age", "site": "h", "pooled": False, "values": {}}
    save_record(run, DECODABILITY, given, {"metric": "R²", "steps": [row]})
    (old,) = cells_of(run).values()
    assert old.estimate.value == 0.5 and "older definition" in old.warning
    newer = {**row, "score": estimate(0.4), "drawn": [0.0] * 19}
    save_record(
        run, DECODABILITY, as_of_today(DECODABILITY, given), {"metric": "R²", "steps": [newer]}
    )
    (new,) = cells_of(run).values()
    assert new.estimate.value == 0.4 and not new.warning, "what is of today goes before"


def test_compare_puts_runs_side_by_side(tmp_path, capsys):
    alpha_bar = [0.05, 0.3, 0.45, 0.9]
    strong, none = planted(tmp_path, 0, alpha_bar), planted(tmp_path, 1, alpha_bar, signal=0.0)
    home = ("--home", str(tmp_path))
    assert "nothing was measured" in failure(capsys, 2, "compare", strong.name, none.name, *home)
    for run in (strong, none):
        out_of(capsys, "measure", run.name, "--what", "decodability", *home)
    text = out_of(capsys, "compare", strong.name, none.name, *home)
    assert f"A: {strong.name}" in text and "A > B" in text
    row = next(
        row
        for row in json_of(capsys, "compare", strong.name, none.name, *home)
        if row["question"] == DECODABLE
    )
    assert row["ranking"] == [[strong.name], [none.name]] and set(row["cells"]) == {
        strong.name,
        none.name,
    }
    rows = {row.key: row for row in compare([strong, none])}
    found = rows[DECODABLE, "age"].cells
    assert found[none.name].p > 0.05 >= found[strong.name].p
    missing = rows[CONTROLLABLE, "age"]
    assert (
        missing.cells == {} and missing.groups == () and measured_by(*missing.key) == "directions"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--label", "eag"), "age"),
        (("--what", "directions"), "no reader reads the run's edited pictures"),
        (("--what", "all"), "choose from"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(run, capsys, arguments, words):
    home = str(run.folder.parent.parent)
    assert words in failure(capsys, 2, "measure", run.name, *arguments, "--home", home)


def test_measuring_again_is_a_lookup(run, capsys, monkeypatch):
    from hcache.measures import decodability

    home = ("--home", str(run.folder.parent.parent))
    first = json_of(capsys, "measure", run.name, "--what", "decodability", *home)
    monkeypatch.setattr(decodability, "data_of", None)
    assert json_of(capsys, "measure", run.name, "--what", "decodability", *home) == first


def sized(home, seed, samples, signal=0.6):
    """A run in shards of 20 whose h holds a label, by a signal that more samples make easier."""
    rng = np.random.default_rng(seed)
    label = rng.normal(size=samples)
    h = rng.normal(size=(2, samples, 4, 4, 4))
    h[1] += signal * label[:, None, None, None] * rng.normal(size=(4, 4, 4)) / 4
    spec = RunSpec(model="sized", samples=samples, steps=2, store_dtype="float32", seed=seed)
    ranges = [(start, start + 20) for start in range(0, samples, 20)]
    x = rng.normal(size=(3, samples, 3, 8, 8)).astype(np.float32)
    run = synthetic_run(home, spec, h.astype(np.float32), ranges, x=x)
    (run.folder / LABELS).mkdir()
    rows = "".join(f"{i},{value}\n" for i, value in enumerate(label))
    (run.folder / LABELS / "mine.csv").write_text("sample,age\n" + rows)
    return open_run(run.folder)


def test_runs_of_different_sizes_are_compared_at_their_first_samples(tmp_path, capsys):
    """A probe gains by more samples; at equal n two runs of one kind are not ranked, and both
    figures are shown."""
    small, large = sized(tmp_path, 1, 40), sized(tmp_path, 2, 200)
    home = ["--home", str(tmp_path)]
    for run in (small, large):
        out_of(capsys, "measure", run.name, "--what", "decodability", *home)
    (row,) = [row for row in compare([small, large]) if row.key == (DECODABLE, "age")]
    assert row.larger == () and row.first == 0 and "--first 40" in row.why_not
    out = out_of(capsys, "compare", small.name, large.name, *home)
    (row,) = [row for row in compare([small, large]) if row.key == (DECODABLE, "age")]
    assert (row.first, row.why_not) == (40, "") and "first 40 of each" in out
    assert {cell.estimate.n for cell in row.compared.values()} == {40}
    assert [row.cells[run.name].estimate.n for run in (small, large)] == [40, 200]
    assert row.cells[large.name].estimate.value > row.compared[large.name].estimate.value
    assert row.larger == (), "one kind of run: nothing is known to be larger"
    assert "first 40 of each" in verdict_table([row], [small.name, large.name])


def test_what_is_known_at_equal_n_is_said_with_the_samples(tmp_path, capsys):
    weak, strong = sized(tmp_path, 1, 40, 0.0), sized(tmp_path, 2, 200, 12.0)
    for run in (weak, strong):
        command = ["measure", run.name, "--what", "decodability", "--home", str(tmp_path)]
        out_of(capsys, *command)
        if run is strong:
            out_of(capsys, *command, "--first", "40")
    (row,) = [row for row in compare([weak, strong]) if row.key == (DECODABLE, "age")]
    assert row.larger == ((strong.name, weak.name),) and row.first == 40


def test_a_run_is_cut_where_its_shards_end(tmp_path, capsys):
    run = sized(tmp_path, 1, 60)
    words = failure(
        capsys, 2, "measure", run.name, "--first", "30", "--home", str(tmp_path), "--label", "age"
    )
    assert "cannot be cut to its first 30 samples" in words and "20 or 40" in words
    part = first_samples(run, 40)
    assert len(part) == 40 and first_samples(run, 60) is run
    np.testing.assert_array_equal(part.matrix("h", 1), run.matrix("h", 1)[:40])
    np.testing.assert_array_equal(part.labels["mine"]["age"], run.labels["mine"]["age"][:40])
