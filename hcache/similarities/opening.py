"""Opens similarities for the pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..analysis.swaps import Distance
from ..cache.reading import Run
from ..errors import HcacheError
from ..readers.saved import encoder_of, texts_of
from .registry import SIMILARITIES, open_similarities
from .similarity import Opening


def opening_of(run: Run, reader: str, device: str = "auto", encoder: str = "") -> Opening:
    """Returns what similarities of a run's pictures may use.

    Args:
        run: The run.
        reader: The name of the reader whose encoder and texts they use.
        device: The device of encoders.
        encoder: Another encoder instead: a folder or hub id.
    """
    source, revision = (encoder, "") if encoder else encoder_of(run.home, reader)
    return Opening(
        side=min(run.anatomy.image[:2]),
        source=source,
        revision=revision,
        texts=texts_of(run.home, reader),
        device=device,
        run=run.name,
    )


def between_pictures() -> dict[str, bool]:
    """Names the similarities that are measured on request.

    They compare any two pictures. The value says whether it is cheap, because it needs no weights.
    """
    found = SIMILARITIES.values()
    return {each.name: each.cheap for each in found if not (each.always or each.directed)}


@dataclass(frozen=True, kw_only=True)
class ChosenDistances:
    """Distances by name, and a line for each similarity that is missing."""

    distances: Mapping[str, Distance] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def chosen_distances(run: Run, reader: str, names: Sequence[str]) -> ChosenDistances:
    """Opens similarities by name.

    Those that lack something are left out, with the reason.
    """
    try:
        found = open_similarities(names, opening_of(run, reader), leave_out=True)
    except HcacheError as error:
        return ChosenDistances(missing=(str(error),))
    lines = tuple(f"{name} is left out: {why}" for name, why in found.missing.items())
    return ChosenDistances(distances=found.distances, missing=lines)
