"""PCA as a measure: planted components are counted, noise has none, and the verdict says so."""

import numpy as np
import pytest
from test_cli import failure, json_of
from tiny import drain, synthetic_run

from hcache.cache.records import list_records
from hcache.measures.cells import cells_of
from hcache.measures.components import make_components
from hcache.measures.declared.components import CONCENTRATED, counts_of, shares_of
from hcache.measures.evidence import Evidence
from hcache.report.document import verdict_report
from hcache.report.exhibits import exhibits
from hcache.specs import RunSpec

N, STEPS, SHAPE = 60, 3, (3, 4, 4)
SPEC = RunSpec(model="made-up", samples=N, steps=STEPS, seed=3)


def planted(home):
    """h that is noise at step 0, has two strong components at step 1, and does not vary at 2."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(STEPS, N, *SHAPE)).astype(np.float32)
    axes = np.linalg.qr(rng.normal(size=(48, 2)))[0].T
    strong = rng.normal(size=(N, 2)) * [12, 9]
    h[1] += (strong @ axes).reshape(h[1].shape).astype(np.float32)
    h[2] = 1
    return synthetic_run(home, SPEC, h, [(0, 20), (20, N)])


def record_of(run):
    (record,) = list_records(run)
    return record


@pytest.fixture
def run(tmp_path):
    return planted(tmp_path / "home")


def test_planted_components_are_counted_and_noise_has_none(run):
    shares, record = drain(make_components(run, "h", 2, 19))
    assert shares == sorted(shares) and shares[-1] == 1
    found = record.result
    assert found["above"][0] <= 1 and found["above"][1:] == [2, None]
    x = run.matrix("h", 1).astype(np.float64)
    values = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    share = found["share"][1]
    assert share["value"] == pytest.approx(values[:2].sum() / values.sum(), rel=1e-4)
    assert share["low"] < share["value"] < share["high"]
    assert found["null"][1] < 0.3 < share["value"]
    assert found["share"][0]["value"] < 1.3 * found["null"][0]
    assert drain(make_components(run, "h", 2, 19))[0] == [1.0], "what is stored is looked up"


def test_p_is_the_rank_among_the_shuffles_at_the_middle_step(run, monkeypatch):
    for step, few in ((1, True), (0, False)):
        monkeypatch.setattr("hcache.measures.components.middle_step", lambda *_, s=step: s)
        found = drain(make_components(run, "h", 2 - few, 9))[1].result
        assert found["middle"] == step
        assert (found["p"] == 0.1) == few, "noise is reached by some shuffles"


def test_the_verdict_has_a_row_without_labels_or_reader(run, capsys):
    told = json_of(capsys, "measure", run.name, "--what", "components", "--home", str(run.home))
    assert told
    cell = cells_of(run)[CONCENTRATED, "h"]
    record, evidence = record_of(run), Evidence(run)
    above = record.result["above"][record.result["steps"].index(record.result["middle"])]
    assert cell.note.split("; ")[1].startswith(f"{above} component")
    assert cell.null < cell.estimate.value and cell.p <= 1
    (points,) = shares_of(record, evidence).values()
    assert len(points) == 2 and points[0].null is not None, "a step without variance has no point"
    (counts,) = counts_of(record, evidence).values()
    assert counts[1].estimate.value == 2
    shown = exhibits(CONCENTRATED, "h", {run.name: evidence})
    assert [each.title for each in shown] == [
        "Variance in the first principal components",
        "Components above shuffled features",
    ]
    assert "a few directions make up h" in verdict_report([run])


def test_what_cannot_be_measured_is_refused(run, capsys):
    home = ("--home", str(run.home))
    for more, why, code in (
        (("--pca-site", "skip.1"), "does not store skip.1; it has h", 2),
        (("--pca-components", "21"), "20", 2),
    ):
        assert why in failure(
            capsys, code, "measure", run.name, "--what", "components", *more, *home
        )
