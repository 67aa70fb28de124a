"""Cached loading for pages. Large values are shared between sessions, read-only, and bounded in
bytes. Small values are bounded in number.

The key of every value contains the run's folder, its number of samples and what identifies them, so
a run that grows, or is extracted anew in its folder, is read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ..analysis.blocks import MEMORY
from ..analysis.pca import PCA, principal_components
from ..analysis.projections import Projections, project_steps
from ..anatomies import known_anatomy
from ..cache.labels import named_labels
from ..cache.layout import MANIFEST, RUN_JSON, names_in, run_names
from ..cache.projections import load_projections, projections_path, save_projections
from ..cache.reading import Run, open_run
from ..cache.records import state_of
from ..cards import Card, check_weights, find_card
from ..errors import HcacheError, ModelError
from ..figures.pictures import sprite, thumbnail_uri
from ..measures.noise import says_noise
from ..progress import drive, part
from ..specs import Conditioning, Lora, RunSpec
from ..starting import without_collection
from ..thread_locks import ThreadLock
from .kept import kept, kept_models, kept_runs

if TYPE_CHECKING:
    from ..models.model import Model
    from ..specs import Anatomy

_loading = ThreadLock()

OWN, JOINT = "own", "joint"
"""The kinds of axes: each step's own, and joint over all steps. The last is the kind of record with
noise levels.
"""


def matrix(folder: str, samples: int, site: str, step: int) -> np.ndarray:
    """Returns all samples of a run at one step (n, d), read-only."""
    return _matrix(folder, _state(folder), samples, site, step)


def _state(folder: str) -> str:
    """Returns hex digits that identify a run's samples, so that a run that was extracted anew in
    its folder is not taken for the one before.
    """
    return state_of(shared_run(Path(folder)))


@kept()
def _matrix(folder: str, state: str, samples: int, site: str, step: int) -> np.ndarray:
    return open_run(folder).matrix(site, step)[:samples]


class PictureURIs(Sequence[str]):
    """Pictures as small data addresses.

    Each picture is read and converted when it is first shown: of a hundred thousand pictures a page
    shows a hundred.
    """

    def __init__(self, run: Run, samples: int) -> None:
        self._run, self._samples, self._made = run, samples, {}

    @property
    def nbytes(self) -> int:
        """The bytes of the addresses so far."""
        return sum(map(len, list(self._made.values())))

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[r] for r in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        if row not in self._made:
            self._made[row] = thumbnail_uri(self._run.picture(int(self._run.sample_ids[row])))
        return self._made[row]


def picture_uris(folder: str, samples: int) -> PictureURIs:
    """Returns the run's pictures as data addresses."""
    return _picture_uris(folder, _state(folder), samples)


@kept()
def _picture_uris(folder: str, state: str, samples: int) -> PictureURIs:
    return PictureURIs(shared_run(Path(folder)), samples)


def shared_run(folder: Path) -> Run:
    """Returns a run that is shared while it is unchanged.

    Data that were read from its shards need not be read again.
    """
    key = (str(folder), *(_signature(folder / name) for name in (RUN_JSON, MANIFEST)))
    return kept_runs().get(key, lambda: open_run(folder))


def _signature(path: Path) -> tuple[int, ...]:
    """Returns a signature that changes when a file was replaced or has grown."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def components(folder: str, samples: int, site: str, step: int) -> PCA:
    """Returns the principal components of a site at a step."""
    return _components(folder, _state(folder), samples, site, step)


@kept()
def _components(folder: str, state: str, samples: int, site: str, step: int) -> PCA:
    run = open_run(folder)
    if len(run) * run.width(site) * 4 > MEMORY:
        return principal_components(lambda: _first(run.blocks(site, step), samples))
    return principal_components(matrix(folder, samples, site, step))


def _first(blocks: Iterator[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Yields blocks of rows, up to a number of rows, because a run may have grown since a page
    began.
    """
    for block in blocks:
        if samples <= 0:
            return
        yield block[:samples]
        samples -= len(block)


