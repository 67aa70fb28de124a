"""The kinds of background tasks: a closed set of frozen descriptions that are checked when they are
read.

A piece of work is handed over as these data and is never made of words that a file brought. Reading
one from JSON checks every field; what fits none of the kinds is refused. The kinds, and who does
them: ``cli/background.py``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

from msgspec import Meta, Struct, field, to_builtins
from msgspec.structs import replace

from ..cache.description import parse_spec
from ..cache.layout import IMAGES, PROMPTS, STATED_JSON
from ..directions.fitting import METHODS, Fit, check_options
from ..errors import UsageError
from ..noise_schedules import name_of
from ..readers.forms import OPTIONAL, RevisionField
from ..readers.registry import KINDS as READER_KINDS
from ..schemas import checked, shown
from ..specs import DDIM, DIFFUSERS, RunSpec

EXTRACT, FIT, IMPORT, MEASURE, READ = "extract", "fit", "import", "measure", "read"
REPAIR = "repair"

READER_FORMS = tuple(name for name, kind in READER_KINDS.items() if kind.FORM)
"""The readers that background tasks may create: the kinds with a form. Readers that are functions
of a package are created in a shell only.
"""

MOST_SAMPLES = 10**6
ReaderForm = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(READER_FORMS)})?$",
        max_length=max(map(len, READER_FORMS)),
        description=f"one of {', '.join(READER_FORMS)}, or nothing",
    ),
]
Samples = Annotated[int, Meta(ge=0, le=MOST_SAMPLES)]
BlocksFolder = Annotated[
    str,
    Meta(
        pattern="^blocks-[0-9a-f]{12}$",
        max_length=len("blocks-") + 12,
        description="blocks- and 12 hex digits",
    ),
]


class Work(Protocol):
    """A task on a run.

    ``kind`` is its key in ``KINDS``. ``run`` is the run's name, and ``title`` describes the task
    for people. ``order`` contains everything that determines it, as plain JSON, and ``read`` makes
    the same task from it.
    """

    kind: ClassVar[str]

    @property
    def run(self) -> str:
        """The run's name."""
        ...

    @property
    def title(self) -> str:
        """The description of the work for people."""
        ...

    def order(self) -> dict[str, Any]:
        """Returns all that decides the work, as plain JSON."""
        ...

    def arguments(self) -> list[str]:
        """Returns the words after ``python -m hcache`` for the same task.

        The home is not included.
        """
        ...

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Work:
        """Returns the work that ``order`` gave these data."""
        ...


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """The extraction of all missing samples of a run."""

    kind: ClassVar[str] = EXTRACT
    spec: RunSpec

    @property
    def run(self) -> str:
        """The run's name."""
        return self.spec.name

    @property
    def title(self) -> str:
        """The description of the work for people."""
        return self.run

    def order(self) -> dict[str, Any]:
        """Returns everything that determines it, as plain JSON."""
        return self.spec.to_json()

    def arguments(self) -> list[str]:
        """Returns the words after ``python -m hcache``; see :class:`Work`."""
        return extract_arguments(self.spec, f"<HOME>/runs/{self.run}")

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Extraction:
        """Returns the checked task of ``order``; see :func:`read_work`."""
        spec = parse_spec(order)
        if spec.name != run:
            raise UsageError(
                f"the task extracts {spec.name}, not {run}; start it again from the Extract page"
            )
        return cls(spec=spec)


@dataclass(frozen=True, kw_only=True)
class Repairing:
    """A repair of a run.

    Damaged files are moved aside, and their samples are extracted again from ``spec``.
    """

    kind: ClassVar[str] = REPAIR
    run: str
    spec: RunSpec

    @property
    def title(self) -> str:
        """The description of the work for people."""
        return f"repair of {self.run}"

    def order(self) -> dict[str, Any]:
        """Returns everything that determines the new samples."""
        return {"spec": self.spec.to_json()}

    def arguments(self) -> list[str]:
        """Returns the words after ``python -m hcache``; see :class:`Work`."""
        return ["repair", "--yes", "--", self.run]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Repairing:
        """Returns the repair from the data of ``order()``."""
        return cls(run=run, spec=parse_spec(checked(order, _RepairOrder).spec))


