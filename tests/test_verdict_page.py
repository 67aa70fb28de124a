"""The Verdict page offers to delete results that are shown nowhere, as the command does."""

from test_measures_outside import home_of, page_of
from test_verdict import planted

from hcache.cache.layout import MEASURES
from hcache.cache.records import save_record
from hcache.cli.main import main


def test_stale_results_are_counted_and_deleted_by_a_button(tmp_path, monkeypatch, capsys):
    run = planted(tmp_path / "home", 0, [0.05, 0.3, 0.45, 0.9])
    save_record(run, "current", {}, 1)
    folder = run.folder / MEASURES
    for number in range(2):
        (folder / f"old-{number:012}.json").write_text('{"schema": 2, "state": "of others"}')
    app = page_of(run, monkeypatch)
    button = app.button(key=f"stale-{run.name}")
    assert not app.exception and button.label == "Delete 2 stale results"
    (told,) = [each.value for each in app.caption if "--forget-stale" in each.value]
    assert "RUN" in told
    app = button.click().run()
    assert not app.exception and f"stale-{run.name}" not in {each.key for each in app.button}
    assert [path.name.partition("-")[0] for path in folder.iterdir()] == ["current"]
    (folder / "old-0123456789ab.json").write_text("{")
    assert main(["measure", run.name, "--forget-stale", *home_of(run)]) == 0
    assert "1 stale result deleted" in capsys.readouterr().out


def test_the_controls_of_measures_are_what_they_declare(tmp_path, monkeypatch):
    app = page_of(planted(tmp_path / "home", 0, [0.05, 0.3, 0.45, 0.9]), monkeypatch)
    (null,) = (each for each in app.selectbox if each.label == "Null")
    assert null.value == "samples" and list(null.options) == ["noise", "samples"]
    what = next(each for each in app.multiselect if each.label == "What")
    (size,) = (each for each in app.selectbox if each.label == "Size")
    assert (
        size.options[0]
        == "quick: 9 feature shuffles, 128 compared, 39 shuffles, 8 samples, 19 nulls,"
        " 39 random positives"
    )
    null.set_value("noise").run()
    command = next(each.value for each in app.code if "measure" in each.value)
    assert "--null=noise" in command and "--samples=16" in command
    what.set_value(["swaps"]).run()
    assert "Null" not in {each.label for each in app.selectbox}, "swaps have no such null"
    assert "--null=" not in next(each.value for each in app.code if "measure" in each.value)
