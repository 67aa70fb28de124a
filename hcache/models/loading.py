"""Loads a model by its name. Shipped models, folders and the hub share one code path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..cards import Card, find_card, pinned
from ..errors import ModelError, UsageError
from ..loras import find_lora
from ..noise_schedules import find_schedule, schedule_file
from ..specs import Anatomy, Conditioning, Lora, RunSpec
from .anatomy import NETWORKS, anatomy_of_config
from .checkpoint import configuration_of, load_checkpoint, schedule_of_file
from .codecs import Autoencoder, Codec, Identity, codec_dtype
from .conditioners import ByClass, Conditioner, Unconditional, text_conditioner
from .configurations import (
    AUTOENCODERS,
    LORA_PIPELINES,
    PICTURE,
    PLAIN_NETWORKS,
    TEXT_PIPELINES,
)
from .folder_schedule import scheduler_of
from .hub import config_folder_of, folder_of, local_folder, resolved_revision
from .loras import add_loras, check_loras
from .model import Model
from .parts import Parts, first_line, read_parts
from .schedulers import Scheduler
from .sizes import check_weights_suffice
from .text_encoders import check_text_width, check_unexpected, text_length, text_pipeline
from .weight_files import loading_options

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
AUTO = "auto"


def load_model(
    name_or_folder: str,
    device: str = "cpu",
    dtype: str = "float32",
    revision: str | None = None,
    *,
    lora: str | Lora | Sequence[str | Lora] = (),
    scheduler: str | Mapping[str, Any] | None = None,
) -> Model:
    """Loads a model that is ready to run.

    It is named by card, diffusers folder, hub id or Stable Diffusion file.

    Args:
        name_or_folder: A card's name (``python -m hcache models`` lists them), a folder with
            ``model_index.json`` or a bare U-Net folder, a hub id ``owner/name``, or a
            ``.safetensors`` checkpoint of Stable Diffusion.
        device: The name in PyTorch: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; or ``auto``, the best
            available.
        dtype: The dtype of the computation: ``float32``, ``float16`` or ``bfloat16``.
        revision: A branch, tag or commit of a hub id.
        lora: One LoRA or several to add to the weights, each as ``FOLDER_OR_FILE[:scale]``.
        scheduler: The noise schedule of a model whose files contain none: a name in
            :data:`hcache.noise_schedules.NAMED`, a folder or file with ``scheduler_config.json``,
            or the contents of such a file.

    Raises:
        UnknownModelError: no model has that name. The message suggests the nearest names.
        ModelError: the model cannot be loaded or is not supported, or a LoRA does not match it.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    device = best_device() if device == AUTO else device
    card, loras, stated = find_card(name_or_folder), as_loras(lora), as_schedule(scheduler)
    if card.file is not None:
        return load_checkpoint(card, device, DTYPES[dtype], loras, stated)
    parts = read_parts(folder_of(card, revision), card.name)
    check_text_width(parts, card.name)
    # refuse before weights are read
    check_loras(loras, parts.pipeline, LORA_PIPELINES, card.name)
    schedule, anatomy = scheduler_of(parts, stated), _anatomy(parts, card.name)
    check_weights_suffice(anatomy.parameters, parts.network, f"the network of {card.name}")
    network = _load_module(NETWORKS[parts.config["_class_name"]], parts.network, dtype, card.name)
    network = _placed(network, device)
    codec = _load_codec(parts, device, dtype, card.name)
    return Model(
        card=card,
        network=network,
        scheduler=schedule,
        anatomy=anatomy,
        codec=codec,
        conditioner=_conditioner(parts, network, codec, device, dtype, loras),
        revision=resolved_revision(card),
        loras=loras,
        stated=stated,
    )


def _load_codec(parts: Parts, device: str, dtype: str, name: str) -> Codec:
    """Returns the converter between x and pictures: the autoencoder of a latent model, or the
    identity.

    ``name`` is the model's name in errors.
    """
    if parts.codec is None:
        return Identity()
    kind = AUTOENCODERS[parts.codec_config["_class_name"]]
    size = _parameters(kind, parts.codec_config, name)
    check_weights_suffice(size, parts.codec, f"the autoencoder of {name}")
    loaded = _load_module(kind, parts.codec, codec_dtype(kind, parts.codec_config, dtype), name)
    is_xl = parts.pipeline == "StableDiffusionXLPipeline"
    return Autoencoder(_placed(loaded, device), by_moments=is_xl)


