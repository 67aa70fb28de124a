"""All known similarities: those of this package, and those that installed packages add.

Another package adds one by an entry point in the group ``hcache.similarities``. The entry's name is
the similarity's name. Its value names a :class:`~hcache.similarities.similarity.Similarity`.
Listing similarities does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..analysis.swaps import Distance
from ..errors import HcacheError, UsageError
from ..registry import Registry
from .similarity import ASPECTS, Opening, Similarity, asked_for

DECLARED = {
    "ssim": "basic:SSIM",
    "ms_ssim": "ms_ssim:SIMILARITY",
    "keypoints": "keypoints:SIMILARITY",
    "layout": "layout:SIMILARITY",
    "gram": "gram:SIMILARITY",
    "patterns": "patterns:SIMILARITY",
    "colour": "basic:COLOURS",
    "embedding": "basic:EMBEDDINGS",
    "pixels": "basic:IN_PIXELS",
    "lpips": "lpips:SIMILARITY",
    "s_dir": "s_dir:SIMILARITY",
}
"""The module in ``declared/`` and the name in it, in the order of tables."""


def check_similarity(name: str, found: Any) -> None:
    """Refuses what is no similarity, or has another name than its entry.

    Raises:
        TypeError: with what was expected.
    """
    if not isinstance(found, Similarity):
        raise TypeError(
            f"expected an hcache.similarities.similarity.Similarity, got {type(found).__name__}"
        )
    if found.name != name or not name.isidentifier():
        raise TypeError(
            f"the entry {name!r} and its similarity must have the same name, a single word"
        )
    if found.aspect not in ASPECTS:
        raise TypeError(f"its aspect must be one of {', '.join(ASPECTS)}, got {found.aspect!r}")


SIMILARITIES = Registry[Similarity](
    "hcache.similarities",
    "similarity",
    {name: f"{__package__}.declared.{place}" for name, place in DECLARED.items()},
    check_similarity,
)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Similarities that are ready for use, by name.

    ``distances`` and ``directed``: the functions of undirected and directed similarities.
    ``missing``: why a similarity could not be opened, by its name.
    """

    distances: dict[str, Distance] = field(default_factory=dict)
    directed: dict[str, Distance] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def names_of(text: str) -> tuple[str, ...]:
    """Reads names of similarities with commas between; ``all`` means all.

    Raises:
        UsageError: a name is unknown.
    """
    return asked_for(text, {each.name: each for each in SIMILARITIES.values()})


def open_similarities(names: Sequence[str], opening: Opening, leave_out: bool = False) -> Opened:
    """Opens similarities by name.

    Args:
        names: The names of the similarities.
        opening: What they may use.
        leave_out: Whether to leave out a similarity that cannot be opened, and to keep the reason.

    Raises:
        UsageError: a similarity lacks a package, an encoder or texts, and may not be left out.
        ModelError: a similarity lacks its weights, and may not be left out.
    """
    found = Opened()
    for name in names:
        similarity = SIMILARITIES[name]
        try:
            made = similarity.open(opening)
        except HcacheError as error:
            if not leave_out:
                raise
            found.missing[name] = str(error)
            continue
        (found.directed if similarity.directed else found.distances).update(made)
    if leave_out and names and len(found.missing) == len(names):
        raise UsageError("; ".join(f"{name}: {why}" for name, why in found.missing.items()))
    return found


def similarity_of(quantity: str) -> Similarity | None:
    """Returns the similarity of a result's quantity, or None for a reading."""
    return next((each for each in SIMILARITIES.values() if each.is_of(quantity)), None)
