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

Each is also the builtin named in parentheses, so a caller may catch either. A message says what was expected,
what came, and what to do next, in one line: it is shown as it is, on the command line and in the dashboard.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HcacheError(Exception):
    exit_code = 1

    def __str__(self) -> str:  # LookupError's own __str__ would quote the message
        return " ".join(str(a) for a in self.args)


class UsageError(HcacheError, ValueError):
    exit_code = 2


class UnknownModelError(UsageError, LookupError):
    pass


class UnknownSiteError(UsageError, LookupError):
    pass


class UnknownRunError(UsageError, LookupError):
    pass


class HomeError(UsageError, OSError):
    pass


class NoUNetError(UsageError, LookupError):
    pass


class ModelError(HcacheError, RuntimeError):
    pass


class CacheError(HcacheError, OSError):
    pass


class NotStoredError(CacheError, LookupError):
    pass


class RunBusyError(CacheError):
    pass


class NoSpaceError(CacheError):
    exit_code = 5


class DamagedError(HcacheError):
    exit_code = 3


class AnalysisError(HcacheError, ValueError):
    pass


class Interrupted(HcacheError):  # noqa: N818 - not a failure
    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean a, b?)`` with the nearest known names, or all of them when none is near."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
    if near:
        return f" (did you mean {', '.join(near)}?)"
    return f" (known: {', '.join(known)})" if known else ""
