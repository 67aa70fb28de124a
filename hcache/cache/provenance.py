"""The provenance of a run: enough to see why two runs differ, and to reproduce a run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any

from ..specs import NEXT

LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "h5py")


def environment() -> dict[str, Any]:
    """Returns the place, time and library versions of an extraction."""
    from .. import __version__

    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "hcache": __version__,
        "python": sys.version.split()[0],
        "host": platform.node(),
        "libraries": library_versions(),
    }


def library_versions() -> dict[str, str]:
    """Returns the installed versions of the libraries that can affect activations."""
    return dict(versions_found())


@lru_cache(maxsize=1)
def versions_found() -> tuple[tuple[str, str], ...]:
    """Returns the versions of the libraries, which each process looks up once.

    A process keeps using the libraries that it has imported, even if others are installed
    meanwhile.
    """
    found = []
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found.append((name, version(name)))
    return tuple(found)


def schedule_in_words(
    schedule: str, timesteps: Sequence[float], provenance: Mapping[str, Any]
) -> str:
    """Describes where the steps of a run end.

    The text also says whether diffusers' DDIM differs.
    """
    scheduler = provenance.get("scheduler")
    trained = scheduler.get("num_train_timesteps") if isinstance(scheduler, Mapping) else None
    if not isinstance(trained, int) or "flow" in str(provenance.get("prediction_type")):
        return "steps end at the next timestep"
    apart = trained // len(timesteps)
    meet = all(a - apart == b for a, b in pairwise(timesteps)) and timesteps[-1] - apart < 0
    if schedule == NEXT or meet:
        return f"steps end at the next timestep (as in diffusers' DDIM: {'yes' if meet else 'no'})"
    return "steps end where diffusers' DDIM has it, not at the next timestep (schedule: diffusers)"


def changes_since(provenance: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Returns the libraries whose versions changed since a run began.

    The result is name -> (then, now).
    """
    now = library_versions()
    then = provenance.get("libraries")
    then = then if isinstance(then, Mapping) else {}
    return {
        name: (then[name], now[name]) for name in now if name in then and then[name] != now[name]
    }


def changes_in_words(provenance: Mapping[str, Any]) -> str:
    """Returns ``torch 2.12.0 then, 2.13.0 now``, or nothing if no version changed."""
    return ", ".join(
        f"{name} {then} then, {now} now" for name, (then, now) in changes_since(provenance).items()
    )
