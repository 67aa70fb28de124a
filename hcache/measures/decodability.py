"""Decodability over a run: every label at every site and step, for h, x_t and the skips. It needs
no model.

A record is for one label at one site, and contains the steps that were requested so far. Steps that
a command has measured need not be measured again by a page, and cancelled work continues where it
stopped.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..analysis.alignment import alignment
from ..analysis.decoding import CONTROLS, Decoding, Probing
from ..analysis.probes import LOGISTIC, R2, RIDGE, Space, check_labels
from ..analysis.threads import side_by_side
from ..cache.labels import find_label
from ..cache.layout import X
from ..cache.reading import Run
from ..cache.records import Record, load_record, save_record
from ..errors import AnalysisError, UsageError
from ..specs import NONE
from .by_cell import ProbeMap
from .groups import BY_RUN, groups_digest, groups_of, of_groups
from .kinds import ALIGNMENT, DECODABILITY
from .label_values import values_digest, values_of
from .registry import as_of_today
from .stored import Measuring, measured


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """The options of a probe besides its label and site.

    They are part of every result's parameters. ``kind``: ``ridge`` or ``logistic``; None chooses by
    the label. ``pooled``: activations are first averaged over space. ``folds``: those of the
    cross-validation. ``controls``: the number of shuffled labels (None: the default for the
    metric). ``repeats``: the number of bootstrap draws. ``seed``: that of folds, shuffling and
    draws. ``groups``: the samples that belong together: ``run`` (as the run defines), ``none``, or
    the name of a label.
    """

    kind: str | None = None
    pooled: bool = False
    folds: int = 5
    controls: int | None = None
    repeats: int = 500
    seed: int = 0
    groups: str = BY_RUN

    def check(self, name: str, values: np.ndarray) -> str:
        """Returns the metric for a label.

        Raises:
            AnalysisError: no probe is defined for the label. The message names the label and the
                reason.
        """
        try:
            return check_labels(values, self.folds, self.kind)[1]
        except AnalysisError as error:
            raise AnalysisError(f"{name}: {error}") from error

    def probing(self, values: np.ndarray, groups: np.ndarray | None = None) -> Probing:
        """Returns the folds, shuffled orders and draws for a label."""
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
        """Returns the number of shuffled orders for a label."""
        return (
            CONTROLS[check_labels(values, self.folds, self.kind)[1]]
            if self.controls is None
            else self.controls
        )

    def parameters(
        self, name: str, values: np.ndarray, site: str, groups: np.ndarray | None
    ) -> dict[str, Any]:
        """Returns the parameters of a record. The label's default kind counts as no requested
        kind.
        """
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


def decodability(
    run: Run,
    labels: Sequence[str],
    sites: Sequence[str] | None = None,
    steps: Sequence[int] | None = None,
    options: ProbeOptions = USUAL,
) -> Generator[float, None, dict[tuple[str, str], Record]]:
    """Probes labels at sites and steps.

    It yields the share that is done, and returns a record for every (label, site). The result of a
    record is ``{"metric", "steps": [{"step", "score", "accuracy", "control", "selectivity", "p",
    "drawn"}]}``. ``drawn`` contains the scores of the shuffled labels. It contains the requested
    steps and those that were measured before. Each step is stored as soon as it is known.

    Args:
        run: The run.
        labels: Names, or ``set/name``.
        sites: Stored sites, and ``x`` for x_t. None means all of them and x_t.
        steps: The steps. None means all.
        options: The options of the probes.

    Raises:
        AnalysisError: a label is missing somewhere, constant, or too rare. This is raised before
            anything is computed.
        NotStoredError: the run does not store a site. This is raised before anything is computed.
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
    """Checks that sites are stored, without reading them."""
    for site in sites:
        for step in steps:
            run.blocks(site, step)


def stored_decodability(
    run: Run, label: str, sites: Sequence[str], options: ProbeOptions = USUAL
) -> ProbeMap:
    """Returns the known results for a label, without computing.

    Raises:
        AnalysisError: no probe is defined for the label.
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
    """Returns a site at a step in the form for probes.

    Data that do not fit into memory are read in blocks.
    """
    return Space.of(run.pooled(site, step) if pooled else partial(run.blocks, site, step))


def _probe_cell(
    run: Run, pooled: bool, probings: Mapping[str, Probing], cell: tuple[str, int, tuple[str, ...]]
) -> tuple[str, int, dict[str, Decoding]]:
    """Probes some labels at one site and step."""
    site, step, names = cell
    space = data_of(run, site, step, pooled)
    return site, step, {name: probings[name].decode(space) for name in names}


def _add(run: Run, parameters: Mapping[str, Any], metric: str, row: Mapping[str, Any]) -> None:
    """Adds a step to a label's record at a site, and keeps steps that other processes may have
    added meanwhile.
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
    """Returns x_t and the sites that a run stores in any form."""
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
    """Computes how well some positives agree in h, by step.

    The result is ``[{"step", "alignment", "reliability", "p", "warning"}]``.
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
    if found.projected:  # the description of features that were too many for the number of samples
        row["projected"] = found.projected
    if found.nested:
        row["nested"] = True
    return {**row, "drawn": [float(f"{score:.5g}") for score in found.drawn]}
