"""A reader from samples that a user labelled in a run: a linear head on embeddings of the pictures.

The head is logistic for labelled classes and ridge for other labels. Its quality is that of
held-out samples (:mod:`hcache.analysis.decoding`): AUC or R², with an interval and the null of
shuffled labels. A head that is no better than shuffled labels is refused. If only positives were
labelled, all other samples of the run count as negatives. Some of them are positives that nobody
labelled, so the held-out AUC is lower than that of the reader.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..cache.labels import find_label
from ..errors import AnalysisError, UsageError
from .forms import SOURCE, Asked, FormField, LabelField, TextField, revision_field
from .pixels import PixelComponents
from .reader import Description, HeldOut, Reader, digest_of

if TYPE_CHECKING:
    from ..analysis.decoding import Decoding
    from ..cache.reading import Run

PIXELS = "pixels"
"""The name in place of an encoder: principal components of the pictures themselves."""

LEAST = 8
"""The smallest number of labelled samples."""

CONTROLS = 99
WORST_P = 0.05


@dataclass(frozen=True, kw_only=True)
class Clicks(Description):
    """A fitted head.

    Args:
        attribute: The attribute that it reads.
        encoder: A folder or hub id of an image encoder, or ``pixels``.
        revision: The revision of a hub id.
        binary: Whether values are probabilities.
        head: ``weight`` (d,) and ``bias`` (1,), for unscaled embeddings; for ``pixels`` also
            ``mean`` and ``axes``.
        quality: Its score on held-out samples, with the null, as plain data.
    """

    KIND: ClassVar[str] = "clicks"
    TITLE: ClassVar[str] = "Clicks: learns a label of this run, such as one given by hand"
    TAKES: ClassVar[str] = "LABEL"
    WORDS: ClassVar[Mapping[str, str]] = {
        "encoder": "CLIP, SigLIP or DINOv2 (default: principal components of the pixels)",
        "revision": "branch, tag or commit of a hub encoder",
    }
    FORM: ClassVar[tuple[FormField, ...]] = (
        LabelField(
            name=SOURCE,
            key="reader-label",
            label="Label to learn",
            placeholder="this run has no labels yet",
        ),
        TextField(
            name="encoder",
            key="reader-encoder",
            label="Encoder: a model folder or hub id",
            placeholder=PIXELS,
            help="A CLIP, SigLIP or DINOv2 model. Empty: principal components of the pixels.",
        ),
        revision_field("clicks", of="encoder"),
    )
    MISSING: ClassVar[str] = "Choose a label; label samples by hand first."
    attribute: str
    encoder: str = PIXELS
    revision: str = ""
    encoder_digest: str = ""
    binary: bool = True
    head: Mapping[str, Any] = field(repr=False)
    quality: Mapping[str, Any]

    def __post_init__(self) -> None:
        names = {"weight", "bias", *(("mean", "axes") if self.encoder == PIXELS else ())}
        if set(self.head) != names:
            raise UsageError(
                f"the head of a reader from clicks has {sorted(names)}, got {sorted(self.head)}"
            )
        object.__setattr__(self, "head", {name: _array(value) for name, value in self.head.items()})

    @classmethod
    def made(cls, run: Run, asked: Asked) -> Clicks:
        """Fits a head to a label of the run."""
        return fit_clicks(
            run.images,
            find_label(run, asked.source),
            asked.source.rpartition("/")[2],
            asked.encoder or PIXELS,
            asked.revision,
            asked.device,
        )

    @classmethod
    def proposed(cls, source: str) -> str:
        """Proposes the label's name with ``-clicks``."""
        last = super().proposed(source)
        return f"{last}-clicks" if last else ""

    @property
    def of(self) -> str:
        """The encoder."""
        return self.encoder

    @property
    def image_encoder(self) -> tuple[str, str]:
        """The encoder, unless it is the pixels."""
        return ("", "") if self.encoder == PIXELS else (self.encoder, self.revision)

    @property
    def held_out(self) -> HeldOut:
        """The score of its fit."""
        return HeldOut(attribute=self.attribute, source="held-out clicks", quality=self.quality)

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return {
            "kind": self.KIND,
            "attribute": self.attribute,
            "encoder": self.encoder,
            "revision": self.revision,
            "encoder_digest": self.encoder_digest,
            "binary": self.binary,
            "head": {name: _packed(array) for name, array in self.head.items()},
            "quality": dict(self.quality),
        }

    def open(self, name: str, device: str = "auto") -> Reader:
        """Loads the encoder.

        Raises:
            ModelError: the encoder cannot be found or downloaded.
            UsageError: its weights differ from those that the head was fitted on.
        """
        embed, digest = _embedding(self.encoder, self.revision, device, self.head)
        if digest != self.encoder_digest:
            raise UsageError(
                f"{self.encoder} has other weights now than those that the reader {name} was fitted"
                " on; give them by --revision or folder, or fit the reader again"
            )

        def read(pictures: np.ndarray) -> dict[str, np.ndarray]:
            found = embed(pictures) @ self.head["weight"] + self.head["bias"][0]
            return {self.attribute: 1 / (1 + np.exp(-found)) if self.binary else found}

        return Reader(
            name=name,
            version=f"{self.encoder} head",
            digest=digest_of(self.to_json()),
            attributes=(self.attribute,),
            function=read,
            embed=None if self.encoder == PIXELS else embed,
            encoder=digest,
        )


