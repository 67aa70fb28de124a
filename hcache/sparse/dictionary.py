"""Dictionaries of sparse features, stored in their run: ``<run>/sparse/<site>-<digest>.h5``.

A file holds the dictionary's arrays, the plan that made it, and the state of the run's samples.
When the run grows, its dictionaries no longer match its samples. They are then ignored, and new
ones are trained. Directions that were made from them stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import make_folder
from ..cache.hdf5 import Malformed, opened, read_array, replacing_hdf5, structure_of
from ..cache.layout import SPARSE
from ..cache.reading import Run
from ..cache.records import plain, state_of
from ..errors import CacheError, UsageError
from ..progress import part
from .plan import DictionaryPlan

if TYPE_CHECKING:
    from .judging import Firing

SCHEMA = 1
_ABOUT = "about"


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """A stored dictionary; its features are sorted by energy, the strongest first.

    ``about``: the plan, the run's state, and the dictionary's quality (plain JSON). An array is
    read from the file on first use.
    """

    path: Path
    plan: DictionaryPlan
    about: dict[str, Any]

    @property
    def alive(self) -> int:
        """The number of features that fire anywhere. They come first."""
        return int(self.about["alive"])

    @cached_property
    def decoder(self) -> np.ndarray:
        """The features' directions (m, channels), of unit length, in units of σ."""
        return self.array("decoder")

    @cached_property
    def rate(self) -> np.ndarray:
        """The share of places and samples where a feature fires (steps, m)."""
        return self.array("rate")

    @cached_property
    def top(self) -> np.ndarray:
        """The rows of the samples where a feature is strongest (m, samples)."""
        return self.array("top")

    @cached_property
    def samples(self) -> np.ndarray:
        """The mean activation of every feature in every sample (n, m)."""
        return self.array("samples")

    def array(self, name: str) -> np.ndarray:
        """Reads an array.

        Raises:
            CacheError: the file is damaged.
        """
        try:
            with opened(self.path) as descriptor:
                return read_array(descriptor, structure_of(descriptor).places[name])
        except (Malformed, LookupError, ValueError, OSError) as error:
            raise CacheError(
                f"{self.path} cannot be read ({type(error).__name__}: {error}); remove it and train"
                " the features again"
            ) from error

    def check(self, feature: int) -> int:
        """Checks that a feature exists and fires.

        Raises:
            UsageError: it does not exist, or is dead.
        """
        if not 0 <= feature < self.plan.features:
            raise UsageError(
                f"the dictionary has features 0 to {self.plan.features - 1}, got {feature}"
            )
        if feature >= self.alive:
            raise UsageError(
                f"feature {feature} is dead: it fires in no sample. Features 0 to"
                f" {self.alive - 1} fire"
            )
        return feature

    def delta(self, feature: int, everywhere: bool = False) -> np.ndarray:
        """Computes what a feature adds to its site.

        The result is (steps, channels, places), before it is scaled to any unit. At each step and
        place it is the feature's direction in σ, times its mean activation there.

        Args:
            feature: The feature's number.
            everywhere: Gives the direction the same length, in σ, at all steps and places.

        Raises:
            UsageError: the feature does not exist, or is dead.
        """
        sigma, along = self.array("sigma"), self.decoder[self.check(feature)][:, None]
        if everywhere:
            return sigma * along
        return sigma * along * self.array("strength")[:, [feature], :]


def dictionary_path(run: Run, plan: DictionaryPlan) -> Path:
    """Returns the path of a plan's dictionary, whether it exists or not."""
    text = json.dumps([SCHEMA, plan.to_json(), run.first], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return run.folder / SPARSE / f"{plan.site}-{digest}.h5"


def load_dictionary(run: Run, plan: DictionaryPlan) -> Dictionary | None:
    """Loads the dictionary of a plan for the run's present samples.

    Returns None if there is none.
    """
    path = dictionary_path(run, plan)
    with suppress(Malformed, LookupError, ValueError, OSError):
        with opened(path) as descriptor:
            data = read_array(descriptor, structure_of(descriptor).places[_ABOUT])
        about = json.loads(data.tobytes())
        if about["schema"] == SCHEMA and about["state"] == state_of(run):
            return Dictionary(path=path, plan=plan, about=about)
    return None


def make_dictionary(run: Run, plan: DictionaryPlan) -> Generator[float, None, Dictionary]:
    """Loads a dictionary, or trains, judges and stores it.

    A training that was stopped continues where it stopped.

    Raises:
        AnalysisError: the site holds values that are not finite, or does not vary.
    """
    from .judging import firing, quality
    from .tokens import Tokens
    from .training import train

    if (found := load_dictionary(run, plan)) is not None:
        yield 1.0
        return found
    path, tokens = dictionary_path(run, plan), Tokens(run, plan)
    checkpoints = [path.with_suffix(".checkpoint"), path.with_suffix(".null.checkpoint")]
    spread = yield from part(tokens.spread(), 0.0, 0.05)
    weights, losses = yield from part(train(tokens, spread, checkpoints[0]), 0.05, 0.4)
    null, _ = yield from part(train(tokens, spread, checkpoints[1], null=True), 0.45, 0.4)
    worth = yield from part(quality(tokens, spread, weights, null), 0.85, 0.05)
    fired = yield from part(firing(tokens, spread, weights), 0.9, 0.1)
    order = np.argsort(-fired.energy, kind="stable")
    fired = fired.sorted(order)
    arrays = {name: weights[name].numpy()[order] for name in ("encoder", "decoder")}
    arrays |= {"bias": weights["bias"].numpy(), "mean": spread.mean, "sigma": spread.sigma}
    about = {
        "schema": SCHEMA,
        "plan": plan.to_json(),
        "run": run.name,
        "state": state_of(run),
        "alive": int((fired.energy > 0).sum()),
        "losses": losses,
        "epochs": tokens.epochs,
        **worth,
    }
    _save(path, arrays, fired, about)
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return Dictionary(path=path, plan=plan, about=plain(about))


def _save(path: Path, arrays: dict[str, np.ndarray], fired: Firing, about: dict[str, Any]) -> None:
    make_folder(path.parent, parents=False)
    arrays |= {name: getattr(fired, name) for name in ("rate", "strength", "samples", "energy")}
    told = np.frombuffer(json.dumps(plain(about)).encode(), np.uint8)
    with replacing_hdf5(path) as file:
        for name, array in (arrays | {"top": fired.top(), _ABOUT: told}).items():
            file.create_dataset(name, data=array)
