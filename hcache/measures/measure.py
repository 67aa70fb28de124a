"""A measure, as it says itself what it is: one object, from which everything else is made.

The command's ``--what`` and options, the Verdict page's table, controls and evidence, the verdict's
rows, the report and the background tasks all go through :mod:`~hcache.measures.registry`, and know
no measure by name. A file of :mod:`~hcache.measures.declared` holds one each; another package adds
its own by an entry point in the group ``hcache.measures``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..cache.reading import Run
from ..cache.records import Record
from ..errors import AnalysisError, HcacheError
from .by_cell import ByCell
from .cell import Cell
from .evidence import Evidence
from .exhibits import Exhibit, Shown
from .parameter import Parameter
from .setting import Setting

LABELS, READER, MODEL = "labels", "reader", "model"
"""What a measure may need: labels of the run, a reader of edited pictures, the run's model."""

LABEL, SITE, WHOLE = "label", "site", "model"
"""What a question is asked of: every label, every site, or the model as a whole."""

READABLE, MOVABLE = "Readable in h", "Movable by h"
DISENTANGLED, CARRIED = "Disentangled", "Carried over by a swap"
SECTIONS = (READABLE, MOVABLE, DISENTANGLED, CARRIED)
"""The parts of the verdict's table, in order; other parts come after."""

GUIDE = Path(__file__).resolve().parent.parent / "guide" / "measures"

Runs = Mapping[str, Evidence]
"""By name."""

Work = Generator[float, None, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a measure: ``work`` yields the share done.

    ``seconds``: about how long it takes without the model; None if nobody knows. ``passes``: how
    many times it takes a sample through all steps of the model.
    """

    title: str
    work: Work
    seconds: float | None = 0.0
    passes: float = 0.0


def later(make: Callable[[], Work]) -> Work:
    """Work that begins when it is its turn.

    Fitting directions and loading the model take time.
    """
    yield 0.0
    return (yield from make())


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A page that explains a measure. ``source``: its Markdown, or the file that holds it."""

    name: str
    source: str | Path

    @cached_property
    def text(self) -> str:
        """The page's Markdown."""
        if isinstance(self.source, Path):
            return self.source.read_text(encoding="utf-8")
        return self.source


def shipped_page(name: str) -> Explanation:
    """A page of ``hcache/guide/measures``."""
    return Explanation(name=name, source=GUIDE / f"{name}.md")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a measure answers: one or more rows of the verdict.

    A row for every label or site, or one for the model.

    ``name`` and the subject are a cell's ``question`` and ``subject``. A question of labels has the
    label as its subject; one of sites is named ``<name> <site>``; both others have ``subject``.
    ``words`` say it in the table. ``exhibits(of, runs)`` gives the evidence of a label or site
    (empty for the model). ``two_sided``: a value far below the null is as much as one above.
    ``asked_for``: it is shown only where it was answered, for it takes a choice without a default.
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
        """Its rows, as (question, subject)."""
        if self.of == LABEL:
            return [(self.name, label) for label in labels]
        if self.of == SITE:
            return [(f"{self.name} {site}", self.subject) for site in sites]
        return [(self.name, self.subject)]

    def asks(self, question: str, subject: str) -> bool:
        """Whether a row is one of this question's."""
        if self.of == LABEL:
            return question == self.name
        if self.of == SITE:
            return question.startswith(f"{self.name} ") and subject == self.subject
        return (question, subject) == (self.name, self.subject)

    def clashes(self, other: Question) -> bool:
        """Whether one could not tell its rows from another question's."""
        both_whole = self.of == other.of == WHOLE
        return self.name == other.name and not (both_whole and self.subject != other.subject)

    def asked_of(self, question: str, subject: str) -> str:
        """The label or site of a row.

        Empty if it is of the model.
        """
        site = question.removeprefix(self.name).strip()
        return {LABEL: subject, SITE: site}.get(self.of, "")

    def title(self, question: str, subject: str) -> str:
        """A row in words: ``smile: read off h``."""
        of = self.asked_of(question, subject)
        if self.of == SITE:
            return of
        return f"{of.replace('_', ' ')}: {self.words}" if of else self.words


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A table beside the verdict, one for each run.

    ``of`` gives what it shows of a run's evidence, or None. ``text`` stands below it; ``missing``
    says that nothing of it was measured.
    """

    title: str
    text: str
    missing: str
    of: Callable[[Evidence], Shown | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure.

    Attributes:
        name: A word: what ``--what`` takes.
        title: What it measures, as it goes on after "This measures".
        parts: The work of a setting, in order. Nothing heavy is imported or computed before a part
            is begun.
        questions: What it answers.
        cells: By the kind of a stored result: the answers that such a result holds.
        definitions: By the kind of a stored result: how often what it means has changed, from 1
            on. It is part of a result's parameters where it is more than 1, so that an older
            result is told from today's.
        needs: Of ``LABELS``, ``READER``, ``MODEL``.
        parameters: What a user chooses.
        refuses: Why a setting has nothing for it, beyond its needs; empty if it has.
        summaries: Tables beside the verdict.
        along_with: The measure that it goes with on the page, if it answers no question itself.
        starts_itself: The Verdict page starts it by itself where it is cheap.
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
        """Says why the measure cannot be taken of a setting.

        The text says what to do, too. It is empty if the measure can be taken.
        """
        read = (
            f"add a reader: python -m hcache read {setting.run.name} --reader"
            " texts:openai/clip-vit-base-patch32 --attributes faces"
        )
        if READER in self.needs and not setting.readable:
            return f"no reader reads the run's edited pictures; {read}"
        if LABELS in self.needs and not setting.labels:
            return f"the run has no labels; {read}, or import labels"
        return self.refuses(setting)

    def work(self, setting: Setting) -> Iterator[Part]:
        """Its parts; none of a setting that has nothing for it."""
        if not self.refused(setting):
            yield from self.parts(setting)


@contextmanager
def faults_named(measure: Measure) -> Iterator[None]:
    """Tells a fault of another package's measure in one line.

    As long as the block runs.

    A fault of hcache's own measures is left as it is. The traceback goes to the log, at the level
    of debugging.

    Raises:
        AnalysisError: the measure raised something that is no error of hcache.
    """
    module = getattr(measure.parts, "__module__", "an unknown module")
    try:
        yield
    except HcacheError:
        raise
    except Exception as error:  # whatever another package does
        if module.split(".")[0] == __name__.split(".")[0]:
            raise
        logging.getLogger(__name__).debug("a fault of %s", module, exc_info=True)
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise AnalysisError(
            f"the measure {measure.name!r} of the module {module} failed; {why}. Tell its author,"
            " or leave it out"
        ) from error
