"""``python -m hcache direction``: fit, list, show, delete and import directions of a run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache.labels import find_label
from ..cache.layout import H, home_folder, run_folder
from ..cache.plan import format_bytes
from ..cache.reading import Run, open_run
from ..errors import UsageError
from ..recipes.masks import Mask
from ..specs import parse_samples
from .progress import drive_with_bar
from .result import Result, table

if TYPE_CHECKING:
    from ..directions.fitting import Fit


def fit(arguments: argparse.Namespace) -> Result:
    """Fits the requested directions and saves them by name.

    Several directions are saved as ``name.0``, ``name.1``, ...
    """
    from ..directions.fitting import METHODS

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    what = _wanted(run, arguments)
    name = arguments.name or METHODS[what.method].name
    return fit_and_save(run, what, name, arguments.replace, arguments.device)


def fit_and_save(
    run: Run, what: Fit, name: str, replace: bool = False, device: str = "auto"
) -> Result:
    """Fits directions and saves them under a name.

    The name must be free unless ``replace`` is set.
    """
    from ..directions.direction import digest_of
    from ..directions.fitting import METHODS, MODEL
    from ..directions.fitting import fit as fit_move
    from ..directions.store import check_name, interrupted, list_moves, save_moves

    method, name = METHODS[what.method], check_name(name)
    there = list_moves(run)
    taken = any(e.name == name or e.name.startswith(f"{name}.") for e in there)
    if taken and not replace and not interrupted(there, name, what.to_json()):
        raise UsageError(
            f"run {run.name} has a direction named {name!r}; choose another --name, or give"
            " --replace"
        )
    model = _model_of(run, device) if MODEL in method.needs else None
    moves = drive_with_bar(fit_move(what, run, model), method.name)
    named = (
        {name: moves[0]}
        if len(moves) == 1
        else {f"{name}.{k}": move for k, move in enumerate(moves)}
    )
    save_moves(run, named, replace)
    saved = [
        {"name": own, "digest": digest_of(move), "made_by": dict(move.made_by)}
        for own, move in named.items()
    ]
    text = "\n".join(f"saved {entry['name']} ({entry['digest']})" for entry in saved)
    return Result(text=text, data={"run": run.name, "directions": saved})


def _wanted(run: Run, arguments: argparse.Namespace) -> Fit:
    """Returns what to fit, by method and samples or by the description of another direction."""
    from ..directions.fitting import METHODS, NEGATIVES, POSITIVES, Fit, check_options

    chosen = ("method", "label", "positives", "negatives", "option", "site")
    if arguments.made_by is not None:
        if given := [name for name in chosen if getattr(arguments, name)]:
            raise UsageError(f"--made-by says all of it; leave --{given[0]} out")
        try:
            data = json.loads(arguments.made_by)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"--made-by takes JSON, as `direction show --json` prints it: {error}"
            ) from error
        what = replace(Fit.from_json(data), component=0)
        if what.run != run.name:
            raise UsageError(f"--made-by is of run {what.run}, not of {run.name}; fit it there")
        check_options(METHODS[what.method], what.options)
        return what
    if not arguments.method:
        raise UsageError(
            "give a --method, or --made-by; see `python -m hcache direction fit --help`"
        )
    method, options = METHODS[arguments.method], parse_options(arguments.option or [])
    check_options(method, options)
    positives, negatives = chosen_samples(run, arguments, NEGATIVES in method.needs)
    if POSITIVES in method.needs and not positives:
        raise UsageError(
            f"the method {method.name} is fitted to samples, and none were named; give --label"
            " LABEL for those with its highest values, or --positives with sample numbers"
        )
    return Fit(
        method=method.name,
        run=run.name,
        positives=positives if POSITIVES in method.needs else (),
        negatives=negatives if NEGATIVES in method.needs else (),
        options=options,
        label=arguments.label or "",
        site=arguments.site or H,
    )


def chosen_samples(
    run: Run, arguments: argparse.Namespace, both: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns positives and negatives, by number or from a label."""
    from ..directions.supervised import both_ends

    if not arguments.label:
        return parse_samples(arguments.positives), parse_samples(arguments.negatives)
    if arguments.positives or arguments.negatives:
        raise UsageError(
            "--label chooses the samples; leave --positives and --negatives out, or --label"
        )
    values = find_label(run, arguments.label)
    count = max(2, len(run) // 8) if arguments.top is None else arguments.top
    if not 1 <= count <= len(run) // (2 if both else 1):
        raise UsageError(f"--top must lie in 1 to {len(run) // (2 if both else 1)}, got {count}")
    positives, negatives = both_ends(run, values, count, arguments.end == "highest")
    return tuple(positives), tuple(negatives) if both else ()


def parse_options(items: list[str]) -> dict[str, str]:
    """Parses ``["k=v"]``; ``k=@FILE`` gives a picture's bytes in base64."""
    options: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key or key in options:
            raise UsageError(f"--option takes NAME=VALUE, each name once; got {item!r}")
        options[key] = _picture(value[1:]) if value.startswith("@") else value
    return options


def _picture(path: str) -> str:
    try:
        return Mask.from_picture(Path(path).expanduser().read_bytes()).png
    except OSError as error:
        raise UsageError(f"the picture {path} cannot be read: {error.strerror}") from error


def list_directions(arguments: argparse.Namespace) -> Result:
    """Lists the saved directions of a run.

    Files that cannot be used are reported on standard error.
    """
    from ..directions.store import damaged_moves, list_moves

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    entries = list_moves(run)
    for problem in damaged_moves(run).values():
        print(f"hcache: {problem}", file=sys.stderr)
    rows = [(e.name, e.method, e.site, e.digest, format_bytes(e.bytes)) for e in entries]
    data = [
        {
            "name": e.name,
            "method": e.method,
            "site": e.site,
            "digest": e.digest,
            "bytes": e.bytes,
            "made_by": e.made_by,
        }
        for e in entries
    ]
    text = (
        table(rows, ("direction", "method", "site", "digest", "bytes"))
        if rows
        else f"{run.name} has no saved directions"
    )
    return Result(text=text, data=data)


def show(arguments: argparse.Namespace) -> Result:
    """Shows how a direction was made, and its length at each step.

    It also shows its cosines with the run's other directions.
    """
    from ..directions.direction import Direction, digest_of
    from ..directions.store import list_moves, load_move

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    move = load_move(run, arguments.direction)
    data: dict[str, Any] = {
        "name": arguments.direction,
        "kind": move.kind,
        "digest": digest_of(move),
        "model": move.model,
        "made_by": dict(move.made_by),
    }
    lines = [
        f"{arguments.direction} ({data['digest']}), for {move.model or 'any model of its shape'}"
    ]
    lines += [f"{key}: {_shortened(value)}" for key, value in move.made_by.items()]
    if isinstance(move, Direction):
        data["profile"] = [float(length) for length in move.profile]
        lines.append(
            "length at each step, in σ: " + " ".join(f"{length:.2f}" for length in move.profile)
        )
        data["cosines"] = _cosines(
            run, arguments.direction, move, [e.name for e in list_moves(run)]
        )
        lines += [f"cosine with {name}: {value:+.3f}" for name, value in data["cosines"].items()]
    return Result(text="\n".join(lines), data=data)


def delete(arguments: argparse.Namespace) -> Result:
    """Deletes a saved direction, and prints its description."""
    from ..directions.store import delete_move

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    entry = delete_move(run, arguments.direction)
    made_by = json.dumps(entry.made_by) if entry else ""
    text = f"deleted {arguments.direction}" + (
        f"; it was made by {_shortened(made_by)}" if made_by else ""
    )
    return Result(
        text=text,
        data={
            "run": run.name,
            "deleted": arguments.direction,
            "made_by": entry.made_by if entry else None,
        },
    )


def _cosines(run: Run, own: str, direction: Any, names: list[str]) -> Mapping[str, float]:
    from ..directions.direction import site_of
    from ..directions.store import load_move

    found, shape, site = {}, direction.delta.shape, site_of(direction)
    for name in names:
        other = load_move(run, name) if name != own else None
        alike = isinstance(other, type(direction)) and other.delta.shape == shape
        if other is not None and alike and site_of(other) == site:
            found[name] = direction.cosine(other)
    return found


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:150]} … ({len(value)} in all)"


