"""``python -m hcache read`` and ``python -m hcache reader``: read a run's pictures into labels,
and keep readers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.layout import home_folder, run_folder
from ..cache.reading import Run, open_run
from ..errors import UsageError, did_you_mean
from ..ray_cluster import require_ray
from ..readers.forms import Asked
from ..readers.registry import INSTALLED, KINDS
from .progress import drive_with_bar
from .result import Result, table

if TYPE_CHECKING:
    from ..readers.reader import Description

SMALL = 512
"""The pixels of a side. Larger pictures exceed the input of any encoder."""

FORMS = (
    ", ".join(f"{name}:{kind.TAKES}" for name, kind in KINDS.items())
    + ", or the name of a saved or installed reader"
)


def read(arguments: argparse.Namespace) -> Result:
    """Reads a run with a reader.

    The reader is kept in the home by its name.
    """
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    kind, colon, rest = arguments.reader.partition(":")
    if arguments.ray is not None:
        require_ray()
    if not colon:
        return keep_and_read(
            run, arguments.reader, None, arguments.device, arguments.replace, arguments.ray
        )
    if not rest.strip():
        raise UsageError(f"--reader takes {FORMS}; got {arguments.reader!r}")
    description = describe(
        run,
        kind,
        rest,
        arguments.attribute or [],
        arguments.attributes or "",
        arguments.encoder,
        arguments.revision or "",
        arguments.probability,
        arguments.device,
    )
    name = arguments.name or KINDS[kind].proposed(rest)
    return keep_and_read(run, name, description, arguments.device, arguments.replace, arguments.ray)


def keep_and_read(
    run: Run,
    name: str,
    description: Description | None,
    device: str = "auto",
    replace: bool = False,
    ray: str | None = None,
) -> Result:
    """Saves a reader if it is described, and reads with it.

    The reader is saved in the run's home. The run is read with the reader of this name.
    """
    from ..readers.reading import read_run, unread
    from ..readers.saved import is_function, list_readers, save_reader

    home = run.home
    if description is not None:
        save_reader(home, name, description, replace)
    elif name not in list_readers(home):
        raise UsageError(
            f"no reader {name!r} here; give {FORMS}; kept:"
            f" {', '.join(list_readers(home)) or 'none'}{INSTALLED.why_not(name)}"
        )
    else:
        is_function(home, name)  # two readers of one name are refused before anything is read
    before = unread(run, name)
    attributes = drive_with_bar(
        read_run(run, name, device, replace, ray=ray), f"reading with {name}"
    )
    count = len(run) if replace else before
    text = f"{name} read {count} of {len(run)} samples of {run.name}: {', '.join(attributes)}"
    data: dict[str, Any] = {
        "run": run.name,
        "reader": name,
        "samples": count,
        "attributes": attributes,
    }
    return Result(text=text + _notes(run, name, device) + _quality(home, name, data), data=data)


def _notes(run: Run, name: str, device: str) -> str:
    """Returns notes on the readings: pictures that are enlarged first, and attributes without
    information.
    """
    from ..readers.saved import open_saved

    height, width, _ = run.anatomy.image
    lines = []
    side = open_saved(run.home, name, device).side if min(height, width) < SMALL else 0
    if min(height, width) < side:
        lines.append(
            f"pictures of {width} x {height} are smaller than the {side} x {side} that {name}"
            " reads; they were enlarged first, which adds no detail"
        )
    for attribute, values in open_run(run.folder).labels.get(name, {}).items():
        known = values[np.isfinite(values)]
        if len(known) > 1 and np.ptp(known) == 0:
            lines.append(
                f"{attribute} is {known[0]:g} in all samples: nothing can be measured with it; use"
                " other words"
            )
    return "".join(f"\n{line}" for line in lines)


def describe(
    run: Run,
    kind: str,
    rest: str,
    attributes: Sequence[str] = (),
    attribute_set: str = "",
    encoder: str = "",
    revision: str = "",
    probability: bool = False,
    device: str = "auto",
) -> Description:
    """Makes the reader that ``--reader KIND:REST`` and other options describe."""
    if kind not in KINDS:
        raise UsageError(f"--reader takes {FORMS}; got {kind}:{rest}")
    asked = Asked(
        source=rest,
        attributes=tuple(attributes),
        attribute_set=attribute_set,
        encoder=encoder,
        revision=revision,
        probability=probability,
        device=device,
    )
    return KINDS[kind].made(run, asked)


def _quality(home: Path, name: str, data: dict[str, Any]) -> str:
    """Says how well a fitted reader reads held-out samples."""
    from ..readers.saved import is_function, load_description

    held = None if is_function(home, name) else load_description(home, name).held_out
    if held is None:
        return ""
    data["quality"] = found = dict(held.quality)
    return (
        f"\nheld-out {found['metric']} {found['score']:.2f} ({found['low']:.2f} to"
        f" {found['high']:.2f}), shuffled labels {found['null']:.2f}, p {found['p']:.2g},"
        f" {found['samples']} samples, on {found['embedding']}"
    )


def list_all(arguments: argparse.Namespace) -> Result:
    """Lists the readers that can be used here.

    Entries of packages that cannot be used are told on the standard error as they are found.
    """
    from ..readers.saved import list_readers

    home = home_folder(arguments.home)
    data = [_listed(home, name) for name in list_readers(home)]
    rows = [(entry["name"], entry["kind"], str(entry["of"])) for entry in data]
    told = [f"\n{entry['problem']}" for entry in data if "problem" in entry]
    return Result(text=table(rows, ("reader", "kind", "of")) + "".join(told), data=data)


def _listed(home: Path, name: str) -> dict[str, Any]:
    """Returns the entry of a reader, with a ``problem`` if two readers have this name."""
    from ..readers.saved import is_function, load_description

    try:
        if is_function(home, name):
            return {"name": name, "kind": "function", "of": INSTALLED.place(name)}
    except UsageError as error:
        return {"name": name, "kind": "two readers", "of": "", "problem": str(error)}
    found = load_description(home, name)
    return {"name": name, "kind": found.KIND, "of": found.of}


def check(arguments: argparse.Namespace) -> Result:
    """Checks a reader against correct labels, and saves the result.

    The user states that these labels are correct.
    """
    from ..cache.label_files import SET_NAME
    from ..readers.checks import check_on_pictures, check_on_run
    from ..readers.saved import list_readers, open_saved

    home, name = home_folder(arguments.home), arguments.reader_name
    if (arguments.run_name is None) == (arguments.pictures is None):
        raise UsageError(
            "give one of these: --run RUN, a run with correct labels, or --pictures CSV"
        )
    if not SET_NAME.fullmatch(name) or name not in list_readers(home):
        known = list_readers(home)
        raise UsageError(f"no reader {name!r} in {home}{did_you_mean(name, known)}")
    if arguments.run_name is not None:
        run = open_run(run_folder(home, arguments.run_name))
        found = check_on_run(run, name, _pairs(arguments.label or []) or None)
    else:
        if arguments.label:
            raise UsageError(
                "--label needs --run; the columns of a CSV must have the names of attributes"
            )
        reader = open_saved(home, name, arguments.device)
        found = check_on_pictures(home, reader, Path(arguments.pictures).expanduser())
    rows = [(each.attribute, str(each)) for each in found]
    return Result(text=table(rows, ("attribute", "agreement")), data=[_plain(e) for e in found])


def _plain(found: Any) -> dict[str, Any]:
    from msgspec import structs

    return structs.asdict(found)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """Parses ``ATTRIBUTE=LABEL`` as pairs."""
    split = [text.partition("=") for text in texts]
    if wrong := [text for text, (a, _, b) in zip(texts, split, strict=True) if not (a and b)]:
        raise UsageError(f"--label takes ATTRIBUTE=LABEL, got {wrong[0]!r}")
    return {attribute: label for attribute, _, label in split}


def delete(arguments: argparse.Namespace) -> Result:
    """Deletes a reader of the home.

    The labels that it has read stay.
    """
    from ..readers.saved import delete_reader

    delete_reader(home_folder(arguments.home), arguments.reader_name)
    return Result(
        text=f"deleted reader {arguments.reader_name}; its labels are kept",
        data={"deleted": arguments.reader_name},
    )


def add_read(command: Any) -> None:
    """Adds the parser of ``read``."""
    text = (
        "Read a run's pictures with an attribute reader into a label set. The same command"
        " continues an earlier call."
    )
    child = command("read", read, text)
    child.listing = _installed
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--reader", required=True, metavar="READER", help=FORMS)
    child.add_argument(
        "--attribute",
        action="append",
        metavar="NAME=IS|IS NOT",
        help=f"{_words('attributes')}; may be repeated",
    )
    child.add_argument(
        "--attributes",
        metavar="SET",
        help=_words("attribute_set"),
    )
    child.add_argument("--probability", action="store_true", help=_words("probability"))
    child.add_argument(
        "--encoder",
        default="",
        metavar="MODEL",
        help=_words("encoder"),
    )
    child.add_argument("--revision", help=_words("revision"))
    child.add_argument(
        "--name", help="name of the reader and of its label set (default: derived from the model's)"
    )
    child.add_argument(
        "--replace",
        action="store_true",
        help="replace a saved reader of the same name, and read all samples again",
    )
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: CUDA if available)"
    )
    child.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="read on the Ray cluster at HOST:PORT or auto; without ADDRESS, on a cluster on this"
        " machine",
    )


def _words(word: str) -> str:
    """Returns the help of an option: what each kind of reader takes by it."""
    said: dict[str, list[str]] = {}
    for name, kind in KINDS.items():
        if word in kind.WORDS:
            said.setdefault(kind.WORDS[word], []).append(name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in said.items())


def _installed() -> str:
    """Lists the installed readers, for the help."""
    width = max(map(len, INSTALLED))
    lines = (
        f"  {n.ljust(width)}  {INSTALLED.place(n)} of {INSTALLED.package(n)}" for n in INSTALLED
    )
    return "\n".join(["installed readers:", *lines])


def add_reader(command: Any) -> None:
    """Adds the parsers of ``reader list``, ``reader check`` and ``reader delete``."""
    command("list", list_all, "List the readers that are saved in the home or installed.")
    text = (
        "Measure the error of a reader against manual labels or labelled pictures. The verdict"
        " shows it."
    )
    child = command("check", check, text)
    child.add_argument("reader_name", metavar="READER")
    child.add_argument(
        "--run",
        dest="run_name",
        metavar="RUN",
        help="a run that it has read and that has other labels",
    )
    child.add_argument(
        "--label",
        action="append",
        metavar="ATTRIBUTE=LABEL",
        help="with --run: the correct label of an attribute (default: the label of the same name)",
    )
    child.add_argument(
        "--pictures",
        metavar="CSV",
        help="labelled pictures: a CSV with a column file, and one column for each attribute",
    )
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: CUDA if available)"
    )
    child = command("delete", delete, "Delete a saved reader. Its labels are kept.")
    child.add_argument("reader_name", metavar="READER")
