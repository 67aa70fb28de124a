"""Names the faults of other packages' measures, each in one line.

A measure of another package may raise anything, in any of its functions. Pages, commands and the
report name it then, and go on with the other measures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import AnalysisError, HcacheError

Tell = Callable[[str], object]
"""What receives the line of a fault."""

OURS = __name__.split(".")[0]


class Functions(Protocol):
    """A measure, as far as its faults are named.

    :class:`~hcache.measures.measure.Measure` is one. It imports this module.
    """

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def parts(self) -> Callable[..., Any]:
        """Its first function. The others are found by their names."""


def log_fault(line: str) -> None:
    """Logs the line of a fault as a warning."""
    logging.getLogger(__name__).warning("%s", line)


def told_once(tell: Tell) -> Tell:
    """Returns a function that passes on each line once."""
    known: set[str] = set()

    def told(line: str) -> None:
        if line not in known:
            known.add(line)
            tell(line)

    return told


def is_ours(measure: Functions) -> bool:
    """Returns whether all functions of a measure are hcache's own."""
    return _module_of(measure) == OURS


@contextmanager
def faults_named(measure: Functions) -> Iterator[None]:
    """Reports a fault of another package's measure in one line.

    It covers the errors within the block. A fault of hcache's own measures is passed on unchanged.
    The traceback is logged at the level of debugging.

    Raises:
        AnalysisError: the measure raised something that is not an error of hcache.
    """
    try:
        yield
    except HcacheError:
        raise
    except Exception as error:  # other packages may raise anything
        if is_ours(measure):
            raise
        raise AnalysisError(_line(measure, error)) from error


@contextmanager
def faults_told(measure: Functions, tell: Tell) -> Iterator[None]:
    """Tells a fault of another package's measure.

    The code after the block goes on. Errors of hcache that occur in its functions are told as well.
    Everything that hcache's own measures raise is passed on unchanged.

    Args:
        measure: The measure whose functions are called within the block.
        tell: It receives the line.
    """
    try:
        yield
    except Exception as error:  # other packages may raise anything
        if is_ours(measure):
            raise
        tell(_line(measure, error))


def _line(measure: Functions, error: Exception) -> str:
    """Returns a fault in one line, and logs its traceback."""
    module = _module_of(measure)
    logging.getLogger(__name__).debug("a fault of %s", module, exc_info=error)
    why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return (
        f"the measure {measure.name!r} of the module {module} failed; {why}. Tell its author,"
        " or leave it out"
    )


def _module_of(measure: Functions) -> str:
    """Returns the first module of a measure's functions that is another package's, or ``hcache``
    if there is none.
    """
    modules = [getattr(each, "__module__", None) or "an unknown module" for each in _all(measure)]
    return next((each for each in modules if each.split(".")[0] != OURS), OURS)


def _all(measure: Any) -> Iterator[Any]:
    """Yields the functions of a measure. Its fields may have any type."""
    yield from (measure.parts, measure.refuses, measure.defined_on)
    if isinstance(measure.cells, Mapping):
        yield from measure.cells.values()
    for many, name in ((measure.summaries, "of"), (measure.questions, "exhibits")):
        if isinstance(many, Sequence):
            yield from (getattr(each, name, _all) for each in many)
    if measure.by_cell is not None:
        yield from (getattr(measure.by_cell, name, _all) for name in _BY_CELL)


_BY_CELL = ("measure", "stored", "sites", "seconds", "words", "asks")
