"""Model cards: what is known of a model before it is loaded. Data in ``cards.yaml``, read here;
no torch.
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
"""What the system says where nothing is. Anything else tells nothing of what is there."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model by name. ``source`` is a folder in diffusers' format, a ``.safetensors`` file of
    Stable Diffusion, or a Hugging Face hub id with its ``revision``. ``config``: of a file, the
    folder of its configuration and tokenizer.

    ``kind``: what it denoises and what conditions it, in words. ``get``: where it is to be had.
    ``reader`` names the attribute reader that labels its images, if there is one; ``attributes``
    the set of attributes that a reader by texts takes unless told otherwise; ``steps``,
    ``samples``, ``store``, ``prompt``, ``classes`` and ``guidance`` are what an extraction of it
    does unless told otherwise.
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
        """The folder of a model that is on disk.

        None for one that lies on the hub.
        """
        path = Path(self.source)
        return path if self.source and path.is_dir() else None

    @property
    def file(self) -> Path | None:
        """The checkpoint of a model that is one file."""
        path = Path(self.source)
        return path if path.suffix == ".safetensors" and path.is_file() else None

    @property
    def configs(self) -> Path | None:
        """The model's configurations, as they ship with hcache.

        From them its anatomy is read without the model.
        """
        path = PACKAGE / "configs" / self.name.replace("/", "--")
        return path if path.is_dir() else None

    @property
    def conditioning(self) -> Conditioning:
        """The conditioning that the card proposes."""
        prompts = (self.prompt,) if self.prompt else ()
        return Conditioning(prompts=prompts, classes=tuple(self.classes), guidance=self.guidance)


OWN_CARDS = "HCACHE_CARDS"
"""The environment variable that names a file of one's own cards, in the form of ``cards.yaml``."""


def load_cards() -> dict[str, Card]:
    """The cards by name.

    Those that ship with hcache and, going before, those of the file that ``HCACHE_CARDS``
    names.

    Raises:
        UsageError: that file cannot be read, or is not one of cards.
    """
    own = os.environ.get(OWN_CARDS)
    shipped = _cards_of(PACKAGE / "cards.yaml")
    return {**shipped, **_cards_of(Path(own).expanduser())} if own else shipped


def _cards_of(path: Path) -> dict[str, Card]:
    """Those of a file as it is now: a server that runs for days sees what was changed in it."""
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
    """A card from its fields; a relative folder is meant from the file of cards."""
    source = fields.pop("source")
    if source.startswith("package:"):
        source = str(PACKAGE / source.removeprefix("package:"))
    elif source and (beside / source).exists():
        source = str((beside / source).resolve())
    return Card(name=name, source=source, classes=tuple(fields.pop("classes", ())), **fields)


def find_card(model: str) -> Card:
    """The card of a name.

    Or one made up for a folder or for a hub id of the form ``owner/name``.

    Raises:
        UnknownModelError: neither a card, nor a folder with a model in it, nor of a hub id's form.
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
        return Card(name=str(path.resolve()), source=str(path.resolve()), title=path.name)
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


def _refuse_unreadable(path: Path, model: str) -> None:
    """Makes sure that a path is not taken for absent because the system does not let us look.

    Raises:
        UnknownModelError: it cannot be told what is there, and why.
    """
    try:
        path.expanduser().stat()
    except OSError as error:
        if error.errno not in ABSENT:
            raise UnknownModelError(
                f"the model {model} could not be read: {error.strerror}; make it readable, or mount"
                " its disk"
            ) from error
    except (RuntimeError, ValueError):  # no path at all
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
    """The folder of that name, if it is one; some names cannot be a path at all."""
    try:
        path = Path(model).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError):
        return None


def weights_digest(folder: Path) -> str:
    """SHA-256 over a model folder's weights and configurations, with their relative names.

    Or over one file.
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
    """Read once as long as the file is what it was: pages ask for it again and again, and
    weights are large.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def pin_weights(spec: RunSpec) -> RunSpec:
    """The spec with what identifies the weights it will run.

    So a retrained model makes another run.

    Of a folder or file that is its digest; of a hub model the revision that was asked for. Which
    commit it resolved to is known only once it is downloaded: it stands in the run's provenance,
    and a run goes on with that commit alone. LoRAs make other weights of them.
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
    """A LoRA with the digest of its file as it is now.

    Raises:
        ModelError: the file is gone.
    """
    path = Path(lora.file)
    if not path.is_file():
        raise ModelError(f"the LoRA {lora.file} is not there any more; put it back")
    return dataclasses.replace(lora, sha256=weights_digest(path))


def check_weights(spec: RunSpec) -> None:
    """Makes sure that a run's model is still the same.

    The one on the disk is held against the one that it was extracted from.

    Raises:
        ModelError: its weights are others now, so cached and computed activations would not belong
            together.
    """
    if spec.weights and pin_weights(spec).weights != spec.weights:
        raise ModelError(
            f"the weights of {spec.model}{' or of its LoRAs' if spec.loras else ''} have changed"
            " since this run was extracted, so its cache does not belong to them; extract it again"
        )


def default_spec(model: str, **changes: Any) -> RunSpec:
    """What an extraction of a model does by its card.

    With changes that are not None.
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
    """What to store of a model whose card says nothing.

    h, or of a transformer its blocks, averaged over tokens.
    """
    folder = card.folder or card.configs
    is_transformer = folder is not None and (folder / "transformer" / "config.json").is_file()
    return {"block.*": POOLED} if is_transformer else {"h": FULL}
