"""How far a command is: a bar for who sits before it, and with ``--status`` a file for who
watches from elsewhere.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..background.processes import CANCELLED, DONE, FAILED
from ..background.status import StatusFile
from ..cache.layout import JOB_JSON
from ..errors import HcacheError, Interrupted, UsageError, told_of
from ..progress import drive_under_bar
from ..specs import RunSpec

_status: ContextVar[StatusFile | None] = ContextVar("status", default=None)


def drive_with_bar(
    work: Generator[float, None, Any],
    text: str | Callable[[], str],
    stage: tuple[int, int] = (0, 1),
) -> Any:
    """Runs a piece of work to its end under a bar.

    Args:
        work: Yields the share done.
        text: What it is; a function, if that changes on the way.
        stage: Of a command that does several pieces, which this is, from 0, and of how many: the
            status file counts them as equal shares of the whole.
    """
    status, (k, n) = _status.get(), stage
    now = (lambda: text) if isinstance(text, str) else text

    def tell(share: float) -> None:
        if status:
            status.update((k + share) / n, now())

    tell(0.0)
    return drive_under_bar(work, now, tell)


@contextmanager
def reported(path: str | None) -> Iterator[None]:
    """Keeps a status file about the command within.

    To its end, however that comes; nothing for no path.

    SIGTERM then ends it as Ctrl-C does: at the next line of Python, which is within a step.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        yield
        return
    if not Path(path).parent.is_dir():
        raise UsageError(f"--status {path}: there is no folder {Path(path).parent}; make it first")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = StatusFile.at(Path(path))
    token = _status.set(status)
    try:
        yield
        status.finish(DONE)
    except (KeyboardInterrupt, Interrupted) as error:
        status.finish(CANCELLED, str(error))
        raise
    except (HcacheError, OSError, MemoryError) as error:
        status.finish(FAILED, str(told_of(error)))
        raise
    except BaseException as error:
        status.finish(FAILED, f"{type(error).__name__}: {error}; its log says where")
        raise
    finally:
        _status.reset(token)
        signal.signal(signal.SIGTERM, before)


def extraction_status(folder: Path, spec: RunSpec) -> StatusFile:
    """The status file of a run's extraction.

    That which this command keeps already, if it is that one.
    """
    status = _status.get()
    return (
        status
        if status and status.path == folder / JOB_JSON
        else StatusFile.of_extraction(folder, spec)
    )


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within it SIGINT and SIGTERM only raise a flag.

    It is asked for between steps; the process is not ended.
    """
    asked: list[int] = []
    before = {
        s: signal.signal(s, lambda number, _: asked.append(number))
        for s in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
