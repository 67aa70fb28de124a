"""What can be done in the background: a closed set of kinds, each a frozen description that is
checked when it is read.

A piece of work is handed over as these data and is never made of words that a file brought. Reading
one from JSON checks every field; what fits none of the kinds is refused. The kinds, and who does
them: ``cli/background.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from ..cache.description import parse_spec
from ..cache.layout import IMAGES, PROMPTS, STATED_JSON
from ..directions.fitting import Fit, check_options, find_method
from ..errors import UsageError
from ..noise_schedules import name_of
from ..specs import DIFFUSERS, RunSpec

EXTRACT, FIT, IMPORT, MEASURE, READ = "extract", "fit", "import", "measure", "read"

READER_FORMS = ("texts", "classifier", "clicks")
"""Readers that background work may make. One that is a function of a package is made in a shell
alone.
"""

MOST_SAMPLES = 10**6
_BLOCKS = re.compile(r"blocks-[0-9a-f]{12}")


class Work(Protocol):
    """A piece of work on a run.

    ``kind`` is its place in ``KINDS``. ``run`` is the run's name, ``title`` says for people what is
    to be done. ``order`` is all that decides it, as plain JSON, and ``read`` makes the same work of
    that again.
    """

    kind: ClassVar[str]

    @property
    def run(self) -> str: ...

    @property
    def title(self) -> str: ...

    def order(self) -> dict[str, Any]: ...

    def arguments(self) -> list[str]:
        """What to type after ``python -m hcache`` to have the same done in a shell, without the
        home.
        """
        ...

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Work: ...


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """The extraction of a run: all of what is missing of it."""

    kind: ClassVar[str] = EXTRACT
    spec: RunSpec

    @property
    def run(self) -> str:
        return self.spec.name

    @property
    def title(self) -> str:
        return self.run

    def order(self) -> dict[str, Any]:
        return self.spec.to_json()

    def arguments(self) -> list[str]:
        return extract_arguments(self.spec, f"<HOME>/runs/{self.run}")

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Extraction:
        spec = parse_spec(order)
        if spec.name != run:
            raise UsageError(
                f"the work is to extract {spec.name}, not {run}; start it anew from the Extract"
                " page"
            )
        return cls(spec=spec)


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """A fit of directions, saved under a name."""

    kind: ClassVar[str] = FIT
    what: Fit
    name: str

    @property
    def run(self) -> str:
        return self.what.run

    @property
    def title(self) -> str:
        return f"{self.name} by {self.what.method}"

    def order(self) -> dict[str, Any]:
        return {"fit": wanted(self.what), "name": self.name}

    def arguments(self) -> list[str]:
        made_by = json.dumps(wanted(self.what), sort_keys=True)
        return ["direction", "fit", f"--name={self.name}", f"--made-by={made_by}", "--", self.run]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Fitting:
        fields = _fields(order, "fit", "name")
        if not isinstance(fields["fit"], Mapping):
            raise UsageError(f"fit: expected what made a direction, got {fields['fit']!r}")
        what = Fit.from_json(fields["fit"])
        if what.run != run:
            raise UsageError(f"the fit is of run {what.run!r}, not of {run!r}; fit it there")
        check_options(find_method(what.method), what.options)
        return cls(what=what, name=_direction_name(fields["name"]))


@dataclass(frozen=True, kw_only=True)
class Importing:
    """An import of attribute blocks that lie with the run's tasks:
    ``<run>/tasks/<folder>/<file>``.
    """

    kind: ClassVar[str] = IMPORT
    run: str
    folder: str
    files: tuple[str, ...]
    name: str

    @property
    def title(self) -> str:
        return f"import of {self.name}"

    def order(self) -> dict[str, Any]:
        return {"folder": self.folder, "files": list(self.files), "name": self.name}

    def arguments(self) -> list[str]:
        files = [f"<HOME>/runs/{self.run}/tasks/{self.folder}/{file}" for file in self.files]
        return ["direction", "import", f"--name={self.name}", "--", self.run, *files]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Importing:
        fields = _fields(order, "folder", "files", "name")
        folder, files = str(fields["folder"]), _texts(fields["files"], "files")
        if not _BLOCKS.fullmatch(folder):
            raise UsageError(f"folder: expected blocks- and 12 hex digits, got {folder!r}")
        for file in files:
            if "/" in file or "\\" in file or "\0" in file or file in ("", ".", ".."):
                raise UsageError(f"files: expected the names of files, got {file!r}")
        return cls(run=run, folder=folder, files=files, name=_direction_name(fields["name"]))


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """Measures of a run, those of ``what`` for ``labels``; ``samples`` and ``nulls`` as the command
    has them.

    ``reader`` names the reader to measure edits by; the run's first if it is empty.
    """

    kind: ClassVar[str] = MEASURE
    run: str
    what: tuple[str, ...]
    labels: tuple[str, ...]
    samples: int
    nulls: int
    reader: str = ""

    @property
    def title(self) -> str:
        return f"{', '.join(self.what)} of {self.run}"

    def order(self) -> dict[str, Any]:
        found = asdict(self)
        del found["run"]
        if not self.reader:
            del found["reader"]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
        }

    def arguments(self) -> list[str]:
        chosen = [f"--what={part}" for part in self.what] + [
            f"--label={label}" for label in self.labels
        ]
        chosen += [f"--reader={self.reader}"] if self.reader else []
        return [
            "measure",
            *chosen,
            f"--samples={self.samples}",
            f"--nulls={self.nulls}",
            "--",
            self.run,
        ]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Measuring:
        from ..measures.suite import WHAT  # which takes its time to import

        fields = _fields({"reader": "", **order}, "reader", "what", "labels", "samples", "nulls")
        what = _texts(fields["what"], "what")
        for part in what:
            if part not in WHAT:
                raise UsageError(f"what: expected some of {', '.join(WHAT)}, got {part!r}")
        return cls(
            run=run,
            what=what,
            labels=_texts(fields["labels"], "labels"),
            samples=_count(fields["samples"], "samples"),
            nulls=_count(fields["nulls"], "nulls"),
            reader=_text(fields["reader"], "reader"),
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A reading of a run's pictures into the label set of a reader's name: of all samples not read
    yet.

    ``form`` is empty for a reader that is kept already. Else it is one of ``READER_FORMS``, and a
    reader of that form is kept under ``name`` first: ``source`` is a model's folder or hub id, or
    the label that clicks gave; ``attributes`` are as ``read --attribute`` takes them; ``encoder``
    is that of clicks, ``pixels`` if it is empty.
    """

    kind: ClassVar[str] = READ
    run: str
    name: str
    form: str = ""
    source: str = ""
    attributes: tuple[str, ...] = ()
    encoder: str = ""

    @property
    def title(self) -> str:
        return f"reading with {self.name}"

    def order(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "form": self.form,
            "source": self.source,
            "attributes": list(self.attributes),
            "encoder": self.encoder,
        }

    def arguments(self) -> list[str]:
        if not self.form:
            return ["read", f"--reader={self.name}", "--", self.run]
        chosen = [f"--attribute={text}" for text in self.attributes]
        chosen += [f"--encoder={self.encoder}"] if self.encoder else []
        return [
            "read",
            f"--reader={self.form}:{self.source}",
            *chosen,
            f"--name={self.name}",
            "--",
            self.run,
        ]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Reading:
        from ..cache.label_files import SET_NAME

        fields = _fields(order, "name", "form", "source", "attributes", "encoder")
        name, form, source, encoder = (
            _text(fields[each], each) for each in ("name", "form", "source", "encoder")
        )
        attributes = _texts(fields["attributes"], "attributes")
        if not SET_NAME.fullmatch(name):
            raise UsageError(
                "name: a reader's name has letters, digits, spaces, dots, - and _, got"
                f" {name[:60]!r}"
            )
        if form not in ("", *READER_FORMS):
            raise UsageError(f"form: expected one of {', '.join(READER_FORMS)}, got {form[:60]!r}")
        if bool(form) != bool(source.strip()):
            raise UsageError(
                "source: expected the model or the label of a reader of a form, got"
                f" {source[:60]!r}"
            )
        if encoder and form != "clicks":
            raise UsageError(f"encoder: readers from clicks alone have one, got {encoder[:60]!r}")
        if attributes and form not in ("texts", "classifier"):
            raise UsageError(
                "attributes: readers by texts and classifiers alone have them, got"
                f" {len(attributes)}"
            )
        return cls(
            run=run, name=name, form=form, source=source, attributes=attributes, encoder=encoder
        )


