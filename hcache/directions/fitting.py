"""The common interface of all methods: a :class:`Fit` describes a fit, and ``fit`` carries it out.

A fit is data, and its result contains it as ``made_by``. The same fit gives the same direction
again, so a picture's recipe remains valid after the direction was deleted. Fitting may take
minutes, so it is a generator. It yields the share that is done and returns the moves. The caller
may stop between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta, Struct, structs

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError, UsageError, did_you_mean
from ..options import NAMES as NAMES
from ..options import REGION as REGION
from ..options import Option
from ..registry import Registry
from ..schemas import checked
from .direction import Direction, Move, at_site, check_full

if TYPE_CHECKING:
    from ..models.model import Model

Fitting = Generator[float, None, tuple[Move, ...]]
POSITIVES, NEGATIVES, MODEL, DIRECTIONS = "positives", "negatives", "model", "directions"
"""The possible needs of a method: selected samples, a loaded model, other saved directions."""

AT_ONCE, SECONDS, MINUTES = "at once", "seconds", "minutes"
"""The costs of a fit on a run of a few hundred samples. Pages run cheap fits immediately, and the
others in the background.
"""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The description of a fit, in a form for JSON.

    It has the method, the run, the selected samples, and the method's options. ``label`` only says
    where the positives came from. A method that finds several directions returns all of them, and
    ``component`` is the number of one of them. ``site``: the tensor that is moved.
    """

    method: str
    run: str
    positives: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    component: int = 0
    site: str = H

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, without empty fields."""
        data: dict[str, Any] = {"method": self.method, "run": self.run}
        for name in ("positives", "negatives"):
            if getattr(self, name):
                data[name] = [int(sample) for sample in getattr(self, name)]
        if self.options:
            data["options"] = dict(self.options)
        if self.label:
            data["label"] = self.label
        data = at_site(data, self.site)
        return data | ({"component": self.component} if self.component else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fit:
        """Returns the fit from the data of ``to_json``.

        Other keys are ignored: directions say more of how they were made.

        Raises:
            UsageError: the data are not a fit. The message names the key.
        """
        try:
            return cls(**structs.asdict(checked(data, _FitFields)))
        except (ValueError, RecursionError) as error:
            why = error if isinstance(error, ValueError) else "it is nested too deeply"
            raise UsageError(
                f"this is not the description of a direction: {why}; `python -m hcache direction"
                " show RUN NAME --json` prints such a description"
            ) from error


Sample = Annotated[int, Meta(ge=0, le=2**53, description="the number of a sample")]


class _FitFields(Struct, frozen=True, kw_only=True):
    """The types of a fit's fields in JSON."""

    method: str
    run: str
    positives: tuple[Sample, ...] = ()
    negatives: tuple[Sample, ...] = ()
    options: dict[str, Any] = {}
    label: str = ""
    component: Annotated[int, Meta(ge=0, le=2**53)] = 0
    site: str = H


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method for finding directions, with its own description.

    ``title``, ``text`` and ``source`` are for users. ``short``: its name in figures; by default
    ``name``. ``make(fit, options, run, model)`` carries it out. ``needs``: what must be selected or
    available. ``least``: the smallest numbers of positives and negatives. ``cost``: how long it
    takes. ``moves``: the kinds of directions that it makes. ``former``: the options that reproduce
    its behaviour of earlier versions, for older recipes; or several such sets of options, the
    latest first. ``takes_files``: directions of its kind can be imported from published files.
    ``sites``: it also fits directions at other sites than h, and reads ``fit.site``. ``proposed``:
    figures take it if no method is named, and a selection is offered to it.
    """

    name: str
    title: str
    text: str
    source: str
    make: Callable[[Fit, Mapping[str, Any], Run, Model | None], Fitting]
    short: str = ""
    needs: tuple[str, ...] = ()
    least: int = 1
    cost: str = SECONDS
    options: Mapping[str, Option] = field(default_factory=dict)
    moves: tuple[type[Move], ...] = (Direction,)
    former: Mapping[str, Any] | Sequence[Mapping[str, Any]] = ()
    takes_files: bool = False
    sites: bool = False
    proposed: bool = False

    @property
    def quick(self) -> bool:
        """Whether it finishes before a progress bar is needed."""
        return self.cost == AT_ONCE

    @property
    def before(self) -> tuple[Mapping[str, Any], ...]:
        """The sets of options of its earlier versions."""
        return (self.former,) if isinstance(self.former, Mapping) else tuple(self.former)

    @property
    def in_figures(self) -> str:
        """Its name in a figure."""
        return self.short or self.name


def _check_method(name: str, found: Any) -> None:
    if not isinstance(found, Method):
        raise TypeError("it is no hcache.directions.fitting.Method")
    if found.name != name:
        raise TypeError(f"its name is {found.name!r}, and not that of the entry point")


METHODS: Registry[Method] = Registry(
    "hcache.methods",
    "method",
    {
        name: f"hcache.directions.{name}:METHOD"
        for name in (
            "naive",
            "local",
            "supervised",
            "vae",
            "pca",
            "sparse",
            "boundary",
            "jacobian",
            "pullback",
            "asyrp",
            "arithmetic",
            "random",
        )
    },
    _check_method,
)
"""Every method by its name. Each is a module in this folder, or comes from another package."""


def needed(model: Model | None) -> Model:
    """Returns the model for a method that has ``MODEL`` among its needs."""
    if model is None:
        raise UsageError("this method needs the model")
    return model


def is_quick(name: object) -> bool:
    """Returns whether a method exists and is quick."""
    return name in METHODS and METHODS[str(name)].quick


def kind_of_move(kind: str) -> type[Move] | None:
    """Returns the class of moves of a kind.

    It is None if no method makes such moves.
    """
    for method in METHODS.values():
        for found in method.moves:
            if found.kind == kind:
                return found
    return None


def kinds_of_moves() -> tuple[str, ...]:
    """Lists the kinds of moves that methods make."""
    return tuple(dict.fromkeys(move.kind for method in METHODS.values() for move in method.moves))


def describe_methods() -> str:
    """Describes all methods for the command line's help.

    It lists their needs, costs and options.
    """
    return "\n".join(["methods:", *(_described(method) for method in METHODS.values())])


def _described(method: Method) -> str:
    needs = f"; needs {', '.join(method.needs)}" if method.needs else ""
    lines = [f"  {method.name} ({method.cost}{needs}): {method.text}"]
    for name, option in method.options.items():
        values = f" ({', '.join(map(str, option.choices))})" if option.choices else ""
        default = f" (default: {option.default})" if option.default != "" else ""
        lines.append(f"    {name}: {option.text}{values}{default}")
    return "\n".join(lines)


def fit(fit: Fit, run: Run, model: Model | None = None) -> Fitting:
    """Carries out a fit.

    Args:
        fit: The description of the fit.
        run: The run that the fit names. It stores the site in full.
        model: The run's model, for the methods that need it.

    Raises:
        AnalysisError: there are too few samples for the method. The message says how many it
            needs.
        UsageError: the method does not have an option, an option has another type, samples do
            not exist, or the method fits directions in h only.
    """
    method = METHODS[fit.method]
    options = check_options(method, fit.options)
    if fit.site != H and not method.sites:
        others = ", ".join(each.name for each in METHODS.values() if each.sites)
        raise UsageError(
            f"the method {method.name} fits directions in h only, not at {fit.site}; leave the site"
            f" out, or choose one of {others}"
        )
    if DIRECTIONS not in method.needs:
        check_full(run, fit.site)
    for name, chosen in ((POSITIVES, fit.positives), (NEGATIVES, fit.negatives)):
        for sample in chosen:
            run.position(sample)
        if name in method.needs and len(set(chosen)) < method.least:
            raise AnalysisError(
                f"the method {method.name} needs {method.least} {name} or more; got"
                f" {len(set(chosen))}"
            )
    if both := sorted(set(fit.positives) & set(fit.negatives)):
        raise UsageError(
            f"sample {both[0]} is among the positives and the negatives; choose it for one of them"
        )
    if MODEL in method.needs and model is None:
        raise UsageError(f"the method {method.name} runs the model; give it")
    return method.make(fit, options, run, model)


def check_options(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a method's options, checked and converted to their types.

    Missing options get their defaults.
    """
    options = {name: option.default for name, option in method.options.items()}
    for name, value in given.items():
        if name not in options:
            raise UsageError(
                f"the method {method.name} has no option {name!r}{did_you_mean(name, options)}"
            )
        options[name] = _converted(method, name, value)
    return options


def _converted(method: Method, name: str, value: Any) -> Any:
    """Converts a value to the option's type. The value was typed, or comes from JSON or numpy."""
    option, place = method.options[name], f"option {name} of {method.name}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and not isinstance(option.default, str):
        return option.typed(value, place)
    return option.checked(value, place)
