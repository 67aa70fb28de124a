"""``python -m hcache probe``: what linear probes read from the sites of a run, and from how
many labels.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..analysis.estimate import Estimate
from ..cache.labels import label_name, named_labels
from ..cache.layout import home_folder, run_folder
from ..cache.reading import Run, open_run
from ..errors import UsageError
from .measures import typed_by, warn_of_copies
from .progress import drive_with_bar
from .result import Result, table

if TYPE_CHECKING:
    from ..measures.by_cell import ByCell
    from ..measures.measure import Measure
    from ..measures.parameter import Parameter


@dataclass(frozen=True, kw_only=True)
class Probed:
    """The question that the command asks about a run.

    It names labels, sites, a measure that is taken cell by cell, and the measure's options.
    """

    run: Run
    measure: Measure
    by_cell: ByCell
    labels: tuple[str, ...]
    sites: tuple[str, ...]
    options: Mapping[str, Any]


def probe(arguments: argparse.Namespace) -> Result:
    """Probes a run for a label.

    Stored results are reused.
    """
    from ..measures.faults import faults_named
    from ..measures.noise import middle_step

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    if not arguments.label:
        raise UsageError(
            f"name a label with --label; {run.name} has {', '.join(named_labels(run)) or 'none'}"
        )
    measure, by_cell = _measure(arguments)
    with faults_named(measure):
        asked = Probed(
            run=run,
            measure=measure,
            by_cell=by_cell,
            labels=tuple(label_name(run, name) for name in arguments.label),
            sites=tuple(arguments.site or by_cell.sites(run)),
            options=_options(arguments, measure, by_cell),
        )
        warn_of_copies(run)
        if arguments.curve:
            steps = arguments.step or [middle_step(run, range(run.spec.steps))]
            return _curves(asked, steps)
        return _scores(asked, arguments.step or list(range(run.spec.steps)))


def _measure(arguments: argparse.Namespace) -> tuple[Measure, ByCell]:
    """Returns the chosen measure, or the first that is taken cell by cell."""
    from ..measures.registry import registry

    offered = registry().by_cell()
    name = arguments.measure or next(iter(offered))
    return registry().measures[name], offered[name]


def _options(arguments: argparse.Namespace, measure: Measure, by_cell: ByCell) -> dict[str, Any]:
    """Returns the options of the measure, as they were typed.

    Raises:
        UsageError: an option belongs to another measure.
    """
    from ..measures.registry import registry

    known = registry().probe_parameters()
    typed = {name: value for name in known if (value := getattr(arguments, name)) is not None}
    own = {parameter.name for parameter in by_cell.parameters}
    for name in typed:
        if name not in own:
            options = ", ".join(each.flag for each in by_cell.parameters) or "no options"
            raise UsageError(
                f"{known[name].flag} is no option of the measure {measure.name}, which has"
                f" {options}"
            )
    return by_cell.options(typed)


def _scores(asked: Probed, steps: Sequence[int]) -> Result:
    from ..measures.noise import log_snr_of

    snr, rows, data = log_snr_of(asked.run), [], []
    by_cell, common = asked.by_cell, (asked.sites, steps, asked.options)
    drive_with_bar(by_cell.measure(asked.run, asked.labels, *common), "probes")
    for label in asked.labels:
        known = by_cell.stored(asked.run, label, asked.sites, asked.options)
        family = known.family()
        for site in asked.sites:
            for row in (known.cells[site, step] for step in steps):
                data.append(
                    {
                        "label": label,
                        "site": site,
                        "metric": known.metric,
                        **row,
                        "p_all": family.get((site, row["step"])),
                    }
                )
                noise = "" if math.isnan(snr[row["step"]]) else f"{snr[row['step']]:+.1f}"
                figures = (
                    _text(row["score"]),
                    f"{row['control']:.2f}",
                    _text(row["selectivity"]),
                    _p(row["p"]),
                    _p(family.get((site, row["step"]))),
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


def _curves(asked: Probed, steps: Sequence[int]) -> Result:
    curves = asked.by_cell.curves
    if curves is None:
        raise UsageError(f"the measure {asked.measure.name} has no learning curves")
    rows, data = [], []
    wanted = [(label, step) for label in asked.labels for step in steps]
    for number, (label, step) in enumerate(wanted):
        found = drive_with_bar(
            curves.measure(asked.run, label, step, asked.sites, asked.options),
            f"learning curves of {label}, step {step}",
            (number, len(wanted)),
        )
        for site, result in found.items():
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


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


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
    child.fill = _add_choices


def _add_choices(child: argparse.ArgumentParser) -> None:
    """Adds the options that measures which are taken cell by cell declare."""
    from ..measures.registry import registry

    known = registry()
    offered = known.by_cell()
    child.add_argument("--measure", choices=tuple(offered), help=f"default: {next(iter(offered))}")
    for parameter in known.probe_parameters().values():
        _add_option(child, parameter)


def _add_option(child: argparse.ArgumentParser, parameter: Parameter) -> None:
    """Adds an option. It is None if it is not typed, because it may belong to another measure."""
    default = parameter.default
    if default is False:
        child.add_argument(
            parameter.flag,
            dest=parameter.name,
            action="store_true",
            default=None,
            help=parameter.text.replace("%", "%%"),
        )
        return
    shown = "yes" if default is True else default
    child.add_argument(
        parameter.flag,
        dest=parameter.name,
        type=typed_by(parameter),
        choices=parameter.choices or None,
        metavar=None if parameter.choices else "V",
        help=f"{parameter.text} (default: {shown})".replace("%", "%%"),
    )
