"""``python -m hcache measure`` and ``compare``: the measures of a run, and several runs side by
side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import write_bytes
from ..cache.labels import named_labels
from ..cache.layout import home_folder, run_folder
from ..cache.reading import Run, first_samples, open_run
from ..cache.records import delete_stale, list_records, plain
from ..errors import AnalysisError, HcacheError, UsageError, refused
from ..progress import drive
from .progress import drive_with_bar
from .result import Result, table
from .where import add_ray, renders_of

if TYPE_CHECKING:
    from ..edits.batches import Renders
    from ..measures.cell import Cell
    from ..measures.driver import Driver
    from ..measures.faults import Tell
    from ..measures.parameter import Parameter
    from ..measures.verdict import Row
    from ..similarities.registry import Opened


def measure(arguments: argparse.Namespace) -> Result:
    """Measures a run. Stored results are reused."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    if arguments.forget_stale:
        gone = delete_stale(run)
        return Result(
            text=f"{run.name}: {gone} stale result{'' if gone == 1 else 's'} deleted",
            data={"run": run.name, "gone": gone},
        )
    if arguments.first is not None:
        run = first_samples(run, arguments.first)
    from ..measures.registry import registry

    options = {name: getattr(arguments, name) for name in registry().parameters()}
    with renders_of(arguments, run) as renders:
        return measure_run(
            run,
            arguments.what or tuple(registry().measures),
            arguments.label or [],
            options,
            arguments.device,
            arguments.reader or "",
            arguments.width,
            arguments.encoder or "",
            arguments.lpips,
            renders,
        )


def measure_run(
    run: Run,
    what: Sequence[str],
    labels: Sequence[str],
    options: Mapping[str, Any],
    device: str = "auto",
    reader: str = "",
    width: float | None = None,
    encoder: str = "",
    lpips: bool = False,
    renders: Renders | None = None,
) -> Result:
    """Takes the measures of a run that are not stored yet.

    The arguments are those of the command. ``renders`` computes the pictures of edits; None means
    this process.
    """
    from ..measures.parameter import check_options
    from ..measures.registry import registry
    from ..measures.setting import SIMILARITIES
    from ..measures.suite import Suite, labels_of, value_of_all

    if width is not None and not width > 0:
        raise UsageError(f"--width is the width of an interval, above 0; got {width:g}")
    suite = Suite(
        run,
        labels_of(run, list(labels)),
        lambda: driver_of(run, device, suite.chosen_reader, encoder, similarities, renders),
        check_options(registry().parameters(), options, "the measures"),
        reader,
    )
    similarities = _asked(suite[SIMILARITIES], lpips)
    refused = suite.refused(what)
    if len(refused) == len(what):
        raise UsageError("; ".join(f"{names}: {why}" for names, why in _by_reason(refused)))
    for names, why in _by_reason(refused):
        print(f"{names}: left out, because {why}", file=sys.stderr)
    for name in named_labels(run):
        if not labels and (value := value_of_all(run, name)):
            print(f"{name} is left out: it is {value} in all samples", file=sys.stderr)
    doing = ["measuring"]
    work = suite.run_all(
        [name for name in what if name not in refused], lambda title: doing.__setitem__(0, title)
    )
    drive_with_bar(work, lambda: doing[0])
    warn_of_copies(run)
    cells = _known_cells(run, suite.reader)
    rows = [
        (f"{cell.question} {cell.subject}", *_columns(cell), *_needed(cell, width), _remarks(cell))
        for cell in cells
    ]
    data = [{"question": cell.question, "subject": cell.subject} | _facts(cell) for cell in cells]
    head = ("question", "answer (95 % interval)", "n", "null", "p")
    if width is not None:
        head += (f"n for a width of {width:g}",)
        for cell, row in zip(cells, data, strict=True):
            row["needed"] = cell.estimate.samples_for(width) if cell.estimate.defined else None
    return Result(text=table(rows, (*head, "remarks")), data=data)


def _known_cells(run: Run, reader: str) -> list[Cell]:
    """Returns the answers that are stored with a run, and prints the faults of measures."""
    from ..measures.cells import cells_of

    faults: list[str] = []
    cells = list(cells_of(run, reader, faults.append).values())
    _tell_faults(faults, not cells)
    return cells


def _tell_faults(faults: Sequence[str], nothing: bool) -> None:
    """Prints the faults of measures of other packages, one per line.

    Raises:
        AnalysisError: there are faults, and ``nothing`` else to show.
    """
    if faults and nothing:
        raise AnalysisError("; ".join(faults))
    for line in faults:
        print(line, file=sys.stderr)


