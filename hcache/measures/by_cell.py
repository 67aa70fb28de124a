"""A measure that is read cell by cell: a score of a label at every site and step.

The Probes page and the command ``probe`` offer every measure that declares a :class:`ByCell`; they
know no measure by name. ``probes_by_cell.py`` declares hcache's linear probes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.permutation import family_p, holm
from ..analysis.probes import AUC, R2
from ..cache.reading import Run
from .parameter import Parameter

Options = Mapping[str, Any]
"""The values of parameters by name. Missing ones have their defaults."""

Work = Generator[float, None, Any]


def chance_of(metric: str) -> float:
    """Returns the score of a probe where there is nothing to read."""
    return 0.5 if metric == AUC else 0.0


@dataclass(frozen=True, kw_only=True)
class ProbeMap:
    """A label's scores at some sites and all steps of a run.

    ``cells``: (site, step) -> row of a record, for the known cells. A row has ``step``, ``score``
    and ``selectivity`` (an Estimate as JSON each), ``control`` and ``p``, and where available
    ``accuracy`` (an Estimate as JSON) and ``drawn``. ``chance``: the score if there is nothing to
    read. None means 0.5 for an AUC and 0 for anything else.
    """

    label: str
    metric: str
    sites: tuple[str, ...]
    steps: int
    cells: Mapping[tuple[str, int], Mapping[str, Any]]
    chance: float | None = None

    @property
    def nothing(self) -> float:
        """The score if there is nothing to read."""
        return chance_of(self.metric) if self.chance is None else self.chance

    @property
    def missing(self) -> int:
        """The number of cells that are not known."""
        return len(self.sites) * self.steps - len(self.cells)

    @property
    def projected(self) -> dict[str, int]:
        """The number of random directions that probes see, by site.

        Sites whose probes see all features are left out.
        """
        found = {site: int(row.get("projected") or 0) for (site, _), row in self.cells.items()}
        return {site: found[site] for site in self.sites if found.get(site)}

    def in_words(self) -> str:
        """Describes what the probes see and what their intervals are, for pages."""
        words = []
        if self.projected:
            words.append(
                f"Probes of {', '.join(self.projected)} see projected features:"
                f" {max(self.projected.values()):,} random directions in place of all features,"
                " which are too many for so many samples."
            )
        if any(row.get("nested") for row in self.cells.values()):
            words.append(
                "Intervals of R²: nested cross-validation, over samples to fit on and to test on."
            )
        elif self.metric in (R2, AUC):
            words.append(
                "Intervals: bootstrap over the held-out samples, not over the training samples."
            )
        return " ".join(words)

    def family(self) -> dict[tuple[str, int], float]:
        """Returns p of every cell, adjusted for all cells.

        This is the probability that meaningless labels give any cell of the map such a score. All
        cells have the same shuffles, so the largest score over cells in each shuffle is used
        (max-T). If the scores of shuffles were not kept, Holm's method is used.
        """
        known = [cell for cell, row in self.cells.items() if row["p"] is not None]
        if not known:
            return {}
        drawn = [self.cells[cell].get("drawn") or () for cell in known]
        if len({len(each) for each in drawn}) == 1 and len(drawn[0]):
            observed = np.array([self.cells[cell]["score"]["value"] for cell in known], np.float64)
            adjusted = family_p(observed, np.array(drawn, np.float64))
        else:
            adjusted = holm([self.cells[cell]["p"] for cell in known])
        return dict(zip(known, adjusted.tolist(), strict=True))

    def values(self, quantity: str) -> np.ndarray:
        """Returns ``score``, ``selectivity``, ``control`` or ``p`` by site and step.

        Unknown cells are NaN.
        """
        found = np.full((len(self.sites), self.steps), np.nan)
        for (site, step), row in self.cells.items():
            value = row[quantity]["value"] if isinstance(row[quantity], Mapping) else row[quantity]
            found[self.sites.index(site), step] = np.nan if value is None else value
        return found


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A parameter with a text for each value, for the page.

    ``values``: value -> text. ``key``: the name of the choice in links.
    """

    parameter: Parameter
    label: str
    key: str
    values: Mapping[str, str]
    help: str = ""


@dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """The score by the number of labelled samples, at one step.

    ``measure`` is given (run, label, step, sites, options), and returns the results by site.
    ``stored`` is given the same, computes nothing, and returns those that are known. A result has
    ``metric``, ``sizes``, ``scores``, ``controls``, ``enough`` and ``beyond_x``.
    """

    measure: Callable[[Run, str, int, Sequence[str], Options], Work]
    stored: Callable[[Run, str, int, Sequence[str], Options], Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class ByCell:
    """Declares how a measure is taken and shown cell by cell.

    Attributes:
        title: Its name on the page.
        measure: (run, labels, sites, steps, options) -> work that stores every cell.
        stored: (run, label, sites, options) -> the known cells. Computes nothing.
        sites: run -> the sites at which the measure can be taken.
        seconds: (run, known cells, options) -> the time that the missing cells take.
        words: (run, known cells, options) -> what is measured, for the page's caption.
        parameters: The measure's parameters. The command has an option for each.
        asks: (run, labels) -> the choices that the page offers, in order.
        curves: Learning curves, if the measure has any.
    """

    title: str
    measure: Callable[[Run, Sequence[str], Sequence[str], Sequence[int], Options], Work]
    stored: Callable[[Run, str, Sequence[str], Options], ProbeMap]
    sites: Callable[[Run], Sequence[str]]
    seconds: Callable[[Run, ProbeMap, Options], float | None] = lambda run, known, options: None
    words: Callable[[Run, ProbeMap, Options], str] = lambda run, known, options: ""
    parameters: tuple[Parameter, ...] = ()
    asks: Callable[[Run, Sequence[str]], Sequence[Choice | Parameter]] = lambda run, labels: ()
    curves: LearningCurves | None = None

    def options(self, given: Options) -> dict[str, Any]:
        """Returns the value of every parameter, given or by default."""
        return {each.name: given.get(each.name, each.default) for each in self.parameters}
