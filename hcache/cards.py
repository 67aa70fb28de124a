"""Model cards: the facts about a model before it is loaded. They are data in ``cards.yaml``. This
module uses no torch.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from .errors import ModelError, UnknownModelError, UsageError, did_you_mean
from .foreign import is_apple_double
from .specs import FULL, POOLED, Conditioning, Lora, RunSpec

PACKAGE = Path(__file__).parent

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)
"""The system's errors for missing files. Other errors do not show whether a file exists."""


DISTILLED, FEW = ("LCMScheduler", "TCDScheduler"), 4
"""Schedulers of models that were distilled to a few steps, and the default number of steps of their
pipelines in diffusers.
"""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model with a name.

    ``source`` is a folder in diffusers' format, a ``.safetensors`` file of Stable Diffusion, or a
    Hugging Face hub id with its ``revision``. ``config``: for a file, the folder of its
    configuration and tokenizer. ``kind``: what it denoises and what conditions it, in words.
    ``get``: where to get it. ``reader``: the name of the attribute reader that labels its images,
    if there is one. ``attributes``: the default set of attributes for a reader by texts. ``steps``,
    ``samples``, ``store``, ``prompt``, ``classes`` and ``guidance`` are the defaults of an
    extraction.
    """

    name: str
    source: str
    revision: str = ""
    config: str = ""
    title: str = ""
    kind: str = ""
    summary: str = ""
    get: str = ""
    licence: str = ""
    reader: str = ""
    attributes: str = ""
    steps: int = 20
    samples: int = 64
    store: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""
    classes: tuple[int, ...] = ()
    guidance: float = 1.0

    @property
    def folder(self) -> Path | None:
        """The folder of a model on disk.

        It is None for a model on the hub.
        """
        path = Path(self.source)
        return path if self.source and path.is_dir() else None

    @property
    def file(self) -> Path | None:
        """The checkpoint of a single-file model."""
        path = Path(self.source)
        return path if path.suffix == ".safetensors" and path.is_file() else None

    @property
    def configs(self) -> Path | None:
        """The model's configurations, which ship with hcache.

        They contain its anatomy, so the model is not needed.
        """
        path = PACKAGE / "configs" / self.name.replace("/", "--")
        return path if path.is_dir() else None

    @property
    def conditioning(self) -> Conditioning:
        """The conditioning that the card proposes."""
        prompts = (self.prompt,) if self.prompt else ()
        return Conditioning(prompts=prompts, classes=tuple(self.classes), guidance=self.guidance)


OWN_CARDS = "HCACHE_CARDS"
"""The environment variable with the path of a user's own cards, in the form of ``cards.yaml``."""


def load_cards() -> dict[str, Card]:
    """Returns the cards by name.

    They are the shipped ones and those of the file in ``HCACHE_CARDS``, which take precedence.

    Raises:
        UsageError: that file cannot be read, or is not a file of cards.
    """
    own = os.environ.get(OWN_CARDS)
    shipped = _cards_of(PACKAGE / "cards.yaml")
    return {**shipped, **_cards_of(Path(own).expanduser())} if own else shipped


