"""A measure with its own description: one object, from which everything else is generated.

The command's ``--what`` and options, the Verdict page's table, controls and evidence, the verdict's
rows, the report and the background tasks all use :mod:`~hcache.measures.registry`, and know no
measure by name. Each file of :mod:`~hcache.measures.declared` contains one measure. Another package
adds its own by an entry point in the group ``hcache.measures``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..cache.reading import Run
from ..cache.records import Record
from .by_cell import ByCell
from .cell import Cell
from .evidence import Evidence
from .exhibits import Exhibit, Shown
from .faults import faults_told
from .parameter import Parameter
from .setting import Setting

LABELS, READER, MODEL = "labels", "reader", "model"
"""The possible needs of a measure: labels of the run, a reader of edited pictures, the run's
model.
"""

LABEL, SITE, WHOLE = "label", "site", "model"
"""The subjects of a question: every label, every site, or the model as a whole."""

READABLE, MOVABLE = "Readable in h", "Movable by h"
DISENTANGLED, CARRIED = "Disentangled", "Carried over by a swap"
SECTIONS = (READABLE, MOVABLE, DISENTANGLED, CARRIED)
"""The parts of the verdict's table in order. Other parts follow after them."""

GUIDE = Path(__file__).resolve().parent.parent / "guide" / "measures"

Runs = Mapping[str, Evidence]
"""The parts by name."""

Work = Generator[float, None, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a measure. ``work`` yields the share that is done.

    ``seconds``: about how long it takes without the model; None if unknown. ``passes``: how many
    times it takes a sample through all steps of the model.
    """

    title: str
    work: Work
    seconds: float | None = 0.0
    passes: float = 0.0


def later(make: Callable[[], Work]) -> Work:
    """Returns work that is set up only when its turn comes.

    Fitting directions and loading the model take time.
    """
    yield 0.0
    return (yield from make())


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A page that explains a measure.

    ``source`` is its Markdown, or the file that contains it.
    """

    name: str
    source: str | Path

    @cached_property
    def text(self) -> str:
        """The page's Markdown."""
        if isinstance(self.source, Path):
            return self.source.read_text(encoding="utf-8")
        return self.source


def shipped_page(name: str) -> Explanation:
    """Returns a page of ``hcache/guide/measures``."""
    return Explanation(name=name, source=GUIDE / f"{name}.md")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that a measure answers, in rows of the verdict.

    There is a row for every label or site, or one for the model. ``name`` and the subject are a
    cell's ``question`` and ``subject``. A question about labels has the label as its subject. One
    about sites is named ``<name> <site>``. Questions about sites and the model have ``subject``.
    ``words`` is its text in the table. ``exhibits(of, runs)`` returns the evidence of a label or
    site (empty for the model). ``two_sided``: a value far below the null means as much as one
    above. ``asked_for``: the question is shown only if it was answered, because it needs a choice
    without a default.
    """

    name: str
    words: str
    section: str
    of: str = LABEL
    subject: str = ""
    pages: tuple[Explanation, ...] = ()
    exhibits: Callable[[str, Runs], Sequence[Exhibit]] = lambda of, runs: ()
    two_sided: bool = False
    asked_for: bool = False

    def keys(self, labels: Sequence[str], sites: Sequence[str]) -> list[tuple[str, str]]:
        """Returns its rows, as (question, subject)."""
        if self.of == LABEL:
            return [(self.name, label) for label in labels]
        if self.of == SITE:
            return [(f"{self.name} {site}", self.subject) for site in sites]
        return [(self.name, self.subject)]

    def asks(self, question: str, subject: str) -> bool:
        """Returns whether a row belongs to this question."""
        if self.of == LABEL:
            return question == self.name
        if self.of == SITE:
            return question.startswith(f"{self.name} ") and subject == self.subject
        return (question, subject) == (self.name, self.subject)

    def clashes(self, other: Question) -> bool:
        """Returns whether its rows could be confused with another question's."""
        both_whole = self.of == other.of == WHOLE
        return self.name == other.name and not (both_whole and self.subject != other.subject)

    def asked_of(self, question: str, subject: str) -> str:
        """Returns the label or site of a row.

        It is empty for a row about the model.
        """
        site = question.removeprefix(self.name).strip()
        return {LABEL: subject, SITE: site}.get(self.of, "")

    def title(self, question: str, subject: str) -> str:
        """Returns a row in words: ``smile: decodable from h``."""
        of = self.asked_of(question, subject)
        if self.of == SITE:
            return f"{of}: {self.words}" if self.asked_for else of
        return f"{of.replace('_', ' ')}: {self.words}" if of else self.words


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A table beside the verdict, one for each run.

    ``of`` returns its content from a run's evidence, or None. ``text`` is shown below it.
    ``missing`` is shown if nothing was measured.
    """

    title: str
    text: str
    missing: str
    of: Callable[[Evidence], Shown | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure.

    Attributes:
        name: A word, the value of ``--what``.
        title: What it measures, in words that follow "This measures".
        parts: The parts of the work in a setting, in order. Nothing expensive is imported or
            computed before a part begins.
        questions: The questions that it answers.
        cells: By the kind of a stored result: the answers that such a result contains.
        definitions: By the kind of a stored result: the version of its definition, from 1 on. It is
            part of a result's parameters if it is more than 1, so that older results can be
            recognised.
        needs: Some of ``LABELS``, ``READER``, ``MODEL``.
        parameters: The choices of a user.
        refuses: Says why it cannot be taken in a setting, apart from its needs; empty if it can.
        summaries: Tables beside the verdict.
        along_with: The measure whose place on the page it shares, if it answers no question itself.
        starts_itself: Whether the Verdict page starts it by itself if it is cheap.
        defined_on: Whether a label of a run can be measured.
        by_cell: How it is shown by site and step, on the Probes page and by the command ``probe``.
    """

    name: str
    title: str
    parts: Callable[[Setting], Iterable[Part]]
    questions: tuple[Question, ...] = ()
    cells: Mapping[str, Callable[[Record, Run], Iterable[Cell]]] = field(default_factory=dict)
    definitions: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    refuses: Callable[[Setting], str] = lambda setting: ""
    summaries: tuple[Summary, ...] = ()
    along_with: str = ""
    starts_itself: bool = False
    defined_on: Callable[[Run, str], bool] = lambda run, label: True
    by_cell: ByCell | None = None

    def refused(self, setting: Setting) -> str:
        """Says why the measure cannot be taken in a setting.

        The text also says what to do. It is empty if the measure can be taken. A measure of another
        package whose ``refuses`` fails cannot be taken.
        """
        read = (
            f"add a reader: python -m hcache read {setting.run.name} --reader"
            " texts:openai/clip-vit-base-patch32 --attributes faces"
        )
        if READER in self.needs and not setting.readable:
            return f"no reader reads the run's edited pictures; {read}"
        if LABELS in self.needs and not setting.labels:
            return f"the run has no labels; {read}, or import labels"
        said: list[str] = []
        with faults_told(self, said.append):
            said.append(_text(self.refuses(setting)))
        return said[-1]

    def work(self, setting: Setting) -> Iterator[Part]:
        """Returns its parts, or none if a setting has nothing for it."""
        if not self.refused(setting):
            yield from self.parts(setting)


def _text(said: object) -> str:
    """Returns what a function said, which must be a text."""
    if not isinstance(said, str):
        raise TypeError(f"refuses returns a text, got {type(said).__name__}")
    return said
