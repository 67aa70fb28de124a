"""Every error that hcache raises on purpose.

    HcacheError                     exit code 1
    ├── UsageError (ValueError)     2   an argument that cannot work, with what would
    │   ├── UnknownModelError (LookupError)
    │   ├── UnknownSiteError (LookupError)
    │   ├── UnknownRunError (LookupError)
    │   ├── HomeError (OSError)         the home cannot be written
    │   └── NoUNetError (LookupError)   h or skips were asked of a model that has none
    ├── ModelError (RuntimeError)   1   a model that cannot be loaded, or lacks what was asked of it
    ├── CacheError (OSError)        1   a run on disk that cannot be read or written
    │   ├── NotStoredError (LookupError)  the run does not hold what was asked for
    │   ├── RunBusyError                  another process is writing it
    │   └── NoSpaceError            5   not enough free space
    ├── DamagedError                3   a verification that found something wrong
    ├── AnalysisError (ValueError)  1   data on which a measure is not defined
    └── Interrupted                 130 ended on request; what is committed is kept

Each is also the builtin named in parentheses, so a caller may catch either. A message says what was
expected, what came, and what to do next, in one line: it is shown as it is, on the command line and
in the dashboard.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class HcacheError(Exception):
    """Any error that hcache raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:  # LookupError's own __str__ would quote the message
        return " ".join(str(a) for a in self.args)


class UsageError(HcacheError, ValueError):
    """An argument cannot work."""

    exit_code = 2


class UnknownModelError(UsageError, LookupError):
    """There is no model of that name."""


class UnknownSiteError(UsageError, LookupError):
    """There is no site of that name."""


class UnknownRunError(UsageError, LookupError):
    """There is no run of that name."""


class HomeError(UsageError, OSError):
    """The home cannot be read or written."""


class NoUNetError(UsageError, LookupError):
    """The model has no U-Net, and h or skips were asked for."""


class ModelError(HcacheError, RuntimeError):
    """A model cannot be loaded, or lacks what was asked of it."""


class CacheError(HcacheError, OSError):
    """A run on disk cannot be read or written."""


class NotStoredError(CacheError, LookupError):
    """The run does not hold what was asked for."""


class RunBusyError(CacheError):
    """Another process is writing the run."""


class NoSpaceError(CacheError):
    """There is not enough free space."""

    exit_code = 5


class DamagedError(HcacheError):
    """A verification found something wrong."""

    exit_code = 3


class AnalysisError(HcacheError, ValueError):
    """A measure is not defined on these data."""


class Interrupted(HcacheError):  # noqa: N818 - not a failure
    """The work ended on request, and what is committed is kept."""

    exit_code = 130


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's errors for no space, no quota, or a limit on the size of files."""


def told_of(error: BaseException) -> HcacheError:
    """Returns a system error in one line.

    Its class has the right exit code. An error of hcache is returned unchanged.
    """
    if isinstance(error, HcacheError):
        return error
    if isinstance(error, MemoryError):
        return CacheError("memory does not suffice for this; ask for less at a time")
    words = (
        getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    )
    name = getattr(error, "filename", None)
    where = f" ({name})" if name else ""
    if getattr(error, "errno", None) in FULL:
        return NoSpaceError(
            f"no space left: {words}{where}. What was there is kept: make space, then try again"
        )
    return CacheError(
        f"the system refuses: {words}{where}; nothing was changed by that. Put it right, then try"
        " again"
    )


def refused(path: object, error: OSError) -> HcacheError:
    """Returns the message for a requested file that cannot be written."""
    if error.errno in FULL:
        return told_of(error)
    return UsageError(f"{path} cannot be written: {error.strerror or error}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `` (did you mean a, b?)`` with the nearest known names.

    If none is near, it lists all of them.
    """
    known = list(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
    if near:
        return f" (did you mean {', '.join(near)}?)"
    return f" (known: {', '.join(known)})" if known else ""
