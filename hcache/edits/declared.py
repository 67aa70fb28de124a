"""Changes of many rows as plain data.

Such a change can travel to another process. Whoever computes binds it to its own model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..directions.direction import Move
from ..errors import UsageError
from ..recipes.window import Window
from .compose import Chain
from .pair_swap import PairSwap

if TYPE_CHECKING:
    from .executor import Change, Executor


class Declared(Protocol):
    """A change of many rows."""

    def bind(self, executor: Executor, rows: slice) -> Change:
        """Returns the change of some of the rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Moves row i along each of the directions with ``strengths[i]``.

    Several directions must be directions in h.
    """

    moves: tuple[Move, ...]
    strengths: tuple[float, ...]
    window: Window

    def bind(self, executor: Executor, rows: slice) -> Change:
        """See :meth:`Declared.bind`.

        Raises:
            UsageError: a direction in x_t has its step outside the window, or there are several
                directions and one of them moves x_t.
        """
        from .executor import Change

        strengths = self.strengths[rows]
        changes = [executor.moved(move, strengths, self.window) for move in self.moves]
        if len(changes) == 1:
            return changes[0]
        edits = [each.edit for each in changes if each.edit is not None]
        if len(edits) < len(changes):
            raise UsageError("directions that are added up must move h; one of these moves x_t")
        return Change(edit=Chain(edits))


@dataclass(frozen=True, kw_only=True)
class Donated:
    """Replaces a site's tensors, row i by those of ``donors[i]``.

    ``noise``: a seed of noise that replaces the donors' tensors, or None.
    """

    site: str
    donors: tuple[int, ...]
    window: Window
    noise: int | None = None

    def bind(self, executor: Executor, rows: slice) -> Change:
        """See :meth:`Declared.bind`."""
        from .executor import Change

        donors = self.donors[rows]
        swap = PairSwap(executor.model, executor.run, self.site, donors, self.window, self.noise)
        return Change(edit=swap)
