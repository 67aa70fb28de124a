"""What a process does before it imports torch."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hcache
from hcache.starting import WAITING, wait_asleep, without_collection

ROOT = Path(hcache.__file__).parent.parent
ASK = """
import ctypes, os, sys
{first}
import torch
ctypes.CDLL(None)
print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(
    "first",
    [
        (
            "from hcache.cli.main import main; assert 'torch' not in sys.modules; main(['models',"
            " '--json'])"
        ),
        "import hcache.ui; assert 'torch' not in sys.modules",
    ],
    ids=["a command", "the dashboard"],
)
def test_openmp_is_told_to_sleep_before_torch_loads_it(first):
    """It says itself what it goes by (OMP_DISPLAY_ENV) when it is loaded."""
    environment = {
        k: v for k, v in os.environ.items() if k not in (WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(first=first)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**environment, "OMP_DISPLAY_ENV": "true"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("passive")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr, (
        "another OpenMP than GNU's: ask it in its own way"
    )


@pytest.mark.parametrize("name", [WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_has_set_stays(monkeypatch, name):
    for each in (WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "7")
    wait_asleep()
    assert os.environ[name] == "7" and (name == WAITING or WAITING not in os.environ)


def test_without_a_word_of_the_user_threads_sleep(monkeypatch):
    for each in (WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(each, raising=False)
    wait_asleep()
    assert os.environ[WAITING] == "passive"
    monkeypatch.delenv(WAITING)


def test_collection_goes_on_after_imports_and_stays_off_where_it_was():
    with without_collection():
        assert not gc.isenabled()
        kept = [[] for _ in range(100)]
    try:
        assert gc.isenabled() and gc.get_freeze_count() >= len(kept)
        gc.disable()
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
