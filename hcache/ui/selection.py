"""The selected samples. Each run has one selection, shared by all pages. It is in the address while
it is short.

It is stored as sorted sample numbers, and written in the address as ranges, ``0-3,7``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import streamlit as st

from ..cache.reading import Run
from . import address

MOST_TEXT = 1000
"""The largest number of characters of a selection in the address. A longer one stays in the
session.
"""

REPLACE, ADD, REMOVE = "set", "add", "remove"
HOW = (REPLACE, ADD, REMOVE)
_NAME, _KEPT, _BEFORE, _SAID = "selection", "selections", "selections before", "selection said"


def selected(run: Run) -> tuple[int, ...]:
    """Returns the selected samples of a run, ascending.

    They come from this session, or from the address that opened it.
    """
    kept, said = st.session_state.setdefault(_KEPT, {}), address.recall(_NAME, "")
    if said != st.session_state.get(_SAID):  # a link was opened, or the browser went back
        st.session_state[_SAID] = said
        kept[run.name] = from_text(said, run.sample_ids)
    return kept.get(run.name, ())


def select(run: Run, samples: Iterable[int], how: str = REPLACE) -> None:
    """Changes the selection. :func:`undo` restores the former one."""
    before, chosen = selected(run), {int(sample) for sample in samples}
    known = set(run.sample_ids.tolist())
    after = {REPLACE: chosen, ADD: chosen | set(before), REMOVE: set(before) - chosen}[how] & known
    if after != set(before):
        st.session_state.setdefault(_BEFORE, {})[run.name] = before
        st.session_state[_KEPT][run.name] = tuple(sorted(after))


def toggle(run: Run, sample: int) -> None:
    """Adds a sample to the selection, or removes it."""
    select(run, [sample], REMOVE if sample in selected(run) else ADD)


def invert(run: Run) -> None:
    """Selects the other samples."""
    select(run, set(run.sample_ids.tolist()) - set(selected(run)))


def undo(run: Run) -> None:
    """Restores the selection before the last change.

    A second call brings the change back.
    """
    if can_undo(run):
        select(run, st.session_state[_BEFORE][run.name])


def can_undo(run: Run) -> bool:
    """Whether there is a selection of before to go back to."""
    return run.name in st.session_state.get(_BEFORE, {})


def mask(run: Run) -> np.ndarray:
    """Returns the selection as flags (n,) bool, one per row."""
    return np.isin(run.sample_ids, np.array(selected(run), np.int64))


def publish(run: Run) -> bool:
    """Writes the selection into the address.

    Returns False if it is too long.
    """
    text = to_text(selected(run))
    short = len(text) <= MOST_TEXT
    st.session_state[_SAID] = text if short else ""
    address.keep(_NAME, st.session_state[_SAID], "")
    return short


def to_text(samples: Iterable[int]) -> str:
    """Returns ascending sample numbers as ranges. For example, ``[0, 1, 2, 3, 7]`` becomes
    ``0-3,7``.
    """
    numbers = np.fromiter(samples, np.int64)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1) if numbers.size else []
    return ",".join(f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in runs)


def from_text(text: str, known: np.ndarray) -> tuple[int, ...]:
    """Returns the known samples that ranges name.

    Any other text names none, because it may come from anywhere.
    """
    found = np.zeros(len(known), bool)
    for part in text[: 2 * MOST_TEXT].split(","):
        first, dash, last = part.partition("-")
        if first.isascii() and first.isdigit() and (not dash or last.isascii() and last.isdigit()):
            low, high = int(first), int(last) if dash else int(first)
            found |= (known >= min(low, 2**62)) & (known <= min(high, 2**62))
    return tuple(known[found].tolist())
