"""A reader's own error: its agreement with labels by hand and with labelled pictures."""

import json

import numpy as np
import pytest
from PIL import Image
from reader_models import save_clip
from tiny import drain

from hcache.analysis.agreement import CORRELATION, agreement
from hcache.analysis.probes import AUC
from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import AnalysisError
from hcache.measures.cells import cells_of
from hcache.readers.checks import check_on_run, checks_of, error_of
from hcache.readers.function import Function
from hcache.readers.reading import read_run
from hcache.readers.saved import save_reader
from hcache.readers.texts import Texts


def light(pictures):
    """A reader of one's own: how light a picture is."""
    return {"light": pictures.mean((1, 2, 3))}


class TestAgreement:
    def test_of_two_classes_it_is_the_auc(self):
        from sklearn.metrics import roc_auc_score

        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 80).astype(float)
        readings = labels + rng.normal(0, 1, 80)
        found = agreement(readings, labels)
        assert found.metric == AUC and found.null == 0.5 and found.p <= 0.01
        assert found.score.value == pytest.approx(roc_auc_score(labels, readings))
        assert found.score.low < found.score.value < found.score.high

    def test_of_values_it_is_the_correlation_in_any_unit(self):
        rng = np.random.default_rng(1)
        labels = rng.normal(size=60)
        readings = 1000 + 1e-3 * (labels + rng.normal(0, 0.5, 60))
        found = agreement(readings, labels)
        assert found.metric == CORRELATION and found.null == 0
        assert found.score.value == pytest.approx(np.corrcoef(readings, labels)[0, 1], abs=1e-9)

    def test_of_nothing_p_is_large(self):
        rng = np.random.default_rng(2)
        assert agreement(rng.normal(size=60), rng.normal(size=60)).p > 0.05

    @pytest.mark.parametrize(
        ("readings", "labels", "said"),
        [
            ([1.0] * 4, [0, 1, 0, 1], "8 labelled pictures or more, got 4"),
            (range(9), [1.0] * 9, "all 9 labels are 1"),
            ([2.0] * 9, range(9), "all 9 readings are 2"),
            ([np.nan] * 5 + [1.0] * 5, range(10), "got 5"),
        ],
    )
    def test_what_tells_nothing_is_refused(self, readings, labels, said):
        with pytest.raises(AnalysisError, match=said):
            agreement(np.array(list(readings), float), np.array(list(labels), float))


@pytest.fixture
def read(copied_run, monkeypatch):
    """A run that was read by a function, with half of its samples labelled by hand."""
    save_reader(copied_run.home, "mine", Function(target="test_reader_checks:light"))
    drain(read_run(copied_run, "mine"))
    run = open_run(copied_run.folder)
    values = run.labels["mine"]["light"]
    middle = np.median(values)
    by_hand = {int(s): float(v > middle) for s, v in zip(run.sample_ids, values, strict=True)}
    save_labels(run, "by hand", {"light": by_hand})
    return open_run(copied_run.folder)


def test_labels_by_hand_are_what_a_reader_is_held_against(read):
    assert error_of(read, "mine", "light") == ""
    (found,) = check_on_run(read, "mine")
    assert found.value == 1 and found.metric == AUC and found.pictures == len(read)
    assert "by hand/light" in error_of(read, "mine", "light")
    assert checks_of(read.home, "mine") == [found]
    check_on_run(read, "mine")
    assert checks_of(read.home, "mine") == [found], "checked again, it is replaced"
    assert checks_of(read.home, "mine", "another version") == []


def test_the_verdict_says_what_is_known_of_the_reader(read, capsys):
    home = ("--home", str(read.home))
    asked = ("measure", read.name, "--what", "decodability", "--label", "mine/light", *home)
    assert main([*asked]) == 0
    assert "reader mine: its error is not measured" in capsys.readouterr().out
    assert main(["reader", "check", "mine", "--run", read.name, *home]) == 0
    assert "AUC 1.00" in capsys.readouterr().out
    cells = cells_of(open_run(read.folder))
    assert cells and all("reader mine: AUC 1.00" in str(cell) for cell in cells.values())


def test_labelled_pictures_in_a_csv(copied_run, tmp_path, capsys):
    home = ("--home", str(copied_run.home))
    save_reader(copied_run.home, "mine", Function(target="test_reader_checks:light"))
    lines = ["file,light,other"]
    for i in range(10):
        side = 20 + 4 * (i % 3)  # pictures of several sizes
        Image.fromarray(np.full((side, side + 2, 3), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{i},")
    table = tmp_path / "truth.csv"
    table.write_text("\n".join(lines))
    asked = ["reader", "check", "mine", "--pictures", str(table), "--json", *home]
    assert main(asked) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["metric"] == CORRELATION and found["value"] == pytest.approx(1)
    assert found["pictures"] == 10 and found["source"] == "truth.csv"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine"], "give one of these"),
        (["none", "--run", "{run}"], "no reader 'none'"),
        (["mine", "--run", "{run}", "--label", "light"], "ATTRIBUTE=LABEL"),
        (["mine", "--run", "{run}", "--label", "dark=by hand/light"], "reads no 'dark'"),
        (["mine", "--run", "{run}", "--label", "light=nothing"], "no label 'nothing'"),
        (["mine", "--pictures", "{tmp}/none.csv"], "cannot be read as a CSV file"),
        (["mine", "--pictures", "{tmp}/other.csv"], "a column file"),
        (["mine", "--pictures", "{tmp}/words.csv"], "line 2, light: expected a number"),
        (["mine", "--pictures", "{tmp}/gone.csv"], "gone.png cannot be read"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_line(read, tmp_path, capsys, arguments, said):
    (tmp_path / "other.csv").write_text("picture,light\na.png,1\n")
    (tmp_path / "words.csv").write_text("file,light\na.png,bright\n")
    (tmp_path / "gone.csv").write_text("file,light\ngone.png,1\n")
    told = [each.format(run=read.name, tmp=tmp_path) for each in arguments]
    assert main(["reader", "check", *told, "--home", str(read.home)]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_reader_from_clicks_is_known_by_its_held_out_samples(copied_run, monkeypatch):
    from hcache.readers.clicks import Clicks

    quality = {
        "metric": "AUC",
        "score": 0.9,
        "low": 0.8,
        "high": 0.95,
        "null": 0.5,
        "p": 0.01,
        "samples": 40,
    }
    head = {"weight": np.ones(3, np.float32), "bias": np.zeros(1, np.float32)}
    clicks = Clicks(attribute="chosen", encoder="owner/dino", head=head, quality=quality)
    save_reader(copied_run.home, "picked", clicks)
    said = error_of(copied_run, "picked", "chosen")
    assert said.startswith("AUC 0.90 (0.80 to 0.95) against held-out clicks, n 40")
    assert error_of(copied_run, "picked", "other") == ""


def test_texts_are_checked_too(copied_run, tmp_path):
    clip = str(save_clip(tmp_path / "clip"))
    smile = {"smile": ("a happy face", "a sad face")}
    save_reader(copied_run.home, "clip", Texts(model=clip, attributes=smile))
    drain(read_run(copied_run, "clip"))
    run = open_run(copied_run.folder)
    values = dict(
        zip(run.sample_ids.tolist(), map(float, run.labels["clip"]["smile"]), strict=True)
    )
    save_labels(run, "truth", {"grin": {s: -v for s, v in values.items()}})
    run = open_run(copied_run.folder)
    (found,) = check_on_run(run, "clip", {"smile": "truth/grin"})
    assert found.value == pytest.approx(-1) and found.metric == CORRELATION
