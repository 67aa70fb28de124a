"""Details of one label at one step: how many labelled samples are enough, and how much more a probe
reads than from x_t.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..analysis.decoding import Decoding, difference
from ..analysis.learning_curves import default_sizes, learning_curve
from ..analysis.probes import Space
from ..analysis.threads import one_thread
from ..cache.labels import find_label
from ..cache.layout import X
from ..cache.reading import Run
from ..cache.records import Record, load_record, save_record
from ..progress import part
from .decodability import USUAL, ProbeOptions, data_of, default_sites
from .groups import groups_of

LEARNING = "learning"
DRAWS, CONTROLS = 5, 5
"""The number of subsets at each size, and of fits with shuffled labels for each."""


def learning(
    run: Run,
    label: str,
    step: int,
    sites: Sequence[str] | None = None,
    options: ProbeOptions = USUAL,
) -> Generator[float, None, dict[str, Record]]:
    """Computes the learning curve of a label at every site.

    It yields the share that is done, and returns one record per site. The result of a record is
    ``{"metric", "sizes", "scores", "controls", "enough", "beyond_x"}``. ``beyond_x`` is the score
    with all samples minus that of x_t's probe at the same step, paired by sample. It is null for
    x_t itself.

    Args:
        run: The run.
        label: Its name, or ``set/name``.
        step: 0 is the step with the most noise.
        sites: As in :func:`~hcache.measures.decodability.decodability`.
        options: The options of the probes. ``controls`` is ignored.

    Raises:
        AnalysisError: no probe is defined for the label. This is raised before anything is
            computed.
        NotStoredError: the run does not store a site. This is raised before anything is computed.
    """
    chosen = list(default_sites(run) if sites is None else sites)
    for site in chosen:
        run.blocks(site, step)  # checks that sites are stored, without reading them
    values = find_label(run, label)
    options.check(label, values)
    groups = groups_of(run, options.groups)
    asked = {
        site: learning_parameters(label, values, site, step, options, groups) for site in chosen
    }
    records = {site: load_record(run, LEARNING, parameters) for site, parameters in asked.items()}
    missing = [site for site, record in records.items() if record is None]
    beside = _of_x(run, step, values, options, groups) if missing else None
    for done, site in enumerate(missing):
        space = data_of(run, site, step, options.pooled)
        work = _closer(space, values, options, groups, None if site == X else beside)
        result = yield from part(work, done / len(missing), 1 / len(missing))
        records[site] = save_record(run, LEARNING, asked[site], result)
    yield 1.0
    return {
        site: record for site, record in records.items() if record is not None
    }  # nothing is missing: all are measured


def stored_learning(
    run: Run, label: str, step: int, sites: Sequence[str], options: ProbeOptions = USUAL
) -> dict[str, dict[str, Any]]:
    """Returns the known results by site, without computing."""
    values, groups = find_label(run, label), groups_of(run, options.groups)
    found = {
        site: load_record(
            run, LEARNING, learning_parameters(label, values, site, step, options, groups)
        )
        for site in sites
    }
    return {site: record.result for site, record in found.items() if record}


def learning_parameters(
    label: str,
    values: np.ndarray,
    site: str,
    step: int,
    options: ProbeOptions,
    groups: np.ndarray | None,
) -> dict[str, Any]:
    """Returns the parameters of a record."""
    own = replace(options, controls=CONTROLS).parameters(label, values, site, groups)
    return own | {"step": step, "draws": DRAWS, "sizes": default_sizes(len(values), options.folds)}


def _of_x(
    run: Run, step: int, values: np.ndarray, options: ProbeOptions, groups: np.ndarray | None
) -> Decoding:
    with one_thread():
        return (
            replace(options, controls=0)
            .probing(values, groups)
            .decode(data_of(run, X, step, options.pooled))
        )


def _closer(
    space: Space,
    values: np.ndarray,
    options: ProbeOptions,
    groups: np.ndarray | None,
    beside: Decoding | None,
) -> Generator[float, None, dict[str, Any]]:
    """Computes the result of one site. ``beside`` is the probe of x_t."""
    beyond = None
    if beside is not None:
        with one_thread():
            here = replace(options, controls=0).probing(values, groups).decode(space)
        beyond = difference(here, beside, repeats=options.repeats, seed=options.seed)
    curve = yield from learning_curve(
        space,
        values,
        default_sizes(len(values), options.folds),
        kind=options.kind,
        folds=options.folds,
        draws=DRAWS,
        controls=CONTROLS,
        repeats=options.repeats,
        seed=options.seed,
        groups=groups,
    )
    return {
        "metric": curve.metric,
        "sizes": curve.sizes,
        "scores": curve.scores,
        "controls": curve.controls,
        "enough": curve.enough,
        "beyond_x": beyond,
    }
