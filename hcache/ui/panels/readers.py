"""The readers of the Gallery's run, and a form that adds one."""

from __future__ import annotations

import streamlit as st

from ...background import tasks
from ...background.kinds import READ, READER_FORMS, Reading
from ...cache.label_files import SET_NAME
from ...cache.reading import Run
from ...errors import UsageError
from ...readers.checks import check_on_run, error_of, same_names
from ...readers.forms import OPTIONAL, Asked
from ...readers.reading import readers_of, unread
from ...readers.registry import INSTALLED, KINDS, reader_from_json
from ...readers.saved import is_function, list_readers, load_description, read_by
from ..frame import errors_shown
from ..reader_form import draw_form
from ..tasks import start, start_button, task_list
from ..text import literal

FORMS = {name: KINDS[name].TITLE for name in READER_FORMS}
"""The kinds that the page can make."""


def readers_panel(run: Run) -> None:
    """Draws the run's readers, and the form of a new one.

    Each reader has its number of unread samples. Running readings are shown above.
    """
    task_list(run, READ)
    with st.expander("Readers", icon=":material/visibility:"):
        for problem in INSTALLED.problems():
            st.warning(literal(problem), icon=":material/extension_off:")
        with errors_shown():
            _known_readers(run)
        with errors_shown():
            _new_reader(run)


def _known_readers(run: Run) -> None:
    names = known_names(run)
    if not names:
        st.caption(
            "This run has no attribute reader. Add one below: its readings become labels on all"
            " pages, and edited pictures can be read by it."
        )
    for name in names:
        with errors_shown(), st.container(horizontal=True, vertical_alignment="center"):
            left, about = unread(run, name), literal(_about(run, name))
            st.markdown(
                f"**{literal(name)}** {about}: {len(run) - left} of {len(run)} samples read",
                width="stretch",
            )
            _errors(run, name)
            if not left or (name in run.labels and name not in read_by(run)):
                continue  # the extraction reads these samples itself
            if name not in list_readers(run.home):
                st.caption(
                    "This reader is not in this home, so it cannot read more samples.",
                    width="content",
                )
            elif st.button(
                "Read the rest", key=f"read-rest-{name}", width="content", disabled=_at_work(run)
            ):
                start(run.folder, Reading(run=run.name, name=name))


def _errors(run: Run, name: str) -> None:
    """Shows the known error of a reader, and a button that compares it with manual labels."""
    attributes = run.labels.get(name, {})
    known = {each: said for each in attributes if (said := error_of(run, name, each))}
    if known:
        st.caption(
            "; ".join(f"{literal(each)}: {literal(said)}" for each, said in known.items()),
            width="content",
        )
    if same_names(run, name, attributes) and st.button(
        "Check against labels",
        key=f"reader-check-{name}",
        width="content",
        help="Measures how well its readings agree with labels of the same name in other sets.",
    ):
        check_on_run(run, name)
        st.rerun()


def known_names(run: Run) -> list[str]:
    """Returns the readers that a run can be read with.

    They are those of the run, those that have read it elsewhere, those of its home, and those of
    other packages. Readers of the embedded models are for their own runs.
    """
    kept = [name for name in list_readers(run.home) if name not in INSTALLED.own]
    return list(dict.fromkeys([*readers_of(run), *read_by(run), *kept]))


def _about(run: Run, name: str) -> str:
    """Returns ``(texts, openai/clip-vit-base-patch32)``. For a reader of another home it uses the
    run's note.
    """
    if is_function(run.home, name):
        return f"(function, {INSTALLED.package(name)})"
    if name in list_readers(run.home):
        found = load_description(run.home, name)
    else:
        data = read_by(run)[name].description
        try:
            found = reader_from_json(data, name)
        except UsageError:  # of a package, or of another version of hcache
            return f"({data.get('kind') or 'function'})"
    return f"({found.KIND}, {found.of})"


def _new_reader(run: Run) -> None:
    st.markdown("**Add a reader**")
    form = st.selectbox(
        "Kind", list(FORMS), format_func=lambda name: FORMS[name], key="reader-form"
    )
    kind = KINDS[form]
    asked = draw_form(kind, run)
    name = st.text_input(
        "Name",
        kind.proposed(asked.source),
        key=f"reader-name-{form}-{asked.source}",
        help="Of the reader, and of the label set that it makes.",
    ).strip()
    problem = kind.refused(asked) or _name_refused(run, name)
    work = _work(run, name, form, asked)
    start_button("Add and read all samples", run, work, disabled=bool(problem) or _at_work(run))
    st.caption(
        literal(problem)
        or "It reads in the background. A hub id is downloaded first if it is not on this disk."
        " Readers that are functions of a package are added in a shell:"
        " `python -m hcache read RUN --reader function:…`."
    )


def _work(run: Run, name: str, form: str, asked: Asked) -> Reading:
    return Reading(
        run=run.name,
        name=name,
        form=form,
        source=asked.source,
        **{word: getattr(asked, word) for word in OPTIONAL},
    )


def _name_refused(run: Run, name: str) -> str:
    """Returns what is wrong with the name of a new reader, or ""."""
    if not SET_NAME.fullmatch(name):
        return "Give a name of letters, digits, spaces, dots, - and _."
    if name in run.labels or name in list_readers(run.home):
        return f"There is a reader or a label set {name} already; choose another name."
    return ""


def _at_work(run: Run) -> bool:
    """Returns whether a reader is reading the run. Two at once could write one label set."""
    return any(task.live for task in tasks.list_tasks(run.folder, READ))
