"""Decodability over a run: every label at every site and step, h beside x_t and the skips. Needs no
model.

A record is of one label at one site, and holds the steps that were asked for so far: what a command
measured at some steps, a page that shows all of them need not measure again, and what was cancelled
goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..analysis.alignment import alignment
from ..analysis.decoding import CONTROLS, Decoding, Probing
from ..analysis.permutation import family_p, holm
from ..analysis.probes import LOGISTIC, R2, RIDGE, Space, check_labels
from ..analysis.threads import side_by_side
from ..cache.labels import find_label
from ..cache.layout import X
from ..cache.reading import Run
from ..cache.records import Record, load_record, save_record
from ..errors import AnalysisError, UsageError
from ..specs import NONE
from .groups import BY_RUN, groups_digest, groups_of, of_groups
from .kinds import ALIGNMENT, DECODABILITY
from .label_values import values_digest, values_of
from .registry import as_of_today
from .stored import Measuring, measured


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What is asked of a probe besides its label and site.

    It is part of every result's parameters.

    ``kind``: ``ridge`` or ``logistic``, by the label if None. ``pooled``: averaged over space
    first. ``folds`` of the cross-validation, ``controls``: shuffled labels beside the true ones
    (None: as many as the metric's default), ``repeats``: draws of the bootstrap, ``seed`` of folds,
    shuffling and draws. ``groups``: which samples belong together: ``run`` (as the run says),
    ``none``, or the name of a label.
    """

    kind: str | None = None
    pooled: bool = False
    folds: int = 5
    controls: int | None = None
    repeats: int = 500
    seed: int = 0
    groups: str = BY_RUN

    def check(self, name: str, values: np.ndarray) -> str:
        """The metric that a label calls for.

        Raises:
            AnalysisError: naming the label, why no probe of it is defined.
        """
        try:
            return check_labels(values, self.folds, self.kind)[1]
        except AnalysisError as error:
            raise AnalysisError(f"{name}: {error}") from error

    def probing(self, values: np.ndarray, groups: np.ndarray | None = None) -> Probing:
        """The folds, shuffled orders and draws for a label."""
        return Probing.of(
            values,
            kind=self.kind,
            folds=self.folds,
            controls=self.controls,
            repeats=self.repeats,
            seed=self.seed,
            groups=groups,
        )

    def shuffles(self, values: np.ndarray) -> int:
        """How many shuffled orders of a label stand beside it."""
        return (
            CONTROLS[check_labels(values, self.folds, self.kind)[1]]
            if self.controls is None
            else self.controls
        )

    def parameters(
        self, name: str, values: np.ndarray, site: str, groups: np.ndarray | None
    ) -> dict[str, Any]:
        """Of a record. A kind that is the label's own is none that was asked for."""
        own = RIDGE if check_labels(values, self.folds)[1] == R2 else LOGISTIC
        found = {
            "label": name,
            "values": values_digest(values),
            "site": site,
            "kind": None if self.kind == own else self.kind,
            "pooled": self.pooled,
            "folds": self.folds,
            "controls": self.shuffles(values),
            "repeats": self.repeats,
            "seed": self.seed,
            "groups": groups_digest(groups),
        }
        return as_of_today(DECODABILITY, found)


USUAL = ProbeOptions()


