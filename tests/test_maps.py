"""Maps by t-SNE and UMAP: how well they keep neighbours, stored, by the command and on the page."""

import numpy as np
import pytest
import streamlit as st
import torch
from sklearn.manifold import trustworthiness
from streamlit.testing.v1 import AppTest
from test_cli import failure, out_of
from tiny import drain, synthetic_run

from hcache.analysis import maps
from hcache.cache.records import list_records
from hcache.errors import AnalysisError, UsageError
from hcache.measures.cells import cells_of
from hcache.measures.declared.maps import MAPPED
from hcache.measures.evidence import Evidence
from hcache.measures.maps import made_map, make_map, nearest, together
from hcache.report.exhibits import exhibits
from hcache.specs import RunSpec

N, STEPS = 30, 3
SPEC = RunSpec(model="made-up", samples=N, steps=STEPS)


def groups(n=60, d=12, seed=0):
    """Three groups far apart: (data (n, d), which)."""
    rng = np.random.default_rng(seed)
    which = np.arange(n) % 3
    return (rng.normal(size=(n, d)) + 12 * np.eye(3, d)[which]).astype(np.float32), which


def judged(data, places, k=5, **options):
    return maps.faithfulness(maps.distances(maps.inner_products(data)), places, k, **options)


def test_an_isometry_keeps_every_neighbour():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(40, 2))
    turn = np.linalg.qr(rng.normal(size=(9, 9)))[0][:2]
    data = (plane @ turn + 3).astype(np.float32)
    found = judged(data, 2 * plane)
    assert found.trustworthiness.estimate.value == 1 and found.kept.estimate.value == 1
    assert found.kept.p == 0.01 and found.kept.null < 0.3


def test_trustworthiness_is_scikit_learns():
    rng = np.random.default_rng(1)
    data, places = rng.normal(size=(50, 8)), rng.normal(size=(50, 2))
    places += data[:, :2]
    for k in (3, 10):
        found = judged(data, places, k)
        expected = trustworthiness(data, places, n_neighbors=k)
        assert found.trustworthiness.estimate.value == pytest.approx(expected, abs=1e-6)
        assert found.trustworthiness.estimate.covers(expected)


def test_places_at_random_are_within_the_null():
    rng = np.random.default_rng(2)
    data = rng.normal(size=(40, 6))
    p = [judged(data, rng.normal(size=(40, 2)), seed=seed).kept.p for seed in range(40)]
    assert np.mean(np.array(p) <= 0.05) <= 0.15 and np.mean(p) > 0.3
    found = judged(data, rng.normal(size=(40, 2)))
    assert found.kept.null == pytest.approx(5 / 39, abs=0.03)
    assert found.trustworthiness.null == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    "way",
    [maps.TSNE, pytest.param(maps.UMAP, marks=pytest.mark.slow)],  # numba compiles it
)
def test_both_ways_keep_groups_apart(way):
    if way == maps.UMAP:
        pytest.importorskip("umap", reason="UMAP needs the package umap-learn")
    data, which = groups()
    points = maps.components(maps.inner_products(data))
    threads = torch.get_num_threads()
    places = maps.place(points, way, 8)
    assert torch.get_num_threads() == threads, "other threads would round otherwise"
    np.testing.assert_array_equal(places, maps.place(points, way, 8))
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (which[apart.argmin(1)] == which).mean() > 0.95
    found = judged(data, places)
    assert found.kept.estimate.low > found.kept.null + 0.1 and found.kept.p == 0.01


def test_places_of_one_sample_are_drawn_together():
    rng = np.random.default_rng(3)
    data, places = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
    places += data[:, :2]
    twice = judged(np.tile(data, (2, 1)), np.tile(places, (2, 1)), samples=np.tile(range(30), 2))
    assert twice.kept.estimate.n == 30


def test_components_keep_distances_and_blocks_give_the_same():
    data, _ = groups(20, 12)
    gram = maps.inner_products(data)
    points = maps.components(gram)
    expected = np.linalg.norm(data[:, None] - data, axis=2)
    np.testing.assert_allclose(maps.distances(gram), expected, atol=2e-3)
    np.testing.assert_allclose(
        np.linalg.norm(points[:, None] - points, axis=2), expected, atol=2e-3
    )
    np.testing.assert_allclose(maps.inner_products(lambda: iter([data[:7], data[7:]])), gram)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: maps.inner_products(np.ones((4, 2))), "8 samples or more, got 4"),
        (lambda: maps.inner_products(np.full((9, 2), np.nan)), "not finite"),
        (lambda: maps.components(np.zeros((9, 9))), "all samples are the same"),
        (lambda: maps.place(np.ones((9, 2)), "tsne", 5), "from 2 to 4 neighbours, got 5"),
        (lambda: judged(groups()[0], np.ones((60, 2)), 30), "half of 60 samples, got 30"),
        (lambda: judged(groups()[0], np.ones((59, 2))), "the same samples"),
    ],
)
def test_what_has_no_map_is_refused(work, said):
    with pytest.raises(AnalysisError, match=said):
        work()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install umap-learn; or take tsne"):
        maps.check_way("umap")
    with pytest.raises(UsageError, match="tsne or umap, got 'isomap'"):
        maps.check_way("isomap")


