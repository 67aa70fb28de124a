"""From a name to a model. One code path for what ships with hcache, any folder, and the hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler, VQModel
from torch import nn

from ..cards import Card, find_card
from ..errors import ModelError, UsageError
from ..specs import Anatomy
from .anatomy import NETWORKS, TRANSFORMERS, anatomy_of, anatomy_of_config
from .checkpoint import configuration_of, load_checkpoint
from .codecs import Autoencoder, Codec, Identity
from .conditioners import ByClass, Conditioner, Unconditional, text_conditioner
from .configurations import configuration_folder
from .hub import folder_of, resolved_revision
from .model import Model

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}
AUTO = "auto"
TEXT_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a model folder holds: the folders of network and autoencoder (None: pixels), with their configurations.

    ``listed``: the parts that its ``model_index.json`` names.
    """

    folder: Path
    network: Path
    config: dict[str, Any]
    codec: Path | None
    codec_config: dict[str, Any]
    pipeline: str
    listed: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """A side of the picture for one of x."""
        return 2 ** (len(self.codec_config["block_out_channels"]) - 1) if self.codec else 1


def load_model(name_or_folder: str, device: str = "cpu", dtype: str = "float32", revision: str | None = None) -> Model:
    """Loads a model by card name, diffusers folder, hub id or Stable Diffusion file, ready to be run.

    Args:
        name_or_folder: A card's name (``python -m hcache models`` lists them), a folder with ``model_index.json`` or a
            bare U-Net folder, a hub id ``owner/name``, or a ``.safetensors`` checkpoint of Stable Diffusion.
        device: As PyTorch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; or ``auto``, the best there is.
        dtype: To compute in: ``float32``, ``float16`` or ``bfloat16``.
        revision: Of a hub id: a branch, tag or commit.

    Raises:
        UnknownModelError: nothing goes by that name; the message suggests the nearest names.
        ModelError: something does, but cannot be loaded or is not a model that hcache knows.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    device = best_device() if device == AUTO else device
    card = find_card(name_or_folder)
    if card.file is not None:
        return load_checkpoint(card, device, DTYPES[dtype])
    parts = read_parts(folder_of(card, revision), card.name)
    network = _load_module(NETWORKS[parts.config["_class_name"]], parts.network, dtype, card.name)
    network = _placed(network, device)
    codec: Codec = Identity()
    if parts.codec is not None:
        kind = AUTOENCODERS[parts.codec_config["_class_name"]]
        codec = Autoencoder(_placed(_load_module(kind, parts.codec, dtype, card.name), device))
    return Model(
        card=card,
        network=network,
        scheduler=scheduler_of(parts),
        anatomy=anatomy_of(network, parts.pixels, _latent_side(parts)),
        codec=codec,
        conditioner=_conditioner(parts, network, codec, device, dtype),
        revision=resolved_revision(card),
    )


def best_device() -> str:
    """``cuda`` or ``mps`` if there is one, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_anatomy(name_or_folder: str) -> Anatomy:
    """The sites of a model from its configuration alone; no weights are read, and for a card no network is needed."""
    card = find_card(name_or_folder)
    parts = _configured_parts(card)
    try:
        return anatomy_of_config(parts.config, parts.pixels, _latent_side(parts))
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the network of {card.name} cannot be built: {_first_line(error)}") from error


def load_scheduler(name_or_folder: str) -> DDIMScheduler | FlowMatchEulerDiscreteScheduler:
    """The noise schedule of a model from its configuration alone, likewise."""
    return scheduler_of(_configured_parts(find_card(name_or_folder)))


def _configured_parts(card: Card) -> Parts:
    folder = configuration_of(card) if card.file else configuration_folder(card)
    return read_parts(folder, card.name)