@dataclass(frozen=True, kw_only=True)
class ProbeMap:
    """A label at some sites and all steps of a run.

    ``cells``: (site, step) -> row of a record, those that are known.
    """

    label: str
    metric: str
    sites: tuple[str, ...]
    steps: int
    cells: Mapping[tuple[str, int], Mapping[str, Any]]

    @property
    def missing(self) -> int:
        """How many cells are not known."""
        return len(self.sites) * self.steps - len(self.cells)

    @property
    def projected(self) -> dict[str, int]:
        """How many random directions probes see, by site; no other sites."""
        found = {site: int(row.get("projected") or 0) for (site, _), row in self.cells.items()}
        return {site: found[site] for site in self.sites if found.get(site)}

    def in_words(self) -> str:
        """What the probes see and what their intervals are, for pages."""
        directions = ""
        if self.projected:
            sites = ", ".join(self.projected)
            count = max(self.projected.values())
            directions = (
                f"Probes of {sites} see projected features: {count:,} random directions in place of"
                " all features, which are too many for so many samples. "
            )
        if any(row.get("nested") for row in self.cells.values()):
            return directions + (
                "Intervals of R²: nested cross-validation, over samples to fit on and to test on."
            )
        return directions + (
            "Intervals: bootstrap over the held-out samples, not over the training samples."
        )

    def family(self) -> dict[tuple[str, int], float]:
        """p of every cell, adjusted for all cells.

        The chance that labels of nothing give any of the map's as good.

        By the largest of all cells in each shuffle (max-T), since all cells have the same shuffles;
        by Holm where the scores of shuffles were not kept.
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
        """``score``, ``selectivity``, ``control`` or ``p`` by site and step.

        NaN where it is not known.
        """
        found = np.full((len(self.sites), self.steps), np.nan)
        for (site, step), row in self.cells.items():
            value = row[quantity]["value"] if isinstance(row[quantity], Mapping) else row[quantity]
            found[self.sites.index(site), step] = np.nan if value is None else value
        return found


def decodability(
    run: Run,
    labels: Sequence[str],
    sites: Sequence[str] | None = None,
    steps: Sequence[int] | None = None,
    options: ProbeOptions = USUAL,
) -> Generator[float, None, dict[tuple[str, str], Record]]:
    """Probes labels at sites and steps.

    Yields the share done, returns a record for every (label, site).

    A record's result is ``{"metric", "steps": [{"step", "score", "accuracy", "control",
    "selectivity", "p", "drawn"}]}``, ``drawn`` the scores of the shuffled labels; of the steps
    asked for and of those that were measured before. Each is stored as soon as it is known.

    Args:
        run: The run.
        labels: Names, or ``set/name``.
        sites: Of those stored, and ``x`` for x_t; all of them, and x_t, if None.
        steps: All if None.
        options: Of the probes.

    Raises:
        AnalysisError: before anything is computed: a label that is missing somewhere, constant, or
            too rare.
        NotStoredError: before anything is computed: a site that the run does not hold.
    """
    chosen = list(default_sites(run) if sites is None else sites)
    steps = list(range(run.spec.steps) if steps is None else steps)
    _check_stored(run, chosen, steps)
    values = {name: find_label(run, name) for name in labels}
    metrics = {name: options.check(name, column) for name, column in values.items()}
    groups = groups_of(run, options.groups)
    asked = {
        (name, site): options.parameters(name, values[name], site, groups)
        for site in chosen
        for name in labels
    }
    known = {key: load_record(run, DECODABILITY, given) for key, given in asked.items()}
    done = {key: _steps_of(record) for key, record in known.items()}
    ordered = sorted(labels, key=metrics.__getitem__)
    cells = [
        (site, step, names)
        for site in chosen
        for step in steps
        if (names := tuple(name for name in ordered if step not in done[name, site]))
    ]
    wanted = {name for _, _, names in cells for name in names}
    probings = {name: options.probing(values[name], groups) for name in wanted}
    total, so_far = max(1, sum(len(names) for *_, names in cells)), 0
    for site, step, found in side_by_side(
        partial(_probe_cell, run, options.pooled, probings), cells
    ):
        for name, decoding in found.items():
            _add(run, asked[name, site], decoding.metric, {"step": step, **_row(decoding)})
        so_far += len(found)
        yield so_far / total
    yield 1.0
    kept = {key: load_record(run, DECODABILITY, parameters) for key, parameters in asked.items()}
    return {key: record for key, record in kept.items() if record is not None}  # all are known


def _check_stored(run: Run, sites: Sequence[str], steps: Sequence[int]) -> None:
    """Reads nothing yet, but knows what there is."""
    for site in sites:
        for step in steps:
            run.blocks(site, step)


def stored_decodability(
    run: Run, label: str, sites: Sequence[str], options: ProbeOptions = USUAL
) -> ProbeMap:
    """What is known of a label so far. Computes nothing.

    Raises:
        AnalysisError: a label that no probe is defined on.
    """
    values = find_label(run, label)
    metric = options.check(label, values)
    groups = groups_of(run, options.groups)
    found = {
        site: load_record(run, DECODABILITY, options.parameters(label, values, site, groups))
        for site in sites
    }
    cells = {
        (site, step): row
        for site, record in found.items()
        for step, row in _steps_of(record).items()
    }
    return ProbeMap(
        label=label, metric=metric, sites=tuple(sites), steps=run.spec.steps, cells=cells
    )


def data_of(run: Run, site: str, step: int, pooled: bool) -> Space:
    """A site at a step as probes see it.

    What does not fit into memory is taken in blocks.
    """
    return Space.of(run.pooled(site, step) if pooled else partial(run.blocks, site, step))


def _probe_cell(
    run: Run, pooled: bool, probings: Mapping[str, Probing], cell: tuple[str, int, tuple[str, ...]]
) -> tuple[str, int, dict[str, Decoding]]:
    """Some labels at one site and step."""
    site, step, names = cell
    space = data_of(run, site, step, pooled)
    return site, step, {name: probings[name].decode(space) for name in names}


def _add(run: Run, parameters: Mapping[str, Any], metric: str, row: Mapping[str, Any]) -> None:
    """Enters a step into a label's record at a site, beside those that others may have entered
    meanwhile.
    """
    rows = _steps_of(load_record(run, DECODABILITY, parameters)) | {row["step"]: row}
    save_record(
        run,
        DECODABILITY,
        parameters,
        {"metric": metric, "steps": [rows[step] for step in sorted(rows)]},
    )


def _steps_of(record: Record | None) -> dict[int, Any]:
    return {row["step"]: row for row in record.result["steps"]} if record else {}


def default_sites(run: Run) -> tuple[str, ...]:
    """The sites that a run stores, in full or pooled, and x_t."""
    return (*(site for site in run.anatomy.all_sites if run.policy(site) != NONE), X)


def alignment_of(
    run: Run,
    positives: Sequence[int],
    steps: Sequence[int] | None = None,
    *,
    name: str = "",
    site: str = "h",
    repeats: int = 500,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Measuring:
    """How well some positives agree in h, by step.

    ``[{"step", "alignment", "reliability", "p", "warning"}]``.
    """
    steps = list(range(run.spec.steps) if steps is None else steps)
    if not positives:
        raise UsageError("alignment is of positives; choose some samples")
    positive = np.zeros(len(run), bool)
    positive[[run.position(sample) for sample in positives]] = True

    def compute() -> Generator[float, None, list[dict[str, Any]]]:
        rows = []
        for step in steps:
            found = alignment(
                run.matrix(site, step), positive, repeats=repeats, seed=seed, groups=groups
            )
            names = ("alignment", "reliability", "p", "warning")
            rows.append({"step": step, **{name: getattr(found, name) for name in names}})
            yield len(rows) / len(steps)
        return rows

    parameters = {
        "name": name,
        "positives": sorted(int(s) for s in set(positives)),
        "site": site,
        "steps": steps,
        "repeats": repeats,
        "seed": seed,
        "values": values_of(run, [name]),
        **of_groups(groups),
    }
    return (yield from measured(run, ALIGNMENT, parameters, compute))


def _row(found: Decoding) -> dict[str, Any]:
    row = {
        name: getattr(found, name) for name in ("score", "accuracy", "control", "selectivity", "p")
    }
    if found.projected:  # what is stated of features that were too many for so many samples
        row["projected"] = found.projected
    if found.nested:
        row["nested"] = True
    return {**row, "drawn": [float(f"{score:.5g}") for score in found.drawn]}
