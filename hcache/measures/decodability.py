"""Decodability over a run: every label at every site and step, h beside x_t and the skips. Needs no model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ..analysis.alignment import alignment
from ..analysis.decoding import Decoding, decode_gram
from ..analysis.probes import check_labels, gram_matrix
from ..cache.labels import find_label
from ..cache.layout import X
from ..cache.measures import Record, load_record, save_record
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError
from ..progress import part
from ..specs import NONE
from .kinds import ALIGNMENT, DECODABILITY
from .label_values import values_digest, values_of
from .stored import Measuring, measured


def decodability(
    run: Run,
    labels: Sequence[str],
    sites: Sequence[str] | None = None,
    steps: Sequence[int] | None = None,
    *,
    pooled: bool = False,
    folds: int = 5,
    controls: int = 19,
    repeats: int = 500,
    seed: int = 0,
) -> Generator[float, None, dict[tuple[str, str], Record]]:
    """Probes labels at sites and steps; yields the share done, returns a record for every (label, site).

    A record's result is ``{"metric", "steps": [{"step", "score", "accuracy", "control", "selectivity", "p"}]}``. Each
    is stored as soon as its site is done, so that what was cancelled goes on where it stood. One Gram matrix of a site
    and step serves all labels.

    Args:
        run: The run.
        labels: Names, or ``set/name``.
        sites: Of those stored, and ``x`` for x_t; all of them, and x_t, if None.
        steps: All if None.
        pooled: Average over space first.
        folds: Of the cross-validation.
        controls: Shuffled labels beside the true ones.
        repeats: Draws of the bootstrap.
        seed: Of folds, shuffling and draws.

    Raises:
        AnalysisError: before anything is computed: a label that is missing somewhere, constant, or too rare.
    """
    chosen = list(sites if sites is not None else default_sites(run))
    steps = list(range(run.spec.steps) if steps is None else steps)
    values = {name: find_label(run, name) for name in labels}
    for name, column in values.items():
        try:
            check_labels(column, folds)
        except AnalysisError as error:
            raise AnalysisError(f"{name}: {error}") from error
    options = {"folds": folds, "controls": controls, "repeats": repeats, "seed": seed}
    asked = {
        (name, site): {"label": name, "values": values_digest(values[name]), "site": site, "steps": steps,
                       "pooled": pooled, **options}
        for site in chosen for name in labels
    }  # fmt: skip
    records = {key: load_record(run, DECODABILITY, parameters) for key, parameters in asked.items()}
    missing = {site: [name for name in labels if records[name, site] is None] for site in chosen}
    total, done = max(1, sum(map(len, missing.values()))), 0
    for site, names in missing.items():
        wanted = {name: values[name] for name in names}
        work = _probe_site(run.pooled if pooled else run.matrix, site, steps, wanted, options)
        for name, result in (yield from part(work, done / total, len(names) / total)).items():
            records[name, site] = save_record(run, DECODABILITY, asked[name, site], result)
        done += len(names)
    yield 1.0
    return records


def _probe_site(
    matrix: Callable[[str, int], np.ndarray],
    site: str,
    steps: Sequence[int],
    labels: Mapping[str, np.ndarray],
    options: Mapping[str, int],
) -> Generator[float, None, dict[str, Any]]:
    """The results of some labels at one site, by label."""
    found: dict[str, list[Decoding]] = {name: [] for name in labels}
    for place, step in enumerate(steps if labels else ()):
        gram = gram_matrix(matrix(site, step))
        for number, (name, values) in enumerate(labels.items(), 1):
            found[name].append(decode_gram(gram, values, **options))
            yield (place + number / len(labels)) / len(steps)
    return {
        name: {
            "metric": decodings[0].metric,
            "steps": [{"step": step, **_row(each)} for step, each in zip(steps, decodings, strict=True)],
        }
        for name, decodings in found.items()
    }


def default_sites(run: Run) -> tuple[str, ...]:
    """The sites that a run stores, in full or pooled, and x_t."""
    return (*(site for site in run.anatomy.sites if run.policy(site) != NONE), X)


def alignment_of(
    run: Run,
    positives: Sequence[int],
    steps: Sequence[int] | None = None,
    *,
    name: str = "",
    site: str = "h",
    repeats: int = 500,
    seed: int = 0,
) -> Measuring:
    """How well some positives agree in h at every step: ``[{"step", "alignment", "reliability", "p", "warning"}]``."""
    steps = list(range(run.spec.steps) if steps is None else steps)
    if not positives:
        raise UsageError("alignment is of positives; choose some samples")
    positive = np.zeros(len(run), bool)
    positive[[run.position(sample) for sample in positives]] = True

    def compute() -> Generator[float, None, list[dict[str, Any]]]:
        rows = []
        for step in steps:
            found = alignment(run.matrix(site, step), positive, repeats=repeats, seed=seed)
            names = ("alignment", "reliability", "p", "warning")
            rows.append({"step": step, **{name: getattr(found, name) for name in names}})
            yield len(rows) / len(steps)
        return rows

    parameters = {"name": name, "positives": sorted(int(s) for s in set(positives)), "site": site, "steps": steps,
                  "repeats": repeats, "seed": seed, "values": values_of(run, [name])}  # fmt: skip
    return (yield from measured(run, ALIGNMENT, parameters, compute))


def _row(found: Decoding) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("score", "accuracy", "control", "selectivity", "p")}
