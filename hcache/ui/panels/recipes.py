"""Sets a page up from a dropped picture. Undo restores the former choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from ...cache.layout import run_names
from ...cache.reading import Run
from ...errors import HcacheError, UsageError
from ...images.pngs import read_recipe
from ...recipes.recipe import Recipe
from ...recipes.sheet import SheetCell, read_cells
from .. import state
from ..text import literal

PNG = b"\x89PNG\r\n\x1a\n"
WHOLE = "the whole sheet"
_TAKEN, _UNDO, _REFUSED = "recipe-taken", "recipe-undo", "recipe-refused"


def recipe_drop(
    run: Run,
    apply: Callable[[Recipe], None],
    apply_sheet: Callable[[Sequence[Recipe]], None] | None = None,
) -> None:
    """Takes a dropped recipe, and sets the page up.

    A PNG that carries recipes, or a recipe's JSON.

    Args:
        run: The shown run. A recipe of another run of this home switches to that run.
        apply: Makes a recipe's choices with ``state.choose``. It raises UsageError if this page
            cannot show them.
        apply_sheet: Does the same for all recipes of a sheet at once.
    """
    with st.expander("Load settings from a picture", icon=":material/upload_file:"):
        file = st.file_uploader(
            "A PNG that was downloaded here, or a recipe's JSON",
            type=["png", "json"],
            key="recipe-file",
            help="Every picture downloaded from these pages contains the recipe that made it.",
        )
        if file is None:
            st.session_state.pop(_TAKEN, None)
        else:
            _take(run, file.file_id, file.getvalue(), apply, apply_sheet)
        before = st.session_state.get(_UNDO)
        if before is not None and st.button(
            "Undo: restore the previous settings", icon=":material/undo:", key="undo"
        ):
            del st.session_state[_UNDO]
            state.restore(before)
            st.rerun()


def _take(
    run: Run,
    file: str,
    data: bytes,
    apply: Callable[[Recipe], None],
    apply_sheet: Callable[[Sequence[Recipe]], None] | None,
) -> None:
    """Sets the page up once for every file and cell. Later choices are kept."""
    try:
        cells = read_cells(read_recipe(data) if data.startswith(PNG) else data)
    except UsageError as error:
        st.error(literal(error))
        return
    cell = _pick(cells, apply_sheet is not None)
    edited = [other for other in cells if other.recipe.edits] or list(
        cells
    )  # a figure shows what it began with, too
    chosen = edited if cell is None else [cell]
    st.caption(literal(_in_words(chosen)))
    taken = (file, cells.index(cell) if cell else -1)
    if st.session_state.get(_TAKEN) == taken:
        if refused := st.session_state.get(_REFUSED):
            st.error(literal(refused))
        return
    before = state.snapshot()
    st.session_state[_TAKEN] = taken
    st.session_state.pop(_REFUSED, None)
    try:
        _switch(run, {cell.recipe.run for cell in chosen})
        if cell is None and apply_sheet is not None:
            apply_sheet([cell.recipe for cell in chosen])
        else:
            apply(chosen[0].recipe)
        st.session_state[_UNDO] = before
    except HcacheError as error:
        state.restore(before)
        st.session_state[_REFUSED] = str(error)
    st.rerun()  # widgets that are already drawn show these choices


def _pick(cells: Sequence[SheetCell], whole: bool) -> SheetCell | None:
    """Returns a cell of a sheet, or None for all of it."""
    if len(cells) == 1:
        return cells[0]
    titles = [f"{k}: {cell.title}" for k, cell in enumerate(cells)]
    chosen = st.selectbox(
        "Picture in the sheet", [WHOLE, *titles] if whole else titles, key="recipe-cell"
    )
    return None if chosen == WHOLE else cells[titles.index(chosen)]


def _switch(run: Run, names: set[str]) -> None:
    """Shows the run of the recipes."""
    if len(names) > 1:
        raise UsageError(
            f"the pictures of this sheet come from {len(names)} runs; choose one of them"
        )
    (name,) = names
    if name == run.name:
        return
    if name not in run_names(run.home):
        raise UsageError(f"this picture was made from run {name}, which is not in this home")
    state.choose("run", name)


def _in_words(cells: Sequence[SheetCell]) -> str:
    first = cells[0].recipe
    edits = (
        ", ".join(dict.fromkeys(edit.kind for cell in cells for edit in cell.recipe.edits))
        or "no edit"
    )
    pictures = f"{len(cells)} pictures" if len(cells) > 1 else "one picture"
    return f"{pictures} of run {first.run}, sample {first.sample}: {edits}."
