"""How many samples are computed at once: found where nobody says it, and made smaller where
memory does not suffice.
"""

import dataclasses
import logging
import sys
from types import ModuleType

import numpy as np
import psutil
import pytest
import torch

from hcache.cache.plan import make_plan
from hcache.cache.verify import verify
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.errors import ModelError
from hcache.extraction import batch_size as extract_batch
from hcache.extraction import workers as extract_workers
from hcache.extraction.batch_size import find_batch, grow, most_at_once
from hcache.extraction.run import extract
from hcache.extraction.shard import Behind
from hcache.models.model import Model
from hcache.progress import drive
from hcache.specs import BATCH


def small_memory(monkeypatch, most, error=None, at_step=0):
    """Memory in which no more than ``most`` samples fit, from some step on."""
    trace, calls = Model.trace, []

    def traced(self, x_t, t, *rest):
        calls.append((len(x_t), float(t)))
        if len(x_t) > most and len({t for n, t in calls if n == len(x_t)}) > at_step:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return trace(self, x_t, t, *rest)

    monkeypatch.setattr(Model, "trace", traced)
    return calls


def assert_same_samples(run, like):
    """Beyond rounding, which a batch may change."""
    for step in range(like.spec.steps):
        for site in ("h", "skip.1", "skip.2"):
            np.testing.assert_allclose(
                run.matrix(site, step), like.matrix(site, step), rtol=2e-3, atol=2e-3
            )
    assert np.abs(run.images.astype(int) - like.images).max() <= 1 and run.spec == like.spec


def ranges(run):
    return [(shard.start, shard.stop) for shard in run.shards]


@pytest.mark.parametrize("at_step", [0, 2])
@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (4, [(0, 3), (3, 5), (5, 8), (8, 10), (10, 12)]),
        (2, [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9), (9, 10), (10, 12)]),
        (1, [(i, i + 1) for i in range(12)]),
    ],
)
def test_where_memory_does_not_suffice_the_samples_are_the_same_in_smaller_shards(
    tiny_model, tiny_spec, tiny_run, tmp_path, monkeypatch, caplog, most, expected, at_step
):
    calls, seen = small_memory(monkeypatch, most, at_step=at_step), []
    with caplog.at_level(logging.WARNING):
        run = extract(tiny_model, tiny_spec, tmp_path, seen.append)
    assert ranges(run) == expected
    assert_same_samples(run, tiny_run)
    assert (
        run.complete and drive(verify(run.folder)).fine and not list(run.folder.rglob("*.partial"))
    )
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert all(0 <= progress.work <= 12 for progress in seen) and seen[-1].work == 12
    too_many = [n for n, _ in calls if n > most]
    assert len(set(too_many)) * (at_step + 1) == len(too_many), (
        "no size is tried again that did not fit"
    )
    assert "is too small for 5 samples at once; continuing with 3" in caplog.text