SPRITE_PIXELS, SPRITE_CELL, LEAST_CELL = 2**23, 64, 24


def sprite_of(folder: str, samples: int) -> tuple[bytes, int] | None:
    """Returns the run's pictures in one JPEG, with a cell's width.

    It is None if they would be too small.
    """
    return _sprite(folder, _state(folder), samples)


@kept()
def _sprite(folder: str, state: str, samples: int) -> tuple[bytes, int] | None:
    cell = min(SPRITE_CELL, int((SPRITE_PIXELS / max(1, samples)) ** 0.5))
    return (
        (sprite(shared_run(Path(folder)).images[:samples], cell), cell)
        if cell >= LEAST_CELL
        else None
    )


def projection_at(folder: str, samples: int, site: str, step: int) -> Projections:
    """Returns one step's own components: (1, n, k).

    It is for a page that does not have those of all steps yet.
    """
    return _projection(folder, _state(folder), samples, site, step)


@kept("Projecting the samples …")
def _projection(folder: str, state: str, samples: int, site: str, step: int) -> Projections:
    run = shared_run(Path(folder))
    own, _ = drive(
        project_steps(
            lambda _: matrix(folder, samples, site, step),
            1,
            rows=lambda: (block[None] for block in _first(run.blocks(site, step), samples)),
            samples=samples,
        )
    )
    return own


def projections_of(run: Run, site: str) -> dict[str, Projections] | None:
    """Returns the stored projections of a run at a site.

    They are by kind of axes, if they exist for its present samples.
    """
    try:
        changed = projections_path(run, site).stat().st_mtime_ns
    except OSError:
        return None
    return _projections(str(run.folder), state_of(run), site, changed)


@kept()
def _projections(folder: str, state: str, site: str, changed: int) -> dict[str, Projections] | None:
    arrays = load_projections(shared_run(Path(folder)), site)
    if arrays is None:
        return None
    kinds = {name.removesuffix("_scores") for name in arrays if name.endswith("_scores")}
    if not {OWN, JOINT} <= kinds:
        return None
    return {
        k: Projections(
            scores=arrays[f"{k}_scores"],
            explained=arrays[f"{k}_explained"],
            residuals=arrays.get(f"{k}_residuals"),
        )
        for k in kinds
    }


def make_projections(run: Run, site: str) -> Generator[float, None, dict[str, Projections]]:
    """Projects the samples at all steps, and stores the result.

    For an older run, the noise levels of its steps are stored as well.
    """
    own, joint = yield from part(
        project_steps(
            lambda step: run.matrix(site, step),
            run.spec.steps,
            rows=lambda: run.step_blocks(site),
            samples=len(run),
        ),
        0.0,
        0.95,
    )
    found = {OWN: own, JOINT: joint}
    save_projections(
        run,
        site,
        {
            f"{kind}_{name}": array
            for kind, value in found.items()
            for name in ("scores", "explained", "residuals")
            if (array := getattr(value, name)) is not None
        },
    )
    if not says_noise(run):
        with suppress(HcacheError):  # noise levels are optional: nothing fails without them
            from ..measures.stored_levels import configured_levels

            yield from part(configured_levels(run), 0.95, 0.05)
    return found


def components_of(run: Run, site: str, step: int) -> PCA:
    """Returns the principal components of a run at a site and step."""
    return components(str(run.folder), len(run), site, step)


def uris_of(run: Run) -> Sequence[str]:
    """Returns the addresses of a run's pictures."""
    return picture_uris(str(run.folder), len(run))


def model_of(run: Run) -> Model:
    """Returns the model of a run, loaded once for all sessions. Any thread may call it."""
    check_weights(run.spec)
    from ..extraction.run import check_revision
    from ..models.downloads import weights_are_here

    if not weights_are_here(card := find_card(run.spec.model)):
        raise ModelError(
            f"the weights of {card.name} are not on this disk, and no page downloads them by"
            f" itself; fetch them with `hf download {card.source}`, or start an extraction of that"
            " model on the Extract page"
        )
    with _loading:
        asked, scheduler = _asked_for(run.spec), json.dumps(run.provenance.get("scheduler"))
        model = kept_models().get((asked, scheduler), lambda: _load(asked, scheduler))
    check_revision(model, run)
    return model


