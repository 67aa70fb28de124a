"""Who holds a lock, where the system's own is to be had and where it is not."""

import dataclasses
import errno
import fcntl
import json
import os
import platform
import time

import pytest
from tiny import code_of

from hcache.cache.layout import HOLDER_JSON
from hcache.cache.locks import (
    STALE,
    check_run_lock,
    holder_of,
    part_lock,
    run_lock,
    started,
    this_holder,
)
from hcache.errors import RunBusyError


def refuse(code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    return flock


@pytest.fixture(params=["locks", "ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def disk(request, monkeypatch, tmp_path):
    """A folder on a disk that has locks, or says in one of the usual ways that it has none."""
    if request.param != "locks":
        monkeypatch.setattr(fcntl, "flock", refuse(getattr(errno, request.param)))
    return tmp_path


def put_lease(folder, **changes):
    """A lease that somebody holds."""
    lease = folder / HOLDER_JSON
    lease.write_text(
        json.dumps(dataclasses.asdict(dataclasses.replace(this_holder(False), **changes)))
    )
    return lease


def test_one_holds_it_and_the_other_is_told_who(disk):
    with run_lock(disk):
        with (
            pytest.raises(RunBusyError, match=rf"process {os.getpid()} on .* since 20"),
            run_lock(disk),
        ):
            pass
        check_run_lock(disk)
    with run_lock(disk):
        pass
    assert not (disk / HOLDER_JSON).exists(), "a lease that was given up is nobody's"


def test_who_waits_gets_its_turn_beside_one_who_writes_again_and_again(disk):
    (disk / "labels").mkdir()
    child = os.fork()
    if child == 0:
        while True:
            with part_lock(disk / "labels", patience=120):
                time.sleep(0.002)
    try:
        turns = 0
        for _ in range(5):
            with part_lock(disk / "labels", patience=10):
                turns += holder_of(disk / "lock.labels.holder").pid == os.getpid()
        assert turns == 5
    finally:
        os.kill(child, 9)
        code_of(child)


def test_a_part_waits_for_its_turn_and_then_gives_up(disk):
    (disk / "labels").mkdir()
    with part_lock(disk / "labels"):
        began = time.monotonic()
        with pytest.raises(RunBusyError, match="labels"), part_lock(disk / "labels", patience=0.2):
            pass
        assert time.monotonic() - began >= 0.2
        with part_lock(disk / "directions"), run_lock(disk):
            assert (disk / "lock.directions.holder").exists() and (disk / HOLDER_JSON).exists()


def test_a_dead_holder_of_this_host_is_recognised(disk):
    child = os.fork()
    if child == 0:
        with run_lock(disk):
            os.kill(os.getpid(), 9)
    assert code_of(child) == -9
    assert holder_of(disk / HOLDER_JSON).pid == child
    with run_lock(disk):
        assert holder_of(disk / HOLDER_JSON).pid == os.getpid()


def test_a_process_number_that_was_given_again_holds_nothing(disk):
    lease = put_lease(disk, started="1")
    assert holder_of(lease).started == "1"
    with run_lock(disk):
        assert holder_of(lease).started == started(os.getpid())
    assert not lease.exists()


def test_a_process_that_lives_holds_whatever_the_clock_says(disk, monkeypatch):
    lease = put_lease(disk)
    for moved in (-1e7, 1e7):
        monkeypatch.setattr(time, "time", lambda moved=moved: 1.7e9 + moved)
        os.utime(lease, (1e9, 1e9))
        with pytest.raises(RunBusyError, match=f"process {os.getpid()}"), run_lock(disk):
            pass
        assert holder_of(lease).pid == os.getpid(), "nobody has robbed it"


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"boot": "another"}], ids=str)
def test_another_hosts_lease_holds_until_it_gives_no_sign_of_life(disk, changes):
    lease = put_lease(disk, **changes)
    with pytest.raises(RunBusyError, match=changes.get("host", "process")), run_lock(disk):
        pass
    past = time.time() - STALE - 5
    os.utime(lease, (past, past))
    with run_lock(disk):
        assert holder_of(lease).token != "", "it was taken over"


def test_a_lease_that_came_with_the_systems_lock_ends_with_it(tmp_path):
    """As of a run that was renamed while it was extracted: its lease went along."""
    lease = put_lease(tmp_path, locked=True, token="of another")
    with run_lock(tmp_path):
        assert holder_of(lease).token != "of another", "it was taken over"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 3}', '{"pid": "x"}'])
def test_a_lease_that_says_nothing_is_nobodys_after_a_while(disk, text):
    lease = disk / HOLDER_JSON
    lease.write_text(text)
    assert holder_of(lease) is None
    with pytest.raises(RunBusyError, match="another process"), run_lock(disk):
        pass
    os.utime(lease, (1e9, 1e9))
    with run_lock(disk):
        assert holder_of(lease).pid == os.getpid()


def test_who_lost_the_lock_commits_nothing(disk):
    with run_lock(disk):
        put_lease(disk, host="elsewhere", token="another")
        with pytest.raises(RunBusyError, match="taken over by .* on elsewhere"):
            check_run_lock(disk)


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.EMFILE])
def test_what_is_no_want_of_locks_is_an_error(tmp_path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", refuse(code))
    with pytest.raises(OSError) as caught, run_lock(tmp_path):
        pass
    assert caught.value.errno == code and not isinstance(caught.value, RunBusyError)


def test_three_processes_never_hold_it_together(disk):
    (disk / "labels").mkdir()
    count = disk / "count"
    count.write_text("0")

    def add():
        for _ in range(20):
            with part_lock(disk / "labels", patience=120):
                value = int(count.read_text())
                time.sleep(0.001)
                count.write_text(str(value + 1))

    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            code = 1
            try:
                add()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [code_of(child) for child in children] == [0, 0, 0]
    assert count.read_text() == "60"


def test_a_process_is_known_by_number_and_beginning():
    assert started(os.getpid()) == started(os.getpid()) != ""
    assert started(2**22 + 5) == ""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(
        os.P_PID, child, os.WEXITED | os.WNOWAIT
    )  # until it has ended, and leaves it to be waited for
    assert started(child) == "", "one that has ended and was not waited for holds nothing"
    assert code_of(child) == 0


def test_this_process_says_who_it_is():
    found = this_holder(True)
    assert (found.pid, found.host, found.locked) == (os.getpid(), platform.node(), True)
    assert found.started == started(os.getpid())
    assert found.token != this_holder(True).token, "each holding has a token of its own"
