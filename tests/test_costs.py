"""What must not regress, counted and not timed: network calls, bytes, copies, shards opened for
a question.
"""

import dataclasses
import os
import platform
import subprocess
import sys
import tracemalloc
from collections import Counter
from math import prod
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tiny import synthetic_run
from torch.utils._python_dispatch import TorchDispatchMode

from hcache.cache import hdf5, index, provenance
from hcache.cache.layout import SHARDS
from hcache.cache.reading import open_run
from hcache.cache.shards import ShardWriter
from hcache.edits.cached import cached_features, cached_x
from hcache.edits.render import render_recipes
from hcache.edits.swaps import swap_recipes
from hcache.extraction.run import extract
from hcache.models import halves
from hcache.progress import drive
from hcache.recipes.edits import DonorRef
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise, predict

ROOT = str(Path(__file__).parent.parent)


@pytest.fixture
def calls(monkeypatch):
    """How often each half of a network ran."""
    found = Counter()
    for name in ("encode", "decode"):
        half = getattr(halves, name)

        def counted(*arguments, name=name, half=half):
            found[name] += 1
            return half(*arguments)

        monkeypatch.setattr(halves, name, counted)
    return found


@pytest.fixture
def opens(monkeypatch):
    """The shards that are opened to be read, by name."""
    found, plain = [], hdf5.h5py.File

    class Counted(plain):
        def __init__(self, source, mode="r", **options):
            if mode == "r":
                name = os.readlink(f"/proc/self/fd/{source.descriptor}")
                found.extend([name] if SHARDS in name else [])
            super().__init__(source, mode, **options)

    monkeypatch.setattr(hdf5.h5py, "File", Counted)
    return found


class Copies(TorchDispatchMode):
    """Counts by dtype what makes a new tensor of the same values, of sizes of interest."""

    COPYING = ("to", "_to_copy", "clone", "copy_", "contiguous")

    def __init__(self, sizes):
        super().__init__()
        self.sizes, self.found = sizes, Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = str(function).split(".")[1]  # of aten.clone.default
        if (
            name in self.COPYING
            and result.numel() in self.sizes
            and result.data_ptr() != args[0].data_ptr()
        ):
            self.found[result.dtype] += 1
        return result


def test_an_extraction_calls_the_network_once_a_step(tiny_model, tiny_spec, tmp_path, calls):
    extract(tiny_model, tiny_spec, tmp_path)
    assert calls == {"encode": 3 * 4, "decode": 3 * 4}, "three shards of four steps"
    extract(tiny_model, tiny_spec, tmp_path)
    assert calls["encode"] == 12, "nothing was missing"


def test_a_step_embeds_its_time_once_whatever_is_edited(tiny_model, calls, monkeypatch):
    embedded = []
    plain = halves.time_embedding
    monkeypatch.setattr(
        halves, "time_embedding", lambda *given: embedded.append(given[2]) or plain(*given)
    )

    def moved(features, moment):
        return features.replace({"h": features.h + 1})

    for options, decoded in (
        ({}, 2),
        ({"edit": moved}, 2),
        ({"edit": moved, "asymmetric": True}, 4),
    ):
        embedded.clear()
        calls.clear()
        steps = [step.t for step in denoise(tiny_model, [0, 1], 2, **options)]
        assert embedded == steps and calls == {"encode": 2, "decode": decoded}


def test_what_a_run_costs_once_is_done_once(tiny_model, tiny_spec, tmp_path, monkeypatch):
    """The index is made at every shard and only flushed at the end; the libraries' versions are
    looked up once.
    """
    provenance.versions_found.cache_clear()
    asked, version = [], provenance.version
    monkeypatch.setattr(provenance, "version", lambda name: asked.append(name) or version(name))
    written, write = [], index.replacing_hdf5

    def replacing(final, durable):
        written.append(len(open_run(final.parent)))
        return write(final, durable)

    monkeypatch.setattr(index, "replacing_hdf5", replacing)
    extract(tiny_model, tiny_spec, tmp_path)
    assert asked == list(provenance.LIBRARIES) and written == [5, 10, 12]


@pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="the system does not count what a process writes"
)
def test_every_byte_of_a_shard_is_written_once(tmp_path):
    """Nothing is filled with zeros first, and nothing written twice; what is smaller than HDF5's
    buffer may be.
    """

    def written():
        return int(
            dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())[
                "wchar"
            ]
        )

    h, x = np.ones((4, 64, 32, 32), np.float16), np.ones((4, 3, 64, 64), np.float32)
    before = written()
    with ShardWriter(tmp_path, 0, np.arange(4), np.arange(3), "float16") as writer:
        for step in range(3):
            writer.write_activation(step, "h", h, lambda: h.astype(np.float32))
            writer.write_x(step, x)
        writer.write_x(3, x)
        shard = writer.commit()
    assert written() - before == pytest.approx(
        shard.bytes, rel=0.01
    )  # HDF5 leaves a few holes of its own


@pytest.mark.parametrize("store_dtype", ["float16", "float32"])
def test_an_activation_is_copied_once_to_be_narrowed_and_else_not_at_all(
    tiny_model, tiny_spec, tmp_path, store_dtype
):
    store = {"h": "full", "skip.1": "full", "skip.2": "full"}
    spec = dataclasses.replace(tiny_spec, samples=5, store=store, store_dtype=store_dtype)
    members = [member for site in store for member in tiny_model.anatomy.members(site)]
    sizes = {5 * prod(tiny_model.anatomy.shape(member)) for member in members}
    copies = Copies(sizes)
    with copies:
        extract(tiny_model, spec, tmp_path)
    halved = copies.found[torch.float16]
    assert halved == (4 * len(members) if store_dtype == "float16" else 0), copies.found
    assert copies.found[torch.float32] == 0


