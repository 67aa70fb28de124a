"""Every command that writes, killed at random moments: nothing is lost, and the same command again
ends as if nothing had been.
"""

import os
import random
import signal
import time

import pytest
from tiny import code_of, in_a_child
from writing import (
    NAMES,
    assert_nothing_lost,
    commands_of,
    furnish,
    kill_after,
    partials,
    report_of,
    silent,
    sources,
    tree,
)

from hcache.cache.layout import RUN_JSON
from hcache.cache.reading import open_run

SLOW = os.environ.get("HCACHE_SLOW") == "1"
KILLS = 20 if SLOW else 2
"""Of every command."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return sources(tmp_path_factory.mktemp("given") / "sources")


def made(command):
    """Every file that a command wrote outside the run, and what is in it."""
    found = {}
    for out in command.outs:
        files = tree(out) if out.is_dir() else {out.name: out.read_bytes()} if out.exists() else {}
        found |= {f"{out.name}/{name}": data for name, data in files.items()}
    return found


def committed(command):
    """How many samples the runs of a command's own home hold."""
    folders = (command.home / "runs").glob("*") if command.home and command.home.exists() else ()
    return {
        folder.name: len(open_run(folder)) for folder in folders if (folder / RUN_JSON).exists()
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_command_that_is_killed_loses_nothing_and_can_be_given_again(
    copied_run, tiny_folder, given, tmp_path, name
):
    run, out = furnish(copied_run), tmp_path / "out"
    out.mkdir()
    command, rng = commands_of(run, tiny_folder, given, out)[name], random.Random(name)
    command.clear()
    command.before()
    began = time.monotonic()
    assert code_of(in_a_child(lambda: silent(command.given))) == 0
    took, whole, names = time.monotonic() - began, made(command), set(tree(run.folder))
    kills = 0
    while kills < KILLS:
        command.clear()
        command.before()
        child = in_a_child(lambda: silent(command.given))
        if kill_after(child, rng.uniform(0, took)) == -signal.SIGKILL:
            kills += 1
        else:
            took *= 0.8  # it had ended before
        found, before = made(command), committed(command)
        for file, data in found.items():
            assert file.endswith("status.json") or data == whole[file], f"{file} is half written"
        assert_nothing_lost(run)
        if name != "repair":
            assert report_of(run.folder).fine
        told = code_of(in_a_child(lambda: silent(command.given)))
        assert told == 0 or (told == 2 and found.keys() == whole.keys() and command.refuses)
        assert all(count >= before.get(each, 0) for each, count in committed(command).items())
        assert made(command).keys() == whole.keys() and partials(tmp_path) == []
    assert names <= set(tree(run.folder)) and report_of(run.folder).fine
    assert_nothing_lost(run)
