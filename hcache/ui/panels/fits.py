"""Long fits on the Edit page. They start as background tasks, and are found among the saved
directions by their descriptions.

Imports of trained attribute blocks work in the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from ...atomic import make_folder, read_file, write_bytes
from ...background.kinds import FIT, IMPORT, Fitting, Importing, wanted
from ...cache.layout import TASKS
from ...cache.reading import Run
from ...directions.fitting import Fit
from ...directions.store import Entry, check_name, list_moves
from ...errors import HcacheError, UsageError
from ..tasks import start_button, task_list
from ..text import literal

__all__ = ["FIT", "fit_panel", "fitted", "import_panel"]


def fitted(run: Run, what: Fit) -> list[Entry]:
    """Returns the saved directions that this very fit has made.

    The strongest of several comes first. They are of the run in its present state.
    """
    found = [(_made(entry), entry) for entry in list_moves(run)]
    alike = [
        (made.component, entry) for made, entry in found if made and _wanted(made) == _wanted(what)
    ]
    newest = {component: entry for component, entry in alike if entry.samples in (0, len(run))}
    return [newest[component] for component in sorted(newest)]


def fit_panel(run: Run, what: Fit, proposed: str) -> None:
    """Draws the name to save a fit under, and the start button."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        name, problem = _name(run, proposed)
    with right:
        start_button(
            f"Fit by {what.method}",
            run,
            Fitting(what=what, name=name),
            disabled=bool(problem),
            width="stretch",
        )
    st.caption(
        literal(problem)
        or "The fit runs in the background; you can leave or close this page. Its progress is shown"
        " above, and the result appears in the list of directions."
    )


def import_panel(run: Run) -> None:
    """Imports published files of Asyrp's attribute blocks.

    They become a saved direction of the run. The files are stored with the task, because their
    names say how a block was trained.
    """
    with st.expander("Or import trained attribute blocks", icon=":material/upload_file:"):
        task_list(run, IMPORT)
        files = st.file_uploader(
            "Attribute files of Asyrp (.pth)",
            ["pth", "pt", "safetensors"],
            accept_multiple_files=True,
            key="block-files",
            help="As published, for this model. Several files act together as one direction.",
        )
        if not files:
            return
        left, right = st.columns([3, 2], vertical_alignment="bottom")
        with left:
            name, problem = _name(
                run, Path(files[0].name).stem.split("_LC_")[0][:70]
            )  # keep published names
        data = {Path(file.name).name: file.getvalue() for file in files}
        paths = [_block_folder(run, data) / file for file in data]
        with right:
            if not problem:
                _keep(data, paths)
            start_button(
                "Import",
                run,
                Importing(
                    run=run.name,
                    folder=paths[0].parent.name,
                    files=tuple(path.name for path in paths),
                    name=name,
                ),
                disabled=bool(problem),
                width="stretch",
            )
        st.caption(literal(problem) or "The imported direction appears in the list of directions.")


def _block_folder(run: Run, data: dict[str, bytes]) -> Path:
    """Returns a separate folder for the same files."""
    found = hashlib.sha256()
    for name, content in data.items():
        found.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return run.folder / TASKS / f"blocks-{found.hexdigest()[:12]}"


def _keep(data: dict[str, bytes], paths: Sequence[Path]) -> None:
    for path, content in zip(paths, data.values(), strict=True):
        if not _is_kept(path, content):
            make_folder(path.parent)
            write_bytes(path, content)


def _is_kept(path: Path, content: bytes) -> bool:
    try:
        return read_file(path) == content
    except OSError:
        return False


def _name(run: Run, proposed: str) -> tuple[str, str]:
    """Returns the name to save a direction under, and what is wrong with it, if anything."""
    taken = {entry.name for entry in list_moves(run)}
    free = _free(proposed, taken)
    name = st.text_input("Save as", free, key=f"fit-name-{free}")
    return name, _problem(name, taken)


def _wanted(what: Fit) -> str:
    return json.dumps(wanted(what), sort_keys=True)


def _made(entry: Entry) -> Fit | None:
    try:
        return Fit.from_json(entry.made_by)
    except UsageError:
        return None


def _free(name: str, taken: set[str]) -> str:
    """Returns the name, with a number if it is taken."""
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
    return (
        f"There is a direction {name} already; choose another name."
        if _is_taken(name, taken)
        else ""
    )
