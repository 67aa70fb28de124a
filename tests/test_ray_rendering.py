"""Measures, figures and renders on Ray give what one process gives."""

import json
import pickle
import shutil

import numpy as np
import pytest
from pooled import SMALL
from tiny import drain

from hcache.cache.labels import save_labels
from hcache.cache.layout import MEASURES
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.directions.direction import random_direction, spread
from hcache.edits.batches import RendersHere
from hcache.edits.ray_rendering import RenderingWorker, renders_on_ray
from hcache.edits.render import render_again, render_recipes, shift_by
from hcache.errors import CacheError, UsageError
from hcache.extraction.run import load_model_of
from hcache.images.pngs import read_picture, read_recipe
from hcache.measures.driver import Driver, TrialGrid
from hcache.measures.edits import additivity_of, controllability_over, leakage_of
from hcache.measures.responses import direction
from hcache.measures.swapping import Pairs, swaps
from hcache.progress import drive
from hcache.recipes.recipe import recipe_of
from hcache.recipes.sheet import read_cells
from hcache.recipes.window import Window

ALL = Window(first=0, last=3)
QUICK = {"repeats": 50}


def read(images):
    """Two readings that any picture has."""
    pixels = images.astype(np.float64)
    return {"light": pixels.mean((1, 2, 3)), "warm": (pixels[..., 0] - pixels[..., 2]).mean((1, 2))}


def a_move(run, seed):
    return random_direction(spread(run), seed, run.spec.model, run.timesteps)


def measure_all(driver):
    """Takes every measure whose pictures are rendered."""
    run = driver.run
    move, other = a_move(run, 3), a_move(run, 4)
    grid = TrialGrid(samples=(0, 1, 2, 3), window=ALL, strengths=(-4.0, 0.0, 4.0))
    both, windows = {"light": move, "warm": other}, [Window(first=0, last=1), ALL]
    for work in (
        direction(driver, move, grid, nulls=2, **QUICK),
        leakage_of(driver, both, grid, nulls=2, **QUICK),
        additivity_of(driver, both, grid, nulls=1, **QUICK),
        controllability_over(driver, move, windows, (0, 1, 2), nulls=2, **QUICK),
        swaps(driver, Pairs.draw(run.sample_ids, 5), ALL, ["h", "skip.2"], **QUICK),
    ):
        shares, _ = drain(work)
        assert shares == sorted(shares) and shares[-1] == 1
    delta = np.stack([move.delta[1], other.delta[1]])
    return drain(driver.preview_changes(delta, [1, 2, 5], 1))[1]


def stored(run):
    """Every stored result and picture of measures, by file."""
    folder = run.folder / MEASURES
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("dying", [(), (1,)])
def test_measures_on_a_cluster_are_those_of_one_process(
    pooled,
    copied_run,
    tiny_run,
    tiny_model,
    tmp_path,
    dying,
):
    """Results and pictures are the same to the last bit, although a worker dies."""
    shutil.copytree(tiny_run.folder, tmp_path / "here" / "runs" / tiny_run.name)
    here = open_run(tiny_run.name, tmp_path / "here")
    expected = measure_all(Driver(tiny_model, here, read, "own", batch=3))
    pooled.dying.update(dying)
    with renders_on_ray("somewhere", copied_run, load_model_of) as renders:
        driver = Driver(tiny_model, copied_run, read, "own", batch=3, renders=renders)
        found = measure_all(driver)
    assert stored(copied_run) == stored(here) and len(stored(here)) > 10
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert {worker for worker, _ in pooled.done} == ({0, 2} if dying else {0, 1})
    assert not (copied_run.folder / ".token").exists()


def test_batches_of_several_directions_are_in_work_together(pooled, copied_run, tiny_model):
    """A direction of one batch, and its null of 3, keep two workers busy."""
    grid = TrialGrid(samples=(0, 1), window=ALL, strengths=(0.0, 4.0))
    with renders_on_ray("somewhere", copied_run, load_model_of) as renders:
        driver = Driver(tiny_model, copied_run, read, "own", renders=renders)
        work = direction(driver, a_move(copied_run, 3), grid, nulls=3, **QUICK)
        drain(work)
    by_worker = [[w for w, _ in pooled.done].count(n) for n in (0, 1)]
    assert sum(by_worker) == 4 and min(by_worker) >= 1


def test_nothing_starts_if_nothing_is_rendered(pooled, copied_run, tiny_model):
    with renders_on_ray("somewhere", copied_run, load_model_of) as renders:
        Driver(tiny_model, copied_run, read, "own", renders=renders)
    assert not pooled.made


def test_a_machine_without_the_run_ends_the_measure(pooled, copied_run, tiny_model, monkeypatch):
    monkeypatch.setattr("hcache.cache.seen.look_for", lambda _: "does not see")
    with renders_on_ray("somewhere", copied_run, load_model_of) as renders:
        driver = Driver(tiny_model, copied_run, read, "own", renders=renders)
        with pytest.raises(CacheError, match="does not see .* shared disk"):
            measure_all(driver)


