"""The number of samples that a question needs, for an interval of a given width or for a decision.

The existing results are the pilot. The width of an interval shrinks with the square root of n, so n
grows with the square of the ratio of widths. The estimate holds for the value that the pilot found.
"""

from __future__ import annotations

from dataclasses import replace

from ..analysis.estimate import LEVEL, Estimate
from .cell import Cell
from .registry import find_question

MOST = 100_000
"""The largest number of samples that is reported. Beyond it, the value is too near the null to plan
with.
"""


def samples_for_width(cell: Cell, width: float) -> int | None:
    """Estimates how many samples an interval of a width needs.

    It is None without a pilot.
    """
    return cell.estimate.samples_for(width) if cell.estimate.defined else None


def is_open(cell: Cell) -> bool:
    """Returns whether an answer has too few samples for a decision.

    Its interval then contains the null, and its p is large.
    """
    if not cell.estimate.defined or cell.null is None:
        return False
    return _size(cell).covers(cell.null) and (cell.p is None or cell.p > 1 - LEVEL)


def _size(cell: Cell) -> Estimate:
    """Returns what is compared with the null. If both directions of a change count, the null is a
    size, so a negative value is mirrored.
    """
    found, question = cell.estimate, find_question(cell.question, cell.subject)
    if question is None or not question.two_sided or found.value >= 0:
        return found
    return replace(found, value=-found.value, low=-found.high, high=-found.low)


def samples_to_decide(cell: Cell) -> int | None:
    """Estimates how many samples exclude the null.

    It assumes that the value stays the same. It is None if the number would be too large.
    """
    if not is_open(cell) or cell.null is None:
        return None
    distance = abs(_size(cell).value - cell.null)
    if not distance > 0:
        return None
    needed = cell.estimate.samples_for(2 * distance)
    return needed if cell.estimate.n < needed <= MOST else None


def in_words(cell: Cell, width: float | None = None) -> str:
    """Describes the relevant facts on n for a reader of an answer.

    For example, ``too few to say; ...``. The text is empty if there are none.

    Args:
        cell: The answer.
        width: The wanted width of the interval, or None.
    """
    said = []
    if is_open(cell):
        needed = samples_to_decide(cell)
        said.append(
            f"too few samples to say (n {cell.estimate.n}): at this value about {needed} would"
            " separate it from the null"
            if needed
            else f"not told from the null at n {cell.estimate.n}, and too near it to plan n by"
        )
    if width is not None and (wanted := samples_for_width(cell, width)) is not None:
        now = cell.estimate.high - cell.estimate.low
        said.append(
            f"an interval {width:g} wide takes about {wanted} samples (it is {now:.2g} wide at n"
            f" {cell.estimate.n})"
        )
    return "; ".join(said)
