"""An open reader, which is a checked function from pictures to readings; and its description."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..errors import HcacheError, ModelError, UsageError
from .forms import Asked, FormField

if TYPE_CHECKING:
    from ..cache.reading import Run

Readings = dict[str, np.ndarray]
"""Name of the attribute -> values (n,) float32."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads pictures (n, height, width, 3) uint8 into ``{attribute: values (n,)}``.

    Args:
        name: The name of the reader, and of the label sets that it makes.
        version: The version of its code and weights, for people.
        digest: Hexadecimal digits over everything that determines its values: its description and
            its weights.
        attributes: The attributes that it reads, in order. Empty if they are unknown before the
            first call.
        function: The function that reads.
        embed: Embeddings (n, d) of pictures, by the reader's image encoder; None if it has none.
        encoder: Hexadecimal digits of this encoder's weights.
        side: The side in pixels to which pictures are scaled before they are read; 0 if unknown.
    """

    name: str
    version: str
    digest: str
    attributes: tuple[str, ...] = ()
    function: Callable[[np.ndarray], Mapping[str, Any]] = field(repr=False)
    embed: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    encoder: str = ""
    side: int = 0

    @property
    def key(self) -> str:
        """The key of stored results: the name with the digest."""
        return f"{self.name}@{self.digest}" if self.digest else self.name

    def __call__(self, pictures: np.ndarray) -> Readings:
        """Reads pictures.

        Raises:
            UsageError: the pictures are not (n, height, width, 3) uint8.
            ModelError: the reader raised an error, or did not return n finite numbers per
                attribute.
        """
        check_pictures(pictures)
        try:
            found = self.function(pictures)
        except HcacheError:
            raise
        except Exception as error:
            raise ModelError(
                f"the reader {self.name} raised {type(error).__name__}: {error}"
            ) from error
        return self._checked(found, len(pictures))

    def _checked(self, found: Any, n: int) -> Readings:
        if not isinstance(found, Mapping) or not all(
            isinstance(name, str) and name for name in found
        ):
            raise ModelError(
                f"the reader {self.name} returned {type(found).__name__}; expected a mapping from"
                f" attribute names to {n} numbers each"
            )
        if self.attributes and set(found) != set(self.attributes):
            wanted = ", ".join(self.attributes)
            raise ModelError(
                f"the reader {self.name} returned {', '.join(found) or 'nothing'}; expected"
                f" {wanted}"
            )
        return {name: self._column(name, values, n) for name, values in found.items()}

    def _column(self, name: str, values: Any, n: int) -> np.ndarray:
        try:
            column = np.asarray(values, np.float32)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"the reader {self.name} returned no numbers for {name}: {error}"
            ) from error
        if column.shape != (n,):
            raise ModelError(
                f"the reader {self.name} returned an array of shape {column.shape} for {name}; "
                f"expected ({n},), a value a picture"
            )
        if not np.isfinite(column).all():
            wrong = int(np.flatnonzero(~np.isfinite(column))[0])
            raise ModelError(
                f"the reader {self.name} returned {column[wrong]} for {name} of picture {wrong}; "
                "expected finite numbers"
            )
        return column


class TextPairs(Protocol):
    """Attributes by pairs of texts.

    Their model embeds texts and pictures.
    """

    @property
    def model(self) -> str:
        """The model's folder or hub id."""
        ...

    @property
    def revision(self) -> str:
        """The revision of a hub id."""
        ...

    def axes(self, encoder: Any) -> dict[str, np.ndarray]:
        """Returns the direction (d,) of every attribute in the encoder's embeddings."""
        ...


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The score of a fitted reader on held-out samples.

    ``source`` names these samples. ``quality`` has metric, score, low, high, null, p, samples and
    embedding, as plain data.
    """

    attribute: str
    source: str
    quality: Mapping[str, Any]


class Description(ABC):
    """The description of a reader that is not open yet.

    It is a frozen dataclass, and its data identify the reader. A subclass is a kind of reader,
    and says all of it: how a command's words make one, and what its form on the page is. See
    ``texts.py`` for an example, and ``KINDS`` in ``registry.py`` for all kinds.
    """

    KIND: ClassVar[str]
    """Its tag in JSON, and the word before the colon on the command line."""

    TITLE: ClassVar[str]
    """One line for the page."""

    TAKES: ClassVar[str]
    """What stands after the colon on the command line, in capitals."""

    WORDS: ClassVar[Mapping[str, str]] = {}
    """The words of :class:`Asked` that it takes, besides the source, with the help of each."""

    FORM: ClassVar[tuple[FormField, ...]] = ()
    """The fields of its form. A kind without any is made in a shell alone."""

    MISSING: ClassVar[str] = "Give a model folder or a hub id."
    """What the page says while there is no source."""

    @classmethod
    @abstractmethod
    def made(cls, run: Run, asked: Asked) -> Description:
        """Makes the reader that somebody asks for, for a run.

        Raises:
            UsageError: the words do not describe one.
        """

    @classmethod
    def proposed(cls, source: str) -> str:
        """Proposes a name for a reader of this source."""
        return Path(source).name

    @classmethod
    def refused(cls, asked: Asked) -> str:
        """Returns what the page finds wrong in its form, or ""."""
        return "" if asked.source else cls.MISSING

    @property
    @abstractmethod
    def of(self) -> str:
        """A model, an encoder or a function, for lists of readers."""

    @property
    def image_encoder(self) -> tuple[str, str]:
        """Its image encoder: a folder or hub id, and the revision. Both empty: none."""
        return "", ""

    @property
    def texts(self) -> TextPairs | None:
        """The pairs of texts that it compares pictures with. None: it has none."""
        return None

    @property
    def held_out(self) -> HeldOut | None:
        """Its score on held-out samples. None: it was not fitted."""
        return None

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""

    @abstractmethod
    def open(self, name: str, device: str = "auto") -> Reader:
        """Returns the reader, with all it needs loaded. This may take seconds."""


def check_pictures(pictures: np.ndarray) -> None:
    """Raises a UsageError unless ``pictures`` are (n, height, width, 3) uint8."""
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise UsageError(
            f"a reader takes pictures (n, height, width, 3) uint8, got {pictures.shape}"
            f" {pictures.dtype}"
        )


def digest_of(*parts: Any) -> str:
    """Returns twelve hexadecimal digits of JSON-able data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
