"""The benchmark measures what its table says, and says what it cannot; its figures themselves
are nobody's to test.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import drain

from hcache.analysis.krylov import leading_vectors
from hcache.bench import extraction, neighbour, suite
from hcache.bench.baselines import full_call, hooked_loop, plain_loop
from hcache.bench.machine import describe_machine
from hcache.bench.planted import planted_run
from hcache.bench.setting import BenchRow, BenchSetting
from hcache.bench.subjects import Amount, RandomText, random_model
from hcache.bench.timing import Ratio, Spent, in_child, interleaved
from hcache.cli.main import main
from hcache.errors import HcacheError, UsageError
from hcache.progress import drive
from hcache.sampling.loop import denoise

ROOT = Path(__file__).parent.parent
FACTS = ("name", "what", "against", "aim", "ratio", "unit", "note", "on", "met")


@pytest.mark.parametrize("name", ["extraction", "edit", "reading", "reader", "neighbour"])
@pytest.mark.slow
def test_a_comparison_gives_its_rows_and_leaves_nothing_behind(name, tmp_path, capsys, monkeypatch):
    fit = "a fit (PCA)"  # the others of the background are commands like it, and take longer
    monkeypatch.setattr(neighbour, "COMMANDS", {fit: neighbour.COMMANDS[fit]})
    assert main(["bench", "--quick", "--json", "--only", name, "--work", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["quick"] and found["machine"]["cores"] >= 1 and found["machine"]["libraries"]["torch"]
    )
    measured = [row for row in found["rows"] if row["ratio"]]
    assert (
        len(measured)
        == {"extraction": 6, "edit": 1, "reading": 3, "reader": 1, "neighbour": 4}[name]
    )
    for row in measured:
        assert tuple(row) == FACTS and row["ratio"]["ratio"] > 0 and row["ratio"]["rounds"] >= 1
        assert row["met"] is (None if row["aim"] is None else row["ratio"]["ratio"] <= row["aim"])
    assert not list(tmp_path.iterdir())


def test_the_table_says_what_was_not_measured_and_why(tmp_path, monkeypatch, capsys):
    """Without a GPU: the comparisons of models on one are named."""
    row = BenchRow(
        name="edit",
        what="an edit",
        against="another",
        aim=0.5,
        note="a note",
        ratio=Ratio(ours=1.0, theirs=4.0, ratio=0.25, least=0.2, largest=0.3, rounds=3),
    )

    def measured(_):
        yield 1.0
        return [row]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(suite.OF_MODELS, "edit", measured)
    assert main(["bench", "--quick", "--only", "edit", "--work", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "0.25 (0.2 to 0.3)" in text and "0.5, met" in text and "edit: a note" in text
    assert (
        "not measured" in text
        and "there is no CUDA device here" in text
        and "float16 and bfloat16" in text
    )
    assert "mean nothing" in text, "it was quick"


def test_where_there_is_a_gpu_all_subjects_are_measured_on_it(tmp_path):
    work = list(suite.pieces(BenchSetting(work=tmp_path), ["edit", "pca"], cuda=True))
    assert [(name, at.subject, at.device, at.dtype) for name, at in work][:3] == [
        ("edit", "toyfaces", "cpu", "float32"),
        ("pca", "toyfaces", "cpu", "float32"),
        ("edit", "toyfaces", "cuda", "float16"),
    ]
    assert {(at.subject, at.dtype) for _, at in work if at.device == "cuda"} == {
        (subject, dtype)
        for subject in ("toyfaces", "celebahq-256", "sd-1.5")
        for dtype in ("float16", "bfloat16")
    }


def test_unknown_comparisons_are_refused(capsys):
    assert main(["bench", "--only", "speed"]) == 2
    assert "extraction, preview" in capsys.readouterr().err


def test_ways_are_timed_in_turn_and_once_before():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    shares, timed = drain(interleaved(ways, 3))
    assert (
        calls == list("ababbaab")
        and shares[-1] == 1.0
        and [len(times) for times in timed.values()] == [3, 3]
    )


def test_a_ratio_is_the_median_over_rounds():
    times = {"a": [Spent(1.0, 2.0), Spent(4.0, 2.0), Spent(3.0, 1.0)], "b": [Spent(2.0, 1.0)] * 3}
    ratio = Ratio.of(times, "a", "b")
    assert ratio.processor == 2.0
    assert (ratio.ours, ratio.theirs, ratio.ratio, ratio.least, ratio.largest) == (
        3.0,
        2.0,
        1.5,
        0.5,
        2.0,
    )


def test_a_child_that_fails_says_why():
    with pytest.raises(HcacheError, match="pca_cached failed: .*no run"):
        in_child("pca_cached", folder="nowhere", count=1, out="nothing.npy")


def test_a_machine_is_described():
    machine = describe_machine(kept=True)
    assert machine["memory"] > 0 and machine["processor"] and "keeps" in machine["allocator"]


def test_the_baselines_compute_what_hcache_does(tiny_model, tmp_path):
    """diffusers' own loop ends where ours does, and its hooks see what is cached."""
    steps = list(denoise(tiny_model, [3, 4], 4))
    assert (
        plain_loop(tiny_model, [3, 4], 4).int() - tiny_model.to_images(steps[-1].x_next).int()
    ).abs().max() <= 1
    written = hooked_loop(tiny_model, [3, 4], 4, tmp_path, skips=True)
    paths = sorted(tmp_path.iterdir())
    assert written == sum(path.stat().st_size for path in paths) and len(paths) == 2
    found = torch.load(paths[1], weights_only=True)
    assert len(found["skips"]) == sum(len(group) for group in tiny_model.anatomy.skips)
    for step in steps:
        torch.testing.assert_close(found["h"][step.index], step.features.h[1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found["x"][step.index], step.x_t[1], rtol=1e-4, atol=1e-4)


def test_a_full_size_subject_runs_without_its_weights(monkeypatch, tmp_path):
    """Its configuration is the card's; here one of a tiny text-conditional network stands for
    it.
    """
    import dataclasses

    from hcache.bench import subjects

    real = subjects.read_parts

    def tiny_parts(folder, name):
        parts = real(folder, name)
        config = {
            **parts.config,
            "block_out_channels": [8, 16],
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "cross_attention_dim": 8,
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "attention_head_dim": 4,
            "sample_size": 8,
        }
        codec = {
            **parts.codec_config,
            "block_out_channels": [8, 8],
            "norm_num_groups": 4,
            "layers_per_block": 1,
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
        }
        return dataclasses.replace(parts, config=config, codec_config=codec)

    monkeypatch.setattr(subjects, "read_parts", tiny_parts)
    model = random_model(subjects.SUBJECTS["sd-1.5"], "cpu", "bfloat16")
    assert model.dtype == torch.bfloat16 and isinstance(model.conditioner, RandomText)
    x, text = torch.randn(2, *model.anatomy.x), model.condition(n=2).branches["cond"].text
    assert full_call(model, x, torch.tensor(5), text).shape == x.shape
    assert plain_loop(model, [0, 1], 2).shape == (2, *model.anatomy.image)
    spec = subjects.subject_spec(model, 2, 2, 2, "bfloat16", {"h": "full"})
    from hcache.extraction.run import extract

    assert len(extract(model, spec, tmp_path)) == 2
    with pytest.raises(UsageError, match="celebahq-256"):
        subjects.load_subject("faces", "cpu", "float32")


def test_joint_components_of_many_samples_are_those_of_the_gram_matrix(tmp_path, monkeypatch):
    """By products with vectors: the same subspace, in another order of magnitude of work."""
    from hcache.directions import pca

    run = planted_run(tmp_path, 60, 3, (8, 4, 4), 8)
    (_, exact), found = drain(pca.pca_directions(run, 5)), {}
    monkeypatch.setattr(pca, "GRAM", 10)
    monkeypatch.setattr(pca, "TILE", 50)  # which 128 is no multiple of
    for held in (2**30, 0):
        monkeypatch.setattr(pca, "HELD", held)
        monkeypatch.setattr(pca, "largest_eigenvectors", None)  # not by the Gram matrix again
        found[held] = drain(pca.pca_directions(run, 5))[1]
    for by_products in found.values():
        for a, b in zip(exact, by_products, strict=True):
            assert a.cosine(b) > 1 - 1e-5
            np.testing.assert_allclose(a.sigma, b.sigma, rtol=1e-4)


def test_products_that_lead_nowhere_are_given_up():
    """All eigenvalues alike: no subspace is the leading one. And vectors are orthonormal where
    there is one.
    """

    def found_of(matrix, **options):
        search = leading_vectors(len(matrix), 3, **options)
        block = next(search)
        while True:
            try:
                block = search.send(matrix @ block)
            except StopIteration as end:
                return end.value

    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(400, 400)))[0]
    flat = (basis * np.linspace(1, 1.01, 400)) @ basis.T
    assert found_of(flat, blocks=3, tolerance=1e-5) is None
    steep = (basis * 0.7 ** np.arange(400)) @ basis.T
    vectors = found_of(steep, tolerance=1e-6)
    np.testing.assert_allclose(np.abs(basis[:, :3].T @ vectors), np.eye(3), atol=1e-4)