def _by_reason(refused: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields each reason once, with the measures that are refused for it."""
    for why in dict.fromkeys(refused.values()):
        yield ", ".join(name for name, each in refused.items() if each == why), why


def _columns(cell: Cell) -> tuple[str, str, str, str]:
    """Returns the value with its interval, n, the null and p."""
    if not cell.estimate.defined:
        return "undefined", "", "", ""
    null = "" if cell.null is None else f"{cell.null:.2f}"
    p = "" if cell.p is None else f"{cell.p:.2g}"
    if cell.family_p is not None and cell.asked > 1:
        p += f" ({cell.family_p:.2g} among {cell.asked})"
    return str(cell.estimate), str(cell.estimate.n), null, p


def _remarks(cell: Cell) -> str:
    """Returns what belongs to an answer, and how many samples would settle an open one."""
    from ..measures.sample_sizes import in_words

    if not cell.estimate.defined:
        return cell.estimate.why or "it is not defined on these samples"
    return "; ".join(
        filter(None, [cell.unit, cell.note, cell.reader, cell.warning, in_words(cell)])
    )


def warn_of_copies(run: Run) -> None:
    """Warns on standard error of samples with the same picture.

    It says nothing if there are none.
    """
    from ..measures.duplicates import duplicates_in_words, look_for_copies

    drive(look_for_copies(run))
    if words := duplicates_in_words(run):
        print(words, file=sys.stderr)


def _needed(cell: Cell, width: float | None) -> tuple[str, ...]:
    """Returns how many samples an interval of the requested width takes, estimated from results.
    The text is empty if no width is requested.
    """
    if width is None:
        return ()
    from ..measures.sample_sizes import samples_for_width

    needed = samples_for_width(cell, width)
    return ("" if needed is None else f"about {needed}",)


def driver_of(
    run: Run,
    device: str,
    name: str,
    encoder: str = "",
    similarities: str = "",
    renders: Renders | None = None,
) -> Driver:
    """Returns the run's model with its reader and similarities.

    The distances are those of the named encoder, or else of the reader.
    """
    from ..extraction.run import load_model_of
    from ..measures.driver import Driver, no_readings
    from ..readers.likeness import distances_of, encoder_distances
    from ..readers.reading import card_reader, reader_of

    reader = reader_of(run, name, device) if name else None
    distances = encoder_distances(encoder, device) if encoder else distances_of(reader)
    more = _similarities(run, device, name, encoder, similarities)
    # results of the card's reader had its name always
    key = "" if reader is None else name if name == card_reader(run) else reader.key
    return Driver(
        load_model_of(run, device),
        run,
        no_readings if reader is None else reader,
        key,
        encoder=distances | more.distances,
        directed=more.directed,
        renders=renders,
    )


def _asked(similarities: str, lpips: bool) -> str:
    """Returns the names of the requested similarities, including LPIPS if requested.

    Raises:
        UsageError: a name is unknown. This is raised before anything is measured.
    """
    from ..similarities.registry import names_of

    known = names_of(similarities)
    more = lpips and "lpips" not in known
    return ",".join(filter(None, [similarities, "lpips" if more else ""]))


def _similarities(run: Run, device: str, name: str, encoder: str, asked: str) -> Opened:
    """Opens the requested similarities; for ``all``, those that can be opened."""
    from ..similarities.opening import opening_of
    from ..similarities.registry import names_of, open_similarities

    opening = opening_of(run, name, device, encoder)
    everything = "all" in asked.split(",")
    found = open_similarities(names_of(asked), opening, leave_out=everything)
    for each, why in found.missing.items():
        print(f"{each} is left out: {why}", file=sys.stderr)
    return found


def compare(arguments: argparse.Namespace) -> Result:
    """Compares the results of several runs side by side.

    ``--html`` writes a file with all evidence.
    """
    from ..measures.faults import told_once
    from ..measures.verdict import compare as side_by_side

    home = home_folder(arguments.home)
    runs = [open_run(run_folder(home, name)) for name in dict.fromkeys(arguments.run_names)]
    reader = arguments.reader or ""
    faults: list[str] = []
    tell = told_once(faults.append)
    _measure_first(runs, tell)
    found = [row for row in side_by_side(runs, reader=reader, tell=tell) if row.cells]
    _tell_faults(faults, not found)
    if not found:
        raise UsageError(
            "nothing was measured on these runs yet; run `python -m hcache measure RUN` first"
        )
    rows, data, names = [], [], [run.name for run in runs]
    for row in found:
        answers = [
            _answer(row.cells[name]) if name in row.cells else "not measured" for name in names
        ]
        rows.append((f"{row.question} {row.subject}", *answers, _in_words(row, names)))
        by_run = {name: _facts(cell) for name, cell in row.cells.items()}
        data.append(
            {
                "question": row.question,
                "subject": row.subject,
                "ranking": list(map(list, row.groups)),
                "larger": list(map(list, row.larger)),
                "first": row.first,
                "cells": by_run,
            }
        )
    letters = [chr(65 + i) for i in range(len(runs))]
    head = "\n".join(f"{letter}: {name}" for letter, name in zip(letters, names, strict=True))
    text = f"{head}\n{table(rows, ('question', *letters, 'larger'))}"
    return Result(text=text + _report(runs, arguments.html, reader), data=data)


def _measure_first(runs: Sequence[Run], tell: Tell) -> None:
    """Repeats measures on the first samples, if runs have different sizes.

    Only measures are repeated that need no model and take seconds. The table names the others.
    """
    from ..measures.costs import is_cheap
    from ..measures.faults import faults_told, is_ours
    from ..measures.measure import MODEL
    from ..measures.registry import measures
    from ..measures.suite import Suite, not_needed
    from ..measures.verdict import common_first, labels_to_ask

    first = common_first(runs)
    for run in runs if first else ():
        part, taken = first_samples(run, first), {each.kind for each in list_records(run)}
        suite = Suite(part, labels_to_ask([run]), not_needed)
        what = [
            name
            for name, each in measures().items()
            if MODEL not in each.needs and taken & set(each.cells) and not each.refused(suite)
        ]
        if not is_cheap(suite.seconds(what, None)):
            continue
        ours = [name for name in what if is_ours(measures()[name])]
        for names in filter(None, (ours, *([name] for name in what if name not in ours))):
            with faults_told(measures()[names[0]], tell):
                drive_with_bar(suite.run_all(names), f"first {first} samples of {run.name}")


def _report(runs: Sequence[Run], path: str | None, reader: str) -> str:
    """Writes the report if one is requested, and returns a message about it."""
    if path is None:
        return ""
    from ..report.document import verdict_report

    try:
        write_bytes(Path(path), verdict_report(runs, reader=reader).encode())
    except HcacheError:
        raise
    except OSError as error:
        raise refused(path, error) from error
    return f"\nreport: {path}"


def _answer(cell: Cell) -> str:
    return f"{cell.estimate}, n {cell.estimate.n}" if cell.estimate.defined else str(cell.estimate)


def _in_words(row: Row, names: Sequence[str]) -> str:
    """Returns ``B > A`` for every pair with a known order, or why nothing can be compared."""
    at = f" (first {row.first} of each)" if row.first else ""
    if not row.larger:
        return (row.why_not or f"not distinguishable{at}") if len(row.cells) > 1 else ""
    pairs = ", ".join(
        f"{chr(65 + names.index(a))} > {chr(65 + names.index(b))}" for a, b in row.larger
    )
    return pairs + at


def _facts(cell: Cell) -> dict[str, Any]:
    return plain(cell.estimate.to_json()) | {
        "null": cell.null,
        "p": cell.p,
        "family_p": cell.family_p,
        "asked": cell.asked,
        "unit": cell.unit,
        "note": cell.note,
        "reader": cell.reader,
    }


def add_measures(command: Any) -> None:
    """Adds the parsers of both commands."""
    text = (
        "Measure a run (probes, directions, codes, swaps): each number with an interval and a null."
    )
    child = command("measure", measure, text)
    child.fill = _add_choices
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--label", action="append", help="label; may be repeated (default: all)")
    child.add_argument(
        "--width",
        type=float,
        metavar="W",
        help="estimate how many samples an interval of width W needs, with these results as the"
        " pilot",
    )
    child.add_argument(
        "--first",
        type=int,
        metavar="N",
        help="measure only the first N samples, to compare with a smaller run",
    )
    child.add_argument(
        "--reader", metavar="NAME", help="reader that measures edits (default: the run's first)"
    )
    child.add_argument(
        "--encoder",
        metavar="MODEL",
        help="image encoder of the distances between pictures (default: the reader's)",
    )
    child.add_argument(
        "--lpips",
        action="store_true",
        help="the same as --similarities lpips; needs torchvision and AlexNet's weights",
    )
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: the best available)"
    )
    add_ray(child)
    child.add_argument(
        "--forget-stale",
        action="store_true",
        help="measure nothing; delete results whose samples have changed since",
    )
    child = command(
        "compare",
        compare,
        "Compare the results of runs side by side, ranked only if the intervals allow it.",
    )
    child.add_argument("run_names", metavar="RUN", nargs="+")
    child.add_argument(
        "--reader",
        metavar="NAME",
        help="reader whose results are shown (default: each run's first)",
    )
    child.add_argument(
        "--html",
        metavar="FILE",
        help="write a report with all evidence into one file that needs no server",
    )


def _add_choices(child: argparse.ArgumentParser) -> None:
    """Adds options for the measures and their parameters, as the measures declare them."""
    from ..measures.registry import registry

    found = registry()
    child.add_argument(
        "--what",
        action="append",
        choices=tuple(found.measures),
        help="measure; may be repeated (default: all)",
    )
    child.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, found.measures))
    child.epilog = "measures, cheapest first:\n" + "\n".join(
        f"  {name:<{width}}  {measure.title}" for name, measure in found.measures.items()
    )
    for parameter in found.parameters().values():
        _add_parameter(child, parameter)


def typed_by(parameter: Parameter) -> Callable[[str], Any]:
    """Returns the function that parses a parameter's value, for argparse."""

    def value(text: str) -> Any:
        try:
            return parameter.parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return value


def _add_parameter(child: argparse.ArgumentParser, parameter: Parameter) -> None:
    """Adds an option for a parameter of measures."""
    shown = parameter.default
    if isinstance(shown, bool):
        shown = "yes" if shown else "no"
    child.add_argument(
        parameter.flag,
        dest=parameter.name,
        type=typed_by(parameter),
        default=parameter.default,
        choices=parameter.choices or None,
        metavar=None if parameter.choices else "V",
        help=f"{parameter.text} (default: {shown})".replace("%", "%%"),
    )