def _cards_of(path: Path) -> dict[str, Card]:
    """Returns the cards of a file in its present state, so that a running server sees changes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} is not a file of model cards: {error}; set {OWN_CARDS} to one"
        ) from error
    return _read_cards(path, content)


@lru_cache(maxsize=8)
def _read_cards(path: Path, content: bytes) -> dict[str, Card]:
    try:
        raw = yaml.safe_load(content.decode("utf-8")) or {}
        return {name: _card(name, dict(fields), path.parent) for name, fields in raw.items()}
    except (yaml.YAMLError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise UsageError(
            f"{path} is not a file of model cards: {str(error).splitlines()[0]}; expected a mapping"
            " from names to fields"
            f" ({', '.join(f.name for f in dataclasses.fields(Card) if f.name != 'name')})"
        ) from error


def _card(name: str, fields: dict[str, Any], beside: Path) -> Card:
    """Returns a card from its fields. A relative folder is relative to the file of cards."""
    source = fields.pop("source")
    if source.startswith("package:"):
        source = str(PACKAGE / source.removeprefix("package:"))
    elif source and (beside / source).exists():
        source = str((beside / source).resolve())
    return Card(name=name, source=source, classes=tuple(fields.pop("classes", ())), **fields)


def find_card(model: str) -> Card:
    """Returns the card of a name.

    For a folder or a hub id of the form ``owner/name``, it makes a card.

    Raises:
        UnknownModelError: the name is neither a card, nor a folder with a model, nor of the form of
            a hub id.
    """
    cards = load_cards()
    if model in cards:
        return cards[model]
    path = _folder_of(model)
    if path is not None:
        _refuse_unreadable(path / "model_index.json", model)
        if not any((path / part).is_file() for part in ("model_index.json", "config.json")):
            raise UnknownModelError(
                f"the folder {model} holds no model: expected model_index.json (a diffusers"
                " pipeline) or config.json (a U-Net)"
            )
        whole = str(path.resolve())
        return Card(name=whole, source=whole, title=path.name, steps=_default_steps(path))
    if _is_checkpoint(model):
        path = Path(model).expanduser().resolve()
        return Card(name=str(path), source=str(path), title=path.name, kind="KL latents, text")
    if _is_pickle(model):
        raise UnknownModelError(
            f"{model} is a pickled checkpoint, and no pickle is run: convert a guided-diffusion"
            " one with `python -m hcache convert-adm`, an original DDPM with `python -m hcache"
            " convert-ddpm`, and save the state dict of a Stable Diffusion as .safetensors"
            " (torch.load(..., weights_only=True), then safetensors.torch.save_file)"
        )
    if (
        model.count("/") == 1
        and not model.startswith((".", "~", "/"))
        and not any(c.isspace() for c in model)
    ):
        source, _, revision = model.partition("@")
        return dataclasses.replace(
            cards.get(source, Card(name=model, source=source, title=source)),
            name=model,
            revision=revision,
        )
    _refuse_unreadable(Path(model), model)
    raise UnknownModelError(
        f"no model {model!r}: neither a card nor a folder{did_you_mean(model, cards)}"
    )


def _default_steps(folder: Path) -> int:
    """Returns the default number of steps of a model's folder: fewer for a model that was distilled
    to a few steps.
    """
    try:
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        return FEW if config.get("_class_name") in DISTILLED else Card.steps
    except (OSError, ValueError, AttributeError):  # loading the model says what is wrong
        return Card.steps


def _refuse_unreadable(path: Path, model: str) -> None:
    """Makes sure that an unreadable path is not treated as missing.

    Raises:
        UnknownModelError: the path cannot be read. The message says why.
    """
    try:
        path.expanduser().stat()
    except OSError as error:
        if error.errno not in ABSENT:
            raise UnknownModelError(
                f"the model {model} could not be read: {error.strerror}; make it readable, or mount"
                " its disk"
            ) from error
    except (RuntimeError, ValueError):  # not a valid path
        pass


def _is_checkpoint(model: str) -> bool:
    return model.endswith(".safetensors") and Path(model).expanduser().is_file()


def _is_pickle(model: str) -> bool:
    try:
        return (
            model.endswith((".ckpt", ".pt", ".pth", ".bin")) and Path(model).expanduser().is_file()
        )
    except (OSError, RuntimeError, ValueError):
        return False


def _folder_of(model: str) -> Path | None:
    """Returns the folder of a name, if it is one. Some names cannot be paths."""
    try:
        path = Path(model).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError):
        return None


def weights_digest(folder: Path) -> str:
    """Returns the SHA-256 over a model folder's weights and configurations.

    Relative names are included. It also works for a single file.
    """
    if folder.is_file():
        return _file_digest(folder, folder.stat().st_size, folder.stat().st_mtime_ns).hex()
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if is_apple_double(path.name):
            continue
        if path.suffix in (".json", ".safetensors", ".bin") and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(_file_digest(path, path.stat().st_size, path.stat().st_mtime_ns))
    return digest.hexdigest()


@lru_cache(maxsize=512)
def _file_digest(path: Path, size: int, modified: int) -> bytes:
    """Returns the digest of a file, which is read only once while it is unchanged. Pages need it
    repeatedly, and weights are large.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def pin_weights(spec: RunSpec) -> RunSpec:
    """Returns the spec with the identity of its weights.

    A retrained model thus makes another run. For a folder or file the identity is its digest. For a
    hub model it is the requested revision. The commit is known only after the download; it is
    stored in the run's provenance, and the run continues only with that commit. LoRAs change the
    identity.
    """
    card = find_card(spec.model)
    local = card.folder or card.file
    weights = card.revision if local is None else weights_digest(local)
    if spec.loras:
        loras = tuple(pinned(lora) for lora in spec.loras)
        told = json.dumps([weights, [lora.content for lora in loras]])
        weights = hashlib.sha256(told.encode()).hexdigest()
        spec = dataclasses.replace(spec, loras=loras)
    return dataclasses.replace(spec, weights=weights)


def pinned(lora: Lora) -> Lora:
    """Returns a LoRA with the present digest of its file.

    Raises:
        ModelError: the file is missing.
    """
    path = Path(lora.file)
    if not path.is_file():
        raise ModelError(f"the LoRA {lora.file} is not there any more; put it back")
    return dataclasses.replace(lora, sha256=weights_digest(path))


def check_weights(spec: RunSpec) -> None:
    """Makes sure that a run's model is still the same.

    It compares the model on disk with the one that the run was extracted from.

    Raises:
        ModelError: its weights have changed, so cached and computed activations would not match.
    """
    if spec.weights and pin_weights(spec).weights != spec.weights:
        raise ModelError(
            f"the weights of {spec.model}{' or of its LoRAs' if spec.loras else ''} have changed"
            " since this run was extracted, so its cache does not belong to them; extract it again"
        )


def default_spec(model: str, **changes: Any) -> RunSpec:
    """Returns the default extraction of a model's card.

    Changes that are not None override it.
    """
    card = find_card(model)
    fields: dict[str, Any] = {
        "model": card.name,
        "samples": card.samples,
        "steps": card.steps,
        "store": card.store or default_store(card),
        "conditioning": card.conditioning,
    }
    fields.update({name: value for name, value in changes.items() if value is not None})
    return pin_weights(RunSpec(**fields))


def default_store(card: Card) -> dict[str, str]:
    """Returns the default storage of a model whose card gives none.

    It is h, or for a transformer its blocks, averaged over tokens.
    """
    folder = card.folder or card.configs
    is_transformer = folder is not None and (folder / "transformer" / "config.json").is_file()
    return {"block.*": POOLED} if is_transformer else {"h": FULL}