def fit_clicks(
    pictures: np.ndarray,
    values: np.ndarray,
    attribute: str,
    encoder: str = PIXELS,
    revision: str = "",
    device: str = "auto",
    seed: int = 0,
) -> Clicks:
    """Fits a head to labels of pictures.

    Args:
        pictures: (n, height, width, 3) uint8, of all samples of the run.
        values: (n,) labels; NaN if there is none. If all labels are 1, the other samples count as
            0.
        attribute: The name of the attribute.
        encoder: A folder or hub id of an image encoder, or ``pixels``.
        revision: The revision of a hub id.
        device: The device of the computation.
        seed: The seed of the folds and of the shuffled labels.

    Raises:
        UsageError: too few samples are labelled, or all labels are equal.
        AnalysisError: the head reads held-out samples no better than it reads shuffled labels.
    """
    from ..analysis.decoding import decode
    from ..analysis.probes import AUC

    values = _complete(np.asarray(values, np.float64), attribute)
    chosen = np.flatnonzero(np.isfinite(values))
    held = PixelComponents.of(pictures) if encoder == PIXELS else None
    parts = {"mean": held.mean, "axes": held.axes} if held else {}
    embed, digest = _embedding(encoder, revision, device, parts)
    data, labels = embed(pictures[chosen]), values[chosen]
    found = decode(data, labels, controls=CONTROLS, seed=seed)
    embedding = "principal components of the pixels" if held else encoder
    if not found.p <= WORST_P:
        raise AnalysisError(
            f"a reader of {attribute} on {embedding} is no better than chance: held-out"
            f" {found.metric} {found.score}, shuffled labels {found.control:.2f}, p {found.p:.2g}."
            " Pick more samples, or give an image encoder with --encoder"
        )
    weight, bias = _head(data, labels, found.metric == AUC)
    return Clicks(
        attribute=attribute,
        encoder=encoder,
        revision=revision,
        encoder_digest=digest,
        binary=found.metric == AUC,
        head={"weight": weight, "bias": bias, **parts},
        quality={**_quality(found), "samples": len(chosen), "embedding": embedding},
    )


def _quality(found: Decoding) -> dict[str, Any]:
    """Returns the quality on held-out samples, as stored in a reader."""
    return {
        "metric": found.metric,
        "score": found.score.value,
        "low": found.score.low,
        "high": found.score.high,
        "null": found.control,
        "p": found.p,
    }


def _complete(values: np.ndarray, attribute: str) -> np.ndarray:
    """Returns the labels, with 0 for all others if only positives were labelled."""
    there = values[np.isfinite(values)]
    if len(there) < LEAST:
        raise UsageError(
            f"a reader of {attribute} needs {LEAST} labelled samples or more, got {len(there)}"
        )
    if np.all(there == 1) and len(there) < len(values):
        return np.where(np.isfinite(values), values, 0.0)
    if np.ptp(there) == 0:
        raise UsageError(
            f"all {len(there)} labelled samples have {attribute} = {there[0]:g}; label others as"
            " well"
        )
    return values


def _head(data: np.ndarray, labels: np.ndarray, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns weight (d,) and bias (1,) for unscaled embeddings. Cross-validation chooses the
    penalty.
    """
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV

    mean, scale = data.mean(0), data.std(0) + 1e-8
    taken = (data - mean) / scale
    if binary:
        model = LogisticRegressionCV(
            Cs=np.logspace(-4, 2, 7),
            cv=5,
            class_weight="balanced",
            max_iter=1000,
            scoring="roc_auc",
            use_legacy_attributes=False,
            l1_ratios=(0.0,),
        )
    else:
        model = RidgeCV(alphas=np.logspace(-2, 5, 15))
    model.fit(taken, labels > 0.5 if binary else labels)
    weight = np.asarray(model.coef_).reshape(-1) / scale
    bias = np.atleast_1d(model.intercept_).reshape(-1)[:1] - weight @ mean
    return weight.astype(np.float32), bias.astype(np.float32)


def _embedding(
    encoder: str, revision: str, device: str, parts: Mapping[str, np.ndarray]
) -> tuple[Any, str]:
    """Returns the function that embeds pictures, and its digest."""
    if encoder == PIXELS:
        held = PixelComponents(mean=parts["mean"], axes=parts["axes"])
        return held, PIXELS
    from .encoder import load_encoder

    loaded = load_encoder(encoder, revision, device)
    return loaded.pictures, loaded.digest


def _packed(array: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(array.shape),
        "float32": base64.b64encode(array.astype("<f4").tobytes()).decode(),
    }


def _array(value: Any) -> np.ndarray:
    """Returns an array, from the form of ``_packed`` or as it is."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32)
    try:
        flat = np.frombuffer(base64.b64decode(value["float32"], validate=True), "<f4")
        return flat.reshape(value["shape"]).copy()
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError(f"the head of a reader from clicks is damaged: {error}") from error
