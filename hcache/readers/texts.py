"""A reader by texts: zero-shot, by a CLIP or SigLIP model.

An attribute is a pair of texts, what it is and what it is not. With embeddings of unit length and
the mean over templates and texts of either side, its value is

    cos(picture, positive) - cos(picture, negative),

or as a probability 1 / (1 + exp(-s · that)), s being the model's own temperature. Absolute values
depend on the model and on the wording; compare values of one reader only.

References:
    Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021),
    https://arxiv.org/abs/2103.00020
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import yaml

from ..cards import find_card
from ..errors import UsageError, did_you_mean
from .forms import SOURCE, Asked, FlagField, FormField, SetField, model_field, revision_field
from .reader import Description, Reader, digest_of

if TYPE_CHECKING:
    from ..cache.reading import Run
    from .encoder import Encoder

TEMPLATES = ("{}", "a photo of {}", "a cropped photo of {}", "a close-up photo of {}")
SETS = Path(__file__).parent / "attributes.yaml"
LEAST_APART = 1e-6
"""The smallest distance between the embeddings of the two sides of a pair, as a norm."""

Pairs = Mapping[str, Sequence[Sequence[str]]]
"""Attribute -> (texts for what it is, texts for what it is not)."""


@dataclass(frozen=True, kw_only=True)
class Texts(Description):
    """Attributes by pairs of texts.

    ``templates`` have ``{}`` in place of a text. ``revision`` is that of the hub id.
    """

    KIND: ClassVar[str] = "texts"
    TITLE: ClassVar[str] = "Texts: compares pictures with texts, by a CLIP or SigLIP model"
    TAKES: ClassVar[str] = "MODEL"
    WORDS: ClassVar[Mapping[str, str]] = {
        "attributes": "an attribute by two texts, NAME=IS|IS NOT",
        "attribute_set": "faces, paintings, dogs, or a YAML file (default: the set of the model"
        " card)",
        "revision": "branch, tag or commit of a hub model",
        "probability": "give probabilities instead of cosines",
    }
    FORM: ClassVar[tuple[FormField, ...]] = (
        model_field("texts"),
        SetField(
            name="attributes",
            key="reader-attributes",
            label="Attributes, one per line: NAME=what it is|what it is not",
            height=160,
            sets=lambda: {name: lines_of(name) for name in attribute_sets()},
            set_key="reader-set",
            set_label="Attribute set",
        ),
        revision_field("texts", of=SOURCE),
        FlagField(
            name="probability",
            key="reader-probability",
            label="Probabilities in place of cosines",
            help="1 / (1 + exp(-s d)): d is the difference of cosines, s the model's temperature.",
        ),
    )
    model: str
    attributes: Pairs
    revision: str = ""
    templates: tuple[str, ...] = TEMPLATES
    probability: bool = False

    def __post_init__(self) -> None:
        if not self.attributes:
            raise UsageError(
                "a reader by texts takes at least one attribute: NAME=what it is|what it is not"
            )
        object.__setattr__(
            self, "attributes", {name: _pair(name, pair) for name, pair in self.attributes.items()}
        )
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.templates or not all(
            isinstance(t, str) and t.count("{}") == 1 for t in self.templates
        ):
            raise UsageError(f"templates are texts with one {{}} each, got {self.templates}")

    @classmethod
    def made(cls, run: Run, asked: Asked) -> Texts:
        """Makes a reader of the attributes, or of a set of them.

        If neither is given, the set of the run's model card is taken.
        """
        chosen = asked.attribute_set or ("" if asked.attributes else attribute_set_of(run))
        pairs = dict(attributes_of(chosen)) if chosen else {}
        pairs |= dict(map(parse_attribute, asked.attributes))
        return cls(
            model=asked.source,
            revision=asked.revision,
            attributes=pairs,
            probability=asked.probability,
        )

    @classmethod
    def refused(cls, asked: Asked) -> str:
        """Returns what is missing, or the first attribute that has another form."""
        if wrong := super().refused(asked):
            return wrong
        if not asked.attributes:
            return "Give at least one attribute: NAME=what it is|what it is not."
        try:
            for line in asked.attributes:
                parse_attribute(line)
        except UsageError as error:
            return str(error)
        return ""

    @property
    def of(self) -> str:
        """The model."""
        return self.model

    @property
    def image_encoder(self) -> tuple[str, str]:
        """The model, which embeds pictures and texts."""
        return self.model, self.revision

    @property
    def texts(self) -> Texts:
        """The reader itself."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return {
            "kind": self.KIND,
            "model": self.model,
            "revision": self.revision,
            "attributes": {name: list(map(list, pair)) for name, pair in self.attributes.items()},
            "templates": list(self.templates),
            "probability": self.probability,
        }

    def open(self, name: str, device: str = "auto") -> Reader:
        """Loads the model and embeds the texts.

        Raises:
            ModelError: the model cannot be found or downloaded, or does not embed texts.
            UsageError: this model gives both sides of a pair the same embedding.
        """
        from .encoder import load_encoder
        from .pretrained import side_of

        encoder = load_encoder(self.model, self.revision, device, True)
        towards = self.axes(encoder)
        axes = np.stack(list(towards.values()), 1)

        def read(pictures: np.ndarray) -> dict[str, np.ndarray]:
            values = encoder.pictures(pictures) @ axes
            if self.probability:
                values = 1 / (1 + np.exp(-encoder.temperature * values))
            return {attribute: values[:, i] for i, attribute in enumerate(towards)}

        return Reader(
            name=name,
            version=f"{self.model}{'@' if self.revision else ''}{self.revision}",
            digest=digest_of(self.to_json() | {"model": ""}, encoder.digest),
            attributes=tuple(towards),
            function=read,
            embed=encoder.pictures,
            encoder=encoder.digest,
            side=side_of(encoder.processor),
        )

    def axes(self, encoder: Encoder) -> dict[str, np.ndarray]:
        """The direction (d,) of every attribute in the encoder's embeddings.

        It goes from the texts of what it is not to the texts of what it is.

        Raises:
            UsageError: the two sides of a pair are the same to this model.
        """
        sides = {attribute: self._sides(encoder, attribute) for attribute in self.attributes}
        return {name: positive - negative for name, (positive, negative) in sides.items()}

    def _sides(self, encoder: Encoder, attribute: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns embeddings (d,) of unit length for both sides of an attribute."""
        positive, negative = (self._mean(encoder, texts) for texts in self.attributes[attribute])
        if np.linalg.norm(positive - negative) < LEAST_APART:
            raise UsageError(
                f"the texts of {attribute} are the same to {self.model}:"
                f" {self.attributes[attribute]}; give texts that differ"
            )
        return positive, negative

    def _mean(self, encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
        mean = encoder.texts(
            [template.format(text) for text in texts for template in self.templates]
        ).mean(0)
        return mean / np.linalg.norm(mean)


def _pair(name: str, pair: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns both sides of an attribute, each a tuple of texts."""
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise UsageError(
            f"the attribute {name} is a pair of texts: what it is, what it is not; got {pair!r}"
        )
    sides = tuple((side,) if isinstance(side, str) else tuple(side) for side in pair)
    if not all(
        side and all(isinstance(text, str) and text.strip() for text in side) for side in sides
    ):
        raise UsageError(f"the attribute {name} has an empty text: {pair!r}")
    if set(sides[0]) & set(sides[1]):
        raise UsageError(
            f"the attribute {name} has the same text on both sides:"
            f" {sorted(set(sides[0]) & set(sides[1]))}"
        )
    return sides[0], sides[1]


def parse_attribute(text: str) -> tuple[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Parses an attribute to its name and pair of texts. An example is ``smile=a smiling face|a
    face with a neutral expression``.

    ``;`` separates texts of one side.

    Raises:
        UsageError: the text does not have this form.
    """
    name, equals, rest = text.partition("=")
    sides = rest.split("|")
    if not (equals and name.strip() and len(sides) == 2):
        raise UsageError(f"an attribute is NAME=what it is|what it is not, got {text!r}")
    split = [[part.strip() for part in side.split(";") if part.strip()] for side in sides]
    return name.strip(), _pair(name.strip(), split)


def attribute_sets() -> dict[str, Pairs]:
    """Returns the shipped sets by name: faces, paintings, dogs."""
    return yaml.safe_load(SETS.read_text(encoding="utf-8"))


def lines_of(name: str) -> list[str]:
    """Returns the attributes of a shipped set, as they are typed."""
    pairs = attribute_sets()[name]
    return [f"{each}={'|'.join(_side(side) for side in pair)}" for each, pair in pairs.items()]


def _side(texts: str | Sequence[str]) -> str:
    return texts if isinstance(texts, str) else ";".join(texts)


def attribute_set_of(run: Run) -> str:
    """Returns the attribute set that a run's model card names.

    It is empty if the card names none.
    """
    try:
        return find_card(run.spec.model).attributes
    except UsageError:  # the run is here, but its model is not
        return ""


def attributes_of(source: str) -> Pairs:
    """Returns the attributes of a set.

    It is a shipped set, or a YAML file of the same form.

    Raises:
        UsageError: there is no such set or file, or the file has another form.
    """
    sets = attribute_sets()
    if source in sets:
        return sets[source]
    path = Path(source).expanduser()
    if not path.is_file():
        raise UsageError(
            f"no set of attributes {source!r}{did_you_mean(source, sets)}, and no such file"
        )
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict) or not found:
        raise UsageError(
            f"{path}: expected NAME: [what it is, what it is not], a line an attribute"
        )
    return {str(name): _pair(str(name), pair) for name, pair in found.items()}