def test_memory_may_run_out_in_processes_of_their_own(
    tiny_model, tiny_spec, tiny_run, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(extract_workers, "METHOD", "fork")
    small_memory(monkeypatch, 2)
    seen = []
    run = extract(tiny_model, tiny_spec, tmp_path, seen.append, devices=["cpu", "cpu"])
    assert all(stop - start <= 2 for start, stop in ranges(run))
    assert_same_samples(run, tiny_run)
    assert (
        run.complete
        and drive(verify(run.folder)).fine
        and all(0 <= progress.work <= 12 for progress in seen)
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError("Unable to allocate 3 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_sample_too_many_is_an_error_that_says_what_to_do(
    tiny_model, tiny_spec, tmp_path, monkeypatch, error
):
    small_memory(monkeypatch, 0, error)
    with pytest.raises(ModelError, match="is too small for one sample.*--dtype float16"):
        extract(tiny_model, tiny_spec, tmp_path)
    assert not list((tmp_path / "runs" / tiny_spec.name).rglob("*.partial"))


def test_another_error_is_not_taken_for_want_of_memory(
    tiny_model, tiny_spec, tmp_path, monkeypatch
):
    calls = small_memory(monkeypatch, 4, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        extract(tiny_model, tiny_spec, tmp_path)
    assert len(calls) == 1


def clock(fixed, each, memory=10**9):
    """What a step of n samples takes: something at all, and something for each."""
    tried = []

    def seconds(n):
        tried.append(n)
        if n > memory:
            raise torch.OutOfMemoryError
        return fixed + each * n

    return seconds, tried


@pytest.mark.parametrize(
    ("costs", "most", "best", "tried"),
    [
        ((0, 1), 256, 8, [8, 16]),  # the arithmetic is all: no gain
        ((1, 0), 256, 256, [8, 16, 32, 64, 128, 256]),  # the launch is all: as many as there are
        ((16, 1), 256, 256, [8, 16, 32, 64, 128, 256]),
        ((1, 1), 256, 16, [8, 16, 32]),  # 8 / 9, 16 / 17: by 6 %; then by 3 %
        ((1, 0, 40), 256, 32, [8, 16, 32, 64]),  # memory is all
        ((1, 0, 7), 256, 8, [8]),
        ((1, 0), 20, 20, [8, 16, 20]),
        ((1, 0), 3, 3, [3]),
    ],
)
def test_more_samples_at_once_are_tried_for_as_long_as_it_gains(costs, most, best, tried):
    seconds, asked = clock(*costs)
    assert grow(seconds, most) == best and asked == tried


def test_what_goes_wrong_while_trying_is_told():
    with pytest.raises(RuntimeError, match="broken"):
        grow(lambda n: (_ for _ in ()).throw(RuntimeError("broken")), 256)


def test_no_more_are_tried_than_a_shard_or_memory_should_hold(tiny_model, tiny_spec, monkeypatch):
    spec = dataclasses.replace(tiny_spec, samples=1000, batch=0)
    sample = make_plan(dataclasses.replace(spec, samples=1, batch=1), tiny_model.anatomy).total
    assert most_at_once(spec, tiny_model, 10**12) == extract_batch.MOST
    assert most_at_once(dataclasses.replace(spec, samples=5), tiny_model, 10**12) == 5
    assert most_at_once(spec, tiny_model, 0) == BATCH, "that many are always taken on"
    assert most_at_once(spec, tiny_model, 4 * 3 * 20 * sample // spec.steps + sample) == 20
    monkeypatch.setattr(extract_batch, "SHARD_BYTES", 33 * sample)
    assert most_at_once(spec, tiny_model, 10**12) == 33


def test_on_a_gpu_steps_are_timed(tiny_model, tiny_spec, monkeypatch):
    """As far as that can be told without one: the network and the codec run on what is tried."""
    asked, calls = [], small_memory(monkeypatch, 20)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: asked.append(name))
    monkeypatch.setattr(Model, "device", property(lambda self: torch.device("cuda")))
    monkeypatch.setattr(
        extract_batch,
        "denoise",
        lambda model, *rest, **more: on_cpu(monkeypatch, model, rest, more),
    )
    spec = dataclasses.replace(tiny_spec, samples=1000, batch=0)
    assert find_batch(tiny_model, spec) in (8, 16)
    tried = [n for n, _ in calls]
    assert tried[:4] == [8, 8, 16, 16] and asked[:3] == [
        "synchronize",
        "synchronize",
        "empty_cache",
    ]


def on_cpu(monkeypatch, model, rest, more):
    from hcache.sampling.loop import denoise

    with monkeypatch.context() as patch:
        patch.setattr(Model, "device", property(lambda self: torch.device("cpu")))
        yield from denoise(model, *rest, **more)


def test_left_to_itself_a_run_keeps_the_batch_that_was_found(
    tiny_folder, tmp_path, monkeypatch, capsys
):
    found = iter([6])
    monkeypatch.setattr("hcache.extraction.run.find_batch", lambda model, spec: next(found))
    command = ["extract", str(tiny_folder), "--steps", "2", "--home", str(tmp_path), "--samples"]
    assert main([*command, "8"]) == 0 and main([*command, "14", "--batch", "auto"]) == 0
    spec = default_spec(str(tiny_folder), samples=14, steps=2)
    from hcache.cache.reading import open_run

    run = open_run(spec.name, tmp_path)
    assert run.spec.batch == 6 and ranges(run) == [(0, 6), (6, 8), (8, 14)]


def test_on_a_cpu_it_is_the_same_everywhere(tiny_model, tiny_spec):
    assert find_batch(tiny_model, dataclasses.replace(tiny_spec, batch=0)) == BATCH


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_a_batch_that_cannot_be_is_refused_in_one_line(tiny_folder, tmp_path, capsys, text):
    assert main(["extract", str(tiny_folder), "--home", str(tmp_path), f"--batch={text}"]) == 2
    assert f"expected 1, 2, ... or auto, got {text!r}" in capsys.readouterr().err


def test_what_writes_behind_the_network_takes_no_threads_from_it():
    """By OpenMP's count as much as by the system's."""
    convolution, x, seen = torch.nn.Conv2d(8, 8, 3), torch.zeros(8, 8, 64, 64), []

    def work():
        before = psutil.Process().num_threads()
        convolution(x)
        seen.append((torch.get_num_threads(), psutil.Process().num_threads() - before))

    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        convolution(x)
        with Behind() as behind:
            behind(work)
        assert seen == [(1, 0)] and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
