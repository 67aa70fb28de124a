"""How many samples a question needs: for an interval of a given width, or to be decided at all.

What was measured is the pilot. The width of an interval shrinks with the root of n, so n grows with
the square of the ratio of widths. That holds for the quantity as the pilot found it.
"""

from __future__ import annotations

from ..analysis.estimate import LEVEL
from .cell import Cell

MOST = 100_000
"""More samples than that are not named: the value is too near the null to plan by it."""


def samples_for_width(cell: Cell, width: float) -> int | None:
    """Estimates how many samples an interval of a width takes.

    It is None where there is no pilot.
    """
    return cell.estimate.samples_for(width) if cell.estimate.defined else None


def is_open(cell: Cell) -> bool:
    """Whether an answer has too few samples to say.

    Its interval then holds the null, and its p is large.
    """
    if not cell.estimate.defined or cell.null is None:
        return False
    return cell.estimate.covers(cell.null) and (cell.p is None or cell.p > 1 - LEVEL)


def samples_to_decide(cell: Cell) -> int | None:
    """Estimates how many samples exclude the null.

    It assumes that the value stays. It is None where no such number is near.
    """
    if not is_open(cell) or cell.null is None:
        return None
    distance = abs(cell.estimate.value - cell.null)
    if not distance > 0:
        return None
    needed = cell.estimate.samples_for(2 * distance)
    return needed if cell.estimate.n < needed <= MOST else None


def in_words(cell: Cell, width: float | None = None) -> str:
    """Describes what a reader of an answer should know of n.

    For example, ``too few to say; ...``. The text is empty if there is nothing to know.

    Args:
        cell: The answer.
        width: Of the interval that is wanted; None if none is.
    """
    said = []
    if is_open(cell):
        needed = samples_to_decide(cell)
        said.append(
            f"too few samples to say (n {cell.estimate.n}): at this value about {needed} would tell"
            " it from the null"
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