class _RepairOrder(Struct, frozen=True, forbid_unknown_fields=True):
    spec: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """A fit of directions, saved under a name."""

    kind: ClassVar[str] = FIT
    what: Fit
    name: str

    @property
    def run(self) -> str:
        """The run's name."""
        return self.what.run

    @property
    def title(self) -> str:
        """The description of the work for people."""
        return f"{self.name} by {self.what.method}"

    def order(self) -> dict[str, Any]:
        """Returns everything that determines it, as plain JSON."""
        return {"fit": wanted(self.what), "name": self.name}

    def arguments(self) -> list[str]:
        """Returns the words after ``python -m hcache``; see :class:`Work`."""
        made_by = json.dumps(wanted(self.what), sort_keys=True)
        return ["direction", "fit", f"--name={self.name}", f"--made-by={made_by}", "--", self.run]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Fitting:
        """Returns the checked task of ``order``; see :func:`read_work`."""
        given = checked(order, _FittingOrder)
        what = Fit.from_json(given.fit)
        if what.run != run:
            raise UsageError(f"the fit is of run {what.run!r}, not of {run!r}; fit it there")
        check_options(METHODS[what.method], what.options)
        _check_direction_name(given.name)
        return cls(what=what, name=given.name)


class _FittingOrder(Struct, frozen=True, forbid_unknown_fields=True):
    fit: dict[str, Any]
    name: str


class Importing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An import of attribute blocks that lie with the run's tasks:
    ``<run>/tasks/<folder>/<file>``.
    """

    kind: ClassVar[str] = IMPORT
    run: str
    folder: BlocksFolder
    files: tuple[str, ...]
    name: str

    @property
    def title(self) -> str:
        """The description of the work for people."""
        return f"import of {self.name}"

    def order(self) -> dict[str, Any]:
        """Returns everything that determines it, as plain JSON."""
        return _all_but_run(self)

    def arguments(self) -> list[str]:
        """Returns the words after ``python -m hcache``; see :class:`Work`."""
        files = [f"<HOME>/runs/{self.run}/tasks/{self.folder}/{file}" for file in self.files]
        return ["direction", "import", f"--name={self.name}", "--", self.run, *files]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Importing:
        """Returns the checked task of ``order``; see :func:`read_work`."""
        found = checked({**order, "run": run}, cls)
        for file in found.files:
            if "/" in file or "\\" in file or "\0" in file or file in ("", ".", ".."):
                raise UsageError(f"files: expected the names of files, got {file!r}")
        _check_direction_name(found.name)
        return found


class Measuring(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measures of a run: those of ``what`` for ``labels``.

    ``samples`` and ``nulls`` are those of the command. The other parameters are in ``options`` by
    name. ``reader`` is the name of the reader that measures edits; the run's first if empty.
    """

    kind: ClassVar[str] = MEASURE
    run: str
    what: tuple[str, ...]
    labels: tuple[str, ...]
    samples: Samples
    nulls: Samples
    reader: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The description of the work for people."""
        return f"{', '.join(self.what)} of {self.run}"

    @property
    def chosen(self) -> dict[str, Any]:
        """Returns the values of all given parameters, by name."""
        return {"samples": self.samples, "nulls": self.nulls, **self.options}

    def order(self) -> dict[str, Any]:
        """Returns everything that determines it, as plain JSON."""
        found = _all_but_run(self)
        for name in ("reader", "options"):  # keeps the ids of older tasks
            if not found[name]:
                del found[name]
        return found

    def arguments(self) -> list[str]:
        """Returns the words after ``python -m hcache``; see :class:`Work`."""
        chosen = [f"--what={part}" for part in self.what] + [
            f"--label={label}" for label in self.labels
        ]
        chosen += [f"--reader={self.reader}"] if self.reader else []
        return [
            "measure",
            *chosen,
            *(f"{_option(name)}={_shell_value(value)}" for name, value in self.chosen.items()),
            "--",
            self.run,
        ]

    @classmethod
    def read(cls, run: str, order: Mapping[str, Any]) -> Measuring:
        """Returns the checked task of ``order``; see :func:`read_work`."""
        from ..measures.parameter import check_options  # these imports are slow
        from ..measures.registry import registry

        found, known = checked({**order, "run": run}, cls), registry()
        for part in found.what:
            if part not in known.measures:
                names = ", ".join(known.measures)
                raise UsageError(f"what: expected some of {names}, got {part[:60]!r}")
        free = {n: p for n, p in known.parameters().items() if n not in ("samples", "nulls")}
        return replace(found, options=check_options(free, found.options, "the measures"))


LATER = ("revision", "probability")
"""The fields of a reading that older tasks lack."""


class Reading(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reading of a run's pictures by a reader.

    It fills the label set of the reader's name, for all samples not read yet.

    ``form`` is empty for a reader that is kept already. Else it is one of ``READER_FORMS``, and a
    reader of that form is kept under ``name`` first. The other fields are the words that this kind
    takes; see :class:`~hcache.readers.forms.Asked`.
    """

    kind: ClassVar[str] = READ
    run: str
    name: str
    form: ReaderForm = ""
    source: str = ""
    attributes: tuple[str, ...] = ()
    encoder: str = ""
    revision: str = ""
    probability: bool = False

    @property
    def title(self) -> str:
        """The description of the work for people."""
        return f"reading with {self.name}"

    def order(self) -> dict[str, Any]:
        """Returns everything that determines it, as plain JSON."""
        found = _all_but_run(self)
        for name in LATER:  # keeps the ids of older tasks
            if not found[name]:
                del found[name]
        return found

    def arguments(self) -> list[str]:
        """Returns the words after ``python -m hcache``; see :class:`Work`."""
        if not self.form:
            return ["read", f"--reader={self.name}", "--", self.run]
        chosen = [f"--attribute={text}" for text in self.attributes]
        chosen += [f"--encoder={self.encoder}"] if self.encoder else []
        chosen += [f"--revision={self.revision}"] if self.revision else []
        chosen += ["--probability"] if self.probability else []
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
        """Returns the checked task of ``order``; see :func:`read_work`."""
        from ..cache.label_files import SET_NAME

        needed = [name for name in cls.__struct_fields__ if name not in ("run", *LATER)]
        if missing := [name for name in needed if name not in order]:
            raise UsageError(f"{missing[0]} is missing")
        found = checked({**order, "run": run}, cls)
        if not SET_NAME.fullmatch(found.name):
            raise UsageError(
                "name: a reader's name has letters, digits, spaces, dots, - and _, got"
                f" {shown(found.name)}"
            )
        if bool(found.form) != bool(found.source.strip()):
            raise UsageError(
                "source: expected the model or the label of a reader of a form, got"
                f" {shown(found.source)}"
            )
        kind = READER_KINDS[found.form] if found.form else None
        for word in OPTIONAL:
            value = getattr(found, word)
            if value and (kind is None or word not in kind.WORDS):
                which = f"a reader of the form {found.form}" if kind else "a reader that is kept"
                raise UsageError(f"{word}: {which} takes none, got {shown(value)}")
        for each in kind.FORM if kind else ():
            if isinstance(each, RevisionField) and found.revision and not getattr(found, each.of):
                raise UsageError(
                    f"revision: expected that of a model in {each.of}, got"
                    f" {shown(found.revision)} and no model"
                )
        return found


