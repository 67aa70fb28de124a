"""Trains sparse features of a site, and stores their quality. No model is run."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.reading import Run
from ..cache.records import Record, load_record
from ..progress import part
from ..sparse.dictionary import make_dictionary
from ..sparse.plan import DictionaryPlan
from .kinds import SPARSE
from .stored import Measuring, measured

if TYPE_CHECKING:
    from ..sparse.dictionary import Dictionary

SHOWN = 24
"""The number of features whose firing and samples are part of the result."""


def sparse_features(run: Run, plan: DictionaryPlan) -> Measuring:
    """Trains the dictionary of a plan, and measures what it explains.

    The result is ``{"explained", "null", "pca": Estimate, "features", "alive", "dead", "losses",
    "rate": (features, steps), "top": (features, samples)}``. ``rate`` and ``top`` are of the
    strongest features: how often each fires at a step, and the samples where it is strongest.

    Raises:
        AnalysisError: the site holds values that are not finite, or does not vary.
    """

    dictionary = yield from part(make_dictionary(run, plan), 0.0, 0.99)

    def compute() -> Generator[float, None, dict[str, Any]]:
        yield 0.99
        return result_of(run, dictionary)

    return (yield from measured(run, SPARSE, plan.to_json(), compute))


def measured_features(run: Run, plan: DictionaryPlan) -> Record | None:
    """Looks for the stored result of a plan.

    Returns None if there is none.
    """
    return load_record(run, SPARSE, plan.to_json())


def result_of(run: Run, dictionary: Dictionary) -> dict[str, Any]:
    """Returns the result that describes a dictionary."""
    about, shown = dictionary.about, min(SHOWN, dictionary.alive)
    told = ("explained", "null", "pca", "losses", "alive", "held_out")
    return {
        **{name: about[name] for name in told},
        "features": dictionary.plan.features,
        "dead": dictionary.plan.features - dictionary.alive,
        "rate": dictionary.rate[:, :shown].T.astype(np.float64).round(6),
        "top": run.sample_ids[dictionary.top[:shown]],
    }
