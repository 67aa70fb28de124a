"""Bars of progress, in processes that are forked and killed."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from tiny import code_of, in_a_child

from hcache.progress import drive_under_bar

if not hasattr(os, "fork"):
    pytest.skip("this system does not fork", allow_module_level=True)


class Stuck:
    """A terminal that takes the first characters, says so, and never returns before it is told."""

    def __init__(self, say, wait):
        self.say, self.wait = say, wait

    def write(self, text):
        self.say()
        self.wait()

    def flush(self):
        pass


def work():
    yield 0.5
    return "done"


def draws():
    """The exit code of a process that draws a bar: 0 where the work is done."""
    sys.stderr = Path(os.devnull).open("w")
    return drive_under_bar(work(), "again") != "done"


def test_a_process_killed_while_it_draws_a_bar_stops_no_other_process(monkeypatch):
    """tqdm's own lock is one for a process and all that are forked from it, and stays taken."""
    monkeypatch.setattr(sys, "stderr", Path(os.devnull).open("w"))
    drive_under_bar(work(), "before")
    read, write = os.pipe()

    def stuck():
        sys.stderr = Stuck(lambda: os.write(write, b"!"), signal.pause)
        drive_under_bar(work(), "killed")

    child = in_a_child(stuck)
    assert os.read(read, 1) == b"!"
    os.kill(child, signal.SIGKILL)
    assert code_of(child) == -signal.SIGKILL
    assert code_of(in_a_child(draws), patience=20) == 0


def test_a_process_forked_while_a_thread_draws_a_bar_draws_its_own(monkeypatch):
    """The thread is not in the forked process, and would never give up its lock there."""
    drawing, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "stderr", Stuck(drawing.set, go_on.wait))
    thread = threading.Thread(target=drive_under_bar, args=(work(), "held"), daemon=True)
    thread.start()
    try:
        assert drawing.wait(20)
        assert code_of(in_a_child(draws), patience=20) == 0
    finally:
        go_on.set()
        thread.join(20)