KINDS: dict[str, type[Work]] = {
    kind.kind: kind for kind in (Extraction, Repairing, Fitting, Importing, Measuring, Reading)
}
"""All kinds of background tasks."""


def read_work(kind: str, run: str, order: Any) -> Work:
    """Returns the task of a kind on a run that ``order`` describes.

    Raises:
        UsageError: there is no such kind, or the description does not match it.
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


def in_full(work: Work) -> str:
    """Describes everything that a task does.

    It names the run, and the command that does the same.
    """
    told = f"{work.kind}, of the run {work.run}:\n{_typed(work)}"
    if isinstance(work, Repairing):
        again = Extraction(spec=work.spec)
        told += (
            f"\nwhich sets its damaged files aside, and makes what is missing by\n{_typed(again)}"
        )
    return told


def _typed(work: Work) -> str:
    return f"python -m hcache {shlex.join(work.arguments())}"


def wanted(what: Fit) -> dict[str, Any]:
    """Returns a fit that makes all of its directions.

    It does not name one of them.
    """
    data = what.to_json()
    data.pop("component", None)
    return data


def extract_arguments(spec: RunSpec, folder: str) -> list[str]:
    """Returns the arguments after ``python -m hcache`` that extract a run.

    The home is not among them.

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
    if spec.inversion != DDIM:
        arguments += [f"--inversion={spec.inversion}"]
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


def _all_but_run(work: Struct) -> dict[str, Any]:
    """A piece of work as plain JSON, without the run that it is on."""
    found = to_builtins(work)
    del found["run"]
    return found


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shell_value(value: Any) -> str:
    """A parameter's value as it is typed in a shell."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _check_direction_name(name: str) -> None:
    from ..directions.store import check_name

    check_name(name)
