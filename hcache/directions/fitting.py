"""One interface for every method: a :class:`Fit` says what to make, ``fit`` makes it.

A fit is data, and what it makes carries it as ``made_by``: the same fit gives the same direction
again, which is how a picture's recipe stays good after the direction was deleted. Fitting may take
minutes, so it is a generator: it yields the share done and returns the moves, and whoever drives it
may stop between two.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.reading import Run
from ..errors import AnalysisError, UsageError, did_you_mean
from ..options import NAMES as NAMES
from ..options import REGION as REGION
from ..options import Option
from ..registry import Registry
from .direction import Direction, Move, check_full

if TYPE_CHECKING:
    from ..models.model import Model

Fitting = Generator[float, None, tuple[Move, ...]]
POSITIVES, NEGATIVES, MODEL, DIRECTIONS = "positives", "negatives", "model", "directions"
"""What a method may need: samples that are chosen, a loaded model, other saved directions."""

AT_ONCE, SECONDS, MINUTES = "at once", "seconds", "minutes"
"""What a fit costs, on a run of some hundred samples. Pages fit what is done at once as one looks,
and the rest in the background.
"""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What to make, as JSON has it.

    The method, the run, the samples chosen, and the method's own options.

    ``label`` only says where the positives came from. A method that finds several directions gives
    them all; ``component`` tells which one is meant.
    """

    method: str
    run: str
    positives: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    component: int = 0

    def to_json(self) -> dict[str, Any]:
        """Only what says something."""
        data: dict[str, Any] = {"method": self.method, "run": self.run}
        for name in ("positives", "negatives"):
            if getattr(self, name):
                data[name] = [int(sample) for sample in getattr(self, name)]
        if self.options:
            data["options"] = dict(self.options)
        if self.label:
            data["label"] = self.label
        return data | ({"component": self.component} if self.component else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fit:
        """The fit that ``to_json`` gave these data.

        Raises:
            UsageError: they are no fit's.
        """
        try:
            names = ("method", "run", "positives", "negatives", "options", "label", "component")
            known = {name: data[name] for name in names if name in data}
            for name in ("positives", "negatives"):
                known[name] = tuple(int(sample) for sample in known.get(name, ()))
            return cls(**known)
        except (TypeError, ValueError, KeyError) as error:
            raise UsageError(f"this does not say how a direction was made: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to find directions, which says itself what it is.

    ``title``, ``text``, ``source``: for people. ``short``: its name in figures; ``name``, if it is
    empty. ``make(fit, options, run, model)`` does it. ``needs``: what has to be chosen or there.
    ``least``: the fewest positives, and negatives, that it works with. ``cost``: how long it takes.
    ``moves``: the kinds of directions that it makes. ``former``: options with which it does what it
    did before it had them, for recipes that were written then. ``takes_files``: directions of its
    kind can be imported from files that others have published.
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
    former: Mapping[str, Any] = field(default_factory=dict)
    takes_files: bool = False

    @property
    def quick(self) -> bool:
        """Whether it is done before one would look for a bar."""
        return self.cost == AT_ONCE

    @property
    def in_figures(self) -> str:
        """What it is called in a figure."""
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
"""Every method by its name: a module each in this folder, and those of other packages."""


def needed(model: Model | None) -> Model:
    """The model of a method that has ``MODEL`` among its needs."""
    if model is None:
        raise UsageError("this method computes with the model: give it")
    return model


def is_quick(name: object) -> bool:
    """Whether a method is there and is done at once."""
    return name in METHODS and METHODS[str(name)].quick


def kind_of_move(kind: str) -> type[Move] | None:
    """The class of moves of a kind.

    None if no method makes any.
    """
    for method in METHODS.values():
        for found in method.moves:
            if found.kind == kind:
                return found
    return None


def kinds_of_moves() -> tuple[str, ...]:
    """The kinds of moves that methods make."""
    return tuple(dict.fromkeys(move.kind for method in METHODS.values() for move in method.moves))


def describe_methods() -> str:
    """All methods, as the command line's help shows them.

    With what they need, cost and take.
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
    """Makes what a fit says.

    Args:
        fit: What to make.
        run: The run it names, holding h in full.
        model: The run's model, for the methods that need it.

    Raises:
        AnalysisError: too few samples for the method; the message says how many it needs.
        UsageError: an option that the method does not have, or of another type; samples that are
            not there.
    """
    method = METHODS[fit.method]
    options = check_options(method, fit.options)
    if DIRECTIONS not in method.needs:
        check_full(run)
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
    """A method's options, checked and brought to their type.

    Where one is not given, its default.
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
    """A value as the option's type: what was typed, what JSON has, or a number of numpy."""
    option, place = method.options[name], f"option {name} of {method.name}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and not isinstance(option.default, str):
        return option.typed(value, place)
    return option.checked(value, place)
