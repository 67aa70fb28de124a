"""Work in a thread of the page: what its bar says, what is left of it when it is cancelled or
fails.
"""

import errno
import threading

import pytest
from tiny import wait_for

from hcache.errors import UsageError
from hcache.ui import work as work_module
from hcache.ui.work import PageWork


def ended(work):
    assert work.wait(20)
    return work


def test_work_that_is_done_has_its_result_and_a_log():
    def steps():
        yield 0.25
        yield 0.5
        return "a result"

    work = ended(PageWork(steps))
    assert (work.result, work.error, work.share) == ("a result", "", 0.5)
    assert [line.split(" ", 1)[1].split(",")[0] for line in work.log] == [
        "begun",
        "25%",
        "50%",
        "done",
    ]


def test_cancelled_work_ends_at_its_next_step():
    reached, go_on = threading.Event(), threading.Event()

    def steps():
        yield 0.1
        reached.set()
        go_on.wait(20)
        yield 0.2
        raise AssertionError("one step too far")

    work = PageWork(steps)
    assert reached.wait(20)
    work.cancel()
    assert work.remaining() == "stopping after this step"
    go_on.set()
    ended(work)
    assert work.cancelled and work.result is None and not work.error
    assert work.log[-1].endswith("cancelled at 20%")


@pytest.mark.parametrize("error", [UsageError("choose another"), KeyError("nobody thought of it")])
def test_work_that_fails_says_so_and_its_log_says_where(error):
    def steps():
        yield 0.5
        raise error

    work = ended(PageWork(steps))
    if isinstance(error, UsageError):
        assert work.error == "choose another" and "choose another" in work.log[-1]
    else:
        assert "KeyError" in work.error and "not expected" in work.error
        assert "test_work.py" in work.log[-1], "the traceback"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/file"), "no space left"),
        (OSError(errno.EIO, "Input/output error"), "the system refuses"),
        (MemoryError(), "memory does not suffice"),
    ],
    ids=["full", "broken", "memory"],
)
def test_what_the_system_refuses_is_told_in_a_line(error, words):
    def steps():
        yield 0.5
        raise error

    work = ended(PageWork(steps))
    assert words in work.error and "not foreseen" not in work.error
    assert len(work.error.splitlines()) == 1


def test_the_bar_says_rate_and_time_left_in_its_own_unit(monkeypatch):
    held = threading.Event()

    def steps():
        yield 0.25
        held.wait(20)

    for unit, expected in (
        (None, "25%, 5%/s, 15 s left"),
        (("probes", 80), "20 of 80 probes, 4/s, 15 s left"),
    ):
        work = PageWork(steps, unit)
        wait_for(lambda work=work: work.share, "the first step")
        with monkeypatch.context() as patched:  # whatever the clock says
            patched.setattr(work_module, "monotonic", lambda work=work: work.begun + 5.0)
            assert work.remaining() == expected
        held.set()
        ended(work)
        held.clear()