def load_for(spec: RunSpec, device: str, provenance: Mapping[str, Any] | None = None) -> Model:
    """Loads the model of a run.

    It gets the run's LoRAs and its given schedule.

    Args:
        spec: The run.
        device: As for :func:`load_model`.
        provenance: The provenance of an existing run. Older runs could start without a given
            schedule, and theirs is in the provenance.
    """
    return load_model(
        spec.model,
        device,
        spec.dtype,
        lora=spec.loras,
        scheduler=stated_schedule(spec, provenance or {}),
    )


def stated_schedule(spec: RunSpec, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schedule that was given for a run.

    It is {} if the model's own files contain it.
    """
    made_by = provenance.get("scheduler")
    if spec.scheduler or not isinstance(made_by, Mapping):
        return dict(spec.scheduler)
    card = find_card(spec.model)
    folder = None if card.file else local_folder(card)
    if folder is None or schedule_file(folder):
        return {}
    return {"_class_name": "DDIMScheduler", **made_by}


def as_loras(given: str | Lora | Sequence[str | Lora]) -> tuple[Lora, ...]:
    """Returns LoRAs from any of their forms.

    They may be one or several, by name or already resolved.
    """
    several = [given] if isinstance(given, str | Lora) else given
    return tuple(find_lora(each) if isinstance(each, str) else pinned(each) for each in several)


def as_schedule(given: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a given schedule as a configuration, or {}.

    It may be a name or a configuration.
    """
    return find_schedule(given) if isinstance(given, str) else dict(given or {})


def best_device() -> str:
    """Returns ``cuda`` or ``mps`` if available, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_anatomy(
    name_or_folder: str,
    *,
    lora: str | Lora | Sequence[str | Lora] = (),
    scheduler: str | Mapping[str, Any] | None = None,
) -> Anatomy:
    """Returns a model's sites from its configuration alone.

    No weights are read, and a card needs no network. It refuses the same configurations as
    :func:`load_model`.
    """
    card, loras, stated = find_card(name_or_folder), as_loras(lora), as_schedule(scheduler)
    parts = _configured_parts(card)
    if not card.file:
        scheduler_of(parts, stated)  # refuse models that cannot be sampled already here
    elif stated:
        schedule_of_file(card, scheduler_of(parts), stated)
    check_loras(loras, parts.pipeline, LORA_PIPELINES, card.name)
    check_text_width(parts, card.name)
    return _anatomy(parts, card.name)


def check_loras_of(name_or_folder: str, loras: Sequence[Lora]) -> None:
    """Checks that LoRAs can be added to a model.

    It reads only the model's configuration.

    Raises:
        ModelError: it takes none, peft is missing, or a file is not a LoRA.
    """
    card = find_card(name_or_folder)
    check_loras(loras, _configured_parts(card).pipeline, LORA_PIPELINES, card.name)


def _parameters(kind: Any, config: Mapping[str, Any], name: str) -> int:
    """Returns the number of parameters of a configuration's network, which is built on the meta
    device, without memory.
    """
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in kind.from_config(dict(config)).parameters())
    except Exception as error:  # noqa: BLE001 - absurd sizes make diffusers raise arbitrary errors
        raise ModelError(
            f"the {kind.__name__} of {name} cannot be built: {first_line(error)}"
        ) from error


def _anatomy(parts: Parts, name: str) -> Anatomy:
    try:
        latent, tokens = _latent_side(parts), text_length(parts)
        return anatomy_of_config(parts.config, parts.pixels, latent, parts.beside, tokens)
    except Exception as error:  # noqa: BLE001 - absurd sizes make diffusers raise arbitrary errors
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the network of {name} cannot be built: {first_line(error)}") from error


def load_scheduler(
    name_or_folder: str, scheduler: str | Mapping[str, Any] | None = None
) -> Scheduler:
    """Returns the noise schedule of a model from its configuration."""
    card, stated = find_card(name_or_folder), as_schedule(scheduler)
    parts = _configured_parts(card)
    if card.file:
        return schedule_of_file(card, scheduler_of(parts), stated)
    return scheduler_of(parts, stated)


def _configured_parts(card: Card) -> Parts:
    folder = configuration_of(card) if card.file else config_folder_of(card)
    return read_parts(folder, card.name)


def _load_module(kind: Any, folder: Path, dtype: str, name: str) -> nn.Module:
    """Loads the weights: from safetensors if there are any, and otherwise from a checkpoint without
    executing code in it.
    """
    try:
        module, report = kind.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            low_cpu_mem_usage=False,
            output_loading_info=True,
            local_files_only=True,
            **loading_options(folder),
        )
    except Exception as error:  # noqa: BLE001 - whatever a spoilt file makes a library raise
        raise ModelError(
            f"the {kind.__name__} of {name} cannot be loaded: {first_line(error)}"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"the weights in {folder} lack {len(missing)} tensors that the configuration asks for, "
            f"first {missing[0]}; the folder is incomplete"
        )
    check_unexpected(report["unexpected_keys"], folder)
    return module.eval().requires_grad_(False)


def _placed(module: nn.Module, device: str) -> nn.Module:
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used: {first_line(error)}") from error


def _latent_side(parts: Parts) -> int | None:
    """Returns the latent side of FLUX, which its autoencoder contains and its transformer
    does not.
    """
    size = parts.codec_config.get("sample_size")
    return size // parts.pixels if parts.codec and isinstance(size, int) else None


def _conditioner(
    parts: Parts,
    network: nn.Module,
    codec: Codec,
    device: str,
    dtype: str,
    loras: Sequence[Lora],
) -> Conditioner:
    """Returns the conditioner for prompts or classes. LoRAs are added here, because they also
    change text encoders.
    """
    if (without_text := _conditioner_without_text(parts.config)) is not None:
        return without_text
    if parts.pipeline not in TEXT_PIPELINES:
        raise ModelError(
            f"{parts.folder} holds a text-conditional model of pipeline"
            f" {parts.pipeline or 'unknown'}; expected one of {', '.join(TEXT_PIPELINES)}, with its"
            " text encoder"
        )
    for part in parts.listed:
        if part.startswith(("text_encoder", "tokenizer")) and not (parts.folder / part).is_dir():
            raise ModelError(
                f"{parts.folder} lacks {part}/, which its model_index.json names; complete it"
            )
    if not isinstance(codec, Autoencoder):
        raise ModelError(
            f"{parts.folder} lacks vae/, through which its pipeline {parts.pipeline} draws;"
            " complete it"
        )
    pipeline = text_pipeline(parts, network, codec, device, DTYPES[dtype])
    add_loras(pipeline, loras)
    return text_conditioner(pipeline, _nothing_beside(parts, codec, device))


def _nothing_beside(parts: Parts, codec: Autoencoder, device: str) -> torch.Tensor | None:
    """Returns channels (1, c, h, w) besides x_t's for an absent picture, or None if there are none.

    For inpainting they are a mask over everything and a grey masked picture. For InstructPix2Pix
    they are zeros.
    """
    if not parts.beside:
        return None
    height, width = _anatomy(parts, str(parts.folder)).x[1:]
    if parts.beside == PICTURE:
        return torch.zeros(1, PICTURE, height, width, device=device)
    sides = (height * parts.pixels, width * parts.pixels)
    grey = codec.encode(torch.zeros(1, 3, *sides, device=device))
    return torch.cat([torch.ones(1, 1, height, width, device=device), grey], 1)


def _conditioner_without_text(config: Mapping[str, Any]) -> Conditioner | None:
    """Returns the conditioner of a model that takes classes or nothing, from its configuration, or
    None if it takes text.
    """
    if config["_class_name"] == "DiTTransformer2DModel":
        classes = config.get("num_embeds_ada_norm") or 1000
        return ByClass(classes, null=classes)
    if config["_class_name"] in PLAIN_NETWORKS:
        classes = config.get("num_class_embeds")
        takes = config.get("class_embed_type") in ("timestep", "identity") or classes is not None
        return ByClass(classes or 2**31) if takes else Unconditional()
    return None


def check_conditioning(name_or_folder: str, conditioning: Conditioning) -> None:
    """Makes sure that a model takes a conditioning.

    It checks what the model's configuration shows.

    Raises:
        UsageError: it takes other classes, no classes, or no guidance. For a model that takes text,
            nothing is checked here.
    """
    if (conditioner := load_conditioner(name_or_folder)) is not None:
        conditioner(conditioning.rows([0]), 1, torch.device("cpu"))


def load_conditioner(name_or_folder: str) -> Conditioner | None:
    """Returns a model's conditioner from its configuration alone.

    It is None if the model takes text.
    """
    return _conditioner_without_text(_configured_parts(find_card(name_or_folder)).config)
