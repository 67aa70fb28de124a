"""The drawn evidence of a row of the verdict: charts over all runs, and the pictures of each run.

The measures define the evidence (:mod:`hcache.measures.exhibits`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go
from markupsafe import Markup

from ..errors import AnalysisError, UsageError
from ..figures.evidence import chart_of
from ..figures.strips import draw_sheet
from ..figures.verdict import carriers_table
from ..measures.exhibits import CarriersTable, PictureSheet, Shown
from ..measures.faults import Tell, faults_told
from ..measures.measure import Measure, Runs, Summary
from ..measures.registry import find_measure, find_question, measured_by, measures


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart, or a table or pictures as HTML, with a title.

    ``run``: the run of the pictures. It is empty for evidence about all runs.
    """

    title: str
    figure: go.Figure | None = None
    html: str = ""
    run: str = ""

    @property
    def height(self) -> int:
        """The chart's height in pixels."""
        return 360 if self.figure is None else int(self.figure.layout.height or 360)

    @property
    def data(self) -> Markup:
        """The chart as JSON for a script element.

        The page adds its colours.
        """
        clear = "rgba(0,0,0,0)"
        plain = go.Figure(self.figure).update_layout(
            template="none", paper_bgcolor=clear, plot_bgcolor=clear
        )
        return Markup(plain.to_json().replace("<", "\\u003c"))


def exhibits(question: str, subject: str, runs: Runs) -> list[Drawn]:
    """Returns the evidence of a row.

    It covers the runs that have results for it.
    """
    found = find_question(question, subject)
    if found is None:
        return []
    of, faults = found.asked_of(question, subject), []
    try:
        with faults_told(find_measure(measured_by(question, subject)), faults.append):
            return [drawn(each.title, each.shown, each.run) for each in found.exhibits(of, runs)]
    except AnalysisError as error:  # continue with the other rows
        faults.append(str(error))
    return [Drawn(title="What cannot be shown", html=f"<p>{escape(each)}</p>") for each in faults]


def summaries(runs: Runs, tell: Tell) -> Iterator[tuple[Measure, Summary, dict[str, Drawn]]]:
    """Yields the tables beside the verdict.

    They are drawn for the runs that have them.

    Args:
        runs: The evidence of the runs.
        tell: It receives a line for each table of another package that cannot be made.
    """
    for measure in measures().values():
        with faults_told(measure, tell):
            for summary in list(measure.summaries):
                yield measure, summary, _summary(measure, summary, runs, tell)


def _summary(measure: Measure, summary: Summary, runs: Runs, tell: Tell) -> dict[str, Drawn]:
    made = {}
    for name, evidence in runs.items():
        with faults_told(measure, tell):
            if (shown := summary.of(evidence)) is not None:
                made[name] = drawn(summary.title, shown)
    return made


def drawn(title: str, shown: Shown, run: str = "") -> Drawn:
    """Draws an exhibit of any kind.

    Raises:
        UsageError: this kind cannot be drawn.
    """
    if isinstance(shown, PictureSheet):
        return Drawn(title=title, html=draw_sheet(shown.pictures, shown.columns), run=run)
    if isinstance(shown, CarriersTable):
        return Drawn(title=title, html=carriers_table(shown.rows, shown.aspects), run=run)
    if (figure := chart_of(shown)) is None:
        raise UsageError(
            f"the exhibit {title!r} is of {type(shown).__name__}; expected one of"
            " hcache.measures.exhibits, or an object with a method chart()"
        )
    return Drawn(title=title, figure=figure, run=run)
