"""What a command prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command prints: a text, or ``data`` as JSON."""

    text: str
    data: Any
    exit_code: int = 0


def table(rows: Iterable[tuple[Any, ...]], header: tuple[str, ...]) -> str:
    """Formats a table with columns of the needed width.

    A column of numbers such as ``12`` or ``3.4 MB`` is right-aligned.
    """
    body = [tuple(str(cell) for cell in row) for row in rows]
    cells = [header, *body]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    numbers = [all(row[i][:1].isdigit() for row in body if row[i]) for i in range(len(header))]

    def show(row: tuple[str, ...]) -> str:
        parts = [
            c.rjust(w) if right and c[:1].isdigit() else c.ljust(w)
            for c, w, right in zip(row, widths, numbers, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join(show(row) for row in cells)