def test_what_makes_a_worker_travels(copied_run):
    from hcache.cache.seen import Shared, token_in

    with token_in(copied_run.folder) as token:
        shared = Shared(folder=copied_run.folder, token=token)
        make = RenderingWorker(shared=shared, home=copied_run.home, load=load_model_of)
        assert pickle.loads(pickle.dumps(make)) == make


def test_the_commands_measure_and_draw_and_render_on_a_cluster(
    pooled,
    copied_run,
    tiny_model,
    monkeypatch,
    tmp_path,
    capsys,
):
    """With a direction of a label, whose pictures all come from the cluster."""
    order = {int(s): float(n) for n, s in enumerate(copied_run.sample_ids)}
    save_labels(copied_run, "mine", {"size": order})
    monkeypatch.setattr(RendersHere, "pictures", lambda *_: pytest.fail("rendered in this process"))
    shared = ["--home", str(copied_run.home), "--ray=auto"]
    small = ["--samples=4", "--nulls=2", "--what=likeness"]
    assert main(["measure", copied_run.name, *small, *shared]) == 0
    assert len(pooled.done) == 4, "size, a component and two of their null, each of one batch"
    out = tmp_path / "strip.png"
    strip = ["--way=naive", "--strengths=0,1.5", f"--out={out}"]
    assert main(["figure", "strip", copied_run.name, *strip, *shared]) == 0
    assert len(pooled.done) == 6, "strength 0 is no edit, and so of another batch"
    assert main(["render", str(out), *shared]) == 0
    assert capsys.readouterr().out.count("identical") == 2
    monkeypatch.undo()
    cells = read_cells(read_recipe(out.read_bytes()))
    home = copied_run.folder.parent.parent
    recipes = [cell.recipe for cell in cells]
    again = drive(render_again(tiny_model, copied_run, recipes, home))
    assert [cell.recipe.pixels for cell in again] == [cell.recipe.pixels for cell in cells]


def test_a_figure_that_renders_nothing_refuses_a_cluster(copied_run, capsys):
    words = ["figure", "cka", copied_run.name, "--out=a.svg", "--home", str(copied_run.home)]
    assert main([*words, "--ray=auto"]) == UsageError.exit_code
    assert "renders no pictures" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["measure", "figure", "render"])
def test_without_ray_the_commands_name_the_extra(
    command, copied_run, monkeypatch, capsys, tmp_path
):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(recipe_of(copied_run, 3).to_json()))
    words = {
        "measure": [copied_run.name],
        "figure": ["u", copied_run.name, "--out=a.svg"],
        "render": [str(recipe)],
    }[command]
    words = [command, *words, "--home", str(copied_run.home), "--ray=auto"]
    assert main(words) == UsageError.exit_code
    assert "pip install 'hcache[cluster]'" in capsys.readouterr().err


def test_recipes_are_rendered_with_directions_that_are_not_saved(
    pooled,
    copied_run,
    tiny_model,
):
    from hcache.directions.direction import digest_of
    from hcache.edits.render import render_on

    move = a_move(copied_run, 5)
    recipes = [recipe_of(copied_run, n, [shift_by(move, 2.0, ALL)]) for n in (1, 2)]
    recipes.append(recipe_of(copied_run, 1, asymmetric=False))
    moves = {digest_of(move): move}
    expected = drive(render_recipes(tiny_model, copied_run, recipes, copied_run.home, moves))
    with renders_on_ray("somewhere", copied_run, load_model_of) as renders:
        found = drive(render_on(renders, copied_run, recipes, moves))
    assert [cell.recipe for cell in found] == [cell.recipe for cell in expected]
    assert all((a.picture == b.picture).all() for a, b in zip(found, expected, strict=True))
    assert read_picture(found[0].png).shape == found[0].picture.shape


@pytest.mark.cluster
def test_measures_on_a_real_cluster_are_those_of_one_process(
    cluster, copied_run, tiny_run, tiny_model, tmp_path
):
    """Two machines, of which one is killed in the middle."""
    shutil.copytree(tiny_run.folder, tmp_path / "here" / "runs" / tiny_run.name)
    here = open_run(tiny_run.name, tmp_path / "here")
    nodes = [cluster.add_node(**SMALL) for _ in range(2)]

    def measured(run, renders):
        driver = Driver(tiny_model, run, read, "own", batch=1, renders=renders)
        grid = TrialGrid(samples=(0, 1, 2, 3), window=ALL, strengths=(-4.0, 0.0, 4.0))
        work = direction(driver, a_move(run, 3), grid, nulls=2, null="noise", **QUICK)
        for share in work:
            if share > 0.2 and renders is not None and len(nodes) == 2:
                cluster.remove_node(nodes.pop(), allow_graceful=False)

    measured(here, None)
    with renders_on_ray(cluster.address, copied_run, load_model_of) as renders:
        measured(copied_run, renders)
    assert len(nodes) == 1, "one was killed"
    assert stored(copied_run) == stored(here) and stored(here)