def _asked_for(spec: RunSpec) -> str:
    """Returns what decides which model a run needs, as text."""
    names = ("model", "weights", "dtype", "loras", "scheduler")
    found = spec.to_json()
    return json.dumps({name: found[name] for name in names if name in found})


def _load(asked_for: str, scheduler: str) -> Model:
    """Loads the model of a run. ``scheduler`` is that of the run's provenance."""
    with without_collection():
        import torch

        from ..allocator import keep_freed_memory
        from ..models.loading import load_for

    keep_freed_memory()
    # A core is left to the server and the browser: threads that wait for each other suffer most
    # from a crowd.
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    given = json.loads(asked_for)
    given["loras"] = tuple(Lora(**lora) for lora in given.get("loras", ()))
    spec = RunSpec(samples=1, steps=1, **given)
    return load_for(spec, "auto", {"scheduler": json.loads(scheduler)})


def anatomy(name: str, scheduler: str = "") -> Anatomy:
    """Returns a model's sites from its configuration alone.

    ``scheduler`` is the given schedule, by name.
    """
    return known_anatomy(name) or _read_anatomy(name, scheduler)


@st.cache_data(max_entries=64, show_spinner="Reading the model's configuration …", show_time=True)
def _read_anatomy(name: str, scheduler: str) -> Anatomy:
    from ..models.loading import load_anatomy

    return load_anatomy(name, scheduler=scheduler or None)


TEXT, CLASSES = "text", "class"


def takes(card: Card) -> str:
    """Returns a model's condition: ``text``, ``class`` or ""."""
    if card.kind:
        return TEXT if "text" in card.kind else CLASSES if "classes" in card.kind else ""
    return _read_takes(card.name)


@st.cache_data(max_entries=64, show_spinner=False)
def _read_takes(name: str) -> str:
    """Returns the same for a folder or a hub id, from its configuration."""
    from ..models.loading import load_conditioner

    found = load_conditioner(name)
    return TEXT if found is None else CLASSES if found.kind == CLASSES else ""


def check_classes(name: str, conditioning: Conditioning) -> None:
    """Checks the classes of a class-conditional model, like ``extract``.

    Raises:
        UsageError: it does not take them. The message says what it takes.
    """
    from ..models.loading import check_conditioning

    check_conditioning(name, conditioning)


@st.cache_data(show_spinner=False)
def check_loras(name: str, loras: tuple[Lora, ...]) -> None:
    """Checks that a model takes LoRAs.

    It checks configurations and names of tensors.

    Raises:
        ModelError: it takes none, peft is missing, or a file is not a LoRA.
    """
    from ..models.loading import check_loras_of

    check_loras_of(name, loras)


def labels_of(run: Run) -> dict[str, np.ndarray]:
    """Returns all labels of a run by name.

    If several sets have a label of the same name, the key is ``set/name``.
    """
    return named_labels(run)


def home_is_empty(home: Path) -> bool:
    """Returns whether nothing was ever extracted in a home.

    Raises:
        HomeError: this cannot be determined.
    """
    return not any((home / "runs" / name).is_dir() for name in names_in(home))


def donors_of(run: Run) -> list[str]:
    """Returns the runs that can be donors, the run itself first.

    They are in the same home.
    """
    return _donor_names(str(run.folder), len(run), tuple(run_names(run.home)))


@st.cache_data(max_entries=32, show_spinner=False)
def _donor_names(folder: str, samples: int, names: tuple[str, ...]) -> list[str]:
    """Returns the names of runs that can be donors, the run itself first. ``names`` are the
    existing runs.
    """
    from ..recipes.donor_runs import donor_runs

    run = open_run(folder)
    return donor_runs(run, run.home)