def read_parts(folder: Path, name: str) -> Parts:
    """What lies where in a model folder.

    Raises:
        ModelError: a part is missing, or of a kind that hcache does not know.
    """
    index = _read_config(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    network, codec = _find(folder, ("unet", "transformer")), _find(folder, ("vae", "vqvae"))
    if network is None:
        raise ModelError(
            f"{folder} has none of unet/config.json, transformer/config.json and config.json: there is no diffusion "
            "model in it"
        )
    config = _read_config(network / "config.json")
    kind = config.get("_class_name", "nothing")
    if kind not in NETWORKS:
        raise ModelError(f"{name} is a {kind}; expected one of {', '.join(NETWORKS)}")
    codec_config = _read_config(codec / "config.json") if codec else {}
    if codec and codec_config.get("_class_name") not in AUTOENCODERS:
        raise ModelError(
            f"the autoencoder of {name} is a {codec_config.get('_class_name')}; expected {' or '.join(AUTOENCODERS)}"
        )
    for part in ("vae", "vqvae"):
        if codec is None and (index.get(part) or [None])[0] is not None:
            raise ModelError(
                f"{folder} misses {part}/config.json, which its model_index.json names; complete the folder"
            )
    if codec is None and config.get("in_channels", 3) not in (1, 3):
        raise ModelError(
            f"{name} has {config['in_channels']} channels and no autoencoder beside it (vae/ or vqvae/); expected one, "
            "or 3 channels (pictures in colour) or 1 (grey)"
        )
    listed = tuple(part for part, kind in index.items() if isinstance(kind, list) and kind and kind[0] is not None)
    return Parts(
        folder=folder,
        network=network,
        config=config,
        codec=codec,
        codec_config=codec_config,
        pipeline=index.get("_class_name", ""),
        listed=listed,
    )


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The part's own folder; of a network also the model folder itself, as old repositories have it."""
    for name in names:
        if (folder / name / "config.json").is_file():
            return folder / name
    return folder if "unet" in names and (folder / "config.json").is_file() else None


def _load_module(kind: Any, folder: Path, dtype: str, name: str) -> nn.Module:
    """The weights: safetensors if there are any, else a checkpoint read without running any code in it."""
    try:
        module, report = kind.from_pretrained(
            folder, dtype=DTYPES[dtype], low_cpu_mem_usage=False, output_loading_info=True, local_files_only=True
        )
    except Exception as error:  # noqa: BLE001 - whatever a spoilt file makes a library raise
        raise ModelError(f"the {kind.__name__} of {name} cannot be loaded: {_first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(f"the weights in {folder} lack {len(missing)} tensors that the configuration asks for, "
                         f"first {missing[0]}; the folder is incomplete")  # fmt: skip
    return module.eval().requires_grad_(False)


def _placed(module: nn.Module, device: str) -> nn.Module:
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used: {_first_line(error)}") from error


def _latent_side(parts: Parts) -> int | None:
    """A side of FLUX's latent, which its transformer does not name but its autoencoder does."""
    return parts.codec_config["sample_size"] // parts.pixels if parts.codec else None


def _conditioner(parts: Parts, network: nn.Module, codec: Codec, device: str, dtype: str) -> Conditioner:
    config = parts.config
    if config["_class_name"] == "DiTTransformer2DModel":
        return ByClass(config["num_embeds_ada_norm"], null=config["num_embeds_ada_norm"])
    if config["_class_name"] == "UNet2DModel":
        classes = config.get("num_class_embeds")
        return Unconditional() if network.class_embedding is None else ByClass(classes or 2**31)
    if parts.pipeline not in TEXT_PIPELINES:
        raise ModelError(
            f"{parts.folder} holds a text-conditional model of pipeline {parts.pipeline or 'unknown'}; expected one of "
            f"{', '.join(TEXT_PIPELINES)}, with its text encoder"
        )
    for part in parts.listed:
        if part.startswith(("text_encoder", "tokenizer")) and not (parts.folder / part).is_dir():
            raise ModelError(f"{parts.folder} lacks {part}/, which its model_index.json names; complete it")
    if not isinstance(codec, Autoencoder):
        raise ModelError(f"{parts.folder} lacks vae/, through which its pipeline {parts.pipeline} draws; complete it")
    from diffusers import DiffusionPipeline  # brings transformers with it, which only text needs

    have = {"transformer" if config["_class_name"] in TRANSFORMERS else "unet": network, "vae": codec.network}
    unused = {} if parts.pipeline == "FluxPipeline" else {"image_encoder": None, "feature_extractor": None}
    if parts.pipeline == "StableDiffusionPipeline":
        unused |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            parts.folder, dtype=DTYPES[dtype], local_files_only=True, low_cpu_mem_usage=False, **have, **unused
        ).to(device)
    except Exception as error:  # noqa: BLE001 - a missing tokenizer, a spoilt encoder: all say it in their own way
        raise ModelError(f"the text encoder in {parts.folder} cannot be loaded: {_first_line(error)}") from error
    return text_conditioner(pipeline)


def scheduler_of(parts: Parts) -> DDIMScheduler | FlowMatchEulerDiscreteScheduler:
    """The model's own noise schedule, as DDIM or as a flow; diffusers' defaults where a network has none beside it."""
    for path in (parts.folder / "scheduler" / "scheduler_config.json", parts.folder / "scheduler_config.json"):
        if path.is_file():
            config = _read_config(path)
            kind = config.get("_class_name", "")
            if not hasattr(diffusers, kind):
                raise ModelError(f"{path} names no scheduler that diffusers knows: {kind!r}")
            if kind == "FlowMatchEulerDiscreteScheduler":
                return FlowMatchEulerDiscreteScheduler.from_config(config)
            if parts.codec is not None:
                config.setdefault("clip_sample", False)  # latents have no range; other schedulers do not even ask
            return DDIMScheduler.from_config(config)
    return DDIMScheduler(clip_sample=parts.codec is None)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not valid JSON: expected an object, got {type(config).__name__}")
    return config


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
