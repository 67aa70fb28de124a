"""Label sets from CSV: read right, or refused with the line; written whole or not at all."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hcache import atomic
from hcache.cache.label_files import parse_labels
from hcache.cache.labels import (
    export_labels,
    find_label,
    import_labels,
    label_name,
    mark_sample,
    save_labels,
)
from hcache.cache.layout import LABELS
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import CacheError, UsageError
from hcache.measures.suite import labels_of

KNOWN = {i: i for i in range(5)}
SEEDS = {100 + i: i for i in range(5)}


def parse(text):
    return parse_labels(text, "my.csv", KNOWN, SEEDS)


def test_samples_and_seeds_name_rows_and_empty_cells_are_no_value():
    assert parse("sample,a,b\n3,1.5,\n0,2,7\n") == {"a": {3: 1.5, 0: 2.0}, "b": {0: 7.0}}
    assert parse("a,seed\r\n1,104\r\n\r\n2,100\r\n") == {"a": {4: 1.0, 0: 2.0}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a,b\n1,2\n", "line 1: expected one column called sample or seed"),
        ("sample,seed,a\n", "line 1"),
        ("sample\n1\n", "line 1"),
        ("sample,a,a\n", "line 1"),
        ("sample,../a\n1,2\n", "line 1"),
        ("sample,a\n1,2\n9,2\n", "line 3: there is no sample 9"),
        ("sample,a\n1,2\n2,1\n1,5\n", "line 4: sample 1 was given before, in line 2"),
        ("sample,a\n1,yes\n", "line 2, a: expected a number"),
        ("sample,a\n1,nan\n", "line 2, a: expected a finite"),
        ("sample,a\n1\n", "line 2: 1 cells; expected 2"),
        ("sample,a\n1.5,2\n", "line 2: sample must be a whole"),
        ("seed,a\n1,2\n", "no seed 1"),
        ('sample,a\n1,"2\n', "not a CSV"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(text, words):
    with pytest.raises(UsageError, match=words):
        parse(text)


@settings(deadline=None, max_examples=300)
@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
    | st.from_regex(r"(sample|seed),a\n([0-9,.\n]{0,30})")
)
def test_any_text_is_labels_or_a_usage_error(text):
    try:
        columns = parse(text)
    except UsageError:
        return
    assert all(
        sample in KNOWN and np.isfinite(v)
        for values in columns.values()
        for sample, v in values.items()
    )


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50
)
@given(values=st.dictionaries(st.integers(0, 11), st.floats(-1e6, 1e6, width=32), max_size=12))
def test_what_is_exported_is_what_was_imported(copied_run, values):
    save_labels(copied_run, "mine", {"a": values})
    run = open_run(copied_run.folder)
    expected = np.array([values.get(int(s), np.nan) for s in run.sample_ids], np.float32)
    np.testing.assert_array_equal(run.labels["mine"]["a"], expected)
    again = parse_labels(
        export_labels(run, "mine").replace("sample,seed", "sample,x", 1), "e", *[KNOWN_ALL] * 2
    )["a"]
    assert {k: np.float32(v) for k, v in again.items()} == {
        k: np.float32(v) for k, v in values.items()
    }


KNOWN_ALL = {i: i for i in range(12)}


def test_the_commands_import_all_or_nothing_and_export(copied_run, tmp_path, capsys):
    home = ("--home", str(tmp_path / "copy"))
    (tmp_path / "good.csv").write_text("seed,kind\n0,1\n5,0\n")
    (tmp_path / "bad.csv").write_text("sample,kind\n0,0\n0,1\n")
    assert (
        main(["labels-import", copied_run.name, str(tmp_path / "good.csv"), "--set", "mine", *home])
        == 0
    )
    assert (
        main(["labels-import", copied_run.name, str(tmp_path / "bad.csv"), "--set", "mine", *home])
        == 2
    )
    assert "line 3" in capsys.readouterr().err
    kind = open_run(copied_run.folder).labels["mine"]["kind"]
    assert kind[0] == 1 and kind[5] == 0 and np.isnan(kind[1])
    assert main(["labels-export", copied_run.name, "--set", "mine", *home]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "sample,seed,kind" and printed[1] == "0,0,1" and printed[2] == "1,1,"
    assert main(["labels-export", copied_run.name, "--set", "mime", *home]) == 2
    assert "did you mean mine" in capsys.readouterr().err
    assert (
        main(["labels-import", copied_run.name, str(tmp_path / "none.csv"), "--set", "a", *home])
        == 2
    )


@pytest.mark.parametrize("number", [1, 0.1, np.float32(0.1), np.float64(-2), np.int64(3), True])
def test_a_number_of_any_kind_is_read_back(copied_run, number):
    save_labels(copied_run, "mine", {"a": {3: number}})
    assert copied_run.labels["mine"]["a"][3] == np.float32(number)


@pytest.mark.parametrize(
    ("name", "value"), [("=CMD()", 1.0), ("", 1.0), ("sample", 1.0), ("a", np.nan), ("a", 1e300)]
)
def test_what_could_not_be_read_back_is_not_written(copied_run, name, value):
    save_labels(copied_run, "mine", {"a": {3: 1.0}})
    with pytest.raises(UsageError, match="the label set mine"):
        save_labels(copied_run, "mine", {name: {3: value}})
    assert copied_run.labels["mine"]["a"][3] == 1


def test_a_sets_name_cannot_lead_elsewhere(copied_run, tmp_path):
    (tmp_path / "good.csv").write_text("sample,kind\n0,1\n")
    for name in ("../x", "/x", "", ".x", "a/b", "x" * 200):
        with pytest.raises(UsageError):
            import_labels(copied_run, tmp_path / "good.csv", name)


def test_a_spoilt_set_costs_no_other_and_is_one_clear_error_where_it_is_asked_for(
    copied_run, capsys
):
    save_labels(copied_run, "mine", {"a": {0: 1.0}})
    save_labels(copied_run, "good", {"b": {0: 1.0}})
    spoilt = copied_run.folder / "labels" / "mine.csv"
    spoilt.write_bytes(b"\xff\xfe")
    run = open_run(copied_run.folder)
    assert set(run.labels) == {"good"} and set(run.label_files.damaged) == {"mine"}
    for ask in (lambda: find_label(run, "mine/a"), lambda: export_labels(run, "mine")):
        with pytest.raises(CacheError, match="mine.*cannot be used"):
            ask()
    home = str(copied_run.folder.parents[1])
    assert (
        main(["verify", run.name, "--home", home]) == 3
        and "labels/mine.csv" in capsys.readouterr().out
    )
    assert main(["repair", "--yes", run.name, "--home", home]) == 0, "it is set aside, and kept"
    assert spoilt.with_name("mine.csv.bad").read_bytes() == b"\xff\xfe" and "good" in run.labels


def test_a_label_may_always_be_named_with_its_set(copied_run):
    """Also where no other set has a label of that name; it is one label all the same."""
    save_labels(copied_run, "mine", {"a": {i: float(i % 2) for i in range(len(copied_run))}})
    run = open_run(copied_run.folder)
    assert label_name(run, "mine/a") == label_name(run, "a") == "a"
    assert np.array_equal(find_label(run, "mine/a"), run.labels["mine"]["a"])
    assert labels_of(run, ["mine/a"]) == ("a",)
    with pytest.raises(UsageError, match="no label 'mine/b'"):
        label_name(run, "mine/b")
    save_labels(copied_run, "other", {"a": {0: 5.0}})
    run = open_run(copied_run.folder)
    assert label_name(run, "mine/a") == "mine/a" and find_label(run, "other/a")[0] == 5
    with pytest.raises(UsageError, match="mine/a"):
        find_label(run, "a")


# -- files that were changed since hcache wrote them
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def table(copied_run):
    """The file of a label set of all samples, whose last value has several digits."""
    save_labels(copied_run, "mine", {"b": {3: 1.0}, "a": {s: 10.25 + s for s in range(12)}})
    return copied_run.folder / "labels" / "mine.csv"


def verified(run, capsys):
    """The exit code of ``verify`` and what it said."""
    capsys.readouterr()
    code = main(["verify", run.name, "--home", str(run.folder.parents[1])])
    return code, capsys.readouterr().out


def test_a_table_that_is_cut_anywhere_is_told(copied_run, table, capsys):
    whole = table.read_bytes()
    line_end = len(b"\r\n")
    assert whole.endswith(b",21.25\r\n")
    for length in range(len(whole)):
        table.write_bytes(whole[:length])
        found = copied_run.label_files
        lost = length < len(whole) - line_end
        assert ("mine" in found.problems) == lost, whole[:length]
    table.write_bytes(whole[: whole.rindex(b".25")])
    code, said = verified(copied_run, capsys)
    assert code == 3
    assert "not those that hcache wrote: it has 13 values, 13 were written" in said
    assert "its last line has no end" in said and "labels-accept" in said
    table.write_bytes(whole)
    assert verified(copied_run, capsys)[0] == 0


def test_one_digit_that_is_another_is_told(copied_run, table, capsys):
    table.write_bytes(table.read_bytes().replace(b"14.25", b"15.25"))
    assert verified(copied_run, capsys)[0] == 3
    with pytest.raises(CacheError, match="labels-accept"):
        find_label(copied_run, "mine/a")
    with pytest.raises(CacheError, match="labels-accept"):
        mark_sample(copied_run, "mine", "a", 0, 5.0)


def test_what_is_edited_on_purpose_is_left_alone_and_can_be_accepted(copied_run, table, capsys):
    home = ("--home", str(copied_run.folder.parents[1]))
    edited = table.read_bytes().replace(b"14.25", b"15.25")
    table.write_bytes(edited)
    assert main(["repair", "--yes", copied_run.name, *home]) == 3
    assert table.read_bytes() == edited and not list(table.parent.glob("*.bad"))
    assert main(["labels-accept", copied_run.name, "--set", "mine", *home]) == 0
    assert verified(copied_run, capsys)[0] == 0
    assert find_label(copied_run, "a")[4] == np.float32(15.25)
    assert main(["labels-accept", copied_run.name, "--set", "mime", *home]) == 2
    assert "did you mean mine" in capsys.readouterr().err
    assert main(["labels-accept", copied_run.name, "--set", "../mine", *home]) == 2
    table.write_text("no table")
    assert main(["labels-accept", copied_run.name, "--set", "mine", *home]) == 2
    assert "expected one column called sample or seed" in capsys.readouterr().err


def test_a_table_that_is_gone_is_told_until_that_is_accepted(copied_run, table, capsys):
    home = ("--home", str(copied_run.folder.parents[1]))
    table.unlink()
    code, said = verified(copied_run, capsys)
    assert code == 3 and "labels/mine.csv: its file is gone" in said
    assert main(["labels-accept", copied_run.name, "--set", "mine", *home]) == 0
    assert verified(copied_run, capsys)[0] == 0
    assert main(["labels-accept", copied_run.name, "--set", "mine", *home]) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\r\n", "\n"),
        lambda text: "\ufeff" + text,
        lambda text: text + "\r\n\r\n",
        lambda text: text.replace("1.0", "1"),
    ],
    ids=["line ends", "byte order mark", "empty lines", "1 for 1.0"],
)
def test_what_changes_no_value_is_no_change(copied_run, table, capsys, change):
    table.write_bytes(change(table.read_bytes().decode()).encode())
    assert verified(copied_run, capsys)[0] == 0
    assert find_label(copied_run, "b")[3] == 1


def test_a_set_of_before_has_no_record_and_is_read(copied_run, capsys):
    (copied_run.folder / "labels").mkdir(exist_ok=True)
    table = copied_run.folder / "labels" / "old.csv"
    table.write_text("sample,a\n0,1\n1,2\n")
    assert verified(copied_run, capsys)[0] == 0 and find_label(copied_run, "a")[1] == 2
    mark_sample(copied_run, "old", "a", 2, 5.0)
    table.write_text("sample,a\n0,1\n")
    assert verified(copied_run, capsys)[0] == 3, "now it has one"


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"schema": 2}', "\x00"])
def test_a_spoilt_record_is_told_and_costs_no_label(copied_run, table, capsys, text):
    home = ("--home", str(copied_run.folder.parents[1]))
    table.with_suffix(".json").write_text(text)
    code, said = verified(copied_run, capsys)
    assert code == 3 and "labels/mine.json" in said and find_label(copied_run, "b")[3] == 1
    assert main(["repair", "--yes", copied_run.name, *home]) == 0
    assert find_label(copied_run, "b")[3] == 1 and verified(copied_run, capsys)[0] == 0


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_who_is_killed_between_table_and_record_loses_nothing(
    copied_run, table, monkeypatch, capsys, writes
):
    """A set is three files one after another: a record that allows both, the table, a record."""
    left = [writes]

    class Killed(BaseException):
        pass

    def replace(partial, final, real=os.replace):
        if LABELS in str(final):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        real(partial, final)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(atomic.os, "replace", replace)
        save_labels(copied_run, "mine", {"a": {0: 7.0}})
    assert verified(copied_run, capsys)[0] == 0
    assert find_label(copied_run, "a")[0] == (10.25 if writes < 2 else 7.0)


def test_a_name_that_some_disks_do_not_tell_from_another_is_refused(copied_run, table):
    before = table.read_bytes()
    with pytest.raises(UsageError, match="has a label set 'mine', and many disks"):
        save_labels(copied_run, "Mine", {"a": {0: 1.0}})
    assert [path.name for path in table.parent.glob("*.csv")] == ["mine.csv"]
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    "found", [b"sample,b,a\r\n0,1.0,7.0\r\n", b"no table", b"sample,a\n0,"], ids=repr
)
def test_a_table_that_somebody_changed_is_kept_when_its_set_is_replaced(copied_run, table, found):
    for number, name in enumerate(("mine.csv.bad", "mine.csv.bad2")):
        table.write_bytes(found)
        save_labels(copied_run, "mine", {"a": {0: float(number)}})
        assert copied_run.labels["mine"]["a"][0] == number
        assert table.with_name(name).read_bytes() == found
    save_labels(copied_run, "mine", {"a": {0: 9.0}})
    assert len(list(table.parent.glob("*.bad*"))) == 2, "what was not changed is not kept"