def import_blocks(arguments: argparse.Namespace) -> Result:
    """Imports Asyrp's attribute blocks as a direction of a run."""
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    paths = [Path(path) for path in arguments.files]
    return import_and_save(
        run,
        paths,
        arguments.name or paths[0].stem,
        arguments.replace,
        arguments.device,
        arguments.trained_on or "",
    )


def import_and_save(
    run: Run,
    paths: Sequence[Path],
    name: str,
    replace: bool = False,
    device: str = "auto",
    trained_on: str = "",
) -> Result:
    """Imports attribute blocks and saves them under a name, as one direction."""
    from ..directions.asyrp_files import import_blocks as read_blocks
    from ..directions.direction import digest_of
    from ..directions.store import check_name, save_move

    name = check_name(name)
    move = read_blocks(list(paths), run, _model_of(run, device), trained_on)
    save_move(run, name, move, replace)
    data = {"run": run.name, "name": name, "digest": digest_of(move), "made_by": dict(move.made_by)}
    text = "\n".join(filter(None, [f"saved {name} ({data['digest']})", move.made_by["weights"]]))
    return Result(text=text, data=data)


def _model_of(run: Run, device: str) -> Any:
    from ..extraction.run import load_model_of

    return load_model_of(run, device)


def _methods() -> str:
    from ..directions.fitting import describe_methods

    return describe_methods()