@pytest.fixture
def run(tmp_path):
    """h of three groups, that is the same but for a shift and a little noise at every step."""
    data, _ = groups(N, 48)
    rng = np.random.default_rng(4)
    h = np.stack([data + 50 * step + 0.1 * rng.normal(size=data.shape) for step in range(STEPS)])
    h = h.reshape(STEPS, N, 3, 4, 4).astype(np.float32)
    return synthetic_run(tmp_path / "home", SPEC, h, [(0, 12), (12, N)])


def test_a_map_is_stored_and_looked_up(run):
    shares, record = drain(make_map(run, "h", "tsne", 1, 5))
    assert shares == sorted(shares) and shares[-1] == 1
    assert np.shape(record.result["places"]) == (1, N, 2)
    assert made_map(run, "h", "tsne", 1, 5).result == record.result
    assert made_map(run, "h", "tsne", 2, 5) is None and made_map(run, "h", "tsne", 1, 6) is None
    cell = cells_of(run)[MAPPED, "h"]
    assert cell.note == "t-SNE, step 1" and cell.p == 0.01 and cell.estimate.low > cell.null
    kept, trust = exhibits(MAPPED, "h", {run.name: Evidence(run)})
    assert "neighbours kept" in kept.title and "trustworthiness" in trust.title
    assert len(kept.figure.layout.yaxis.ticktext) == 2, "PCA stands beside it"


def test_all_steps_share_a_map_where_a_sample_has_its_way(run):
    """The shift of all samples alike between steps is no distance: a sample stays where it is."""
    _, record = drain(make_map(run, "h", "tsne", None, 5))
    places = np.array(record.result["places"])
    assert places.shape == (STEPS, N, 2) and together(run) == [0, 1, 2]
    moved = np.linalg.norm(places[0] - places[1], axis=1)
    others = np.linalg.norm(places[0][:, None] - places[0], axis=2)
    assert np.median(moved) < np.median(others) / 3
    assert record.result["map"]["kept"]["estimate"]["n"] == N


def test_nearest_are_those_of_the_activations(run):
    data = run.matrix("h", 1)
    for row in (0, 20):
        expected = np.argsort(np.linalg.norm(data - data[row], axis=1))[:6]
        assert nearest(run, "h", 1, row, 5) == expected.tolist()


def test_the_command_makes_maps_and_refuses_in_one_line(run, capsys):
    home = ("--home", str(run.home))
    out = out_of(capsys, "measure", run.name, "--what=maps", "--neighbours=5", *home)
    assert "mapped h" in out and "t-SNE" in out
    out_of(capsys, "measure", run.name, "--what=maps", "--neighbours=5", "--map-step=all", *home)
    assert len(list_records(run, "map")) == 2
    for options, said in (
        (["--map-step=9"], "a step from 0 to 2, middle or all; got '9'"),
        (["--map-site=skip.1"], "does not store skip.1; it has h"),
        (["--neighbours=15"], "a map of 30 places takes 14 --neighbours at most, got 15"),
    ):
        assert said in failure(capsys, 2, "measure", run.name, "--what=maps", *options, *home)


def test_large_runs_are_refused(run, monkeypatch):
    monkeypatch.setattr("hcache.measures.maps.MOST_SAMPLES", 20)
    with pytest.raises(AnalysisError, match="20 samples at most.*has 30; PCA takes more"):
        drain(make_map(run, "h", "tsne", 1, 5))
    monkeypatch.setattr("hcache.measures.maps.MOST_PLACES", 60)
    assert len(together(run)) == 2


def test_the_page_makes_a_map_shows_it_and_selects_the_nearest(tiny_run, copied_run, monkeypatch):
    run = copied_run
    monkeypatch.setenv("HCACHE_HOME", str(run.home))
    st.cache_data.clear()
    st.cache_resource.clear()
    started = []
    monkeypatch.setattr("hcache.background.tasks.start", lambda folder, work: started.append(work))
    app = AppTest.from_file("../dashboard.py", default_timeout=120)
    for name, value in {"run": run.name, "over": "map by t-SNE of this step", "step": "2"}.items():
        app.query_params[name] = value
    app.run()
    app.switch_page("pages/pca.py").run()
    assert not app.exception
    app.button(key="start-measure").click().run()
    assert started[0].options == {"map_step": "2"}
    drain(make_map(run, "h", "tsne", 2, 5))
    app.run()
    assert not app.exception
    assert any("How far to trust this map" in each.value for each in app.subheader)
    app.button(key="pca-nearest").click().run()
    assert not app.exception and app.query_params["selection"]


def test_a_task_of_a_map_is_the_command(run):
    from hcache.background.kinds import read_work
    from hcache.ui.panels.maps import map_work

    assert map_work(run, "h", "umap", None, 14).options == {"map_by": "umap", "map_step": "all"}
    work = map_work(run, "h", "umap", None, 6)
    assert work.options == {"map_by": "umap", "map_step": "all", "neighbours": 6}
    again = read_work("measure", run.name, work.order())
    assert again == work and "--map-by=umap" in again.arguments()