def test_skips_are_compared_on_fewer_samples_where_there_are_many(tmp_path, monkeypatch):
    """Each with the plain loop over just as many."""
    seen, plain = [], extraction.plain_loop
    monkeypatch.setattr(
        extraction, "amount_of", lambda *_: Amount(samples=3, of_skips=2, steps=1, batch=2)
    )
    monkeypatch.setattr(
        extraction, "plain_loop", lambda *given: seen.append(given[1]) or plain(*given)
    )
    rows = {
        row.name: row for row in drive(extraction.extraction(BenchSetting(work=tmp_path, rounds=1)))
    }
    assert seen.count(range(2, 3)) == len(seen) / 3 and set(seen) == {range(2), range(2, 3)}
    assert rows["extraction"].note.startswith("3 samples") and rows[
        "extraction, skips"
    ].note.startswith("2 samples")
    assert rows["extraction"].ratio.theirs != rows["extraction, skips"].ratio.theirs, (
        "each has its own"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system has one number only")
def test_the_peak_of_a_child_is_its_own_whatever_its_parent_holds():
    ask = "from hcache.bench.child import peak; print(peak())"
    script = (
        "import subprocess, sys; held = b'x' * 700_000_000; subprocess.run([sys.executable, '-c',"
        f" {ask!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert 5 < float(done.stdout) < 600


def test_exponents_are_slopes_and_every_kind_of_growth_is_measured(tmp_path):
    from hcache.bench import growth

    assert growth.exponent((10, 100, 1000), [3.0, 30.0, 300.0]) == pytest.approx(1)
    assert growth.exponent((10, 100), [2.0, 200.0]) == pytest.approx(2)
    run = planted_run(tmp_path, 40, 2, (8, 2, 2), 10)
    for name in growth.AIMS:
        found = growth.grown(name, str(run.folder))
        assert found["spent"]["clock"] > 0
    steep = [{"spent": {"processor": s}, "peak": 1.0} for s in (1.0, 16.0)]
    row = growth.growth_row("pca", 1.1, (10, 40), steep, 4.0)
    assert row.met is False and "exponent 2.00, at most 1.1 wanted" in row.note
    assert "4.0 times one reading" in row.note


def test_joint_pca_is_compared_with_one_reading_cold_and_warm(tmp_path, monkeypatch, capsys):
    from hcache.bench import joint

    forgotten = []
    monkeypatch.setattr(joint, "forget", lambda folder: forgotten.append(folder))
    joint.main(["--samples", "70", "--steps", "2", "--channels", "1", "--work", str(tmp_path)])
    told = json.loads(capsys.readouterr().out)
    assert told["passes"] >= 2 and told["peak"] > 10 and not list(tmp_path.iterdir())
    assert len(forgotten) == 2, "before the reading and before the PCA, and only of the cold round"
    for state in ("cold", "warm"):
        (reading,), (components,) = told[state]["reading"], told[state]["components"]
        assert components > 0 and told[state]["ratio"][0] > 0 and reading > 0


def test_shards_that_the_system_forgot_are_read_as_before(tmp_path):
    from hcache.bench.joint import forget

    run = planted_run(tmp_path, 20, 2, (8, 2, 2), 10)
    before = run.matrix("h", 1)
    forget(run.folder)
    assert (run.matrix("h", 1) == before).all()


def test_pages_of_many_samples_open_twice_also_where_most_are_only_listed(tmp_path):
    from hcache.bench.many import page_seconds, run_of_many

    whole = run_of_many(tmp_path / "whole", 130)
    assert len(whole) == 130 and whole.images.shape[0] == 130
    listed = run_of_many(tmp_path / "listed", 10_000, there=64)
    assert len(listed) == 10_000 and listed.row("h", 63, 0).shape == (8, 2, 2)
    found = page_seconds(tmp_path / "listed", ["overview"])
    assert found["overview"].keys() == {"first", "second"}
    assert found["overview"]["first"]["clock"] > 0
