"""Cached loading for pages. What is large is shared between sessions, read-only, and bounded in number.

Everything is keyed by the run's folder and how many samples it held, so a growing run is read anew.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ..analysis.pca import PCA, principal_components
from ..cache.labels import named_labels
from ..cache.reading import Run, open_run
from ..cards import check_weights
from ..figures.pictures import data_uri

if TYPE_CHECKING:
    from ..models.model import Model
    from ..specs import Anatomy

_loading = threading.Lock()


@st.cache_resource(max_entries=24, show_spinner=False)
def matrix(folder: str, samples: int, site: str, step: int) -> np.ndarray:
    """All samples of a run at one step (n, d), read-only."""
    found = open_run(folder).matrix(site, step)[:samples]
    found.setflags(write=False)
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def picture_uris(folder: str, samples: int) -> list[str]:
    """The run's pictures as data addresses."""
    return [data_uri(picture) for picture in open_run(folder).images[:samples]]


@st.cache_data(max_entries=64, show_spinner=False)
def components(folder: str, samples: int, site: str, step: int) -> PCA:
    return principal_components(matrix(folder, samples, site, step))


def matrix_of(run: Run, site: str, step: int) -> np.ndarray:
    return matrix(str(run.folder), len(run), site, step)


def components_of(run: Run, site: str, step: int) -> PCA:
    return components(str(run.folder), len(run), site, step)


def uris_of(run: Run) -> list[str]:
    return picture_uris(str(run.folder), len(run))


def model_of(run: Run) -> Model:
    """The model of a run, loaded once for all sessions. Callable from any thread."""
    check_weights(run.spec)
    from ..extract import check_revision

    with _loading:
        model = _load(run.spec.model, run.spec.dtype)
    check_revision(model, run)
    return model


@lru_cache(maxsize=2)
def _load(name: str, dtype: str) -> Model:
    import torch

    from ..models.loading import load_model

    # A core is left to the server and the browser: threads that wait for each other suffer most from a crowd.
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    model = load_model(name, device="auto", dtype=dtype)
    freeze_modules()
    return model


_frozen_modules = 0


def freeze_modules() -> None:
    """Takes what modules hold out of garbage collection, whenever many more have been imported.

    Streamlit collects garbage after every run of a script or fragment, with the interpreter's lock held. With torch
    and diffusers imported that is a quarter of a second each time, which a bar that polls makes of every second.
    """
    global _frozen_modules
    if len(sys.modules) > _frozen_modules + 100:
        gc.collect()
        gc.freeze()
        _frozen_modules = len(sys.modules)


@st.cache_data(show_spinner="Reading the model's configuration …")
def anatomy(name: str) -> Anatomy:
    """A model's sites, from its configuration alone."""
    from ..models.loading import load_anatomy

    return load_anatomy(name)


def labels_of(run: Run) -> dict[str, np.ndarray]:
    """All labels of a run by name; by ``set/name`` where several sets have one of that name."""
    return named_labels(run)


def home_is_empty(home: Path) -> bool:
    """Whether nobody has ever extracted anything here."""
    runs = home / "runs"
    return not any(path.is_dir() for path in runs.iterdir()) if runs.is_dir() else True
