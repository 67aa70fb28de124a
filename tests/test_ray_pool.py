"""A pool of workers on Ray: whichever worker dies or joins, every item has its result."""

import logging

import pytest

from hcache.errors import UsageError
from hcache.progress import drive, in_turns, one_by_one
from hcache.ray_cluster import RESTARTS
from hcache.ray_pool import pool


def squares(gpu, cpus):
    """Makes a worker's function. It refuses negative numbers."""
    assert not gpu and cpus == 1

    def square(number):
        if number < 0:
            raise UsageError(f"{number} is below 0")
        return number * number

    return square


def test_results_come_in_the_order_of_their_items(pooled):
    with pool("somewhere", squares) as workers:
        assert drive(workers.map(range(9))) == [n * n for n in range(9)]
        assert drive(workers.map([5])) == [25]
        assert sorted(workers.as_done([1, 2, 3])) == [1, 4, 9]
    assert {worker for worker, _ in pooled.done} == {0, 1}, "both have computed"
    assert len(pooled.made) == 2 == len(pooled.killed), "they began once, and were ended"


@pytest.mark.parametrize("restarts", [True, False])
def test_an_item_of_a_worker_that_dies_is_handed_out_again(pooled, restarts):
    pooled.dying.add(0)
    pooled.leaving |= set() if restarts else {"one"}
    with pool("somewhere", squares) as workers:
        assert drive(workers.map(range(6))) == [n * n for n in range(6)]
    assert sorted(item for _, item in pooled.done) == list(range(6)), "each was computed once"
    assert [seat.name for seat, _ in pooled.made] == ["one", "two", "one"][: 2 + restarts]


def test_workers_that_always_die_end_the_work_in_one_line(pooled):
    pooled.dying.update(range(99))
    with (
        pool("somewhere", squares) as workers,
        pytest.raises(UsageError, match="every worker .* died: (one|two): .*out of memory") as told,
    ):
        drive(workers.map(range(6)))
    assert "\n" not in str(told.value) and len(pooled.made) == 2 * (1 + RESTARTS)


def test_a_machine_that_joins_late_computes(pooled):
    with pool("somewhere", squares) as workers:
        work = workers.map(range(50))
        next(work)
        pooled.names.append("three")
        drive(work)
    assert {seat.name for seat, _ in pooled.made} == {"one", "two", "three"}
    assert {worker for worker, _ in pooled.done} == {0, 1, 2}


def test_a_machine_that_joins_late_and_cannot_begin_is_left_out(pooled, caplog):
    begun = []

    def make(gpu, cpus):
        begun.append(cpus)
        if len(begun) > 2:
            raise UsageError("it has torch 9")
        return lambda item: item

    with caplog.at_level(logging.WARNING), pool("somewhere", make) as workers:
        drive(workers.map(range(3)))
        pooled.names.append("three")
        assert drive(workers.map(range(20))) == list(range(20))
    assert "three is left out: it has torch 9" in caplog.text and len(begun) == 3


def test_an_error_of_the_function_is_raised_and_the_pool_goes_on(pooled):
    with pool("somewhere", squares) as workers:
        with pytest.raises(UsageError, match="-1 is below 0"):
            drive(workers.map([1, -1, 2]))
        before = len(pooled.done)
        assert drive(workers.map([4])) == [16]
        assert len(pooled.done) - before <= 3, "items that nobody waits for are dropped"


def test_a_cluster_without_processors_is_refused(pooled):
    pooled.names.clear()
    with pool("somewhere", squares) as workers, pytest.raises(UsageError, match="neither GPUs nor"):
        drive(workers.map([1]))


def test_nobody_waits_for_ever_for_a_worker_that_does_not_begin(pooled, monkeypatch):
    monkeypatch.setattr("hcache.ray_pool.PATIENCE", -1.0)
    monkeypatch.setattr(pooled, "wait", lambda references, num_returns, timeout: ([], references))
    with pool("somewhere", squares) as workers, pytest.raises(UsageError, match="ray status"):
        drive(workers.map([1]))


def counting(name, log):
    for number in range(3):
        log.append((name, number))
        yield number / 3
    return name


def test_computations_take_turns_or_follow_one_another():
    turns, line = [], []
    shares = []
    assert drive(in_turns([counting(n, turns) for n in "ab"]), shares.append) == ["a", "b"]
    assert shares == sorted(shares) and [name for name, _ in turns] == list("ababab")
    assert drive(one_by_one([counting(n, line) for n in "ab"])) == ["a", "b"]
    assert [name for name, _ in line] == list("aaabbb")


def test_one_computation_that_fails_ends_the_others():
    def fails():
        yield 0.1
        raise UsageError("no")

    ended = []

    def waits():
        try:
            while True:
                yield 0.2
        finally:
            ended.append(True)

    with pytest.raises(UsageError, match="no"):
        drive(in_turns([waits(), fails()]))
    assert ended == [True]
