"""``python -m hcache probe``: what linear probes read off the sites of a run, and from how many
labels.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from ..analysis.estimate import Estimate
from ..analysis.probes import KINDS
from ..cache.labels import label_name, named_labels
from ..cache.layout import home_folder, run_folder
from ..cache.reading import Run, open_run
from ..errors import UsageError
from .commands import Result, table
from .measures import warn_of_copies
from .progress import drive_with_bar


def probe(arguments: argparse.Namespace) -> Result:
    """Probes a run for a label.

    What is stored already is looked up.
    """
    from ..measures.decodability import ProbeOptions, default_sites
    from ..measures.noise import middle_step

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    if not arguments.label:
        raise UsageError(
            f"name a label with --label; {run.name} has {', '.join(named_labels(run)) or 'none'}"
        )
    arguments.label = [label_name(run, name) for name in arguments.label]
    options = ProbeOptions(
        kind=arguments.kind,
        pooled=arguments.pooled,
        folds=arguments.folds,
        seed=arguments.seed,
        controls=arguments.controls,
        repeats=arguments.draws,
        groups=arguments.groups,
    )
    sites = arguments.site or list(default_sites(run))
    warn_of_copies(run)
    if arguments.curve:
        return _curves(run, arguments, sites, options, middle_step(run, range(run.spec.steps)))
    return _scores(run, arguments, sites, options)


def _scores(run: Run, arguments: argparse.Namespace, sites: list[str], options: Any) -> Result:
    from ..measures.decodability import decodability, stored_decodability
    from ..measures.noise import log_snr_of

    snr, rows, data = log_snr_of(run), [], []
    steps = arguments.step or list(range(run.spec.steps))
    drive_with_bar(decodability(run, arguments.label, sites, steps, options), "probes")
    for label in arguments.label:
        known = stored_decodability(run, label, sites, options)
        family = known.family()
        for site in sites:
            for row in (known.cells[site, step] for step in steps):
                data.append(
                    {
                        "label": label,
                        "site": site,
                        "metric": known.metric,
                        **row,
                        "p_all": family[site, row["step"]],
                    }
                )
                noise = "" if math.isnan(snr[row["step"]]) else f"{snr[row['step']]:+.1f}"
                figures = (
                    _text(row["score"]),
                    f"{row['control']:.2f}",
                    _text(row["selectivity"]),
                    f"{row['p']:.2g}",
                    f"{family[site, row['step']]:.2g}",
                )
                rows.append((label, site, str(row["step"]), noise, known.metric, *figures))
    head = (
        "label",
        "site",
        "step",
        "log SNR",
        "metric",
        "score (95 %)",
        "shuffled",
        "selectivity (95 %)",
        "p",
        "p, all",
    )
    return Result(text=table(rows, head), data=data)


def _curves(
    run: Run, arguments: argparse.Namespace, sites: list[str], options: Any, middle: int
) -> Result:
    from ..measures.learning import learning

    rows, data = [], []
    asked = [(label, step) for label in arguments.label for step in arguments.step or [middle]]
    for number, (label, step) in enumerate(asked):
        work = learning(run, label, step, sites, options)
        found = drive_with_bar(
            work, f"learning curves of {label}, step {step}", (number, len(asked))
        )
        for site, record in found.items():
            result = record.result
            data.append({"label": label, "site": site, "step": step, **result})
            beyond = _text(result["beyond_x"]) if result["beyond_x"] else ""
            for size, score, control in zip(
                result["sizes"], result["scores"], result["controls"], strict=True
            ):
                last = beyond if size == result["sizes"][-1] else ""
                rows.append(
                    (
                        label,
                        site,
                        str(step),
                        str(size),
                        result["metric"],
                        _text(score),
                        f"{control:.2f}",
                        last,
                    )
                )
            enough = str(result["enough"] or f"more than {result['sizes'][-1]}")
            rows.append((label, site, str(step), "enough:", enough, "", "", ""))
    head = (
        "label",
        "site",
        "step",
        "samples",
        "metric",
        "score (95 %)",
        "shuffled",
        "beyond x_t (95 %)",
    )
    return Result(text=table(rows, head), data=data)


def _text(found: dict[str, Any]) -> str:
    return str(Estimate.from_json(found))


def add_probes(command: Any) -> None:
    """Adds its parser."""
    child = command(
        "probe",
        probe,
        "Fit linear probes at the sites and steps of a run, with interval, null and selectivity.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--label", action="append", help="label; may be repeated")
    child.add_argument(
        "--site",
        action="append",
        help="site: h, skip.1, ..., or x for x_t; may be repeated (default: all stored sites, and"
        " x)",
    )
    child.add_argument(
        "--step",
        action="append",
        type=int,
        help="step; may be repeated (default: all; for learning curves the step with log SNR"
        " nearest 0)",
    )
    child.add_argument(
        "--curve",
        action="store_true",
        help="learning curves: the score by number of labelled samples",
    )
    child.add_argument(
        "--kind",
        choices=KINDS,
        help="kind of probe (default: logistic for two classes, ridge for other values)",
    )
    child.add_argument("--pooled", action="store_true", help="average over space first")
    child.add_argument(
        "--folds", type=int, default=5, help="folds of the cross-validation (default: 5)"
    )
    child.add_argument(
        "--controls",
        type=int,
        help="number of fits with shuffled labels (default: 99 for ridge, 19 for logistic)",
    )
    child.add_argument(
        "--groups",
        default="run",
        metavar="WHICH",
        help=(
            "samples that belong together and are never on both sides of a fold: run (default:"
            " those of one prompt, class or picture), none, or a label whose values are the groups"
        ),
    )
    child.add_argument(
        "--draws", type=int, default=500, help="repetitions of the bootstrap (default: 500)"
    )
    child.add_argument(
        "--seed", type=int, default=0, help="seed of folds, shuffling and draws (default: 0)"
    )
