"""The form of a new reader, drawn from the fields that its kind declares."""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

import streamlit as st

from ..cache.labels import named_labels
from ..cache.reading import Run
from ..errors import UsageError
from ..readers.forms import (
    Asked,
    FlagField,
    FormField,
    LabelField,
    LinesField,
    RevisionField,
    SetField,
    TextField,
)
from ..readers.reader import Description
from ..readers.texts import attribute_set_of

OWN = "own"
"""The choice in place of a set of lines."""


def draw_form(kind: type[Description], run: Run) -> Asked:
    """Draws the form of a kind of reader, and returns its words."""
    values: dict[str, Any] = {}
    for field in kind.FORM:
        if not isinstance(field, RevisionField) or _is_hub_id(values[field.of]):
            values[field.name] = draw_field(field, run)
    return Asked(**values)


def _is_hub_id(model: str) -> bool:
    return bool(model) and not Path(model).expanduser().is_dir()


@singledispatch
def draw_field(field: FormField, run: Run) -> Any:
    """Draws one field and returns its value."""
    raise UsageError(f"the page cannot draw a {type(field).__name__} ({field.label})")


@draw_field.register(TextField)
@draw_field.register(RevisionField)
def _(field: FormField, run: Run) -> str:
    return st.text_input(
        field.label, key=field.key, placeholder=field.placeholder, help=field.help
    ).strip()


@draw_field.register
def _(field: LabelField, run: Run) -> str:
    found = st.selectbox(
        field.label,
        list(named_labels(run)),
        key=field.key,
        placeholder=field.placeholder,
        format_func=lambda name: name.replace("_", " "),
        help=field.help,
    )
    return found or ""


@draw_field.register
def _(field: LinesField, run: Run) -> tuple[str, ...]:
    typed = st.text_area(field.label, key=field.key, height=field.height, help=field.help)
    return _lines(typed)


@draw_field.register
def _(field: SetField, run: Run) -> tuple[str, ...]:
    sets, of_card = {**field.sets(), OWN: ()}, attribute_set_of(run)
    chosen = st.selectbox(
        field.set_label,
        list(sets),
        list(sets).index(of_card) if of_card in sets else 0,
        format_func=str.capitalize,
        key=field.set_key,
    )
    typed = st.text_area(
        field.label,
        "\n".join(sets[chosen]),
        key=f"{field.key}-{chosen}",
        height=field.height,
        help=field.help,
    )
    return _lines(typed)


@draw_field.register
def _(field: FlagField, run: Run) -> bool:
    return st.toggle(field.label, key=field.key, help=field.help)


def _lines(typed: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in typed.splitlines() if line.strip())
