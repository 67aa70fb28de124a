"""The Verdict page: results of one run or several, side by side, and the evidence of every
number.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ...background.kinds import MEASURE
from ...cache.labels import named_labels
from ...cache.layout import run_names
from ...cache.reading import Run
from ...cache.records import delete_stale, stale_results
from ...errors import HcacheError, UsageError
from ...figures.verdict import STYLE, key_of, row_title, verdict_table
from ...measures.evidence import Evidence
from ...measures.faults import Tell, told_once
from ...measures.registry import measures, registry
from ...measures.sample_sizes import in_words
from ...measures.verdict import Row, compare, labels_to_ask
from ...readers.reading import readers_of
from ...report.document import verdict_report
from ...report.exhibits import exhibits, summaries
from ...report.guide import pages_of
from .. import loaders, state
from ..frame import errors_shown
from ..questions import MOST_RUNS
from ..table import clickable_table
from ..tasks import start, task_list
from ..text import literal
from .measuring import measure_all_panel, measure_panel, measuring, start_cheap, wanted_width
from .shipped import shipped_panel


def verdict_panel(run: Run) -> None:
    """Draws the Verdict page.

    It has the choice of runs, the table, the evidence of the chosen cell, what to measure, and the
    report.
    """
    left, right = st.columns(2)
    with left:
        runs = _runs_panel(run)
    with right:
        labels = _labels_panel(runs)
    for line in registry().refused:
        st.warning(literal(line))
    tell = told_once(lambda line: st.warning(literal(line)))
    reader = _reader_panel(runs)
    evidence = {each.name: Evidence(each, reader) for each in runs}
    rows = compare(runs, labels, reader, tell)
    with errors_shown():
        start_cheap(runs, labels, rows, tell)
    with errors_shown():
        measure_all_panel(runs, labels, rows)
    for each in runs:
        task_list(each, MEASURE)
    with errors_shown():
        _table_panel(runs, labels, rows)
    with errors_shown():
        shipped_panel(expanded=not any(row.cells for row in rows))
    with errors_shown():
        _evidence_panel(rows, str(state.recall("cell", "")), evidence)
    with errors_shown():
        _summaries_panel(evidence, tell)
    with errors_shown():
        measure_panel(runs, labels, rows)
    with errors_shown():
        _stale_panel(runs)
    with errors_shown():
        _report_panel(runs, labels, reader)


def _reader_panel(runs: Sequence[Run]) -> str:
    """Draws the choice of the reader of edits, if the runs have several."""
    known = list(dict.fromkeys(name for run in runs for name in readers_of(run)))
    if len(known) < 2:
        return ""
    return state.select(
        "Reader of edited pictures",
        "verdict-reader",
        ["", *known],
        format_func=lambda name: name or "each run's first",
        help="Results of two readers are never mixed in one table.",
    )


def _table_panel(runs: Sequence[Run], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """Draws the table. A press on a value shows its evidence, and one on a missing value measures
    it.
    """
    names = [run.name for run in runs]
    row, name = _chosen(rows, str(state.recall("cell", "")), names)
    chosen = key_of(row, name) if row else ""
    with st.container(height=430, key="verdict-scroll"):
        picked, asked = clickable_table(
            "verdict-table", verdict_table(rows, names, chosen=chosen, clickable=True)
        )
    st.caption(
        "Each cell shows the value, its 95 % interval as a line and in numbers, the null as a"
        " dashed mark, and 0 as a thin mark. Press a value to see the evidence below. Measures by"
        " step are given at log SNR 0, where signal and noise are equal. p is adjusted for all"
        " labels or sites of the question. Runs are ranked only at equal n (larger runs by their"
        " first samples, as noted there), and only if the interval of their difference, widened for"
        " all comparisons, excludes 0."
    )
    if asked:
        _start_asked(runs, labels, asked)
    if picked and picked != chosen:
        state.keep("cell", picked)
        st.rerun()


def _runs_panel(run: Run) -> list[Run]:
    """Draws the runs to compare, at first the sidebar's."""
    home = run.home
    names = state.many(
        "Runs", "verdict-runs", run_names(home), [run.name], max_selections=MOST_RUNS
    ) or [run.name]
    found = []
    for name in names:
        try:
            found.append(run if name == run.name else loaders.shared_run(run.folder.parent / name))
        except HcacheError as error:
            st.error(f"{literal(name)} is left out: {literal(error)}")
    if not found:
        raise UsageError("none of these runs can be read; choose others")
    return found


