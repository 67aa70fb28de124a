"""The verdict as one HTML file with table, evidence and explanations. It contains plotly once and
all pictures, and needs no network.

``assets/report.html`` is the template. Jinja2 escapes everything that is inserted. Existing HTML
comes as ``Markup``, from functions that escape names themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from .. import __version__
from ..assets import read_asset
from ..cache.reading import Run
from ..figures.verdict import STYLE as TABLE_STYLE
from ..figures.verdict import anchor_of, row_title, verdict_table
from ..measures.evidence import Evidence
from ..measures.faults import Tell, told_once
from ..measures.verdict import Row, compare
from .exhibits import exhibits, summaries
from .guide import page_html, pages_of


def verdict_report(
    runs: Sequence[Run], labels: Sequence[str] | None = None, reader: str = ""
) -> str:
    """Writes the report of some runs as complete HTML.

    The text can be saved as a file. ``reader``: the reader whose readings of edits are shown; each
    run's first if empty. It begins with the faults of measures of other packages.
    """
    faults: list[str] = []
    tell = told_once(faults.append)
    rows = compare(runs, labels, reader, tell)
    evidence = {run.name: Evidence(run, reader) for run in runs}
    shown = [row for row in rows if row.cells]
    return _template().render(
        title="Verdict on " + ", ".join(dict.fromkeys(run.spec.model for run in runs)),
        runs=runs,
        version=__version__,
        table=Markup(verdict_table(rows, [run.name for run in runs])),
        summaries=_summaries(evidence, tell),
        faults=faults,
        sections=[_section(row, evidence) for row in shown],
        explained=list(dict.fromkeys(page for row in shown for page in pages_of(*row.key))),
        style=Markup(read_asset(__file__, "report.css") + TABLE_STYLE),
        script=Markup(read_asset(__file__, "report.js")),
        plotly=Markup(get_plotlyjs()),
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["explained"] = lambda page: Markup(page_html(page))
    return environment.from_string(read_asset(__file__, "report.html"))


def _summaries(evidence: Mapping[str, Evidence], tell: Tell) -> list[dict[str, Any]]:
    """Returns the tables beside the verdict, for the runs that have them."""
    return [
        {
            "title": summary.title,
            "missing": summary.missing,
            "tables": {name: Markup(each.html) for name, each in tables.items()},
        }
        for _, summary, tables in summaries(evidence, tell)
    ]


def _section(row: Row, evidence: Mapping[str, Evidence]) -> dict[str, Any]:
    """Returns the folded evidence of a row. The script unfolds it when a link leads to it."""
    return {
        "anchor": anchor_of(row),
        "title": row_title(row),
        "cells": row.cells,
        "pages": pages_of(*row.key),
        "exhibits": exhibits(row.question, row.subject, evidence),
    }
