"""What pages keep between two looks, for all sessions together: bounded by bytes."""

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
"""Of matrices, projections, directions, features and pictures together."""

RUN_BYTES = 2**29
"""Of opened runs, with the pictures that were read of them. The run used last is kept in any
case.
"""

MODEL_BYTES = 2**33
"""Of the weights of loaded models. The model used last is kept in any case."""


@st.cache_resource(max_entries=1, show_spinner=False)
def kept_values() -> ByteCache:
    """The values that :func:`kept` keeps."""
    return ByteCache(KEPT_BYTES)


@st.cache_resource(max_entries=1, show_spinner=False)
def kept_runs() -> ByteCache:
    """The runs that were opened last."""
    return ByteCache(RUN_BYTES, _weight, keep_last=True)


@st.cache_resource(max_entries=1, show_spinner=False)
def kept_models() -> ByteCache:
    """The models that were loaded last."""
    from ..models.memory import weight_bytes

    return ByteCache(MODEL_BYTES, weight_bytes, keep_last=True)


def _weight(run: Run) -> int:
    """Bytes of what was read of a run so far."""
    return sum(value.nbytes for value in vars(run).values() if isinstance(value, np.ndarray))


def kept(spinner: str = "") -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keeps what a function gives for the same arguments, which are hashable.

    Args:
        spinner: What a page says while the function works; nothing if empty.
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
