"""Long fits on the Edit page: started as background tasks, found again among the saved directions by what made them."""

from __future__ import annotations

import json

import streamlit as st

from ...cache.reading import Run
from ...directions.fitting import Fit
from ...directions.store import Entry, check_name, list_moves
from ...errors import HcacheError, UsageError
from ..tasks import start_button

FIT = "fit"
"""The kind of the background tasks."""


def fitted(run: Run, what: Fit) -> list[Entry]:
    """The saved directions that this very fit has made, of several the strongest first; of a run as it is now."""
    found = [(_made(entry), entry) for entry in list_moves(run)]
    alike = [(made.component, entry) for made, entry in found if made and _wanted(made) == _wanted(what)]
    newest = {component: entry for component, entry in alike if entry.samples in (0, len(run))}
    return [newest[component] for component in sorted(newest)]


def fit_panel(run: Run, what: Fit, proposed: str) -> None:
    """The name to save a fit under, and the button that starts it."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    taken = {entry.name for entry in list_moves(run)}
    free = _free(proposed, taken)
    name = left.text_input("Name to save it under", free, key=f"fit-name-{free}")
    problem = _problem(name, taken)
    with right:
        start_button(
            f"Fit by {what.method}", run, FIT, f"{name} by {what.method}", fit_arguments(what, name),
            disabled=bool(problem), width="stretch",
        )  # fmt: skip
    st.caption(
        problem
        or "It is fitted in the background: you may leave this page, or close it. How far it is stands "
        "above, and what is done among the directions."
    )


def fit_arguments(what: Fit, name: str) -> list[str]:
    """What to type after ``python -m hcache`` for this fit."""
    return ["direction", "fit", what.run, "--name", name, "--made-by", _wanted(what)]


def _wanted(what: Fit) -> str:
    data = what.to_json()
    data.pop("component", None)
    return json.dumps(data, sort_keys=True)


def _made(entry: Entry) -> Fit | None:
    try:
        return Fit.from_json(entry.made_by)
    except UsageError:
        return None


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken."""
    number = 2
    free = name
    while _is_taken(free, taken):
        free, number = f"{name}-{number}", number + 1
    return free


def _is_taken(name: str, taken: set[str]) -> bool:
    return any(other == name or other.startswith(f"{name}.") for other in taken)


def _problem(name: str, taken: set[str]) -> str:
    try:
        check_name(name)
    except HcacheError as error:
        return str(error)
    return f"There is a direction {name} already; choose another name." if _is_taken(name, taken) else ""
