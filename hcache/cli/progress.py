"""The progress of a command: a bar, and with ``--status`` a file for other programs."""

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
        work: The work, which yields the share done.
        text: A description of the work, or a function if the description changes.
        stage: The number of this piece from 0, and the number of pieces, if a command has several.
            The status file counts them as equal shares of the whole.
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

    The file is kept up to the end, however the command ends. Without a path there is none. SIGTERM
    then ends the command as Ctrl-C does: at the next line of Python, which is within a step.

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
    """Returns the status file of a run's extraction.

    If this command already keeps that file, its status file is returned.
    """
    status = _status.get()
    return (
        status
        if status and status.path == folder / JOB_JSON
        else StatusFile.of_extraction(folder, spec)
    )


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Makes SIGINT and SIGTERM only set a flag.

    The flag is checked between steps. The signals do not end the process.
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
