"""Values that pages keep between two runs, for all sessions together, bounded by bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import streamlit as st

from ..bounded import ByteCache
from ..cache.reading import Run

P = ParamSpec("P")
T = TypeVar("T")

KEPT_BYTES = 2**29
"""The bytes for matrices, projections, directions, features and pictures together."""

RUN_BYTES = 2**29
"""The bytes for opened runs, with the pictures that were read from them. The last used run is
always kept.
"""

MODEL_BYTES = 2**33
"""The bytes for the weights of loaded models. The last used model is always kept."""


@st.cache_resource(max_entries=1, show_spinner=False)
def kept_values() -> ByteCache:
    """Returns the values that :func:`kept` keeps."""
    return ByteCache(KEPT_BYTES)


@st.cache_resource(max_entries=1, show_spinner=False)
def kept_runs() -> ByteCache:
    """Returns the last opened runs."""
    return ByteCache(RUN_BYTES, _weight, keep_last=True)


@st.cache_resource(max_entries=1, show_spinner=False)
def kept_models() -> ByteCache:
    """Returns the last loaded models."""
    from ..models.memory import weight_bytes

    return ByteCache(MODEL_BYTES, weight_bytes, keep_last=True)


def _weight(run: Run) -> int:
    """Returns the bytes read from a run so far. Another thread may read more meanwhile."""
    values = tuple(vars(run).values())
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


def kept(spinner: str = "") -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keeps the results of a function for hashable arguments.

    Args:
        spinner: The page's text while the function runs; none if empty.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            def make() -> T:
                with st.spinner(spinner) if spinner else nullcontext():
                    return function(*args, **kwargs)

            key = (function, *args, *sorted(kwargs.items()))
            return kept_values().get(key, make)

        return call

    return decorate
