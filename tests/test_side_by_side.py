"""A batch in parts, side by side: the same numbers as each part by itself, and nothing split
that must not be.
"""

import threading
from functools import partial

import pytest
import torch
from tiny import code_of, in_a_child, make_unet

from hcache.cards import find_card
from hcache.models.anatomy import anatomy_of
from hcache.models.condition import Condition
from hcache.models.model import Model
from hcache.models.side_by_side import MOST_PARTS, parts_of, side_by_side
from hcache.sampling.loop import denoise

CPU = torch.device("cpu")


@pytest.fixture(params=[2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def model_of(**changes):
    network = make_unet(**changes)
    from diffusers import DDIMScheduler

    return Model(
        card=find_card("toyfaces-ddpm-64"),
        network=network,
        scheduler=DDIMScheduler(),
        anatomy=anatomy_of(network),
    )


@torch.inference_mode()
def alone(work):
    """In a single thread of this process's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


CASES = {
    "plain": {},
    "classes": {"num_class_embeds": 5},
    "fourier time": {"time_embedding_type": "fourier"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("per_sample", [False, True], ids=["one t", "a t a sample"])
def test_a_batch_in_parts_is_each_part_by_itself(threads, case, per_sample):
    model, n = model_of(**CASES[case]), 2 * threads
    x = torch.randn(n, *model.anatomy.x, generator=torch.Generator().manual_seed(1))
    t = torch.arange(1, n + 1) * 100 if per_sample else 500
    labels = torch.arange(n) % 5 if case == "classes" else None
    with torch.inference_mode():
        whole, output = model.trace(x, t, Condition(class_labels=labels))
        halves = model.encode(x, t, Condition(class_labels=labels))
        again = model.decode(halves, t, Condition(class_labels=labels))
        embedding = model.embed(n, t, Condition(class_labels=labels))
    for start in range(0, n, 2):
        rows = slice(start, start + 2)
        own_t, own = t[rows] if per_sample else t, embedding.rows(rows)
        features = alone(partial(model.encode, x[rows], own_t, embedding=own))
        expected = alone(partial(model.decode, features, own_t, embedding=own))
        for name, tensor in features.items():
            assert torch.equal(whole[name][rows], tensor) and torch.equal(
                halves[name][rows], tensor
            ), name
        assert torch.equal(output[rows], expected) and torch.equal(again[rows], expected)


def test_the_place_in_the_batch_changes_nothing(threads):
    """What tells an edit that does nothing from one that does, bit for bit."""
    model = model_of()
    *_, last = denoise(model, [7] * (2 * threads), 2)
    assert all(torch.equal(row, last.x_next[0]) for row in last.x_next)


def test_what_is_split(threads):
    n = 4 * threads
    assert len(parts_of(n, CPU)) == 1, "something may be differentiated"
    with torch.inference_mode():
        parts = parts_of(n, CPU)
        assert [(p.start, p.stop) for p in parts] == [(4 * k, 4 * k + 4) for k in range(threads)]
        assert parts_of(n + 1, CPU) == [slice(0, n + 1)] and parts_of(1, CPU) == [slice(0, 1)], (
            "unequal parts"
        )
        assert parts_of(n, torch.device("meta")) == [slice(0, n)]
        torch.set_num_threads(MOST_PARTS + 1)
        assert len(parts_of(4 * (MOST_PARTS + 1), CPU)) == 1


def test_every_part_computes_in_its_thread_alone_and_the_caller_keeps_its_threads(threads):
    with torch.inference_mode():
        seen = side_by_side(
            lambda rows: (
                threading.get_ident(),
                torch.get_num_threads(),
                torch.is_inference_mode_enabled(),
            ),
            parts_of(threads, CPU),
        )
    assert len(seen) == threads and {(own, mode) for _, own, mode in seen} == {(1, True)}
    assert threading.get_ident() not in {ident for ident, _, _ in seen}
    later = []
    one = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    one.start()
    one.join()
    assert torch.get_num_threads() == threads and later == [threads]


def test_what_goes_wrong_in_a_part_is_raised_when_all_have_ended(threads):
    ended = []

    def work(rows):
        if rows.start == 0:
            raise MemoryError("not enough")
        ended.append(rows)

    with torch.inference_mode(), pytest.raises(MemoryError, match="not enough"):
        side_by_side(work, parts_of(threads, CPU))
    assert len(ended) == threads - 1


def test_a_forked_process_has_threads_of_its_own(threads):
    """Those of its parent are not in it: it would wait for them for ever."""
    parts = [slice(0, 1), slice(1, 2)]
    assert side_by_side(lambda rows: rows.start, parts) == [0, 1]
    child = in_a_child(lambda: side_by_side(lambda rows: rows.start, parts) != [0, 1])
    assert code_of(child, patience=60) == 0
