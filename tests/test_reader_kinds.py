"""Models that come without labels end with a complete verdict, once a reader by texts has read
them.
"""

import pytest
from kinds import save_kind
from reader_models import save_clip

from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.extraction.run import extract
from hcache.measures import setting as setting_module
from hcache.measures.cells import cells_of
from hcache.measures.declared import swaps as swaps_module
from hcache.measures.declared import windows as windows_module
from hcache.measures.verdict import compare
from hcache.models.loading import load_model
from hcache.specs import UNCONDITIONED, Conditioning

SMALL = ("--samples", "4", "--nulls", "2", "--random-positives", "19")
PROMPT = Conditioning(prompts=("a dog",), guidance=5)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(setting_module, "STEPS", 1)
    monkeypatch.setattr(windows_module, "EDGES", (0.0,))
    monkeypatch.setattr(swaps_module, "COARSE_EDGES", (0.0,))


def extracted(kind, tmp_path, conditioning):
    folder = save_kind(kind, tmp_path / "model")
    spec = default_spec(
        str(folder), samples=16, steps=4, batch=8, conditioning=conditioning, store={"h": "full"}
    )
    return extract(load_model(str(folder)), spec, tmp_path / "home")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "conditioning"),
    [("SD", PROMPT), ("LDM", UNCONDITIONED), ("learned variance", UNCONDITIONED)],
)
def test_a_model_without_labels_ends_with_a_complete_verdict(kind, conditioning, tmp_path):
    run, home = extracted(kind, tmp_path, conditioning), ("--home", str(tmp_path / "home"))
    reader = ("--reader", f"texts:{save_clip(tmp_path / 'clip')}", "--name", "texts")
    pairs = (
        "--attribute",
        "happy=a happy face|a sad face",
        "--attribute",
        "old=an old face|a face",
    )
    assert main(["read", run.name, *reader, *pairs, *home]) == 0
    assert main(["measure", run.name, *SMALL, *home]) == 0
    (missing,) = [[row.key for row in compare([run]) if not row.cells]]
    assert missing == []
    assert {subject for _, subject in cells_of(run)} >= {"happy", "old"}


def test_without_a_reader_only_questions_are_refused(tmp_path, capsys):
    run, home = extracted("LDM", tmp_path, UNCONDITIONED), ("--home", str(tmp_path / "home"))
    assert main(["measure", run.name, *SMALL, *home]) == 0
    err = capsys.readouterr().err
    (line,) = (line for line in err.splitlines() if "directions" in line)
    assert "left out, because no reader" in line and f"hcache read {run.name}" in line
    told = [line.split("because ")[1] for line in err.splitlines() if "left out, because" in line]
    assert len(told) == len(set(told)) > 1, "each reason is printed once"
    answered = {question for question, _ in cells_of(run)}
    assert {f"effect of {site}" for site in run.anatomy.sites} <= answered
    assert main(["measure", run.name, "--what", "directions", *home]) == 2
    assert "no reader reads" in capsys.readouterr().err
