"""Model cards: what is known of a model before it is loaded. Data in ``cards.yaml``, read here; no torch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from .errors import ModelError, UnknownModelError, did_you_mean
from .specs import RunSpec

PACKAGE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model by name. ``source`` is a folder in diffusers' format, or a Hugging Face hub id.

    ``reader`` names the attribute reader that labels its images, if there is one; ``steps`` and ``store`` are what
    an extraction of it does unless told otherwise.
    """

    name: str
    source: str
    title: str = ""
    summary: str = ""
    licence: str = ""
    reader: str = ""
    steps: int = 20
    samples: int = 64
    store: Mapping[str, str] = field(default_factory=lambda: {"h": "full"})

    @property
    def folder(self) -> Path | None:
        """The folder of a model that is on disk; None for one that lies on the hub."""
        path = Path(self.source)
        return path if path.is_dir() else None


@lru_cache(maxsize=1)
def load_cards() -> dict[str, Card]:
    """The cards that ship with hcache, by name."""
    raw = yaml.safe_load((PACKAGE / "cards.yaml").read_text(encoding="utf-8"))
    cards = {}
    for name, fields in raw.items():
        source = fields.pop("source")
        if source.startswith("package:"):
            source = str(PACKAGE / source.removeprefix("package:"))
        cards[name] = Card(name=name, source=source, **fields)
    return cards


def find_card(model: str) -> Card:
    """The card of a name, or one made up for a folder or for a hub id of the form ``owner/name``.

    Raises:
        UnknownModelError: neither a card, nor a folder with a model in it, nor of a hub id's form.
    """
    cards = load_cards()
    if model in cards:
        return cards[model]
    path = _folder_of(model)
    if path is not None:
        if not any((path / part).is_file() for part in ("model_index.json", "config.json")):
            raise UnknownModelError(
                f"the folder {model} holds no model: expected model_index.json (a diffusers pipeline) "
                "or config.json (a U-Net)"
            )
        return Card(name=str(path.resolve()), source=str(path.resolve()), title=path.name)
    if model.count("/") == 1 and not model.startswith((".", "~", "/")) and not any(c.isspace() for c in model):
        return Card(name=model, source=model, title=model)
    raise UnknownModelError(f"no model {model!r}: neither a card nor a folder{did_you_mean(model, cards)}")


def _folder_of(model: str) -> Path | None:
    """The folder of that name, if it is one; some names cannot be a path at all."""
    try:
        path = Path(model).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError):
        return None


def weights_digest(folder: Path) -> str:
    """SHA-256 over a model folder's weights and configurations, with their relative names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".safetensors", ".bin") and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def pin_weights(spec: RunSpec) -> RunSpec:
    """The spec with the digest of the weights it will run, so that a retrained model makes another run."""
    folder = find_card(spec.model).folder
    return dataclasses.replace(spec, weights=weights_digest(folder) if folder else "")


def check_weights(spec: RunSpec) -> None:
    """Makes sure that the model on disk is still the one a run was extracted from.

    Raises:
        ModelError: its weights are others now, so cached and computed activations would not belong together.
    """
    if spec.weights and pin_weights(spec).weights != spec.weights:
        raise ModelError(
            f"the weights of {spec.model} have changed since this run was extracted, so its cache does not belong to "
            "them; extract it again"
        )


def default_spec(model: str, **changes: Any) -> RunSpec:
    """What an extraction of a model does unless told otherwise, by its card; with changes that are not None."""
    card = find_card(model)
    fields: dict[str, Any] = {"model": card.name, "samples": card.samples, "steps": card.steps, "store": card.store}
    fields.update({name: value for name, value in changes.items() if value is not None})
    return pin_weights(RunSpec(**fields))
