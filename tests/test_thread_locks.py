"""Locks of threads, in processes that are forked while they are held."""

import os
import threading

import pytest
from tiny import code_of, in_a_child

from hcache.bounded import ByteCache
from hcache.thread_locks import ThreadLock

if not hasattr(os, "fork"):
    pytest.skip("this system does not fork", allow_module_level=True)


class Holding:
    """Calls a function in a thread, and passes once the thread is where it calls ``pause``."""

    def __init__(self, function):
        self.there, self.go_on = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=function, args=(self.pause,), daemon=True)

    def pause(self):
        self.there.set()
        self.go_on.wait()

    def __enter__(self):
        self.thread.start()
        assert self.there.wait(20)

    def __exit__(self, *error):
        self.go_on.set()
        self.thread.join(20)


def test_it_excludes_other_threads_and_not_its_own():
    lock = ThreadLock()

    def hold(pause):
        with lock:
            pause()

    with Holding(hold):
        assert not lock.acquire(blocking=False) and not lock.acquire(timeout=0.01)
    with lock, lock:
        pass
    assert lock.acquire(blocking=False)
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_it_is_free_in_a_process_that_was_forked_while_another_thread_held_it():
    lock = ThreadLock()

    def hold(pause):
        with lock:
            pause()

    def takes():
        with lock:
            return 7

    with Holding(hold):
        assert code_of(in_a_child(takes), patience=20) == 7
        assert not lock.acquire(blocking=False), "it is still held where it was"


def test_the_thread_that_forks_keeps_what_it_holds():
    lock = ThreadLock()

    def gives_up():
        other = []
        thread = threading.Thread(target=lambda: other.append(lock.acquire(blocking=False)))
        thread.start()
        thread.join()
        lock.release()
        return 0 if other == [False] else 1

    with lock:
        assert code_of(in_a_child(gives_up), patience=20) == 0


def test_a_cache_serves_a_process_that_was_forked_while_a_thread_used_it():
    pause = [lambda: None]

    def weigh(value):
        if threading.current_thread() is not threading.main_thread():
            pause[0]()
        return 1

    cache = ByteCache(10, weigh)

    def use(wait):
        pause[0] = wait
        cache.get("of the thread", lambda: 1)

    with Holding(use):
        assert code_of(in_a_child(lambda: cache.get("own", lambda: 7)), patience=20) == 7
