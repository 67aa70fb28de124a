"""The readers of the Gallery's run, and a form that adds one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from ...background import tasks
from ...background.kinds import READ, READER_FORMS, Reading
from ...cache.label_files import SET_NAME
from ...cache.labels import named_labels
from ...cache.reading import Run
from ...errors import UsageError
from ...readers.checks import check_on_run, error_of, same_names
from ...readers.reading import attribute_set_of, readers_of, unread
from ...readers.registry import INSTALLED
from ...readers.saved import is_function, list_readers, load_description, read_by
from ...readers.texts import attribute_sets, parse_attribute
from ..frame import errors_shown
from ..tasks import start, start_button, task_list
from ..text import literal

TEXTS, CLASSIFIER, CLICKS = READER_FORMS
FORMS = {
    TEXTS: "Texts: compares pictures with texts, by a CLIP or SigLIP model",
    CLASSIFIER: "Classifier: the probabilities of an image classifier",
    CLICKS: "Clicks: learns a label of this run, such as one given by hand",
}
OWN = "own"
"""The choice in place of a shipped set of attributes."""


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
        found = load_description(run.home, name).to_json()
    else:
        found = read_by(run)[name].description
    parts = [found.get("kind"), found.get("model") or found.get("encoder")]
    return f"({', '.join(str(part) for part in parts if part)})"


def _new_reader(run: Run) -> None:
    st.markdown("**Add a reader**")
    form = st.selectbox(
        "Kind", list(FORMS), format_func=lambda name: FORMS[name], key="reader-form"
    )
    source, attributes, encoder = _clicks_form(run) if form == CLICKS else _model_form(run, form)
    revision, probability = _more(form, encoder if form == CLICKS else source)
    name = st.text_input(
        "Name",
        _proposed(form, source),
        key=f"reader-name-{form}-{source}",
        help="Of the reader, and of the label set that it makes.",
    ).strip()
    problem = _problem(run, form, source, attributes, name)
    work = Reading(
        run=run.name,
        name=name,
        form=form,
        source=source,
        attributes=tuple(attributes),
        encoder=encoder,
        revision=revision,
        probability=probability,
    )
    start_button("Add and read all samples", run, work, disabled=bool(problem) or _at_work(run))
    st.caption(
        literal(problem)
        or "It reads in the background. A hub id is downloaded first if it is not on this disk."
        " Readers that are functions of a package are added in a shell:"
        " `python -m hcache read RUN --reader function:…`."
    )


def _model_form(run: Run, form: str) -> tuple[str, list[str], str]:
    """Returns model, attributes and no encoder, for readers by texts and for classifiers."""
    source = st.text_input(
        "Model folder or hub id",
        key=f"reader-model-{form}",
        placeholder="/data/my-model or owner/name",
    ).strip()
    if form == TEXTS:
        sets, of_card = [*attribute_sets(), OWN], attribute_set_of(run)
        chosen = st.selectbox(
            "Attribute set",
            sets,
            sets.index(of_card) if of_card in sets else 0,
            format_func=str.capitalize,
            key="reader-set",
        )
        typed = st.text_area(
            "Attributes, one per line: NAME=what it is|what it is not",
            "\n".join(lines_of(chosen)),
            key=f"reader-attributes-{chosen}",
            height=160,
        )
    else:
        typed = st.text_area(
            "Labels to read, one per line",
            key="reader-labels",
            height=100,
            help="By the classifier's own names. Empty: all of them.",
        )
    return source, [line.strip() for line in typed.splitlines() if line.strip()], ""


def _more(form: str, model: str) -> tuple[str, bool]:
    """Returns the revision of a hub id, and whether texts give probabilities."""
    revision = ""
    if model and not Path(model).expanduser().is_dir():
        revision = st.text_input(
            "Revision",
            key=f"reader-revision-{form}",
            placeholder="main",
            help="Branch, tag or commit of a hub id. Empty: the default branch.",
        ).strip()
    probability = form == TEXTS and st.toggle(
        "Probabilities in place of cosines",
        key="reader-probability",
        help="1 / (1 + exp(-s d)): d is the difference of cosines, s the model's temperature.",
    )
    return revision, bool(probability)


def _clicks_form(run: Run) -> tuple[str, list[str], str]:
    """Returns label, no attributes and encoder, for a reader from clicks."""
    labels = list(named_labels(run))
    source = st.selectbox(
        "Label to learn",
        labels,
        key="reader-label",
        placeholder="this run has no labels yet",
        format_func=lambda name: name.replace("_", " "),
    )
    encoder = st.text_input(
        "Encoder: a model folder or hub id",
        key="reader-encoder",
        placeholder="pixels",
        help="A CLIP, SigLIP or DINOv2 model. Empty: principal components of the pixels.",
    ).strip()
    return source or "", [], encoder


def lines_of(chosen: str) -> list[str]:
    """Returns a set of attributes as typed text."""
    pairs = {} if chosen == OWN else attribute_sets()[chosen]
    return [f"{name}={'|'.join(_side(side) for side in pair)}" for name, pair in pairs.items()]


def _side(texts: str | Sequence[str]) -> str:
    return texts if isinstance(texts, str) else ";".join(texts)


def _proposed(form: str, source: str) -> str:
    last = source.rstrip("/").rpartition("/")[2]
    return f"{last}-clicks" if form == CLICKS and last else last


def _problem(run: Run, form: str, source: str, attributes: Sequence[str], name: str) -> str:
    """Returns what is missing or wrong, or ""."""
    if not source:
        return (
            "Choose a label; label samples by hand first."
            if form == CLICKS
            else "Give a model folder or a hub id."
        )
    if not SET_NAME.fullmatch(name):
        return "Give a name of letters, digits, spaces, dots, - and _."
    if name in run.labels or name in list_readers(run.home):
        return f"There is a reader or a label set {name} already; choose another name."
    if form == TEXTS and not attributes:
        return "Give at least one attribute: NAME=what it is|what it is not."
    try:
        for line in attributes if form == TEXTS else ():
            parse_attribute(line)
    except UsageError as error:
        return str(error)
    return ""


def _at_work(run: Run) -> bool:
    """Returns whether a reader is reading the run. Two at once could write one label set."""
    return any(task.live for task in tasks.list_tasks(run.folder, READ))