KINDS: dict[str, type[Work]] = {
    kind.kind: kind for kind in (Extraction, Fitting, Importing, Measuring, Reading)
}
"""All that can be done in the background."""


def read_work(kind: str, run: str, order: Any) -> Work:
    """The work of that kind on a run which ``order`` describes.

    Raises:
        UsageError: there is no such kind, or the description is not one of that kind.
    """
    if kind not in KINDS:
        raise UsageError(f"no kind of background work {kind!r}; there are {', '.join(KINDS)}")
    if not isinstance(order, Mapping):
        raise UsageError(
            f"the description of a {kind} is an object with named fields, got {str(order)[:60]!r}"
        )
    try:
        return KINDS[kind].read(run, order)
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"this is not the description of a {kind}: {error}") from error


def wanted(what: Fit) -> dict[str, Any]:
    """A fit without which of its directions is meant: it makes them all."""
    data = what.to_json()
    data.pop("component", None)
    return data


def extract_arguments(spec: RunSpec, folder: str) -> list[str]:
    """What to type after ``python -m hcache`` to extract a run, without the home.

    Every value is bound to its option by ``=``, and the model stands after ``--``: none is taken
    for an option, whatever it begins with.

    Args:
        spec: The run.
        folder: Where its prompts and pictures lie.
    """
    given = spec.conditioning
    arguments = (
        ["invert"]
        if spec.images
        else ["extract", f"--samples={spec.samples}", f"--seed={spec.seed}", f"--eta={spec.eta}"]
    )
    arguments += [
        f"--steps={spec.steps}",
        f"--batch={spec.batch or 'auto'}",
        f"--dtype={spec.dtype}",
    ]
    arguments += [f"--store-dtype={spec.store_dtype}", f"--guidance={given.guidance}"]
    if spec.schedule == DIFFUSERS:  # that of a run of before stands in its run.json
        arguments += [f"--schedule={spec.schedule}"]
    if len(given.prompts) > 1:
        arguments += [f"--prompts={folder}/{PROMPTS}"]
    elif given.prompts:
        arguments += [f"--prompt={given.prompts[0]}"]
    if given.negative_prompt:
        arguments += [f"--negative-prompt={given.negative_prompt}"]
    if given.classes:
        arguments += [f"--classes={','.join(map(str, given.classes))}"]
    if given.null_class is not None:
        arguments += [f"--null-class={given.null_class}"]
    arguments += [f"--store={site}={policy}" for site, policy in spec.store.items()] or [
        "--store=h=none"
    ]
    arguments += [f"--lora={lora.file}:{lora.scale!r}" for lora in spec.loras]
    if spec.scheduler:
        known = name_of(spec.scheduler)
        arguments += [f"--scheduler={known or f'{folder}/{STATED_JSON}'}"]
    pictures = [f"{folder}/{IMAGES}/{digest}.png" for digest in spec.images]
    return [*arguments, "--", spec.model, *pictures]


def _fields(order: Mapping[str, Any], *names: str) -> dict[str, Any]:
    if set(order) != set(names):
        raise UsageError(
            f"expected the fields {', '.join(names)}, got {', '.join(map(str, order)) or 'none'}"
        )
    return dict(order)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name}: expected a text, got {str(value)[:60]!r}")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{name}: expected a list of texts, got {str(value)[:60]!r}")
    return tuple(value)


def _count(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= MOST_SAMPLES:
        raise UsageError(
            f"{name}: expected a whole number from 0 to {MOST_SAMPLES}, got {str(value)[:60]!r}"
        )
    return value


def _direction_name(value: Any) -> str:
    from ..directions.store import check_name

    return check_name(_text(value, "name"))
