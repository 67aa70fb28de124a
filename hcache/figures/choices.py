"""The contents of a figure for print, as data, with defaults for any run.

A way to edit has a name of one word: a method that is fitted to the samples at the ends of a label
(``naive``), one that needs no samples (``pca``, ``random``), or ``saved:NAME``, a direction that is
saved with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..cache.labels import find_label, named_labels
from ..cache.layout import H
from ..cache.reading import Run
from ..directions.direction import movable_sites
from ..directions.fitting import METHODS, NEGATIVES, POSITIVES, Fit, Method
from ..directions.store import list_moves
from ..directions.supervised import both_ends
from ..errors import UsageError, did_you_mean
from ..recipes.window import Window

SAVED = "saved:"
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 3.0)
STRENGTH = 2.0
SAMPLES, ATTRIBUTES = 4, 5
"""The size of the default grid, as in papers of the field: four people, five attributes."""

MOST_COLUMNS, MOST_ROWS = 12, 24


@dataclass(frozen=True, kw_only=True)
class Swaps:
    """The U-figure: B with A's activations.

    A is sample ``donor`` of run ``donor_run`` (empty: the recipient's run). B is sample
    ``recipient``.
    """

    donor: int
    recipient: int
    window: Window
    donor_run: str = ""
    alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A strip with a row per way and a column per strength.

    ``label``: the label of fitted ways. They are fitted to the ``top`` samples with its highest
    values (and as many with the lowest). ``site``: the tensor that fitted ways move.
    """

    sample: int
    ways: tuple[str, ...]
    window: Window
    label: str = ""
    top: int = 0
    strengths: tuple[float, ...] = STRENGTHS
    asymmetric: bool = True
    site: str = H

    def __post_init__(self) -> None:
        _check_size("strengths", self.strengths, MOST_COLUMNS)
        _check_size("ways to edit", self.ways, MOST_ROWS)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid of samples and ways by attributes. There is a row per sample and way.

    Attributes are labels, which every way is fitted to, or saved directions. ``site``: the tensor
    that fitted ways move.
    """

    samples: tuple[int, ...]
    attributes: tuple[str, ...]
    ways: tuple[str, ...]
    window: Window
    top: int = 0
    strength: float = STRENGTH
    asymmetric: bool = True
    site: str = H

    def __post_init__(self) -> None:
        _check_size("attributes", self.attributes, MOST_COLUMNS - 1)
        _check_size("rows", [0] * len(self.samples) * max(1, len(self.ways)), MOST_ROWS)
        saved = [attribute.startswith(SAVED) for attribute in self.attributes]
        if any(saved) and not all(saved):
            raise UsageError("the columns of a grid are labels or saved directions, not both")
        if not any(saved) and not self.ways:
            raise UsageError("choose one way to edit or more; each is a row of every sample")


Choice = Swaps | Strip | Grid


def default_swaps(run: Run) -> Swaps:
    """Returns the first two samples, all sites and all steps."""
    if len(run) < 2:
        raise UsageError(f"the U-figure needs 2 samples; run {run.name} has {len(run)}")
    return Swaps(
        donor=int(run.sample_ids[1]), recipient=int(run.sample_ids[0]), window=all_steps(run)
    )


def default_strip(run: Run) -> Strip:
    """Returns the naive direction and the VAE of the first label.

    Without labels, it uses saved directions, or ways that need neither.
    """
    label = next(iter(usable_labels(run)), "")
    ways = default_ways(run, label)
    top = default_top(run)
    (sample,) = bystanders(run, [label] if label else [], top, 1)
    return Strip(
        sample=sample,
        ways=ways,
        window=all_steps(run),
        label=label,
        top=top,
        site=default_site(run),
    )


def default_grid(run: Run) -> Grid:
    """Returns four samples, the first five labels, and two methods.

    The methods are the naive direction and the VAE. Without labels, saved directions are used.
    """
    labels, top = usable_labels(run)[:ATTRIBUTES], default_top(run)
    saved = tuple(f"{SAVED}{entry.name}" for entry in list_moves(run))[:ATTRIBUTES]
    if not labels and not saved:
        raise UsageError(
            f"the grid needs labels or saved directions; run {run.name} has neither: "
            "import labels, or save directions on the Edit page"
        )
    samples = bystanders(run, labels, top, min(SAMPLES, len(run)))
    ways = default_ways(run, labels[0]) if labels else ()
    return Grid(
        samples=samples,
        attributes=tuple(labels) or saved,
        ways=ways,
        window=all_steps(run),
        top=top,
        site=default_site(run),
    )


def default_site(run: Run) -> str:
    """Returns the site of fitted directions.

    It is h if the run stores h in full, and otherwise the first site that it stores in full.
    """
    sites = movable_sites(run)
    return H if H in sites or not sites else sites[0]


def default_ways(run: Run, label: str) -> tuple[str, ...]:
    """Returns the directions of a figure if none are named.

    They are those of the proposed methods that take what there is: positives of a label, or
    nothing.
    """
    proposed = [method for method in METHODS.values() if method.proposed]
    if label:
        least = {each.name: each.least for each in proposed if each.needs == (POSITIVES,)}
        enough = tuple(name for name, count in least.items() if count <= default_top(run))
        return enough or tuple(least)[:1]
    saved = tuple(f"{SAVED}{entry.name}" for entry in list_moves(run))[:4]
    return saved or tuple(method.name for method in proposed if not method.needs)


def default_top(run: Run) -> int:
    """Returns the default number of positives.

    It is an eighth of the samples, and at least 5 if half of the samples are as many.
    """
    return min(max(5, len(run) // 8), len(run) // 2)


def usable_labels(run: Run) -> list[str]:
    """Returns the labels that directions can be fitted to.

    They have two values or more, and the run stores h or another site in full.
    """
    if not movable_sites(run):
        return []
    finite = {name: values[np.isfinite(values)] for name, values in named_labels(run).items()}
    return [name for name, values in finite.items() if len(values) >= 4 and np.ptp(values) > 0]


def ways_from_label() -> dict[str, Method]:
    """Returns the methods that need only a label's ends, by name."""
    return {
        method.name: method
        for method in METHODS.values()
        if POSITIVES in method.needs and not set(method.needs) - {POSITIVES, NEGATIVES}
    }


def ways_from_nothing() -> dict[str, Method]:
    """Returns the methods that need only the run's h, by name."""
    return {method.name: method for method in METHODS.values() if not method.needs}


def all_ways(run: Run) -> dict[str, str]:
    """Returns every way to edit that a run offers.

    The result maps each to its name in a figure.
    """
    methods = {
        **(ways_from_label() if usable_labels(run) else {}),
        **(ways_from_nothing() if movable_sites(run) else {}),
    }
    fitted = {name: method.in_figures for name, method in methods.items()}
    return fitted | {f"{SAVED}{entry.name}": entry.name for entry in list_moves(run)}


def name_of(way: str) -> str:
    """Returns the name of a way or an attribute in a figure."""
    method = way in METHODS and METHODS[way].in_figures
    plain = method or way.removeprefix(SAVED)
    return plain.rpartition("/")[2].replace("_", " ")


def fit_of(run: Run, way: str, label: str, top: int, site: str = H) -> Fit:
    """Returns the fit of a way.

    Raises:
        UsageError: it is not a way to fit a direction, or it needs a label or positives.
    """
    if way in ways_from_nothing():
        return Fit(method=way, run=run.name, site=site)
    if way not in ways_from_label():
        known = [*ways_from_label(), *ways_from_nothing()]
        raise UsageError(
            f"no way to edit {way!r}{did_you_mean(way, known)}; there are {', '.join(known)} and"
            f" {SAVED}NAME"
        )
    if not label:
        raise UsageError(
            f"{way} is fitted to a label; choose one of"
            f" {', '.join(usable_labels(run)) or 'none there are'}"
        )
    if not 2 <= top <= len(run) // 2:
        raise UsageError(f"positives are 2 to {len(run) // 2} samples, half of the run; got {top}")
    positives, negatives = both_ends(run, find_label(run, label), top)
    return Fit(
        method=way,
        run=run.name,
        positives=tuple(positives),
        label=label,
        negatives=tuple(negatives) if NEGATIVES in METHODS[way].needs else (),
        site=site,
    )


def chosen_for(run: Run, labels: Sequence[str], top: int) -> set[int]:
    """Returns the samples at either end of any of the labels."""
    return {
        s for label in labels for end in both_ends(run, find_label(run, label), top) for s in end
    }


def bystanders(run: Run, labels: Sequence[str], top: int, count: int) -> tuple[int, ...]:
    """Returns the first samples that are at no end of the labels.

    If there are too few of them, others are added.
    """
    part = chosen_for(run, labels, top)
    ordered = sorted(
        (int(sample) for sample in run.sample_ids), key=lambda sample: (sample in part, sample)
    )
    return tuple(sorted(ordered[:count]))


def all_steps(run: Run) -> Window:
    """Returns the window of all steps of a run."""
    return Window(first=0, last=run.spec.steps - 1)


def _check_size(what: str, chosen: Sequence[object], most: int) -> None:
    if not 1 <= len(chosen) <= most:
        raise UsageError(f"a figure has 1 to {most} {what}, got {len(chosen)}")
