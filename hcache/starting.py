"""What a process does before it imports torch, so that it starts soon and stands others on the
same cores.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

WAITING = "OMP_WAIT_POLICY"
"""OpenMP's own variable, of which the library takes notice when it is loaded, and not later."""


def wait_asleep() -> None:
    """Has OpenMP's threads sleep while they wait.

    This holds for this process and for those that it starts.

    By default they spin. With another process busy on one of the cores, that takes more processor
    time than the work itself. What the user has set stays.
    """
    if not {WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ[WAITING] = "passive"


@contextmanager
def without_collection() -> Iterator[None]:
    """Imports without garbage collection.

    What they have made is left out of it for good.

    The million objects that torch and diffusers make are there to stay; while they are imported the
    collector goes through them again and again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()