def _labels_panel(runs: Sequence[Run]) -> list[str]:
    known = list(dict.fromkeys(name for run in runs for name in named_labels(run)))
    if not known:
        st.info(
            "These runs have no labels, so no attribute can be decoded or moved. Add a reader on"
            " the Gallery page, or label samples by hand there, or import labels with"
            " `python -m hcache labels-import`. Swaps and likeness need no labels."
        )
        return []
    return state.many("Labels", "verdict-labels", known, labels_to_ask(runs), format_func=_words)


def _start_asked(runs: Sequence[Run], labels: Sequence[str], asked: str) -> None:
    """Starts the task of a button in the table: ``run|part``."""
    name, _, part = asked.partition("|")
    run = next((run for run in runs if run.name == name), None)
    if run is not None and part in measures():
        start(run.folder, measuring(run, labels, [part]))


def _evidence_panel(rows: Sequence[Row], chosen: str, evidence: dict[str, Evidence]) -> None:
    """Draws curves of all runs, pictures of the chosen one, and what the number says and does not
    say.
    """
    row, name = _chosen(rows, chosen, list(evidence))
    if row is None:
        return
    st.subheader(literal(row_title(row)[:1].upper() + row_title(row)[1:]))
    for run, cell in row.cells.items():
        st.markdown(f"**{literal(run)}**: {literal(cell)}")
        if needed := in_words(cell, wanted_width()):
            st.caption(literal(f"{needed[:1].upper()}{needed[1:]}."))
    shown = exhibits(row.question, row.subject, evidence)
    if not shown:
        st.info("No curves or pictures are stored for this result. Measure it again to get them.")
    for number, each in enumerate(shown):
        if each.run and each.run != name:
            continue
        st.markdown(f"**{literal(each.title)}**")
        if each.figure is None:
            st.html(each.html)
        else:
            runs = ", ".join(evidence)
            st.plotly_chart(
                each.figure,
                key=f"evidence-{row.question}-{row.subject}-{number}",
                alt=f"{each.title}; of {runs}",
            )
    for page in pages_of(row.question, row.subject):
        with st.expander(f"What {literal(page.name)} says, and what it does not say"):
            st.markdown(page.text.partition("\n")[2])


def _chosen(rows: Sequence[Row], chosen: str, names: Sequence[str]) -> tuple[Row | None, str]:
    """Returns the chosen cell's row and run, at first the first one."""
    cells = [(row, name) for row in rows for name in names if name in row.cells]
    for row, name in cells:
        if key_of(row, name) == chosen:
            return row, name
    return cells[0] if cells else (None, "")


def _summaries_panel(evidence: dict[str, Evidence], tell: Tell) -> None:
    """Draws the tables of measures beside the verdict, by run, for example which group carries
    what.
    """
    for measure, summary, tables in summaries(evidence, tell):
        if not tables:
            continue
        st.subheader(literal(summary.title))
        for name, table in tables.items():
            if len(tables) > 1:
                st.markdown(f"**{literal(name)}**")
            if table.figure is None:
                st.html(f"<style>{_COLOURS}{STYLE}</style>{table.html}")
            else:
                key = f"summary-{measure.name}-{summary.title}-{name}"
                st.plotly_chart(table.figure, key=key, alt=f"{summary.title}; of {name}")
        st.caption(literal(summary.text))


def _stale_panel(runs: Sequence[Run]) -> None:
    """Lists stale results, with a button that deletes them."""
    for run in runs:
        stale = stale_results(run)
        if not stale:
            continue
        left, right = st.columns([2, 5], vertical_alignment="center")
        of_run = f" of {literal(run.name)}" if len(runs) > 1 else ""
        if left.button(
            f"Delete {len(stale)} stale result{'s'[: len(stale) - 1]}{of_run}",
            key=f"stale-{run.name}",
            width="stretch",
        ):
            delete_stale(run)
            st.rerun()
        right.caption(
            "The run had other samples when these were measured, or their files have changed"
            " since. They are not shown. Directions and edits are kept. The command"
            " is `python -m hcache measure RUN --forget-stale`."
        )


def _report_panel(runs: Sequence[Run], labels: Sequence[str], reader: str) -> None:
    """Draws the download of the report."""
    st.download_button(
        "Download the report",
        lambda: verdict_report(runs, labels, reader).encode(),
        "verdict.html",
        "text/html",
        key="verdict-report",
        icon=":material/download:",
        help=(
            "One HTML file with the table, all curves and pictures; needs no server and no network."
        ),
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


_COLOURS = """
table.verdict {
  --ink: var(--st-text-color, inherit);
  --line: rgba(127, 127, 127, .3);
  --accent: #0072B2;
  --muted: rgba(127, 127, 127, .95);
  --warn: #B54708;
}
"""