def add_direction(command: Any) -> None:
    """Adds the parsers of ``direction`` and its commands; ``command`` makes one."""
    _add_fit(command)
    command("list", list_directions, "List a run's saved directions.").add_argument(
        "run_name", metavar="RUN"
    )
    child = command(
        "show",
        show,
        "Show how a direction was made, its length at each step, and its cosines with the others.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("direction", metavar="NAME")
    child = command(
        "delete",
        delete,
        "Delete a saved direction and print its description, so that it can be fitted again.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("direction", metavar="NAME")
    _add_import(command)


def _add_fit(command: Any) -> None:
    """Adds the parser of ``direction fit``."""
    child = command("fit", fit, "Fit a direction by one of the methods, and save it.")
    child.add_argument("run_name", metavar="RUN")
    child.listing = _methods
    child.add_argument("--method", help="a method of the list below")
    child.add_argument("--name", help="name of the saved direction (default: the method's)")
    child.add_argument(
        "--label",
        help="label; positives are the samples with its highest values (negatives: the lowest)",
    )
    child.add_argument(
        "--top", type=int, help="number of positives (default: an eighth of the samples)"
    )
    child.add_argument(
        "--end",
        choices=("highest", "lowest"),
        default="highest",
        help="end of the label where the positives are",
    )
    child.add_argument(
        "--positives", metavar="N[,N...]", help="sample numbers and ranges: 1,4,10-12"
    )
    child.add_argument(
        "--negatives", metavar="N[,N...]", help="sample numbers and ranges, as for --positives"
    )
    child.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of the method (see below); may be repeated. region=@mask.png: a grey"
        " picture",
    )
    child.add_argument(
        "--site",
        help="the tensor that is moved: h (default), skip.1.0, down.0, mid.attn, up.1, a single"
        " resnet (down.0.resnet.1), or a transformer's block.3; the run stores it in full",
    )
    child.add_argument(
        "--made-by",
        metavar="JSON",
        help="fit a direction again from its description, instead of the other options",
    )
    child.add_argument(
        "--replace", action="store_true", help="replace a direction of the same name"
    )
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: the best available)"
    )


def _add_import(command: Any) -> None:
    """Adds the parser of ``direction import``."""
    child = command(
        "import", import_blocks, "Import Asyrp's attribute blocks (.pth) as a direction."
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument(
        "files", metavar="FILE", nargs="+", help="one block per file; several blocks act together"
    )
    child.add_argument(
        "--trained-on",
        metavar="WEIGHTS",
        help=(
            "the weights that the blocks were trained on, if the file's name does not contain"
            " them: CelebA_HQ, church_outdoor, bedroom, metfaces, dog, or your own words"
        ),
    )
    child.add_argument(
        "--name", help="name of the saved direction (default: that of the first file)"
    )
    child.add_argument(
        "--replace", action="store_true", help="replace a direction of the same name"
    )
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: the best available)"
    )