def test_numpy_holds_no_copy_of_what_is_written(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 64, 32, 32)).astype(np.float16)
    with ShardWriter(tmp_path, 0, np.arange(4), np.arange(2), "float16") as writer:
        writer.write_activation(0, "h", values, lambda: values.astype(np.float32))
        tracemalloc.start()
        writer.write_activation(1, "h", values, lambda: values.astype(np.float32))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        writer.finish()
    assert peak < 0.1 * values.nbytes, (
        "infinities are looked for, and what is written is written, without a copy"
    )


def test_a_question_opens_each_shard_once_or_one_shard(copied_run, opens):
    shards = [str(copied_run.folder / SHARDS / shard.file) for shard in copied_run.shards]
    for question, expected in [
        (lambda: copied_run.matrix("h", 1), shards),
        (
            lambda: (
                copied_run.matrix("h", 2),
                list(copied_run.blocks("h", 0)),
                copied_run.pooled("h", 1),
            ),
            [],
        ),
        (lambda: copied_run.array("h"), []),
        (lambda: copied_run.features(6, 2), []),
        (lambda: copied_run.row("h", 11, 2), []),
        (lambda: copied_run.trajectory(0), []),
        (lambda: (len(copied_run), copied_run.sample_ids, copied_run.position(7)), []),
    ]:
        opens.clear()
        question()
        assert opens == expected


def test_where_a_tensor_lies_is_asked_again_of_a_file_that_changed(copied_run, opens):
    """Another shard under the same name: with h where that one has it."""
    path, before = copied_run.folder / SHARDS / copied_run.shards[0].file, copied_run.matrix("h", 1)
    with h5py.File(path, "a") as file:
        moved = file["h"][:]
        del file["h"]
        file.create_dataset("labels/more/padding", data=np.zeros(5, np.float32))
        file.create_dataset("h", data=moved[:, ::-1])
    opens.clear()
    after = copied_run.matrix("h", 1)
    assert opens == [str(path)]
    np.testing.assert_array_equal(after[:5], before[:5][::-1])
    np.testing.assert_array_equal(after[5:], before[5:])


@pytest.mark.parametrize("layout", ["chunked", "big-endian"])
def test_a_shard_that_other_tools_have_written_anew_reads_the_same(copied_run, layout):
    path, before = copied_run.folder / SHARDS / copied_run.shards[1].file, copied_run.matrix("h", 3)
    with h5py.File(path, "a") as file:
        held = file["h"][:]
        del file["h"]
        options = (
            {"chunks": True, "compression": "gzip"} if layout == "chunked" else {"dtype": ">f2"}
        )
        file.create_dataset("h", data=held, **options)
    np.testing.assert_array_equal(copied_run.matrix("h", 3), before)


def test_all_steps_of_a_tensor_are_one_array_widened_where_a_shard_is(tmp_path):
    """The second of two shards holds what overflows float16."""
    from hcache.specs import RunSpec

    h = np.random.default_rng(0).normal(size=(2, 4, 1, 2, 2)).astype(np.float16).astype(np.float32)
    h[1, 3, 0, 0, 0] = 1e6
    run = synthetic_run(tmp_path, RunSpec(model="m", samples=4, steps=2), h, [(0, 2), (2, 4)])
    assert run.array("h").dtype == np.float32
    np.testing.assert_array_equal(run.array("h"), h)


def test_a_preview_needs_the_decoder_alone(tiny_model, tiny_run, calls):
    stored = cached_features(tiny_model, tiny_run, 3, 1)
    assert calls == {"encode": 1}, "skips that are pooled are computed, once"
    calls.clear()
    for _ in range(3):
        predict(tiny_model, stored, cached_x(tiny_model, tiny_run, 3, 1), 1, tiny_run.spec.steps)
    assert calls == {"decode": 3}


def test_an_edit_begins_at_its_first_step_and_sites_share_a_batch_and_a_donor(
    tiny_model, tiny_run, calls, opens
):
    """Four sites from step 2 of 4: two steps of one batch, and of the donor one encoder call a
    step.
    """
    sites = tiny_model.anatomy.sites
    donor = DonorRef(run=tiny_run.name, sample=1)
    recipes = swap_recipes(tiny_run, 7, sites, donor, 1.0, Window(first=2, last=3))
    drive(render_recipes(tiny_model, tiny_run, recipes, tiny_run.home))
    assert len(sites) == 4 and calls == {"encode": 2 + 2, "decode": 2}


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="glibc's own"
)
def test_freed_memory_is_kept_unless_the_user_says_otherwise():
    """In a process of its own: glibc gives no account of its settings, but the heap's size
    tells.
    """
    code = (
        "import ctypes, sys; from hcache.allocator import keep_freed_memory; done ="
        " keep_freed_memory();libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p;"
        " libc.sbrk.restype = ctypes.c_void_p;libc.malloc.argtypes = [ctypes.c_size_t];"
        " libc.free.argtypes = [ctypes.c_void_p];block = libc.malloc(2**24); top = libc.sbrk(0);"
        " libc.free(block);print(done, libc.sbrk(0) == top, top > block and top - block < 2**30)"
    )

    def told(**environment):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment, "PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    assert told() == ["True", "True", "True"], "a block of 16 MB lies in the heap, and stays there"
    assert told(MALLOC_TOP_PAD_="1000")[0] == "False"
