"""A similarity of two pictures, as an object that describes what it measures and rewards.

Most similarities are distances: 0 for the same picture, and symmetric. A directed similarity says
whether the change from one picture to the other has a wanted direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..analysis.swaps import Distance
from ..errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from ..readers.encoder import Encoder
    from ..readers.reader import TextPairs

STRUCTURE, STYLE, COLOUR, IDENTITY = "structure", "style", "colour", "identity"
WHOLE, MEANING = "whole picture", "meaning"
ASPECTS = (STRUCTURE, STYLE, COLOUR, IDENTITY, WHOLE, MEANING)
"""The aspects of a picture that similarities see, in the order of tables."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a similarity may use when it is opened.

    ``side``: the shorter side of the pictures in pixels. ``source`` and ``revision``: a folder or
    hub id of an image encoder, and its revision; empty if there is none. ``texts``: a reader by
    texts, for similarities that compare with texts. ``run``: the run's name, for messages.
    """

    side: int
    source: str = ""
    revision: str = ""
    texts: TextPairs | None = None
    device: str = "auto"
    run: str = "RUN"

    def encoder(self, whose: str) -> Encoder:
        """Loads the image encoder.

        Raises:
            UsageError: no encoder is named.
            ModelError: the encoder cannot be loaded.
        """
        if not self.source:
            raise UsageError(
                f"{whose} needs an image encoder; name one with --encoder MODEL (a folder or a hub"
                " id), or read the run by texts first"
            )
        from ..readers.encoder import load_encoder

        return load_encoder(self.source, self.revision, self.device)


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """One similarity of two pictures.

    Attributes:
        name: The word by which a user asks for it.
        title: Its name in tables.
        begins: The prefix of the names of its results.
        aspect: What it sees of a picture, one of :data:`ASPECTS`.
        rewards: One sentence that says which pictures it calls alike.
        open: Returns its distances by name. A name ends with the digest of the weights.
        always: Whether it is measured without being asked for, where possible.
        cheap: Whether it needs no weights, so that pages measure it at first.
        directed: Whether it takes the edited picture first and is no distance.
    """

    name: str
    title: str
    begins: str
    aspect: str
    rewards: str
    open: Callable[[Opening], dict[str, Distance]] = field(repr=False)
    always: bool = False
    cheap: bool = False
    directed: bool = False

    def is_of(self, quantity: str) -> bool:
        """Returns whether a result's quantity belongs to this similarity."""
        return quantity == self.begins or quantity.startswith(f"{self.begins} ")


def asked_for(text: str, known: Mapping[str, Similarity]) -> tuple[str, ...]:
    """Reads the names of similarities; ``all`` means all.

    Raises:
        UsageError: a name is unknown.
    """
    free = [name for name, each in known.items() if not each.always]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if "all" in names:
        return tuple(free)
    for name in names:
        if name not in free:
            raise UsageError(
                f"no similarity {name[:60]!r}{did_you_mean(name, free)}; there are"
                f" {', '.join(free)}, and all"
            )
    return tuple(dict.fromkeys(names))
