"""Readers that are kept in a home, and which of them have read a run.

    <home>/readers/<name>.json              the description of a reader
    <home>/runs/<run>/readers/<name>.json   what read the label set of that name: its description,
                                            version and digest

What a run says about its readers is for people. Only readers of the home are ever opened: a run may
come from anybody.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from ..atomic import make_folder, reason
from ..cache.files import read_json, write_json
from ..cache.layout import READERS
from ..cache.locks import part_lock
from ..cache.reading import Run
from ..errors import CacheError, UsageError, did_you_mean
from ..foreign import is_foreign, same_but_for_case
from ..schemas import checked
from .reader import Description, Reader, TextPairs
from .registry import INSTALLED, find_reader, reader_from_json

SCHEMA = 1
Version = Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
MOST_BYTES = 2**20
"""The largest size of a reader's description or note, in bytes."""


class ReadBy(Struct, frozen=True, kw_only=True):
    """The reader of a label set of a run.

    ``digest`` is that of the open reader, and ``description`` is its JSON.
    """

    schema: Version = SCHEMA
    name: str
    digest: str
    version: str
    description: dict[str, Any]


class _Kept(Struct, frozen=True):
    """The fields that every file of a saved reader has. The other fields are those of its kind."""

    schema: Version
    kind: str


def save_reader(home: Path, name: str, description: Description, replace: bool = False) -> None:
    """Saves a reader in a home.

    Raises:
        UsageError: another reader has the name, or the name is not allowed.
        RunBusyError: another process has been writing readers of this home for a long time.
        OSError: it cannot be written. An existing file is unchanged.
    """
    from ..cache.label_files import SET_NAME

    if not SET_NAME.fullmatch(name):
        raise UsageError(
            f"a reader's name has letters, digits, spaces, dots, - and _, got {name!r}"
        )
    path = _path(home, name)
    if name in INSTALLED:
        raise UsageError(
            f"{name} is the name of a reader of {INSTALLED.package(name)}, which is installed;"
            " choose another with --name"
        )
    make_folder(path.parent)
    with part_lock(path.parent):
        known = [*INSTALLED, *(file.stem for file in path.parent.glob("*.json"))]
        if other := same_but_for_case(name, known):
            raise UsageError(
                f"there is a reader {other!r}, and many disks do not tell {name!r} from it; choose"
                " another --name"
            )
        if (
            not replace
            and path.exists()
            and load_description(home, name).to_json() != _plain(description.to_json())
        ):
            raise UsageError(
                f"there is another reader named {name} already; choose another --name, or say"
                " --replace"
            )
        write_json(path, {"schema": SCHEMA, **description.to_json()})


def list_readers(home: Path) -> list[str]:
    """Returns the names of all readers of a home, each once.

    These are the installed ones and the saved ones. If both have one name, neither can be opened;
    :func:`is_function` says so.

    Raises:
        CacheError: the saved readers cannot be listed.
    """
    try:
        files = os.listdir(home / READERS)
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise CacheError(
            f"the readers in {home / READERS} could not be read: {reason(error)}; make the folder"
            " readable"
        ) from error
    kept = sorted(
        Path(file).stem for file in files if file.endswith(".json") and not is_foreign(file)
    )
    return list(dict.fromkeys([*INSTALLED, *kept]))


def is_function(home: Path, name: str) -> bool:
    """Returns whether a reader is a function of an installed package.

    Raises:
        UsageError: a saved reader of the home has the same name.
    """
    if name in INSTALLED and os.path.isfile(_path(home, name)):
        raise UsageError(
            f"two readers are named {name}: one of {INSTALLED.package(name)}, which is installed,"
            f" and {_path(home, name)}; python -m hcache reader delete {shlex.quote(name)}, rename"
            " that file, or uninstall the package"
        )
    return name in INSTALLED


def load_description(home: Path, name: str) -> Description:
    """Returns the description of a reader that is saved in a home.

    Raises:
        UsageError: there is no reader of that name.
        CacheError: its file is damaged.
    """
    path = _path(home, name)
    if not path.is_file():
        if name in INSTALLED:
            raise UsageError(
                f"the reader {name} is a function of {INSTALLED.package(name)}, which is installed;"
                f" {home} has no file of it"
            )
        near = did_you_mean(name, list_readers(home))
        raise UsageError(f"no reader {name!r} in {home}{near}{INSTALLED.why_not(name)}")
    try:
        data = read_json(path, MOST_BYTES)
        checked(data, _Kept)
        del data["schema"]
        return reader_from_json(data, str(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CacheError(
            f"the reader {path} cannot be read: {error}; delete the file and make the reader again"
        ) from error


def encoder_of(home: Path, name: str) -> tuple[str, str]:
    """Names the image encoder of a reader of a home.

    It is a folder or hub id, with its revision. Both are empty for a
    reader that has none of its own.
    """
    found = None if not name or is_function(home, name) else load_description(home, name)
    return found.image_encoder if found else ("", "")


def texts_of(home: Path, name: str) -> TextPairs | None:
    """Returns the pairs of texts of a reader of a home.

    It is None if the reader of that name has none.
    """
    found = None if not name or is_function(home, name) else load_description(home, name)
    return found.texts if found else None


def delete_reader(home: Path, name: str) -> None:
    """Deletes a reader from a home. Its label sets are kept.

    Raises:
        UsageError: there is no reader of that name.
    """
    load_description(home, name)
    _path(home, name).unlink()


def open_saved(home: Path, name: str, device: str = "auto") -> Reader:
    """Opens a saved or an installed reader by its name."""
    if is_function(home, name):
        return find_reader(name)
    return load_description(home, name).open(name, device)


def note_read(run: Run, reader: Reader, description: dict[str, Any]) -> None:
    """Records the reader of a label set with its name."""
    path = run.folder / READERS / f"{reader.name}.json"
    make_folder(path.parent)
    note = ReadBy(
        name=reader.name, digest=reader.digest, version=reader.version, description=description
    )
    write_json(path, structs.asdict(note))


def read_by(run: Run) -> dict[str, ReadBy]:
    """Returns the readers of a run's label sets, by set.

    Sets from the extraction itself are not included. Damaged notes are left out.
    """
    found = {}
    for path in sorted((run.folder / READERS).glob("*.json")):
        if is_foreign(path.name):
            continue
        try:
            note = checked(read_json(path, MOST_BYTES), ReadBy)
            found[path.stem] = structs.replace(note, name=path.stem)
        except (OSError, ValueError, RecursionError):
            continue
    return found


def _path(home: Path, name: str) -> Path:
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise UsageError(f"{name!r} is no name of a reader")
    return home / READERS / f"{name}.json"


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(data))
