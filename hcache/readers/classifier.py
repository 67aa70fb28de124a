"""A reader that is an image classifier of transformers. Its labels are the attributes, and its
probabilities are the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import UsageError, did_you_mean
from .forms import SOURCE, Asked, FormField, LinesField, model_field, revision_field
from .pretrained import check_whole, load, side_of, weights_digest
from .reader import Description, Reader, digest_of

if TYPE_CHECKING:
    from ..cache.reading import Run

MOST_LABELS = 40
"""The largest number of labels that are read without being chosen. Each becomes a label of every
sample.
"""

BATCH = 64
WHAT = "image classifier"


@dataclass(frozen=True, kw_only=True)
class Classifier(Description):
    """An image classifier by folder or hub id.

    ``labels``: those to read, by the classifier's own names; all if empty.
    """

    KIND: ClassVar[str] = "classifier"
    TITLE: ClassVar[str] = "Classifier: the probabilities of an image classifier"
    TAKES: ClassVar[str] = "MODEL"
    WORDS: ClassVar[Mapping[str, str]] = {
        "attributes": "the name of a label to read (default: all)",
        "revision": "branch, tag or commit of a hub model",
    }
    FORM: ClassVar[tuple[FormField, ...]] = (
        model_field("classifier"),
        LinesField(
            name="attributes",
            key="reader-labels",
            label="Labels to read, one per line",
            help="By the classifier's own names. Empty: all of them.",
        ),
        revision_field("classifier", of=SOURCE),
    )
    model: str
    revision: str = ""
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))

    @classmethod
    def made(cls, run: Run, asked: Asked) -> Classifier:
        """Makes a reader of a classifier's labels, those asked for or all."""
        return cls(model=asked.source, revision=asked.revision, labels=asked.attributes)

    @property
    def of(self) -> str:
        """The model."""
        return self.model

    def to_json(self) -> dict[str, Any]:
        """Returns plain data, as JSON has it."""
        return {
            "kind": self.KIND,
            "model": self.model,
            "revision": self.revision,
            "labels": list(self.labels),
        }

    def open(self, name: str, device: str = "auto") -> Reader:
        """Loads the classifier.

        Raises:
            ModelError: it cannot be found or downloaded, or is not a complete classifier.
            UsageError: it lacks a wanted label, or has too many labels to read all.
        """
        import torch
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        def make(where: str, **options: Any) -> tuple[Any, Any]:
            network, report = AutoModelForImageClassification.from_pretrained(
                where, output_loading_info=True, **options
            )
            check_whole(self.model, WHAT, report)
            return network, AutoImageProcessor.from_pretrained(where, backend="pil", **options)

        network, processor = load(self.model, self.revision, WHAT, make)
        chosen = torch.device(
            device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        )
        digest = digest_of(
            self.to_json() | {"model": ""}, weights_digest(network), str(processor.to_dict())
        )
        network = network.eval().requires_grad_(False).to(chosen, torch.float32)
        columns = self._columns(
            [str(network.config.id2label[i]) for i in range(network.config.num_labels)]
        )
        several = getattr(network.config, "problem_type", None) == "multi_label_classification"

        @torch.inference_mode()
        def read(pictures: np.ndarray) -> dict[str, np.ndarray]:
            parts = []
            for start in range(0, len(pictures), BATCH):
                taken = processor(
                    images=list(pictures[start : start + BATCH]),
                    input_data_format="channels_last",  # (1, 1, 3) is ambiguous
                    return_tensors="pt",
                )["pixel_values"]
                with torch.autocast(chosen.type, torch.float16, enabled=chosen.type == "cuda"):
                    logits = network(pixel_values=taken.to(chosen)).logits.float()
                parts.append((logits.sigmoid() if several else logits.softmax(-1)).cpu())
            found = (
                torch.cat(parts).numpy()
                if parts
                else np.zeros((0, network.config.num_labels), np.float32)
            )
            return {label: found[:, i] for label, i in columns.items()}

        return Reader(
            name=name,
            version=self.model,
            digest=digest,
            attributes=tuple(columns),
            function=read,
            side=side_of(processor),
        )

    def _columns(self, names: Sequence[str]) -> dict[str, int]:
        """Returns the labels to read, with their positions."""
        known = {label: i for i, label in enumerate(names)}
        for label in self.labels:
            if label not in known:
                raise UsageError(f"{self.model} has no label {label!r}{did_you_mean(label, known)}")
        if not self.labels and len(known) > MOST_LABELS:
            raise UsageError(
                f"{self.model} has {len(known)} labels; choose those to read with --attribute"
                f" (without it at most {MOST_LABELS} are read). Some of them:"
                f" {', '.join(list(known)[:6])}"
            )
        return {label: known[label] for label in self.labels} if self.labels else known
