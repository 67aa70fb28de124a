"""A run for other tools: tables, projector, xarray; and how much of it fits a budget."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray

from hcache.cache.index import write_index
from hcache.cache.layout import INDEX
from hcache.cache.plan import fit_budget, make_plan, parse_bytes
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import UsageError
from hcache.models.loading import load_anatomy


def test_xarray_reads_the_index_with_its_axes_named(copied_run, tiny_run):
    with xarray.open_dataset(
        copied_run.folder / INDEX, engine="h5netcdf", phony_dims="sort"
    ) as data:
        h = data["h"]
        assert h.dims[:2] == ("timestep", "seed") and h.shape == (4, 12, 16, 4, 4)
        for step in range(4):
            np.testing.assert_array_equal(
                h[step].values.reshape(12, -1), tiny_run.matrix("h", step).astype(h.dtype)
            )
        np.testing.assert_array_equal(data["image"].values, tiny_run.images)
        assert list(data["timestep"].values) == list(tiny_run.timesteps)
        assert list(data["seed"].values) == list(range(12))


def test_the_index_moves_with_the_run_and_grows_with_it(copied_run, tmp_path):
    moved = shutil.move(copied_run.folder, tmp_path / "a place with a space")
    with xarray.open_dataset(moved / INDEX, engine="h5netcdf", phony_dims="sort") as data:
        assert float(np.abs(data["x"].values[0]).max()) > 0, "a missing shard would read as zeros"
    lines = (moved / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (moved / "manifest.jsonl").write_bytes(lines[0])
    write_index(open_run(moved))
    with xarray.open_dataset(moved / INDEX, engine="h5netcdf", phony_dims="sort") as data:
        assert data["h"].shape[1] == 5


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_of_labels_and_pooled_activations(copied_run, tmp_path, capsys, form):
    out = tmp_path / f"table.{form}"
    arguments = [
        "export",
        copied_run.name,
        str(out),
        "--format",
        form,
        "--step",
        "2",
        "--site",
        "h",
    ]
    assert main([*arguments, "--home", str(tmp_path / "copy")]) == 0
    table = pd.read_csv(out) if form == "csv" else pd.read_parquet(out)
    assert list(table["sample"]) == list(range(12))
    np.testing.assert_allclose(
        table.filter(like="h[").to_numpy(), copied_run.pooled("h", 2), rtol=1e-5
    )
    assert (
        main([*arguments, "--home", str(tmp_path / "copy")]) == 2
        and "exists" in capsys.readouterr().err
    )


def test_a_projectors_folder(copied_run, tmp_path):
    out = tmp_path / "projector"
    home = ("--home", str(tmp_path / "copy"))
    assert main(["export", copied_run.name, str(out), "--format", "projector", *home]) == 0
    vectors = np.loadtxt(out / "tensors.tsv", delimiter="\t")
    np.testing.assert_allclose(vectors, copied_run.pooled("h", 2), rtol=1e-4, atol=1e-5)
    (tensor,) = json.loads((out / "projector_config.json").read_text())["embeddings"]
    assert (out / tensor["metadataPath"]).read_text().count("\n") == 13 and tensor[
        "tensorShape"
    ] == [12, 16]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 1.0])
def test_a_budget_is_kept_and_used_from_h_outward(tiny_spec, tiny_folder, share):
    import dataclasses

    anatomy = load_anatomy(str(tiny_folder))
    least = make_plan(dataclasses.replace(tiny_spec, store={}), anatomy).total
    full = dict.fromkeys(anatomy.sites, "full")
    most = make_plan(dataclasses.replace(tiny_spec, store=full), anatomy).total
    budget = int(least + share * (most - least))
    fitted, words = fit_budget(tiny_spec, anatomy, budget)
    assert make_plan(fitted, anatomy).total <= budget and words
    rank = {"none": 0, "pooled": 1, "full": 2}
    ranks = [rank[fitted.policy(site)] for site in anatomy.sites]
    assert ranks == sorted(ranks, reverse=True), (
        "nothing further out is kept better than what is nearer to h"
    )
    assert (fitted.store == full) == (share == 1.0)
    with pytest.raises(UsageError, match="too small"):
        fit_budget(tiny_spec, anatomy, least - 1)


def test_a_budget_on_the_command_line(tiny_folder, capsys):
    assert (
        main(
            [
                "estimate",
                str(tiny_folder),
                "--samples",
                "8",
                "--steps",
                "4",
                "--budget",
                "1MB",
                "--json",
            ]
        )
        == 0
    )
    printed = capsys.readouterr()
    assert json.loads(printed.out)["total"] <= 10**6 and "h full" in printed.err
    for budget, words in (("1kB", "too small"), ("much", "a budget is")):
        assert (
            main(["estimate", str(tiny_folder), "--budget", budget]) == 2
            and words in capsys.readouterr().err
        )
    assert main(["estimate", str(tiny_folder), "--budget", "1GB", "--store", "h=full"]) == 2


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("20GB", 20_000_000_000),
        ("1.5 MB", 1_500_000),
        ("7", 7),
        ("3k", 3000),
        ("2tb", 2 * 10**12),
        ("0B", 0),
    ],
)
def test_bytes_in_words(text, count):
    assert parse_bytes(text) == count
