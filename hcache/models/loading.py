"""From a name to a model. One code path for what ships with hcache, any folder, and the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..cards import Card, find_card, pinned
from ..errors import ModelError, UsageError
from ..loras import find_lora
from ..noise_schedules import NAMED, find_schedule
from ..specs import Anatomy, Lora, RunSpec
from .anatomy import NETWORKS, TRANSFORMERS, anatomy_of_config
from .checkpoint import configuration_of, load_checkpoint, schedule_of_file
from .codecs import Autoencoder, Codec, Identity, codec_dtype
from .conditioners import ByClass, Conditioner, Unconditional, text_conditioner
from .configurations import (
    AUTOENCODERS,
    LORA_PIPELINES,
    PLAIN_NETWORKS,
    TEXT_PIPELINES,
    check_codec,
    check_network,
    network_class,
    pipeline_of,
)
from .hub import config_folder_of, folder_of, local_folder, resolved_revision
from .loras import add_loras, check_loras
from .model import Model
from .schedulers import Scheduler, check_kind, scheduler_from
from .sizes import check_sizes, check_weights_suffice
from .weight_files import loading_options, weights_in

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a model folder holds: the folders of network and autoencoder (None: pixels), with their
    configurations.

    ``pipeline``: what it is run as. ``index``: its ``model_index.json``; ``listed``: the parts
    which that names.
    """

    folder: Path
    network: Path
    config: dict[str, Any]
    codec: Path | None
    codec_config: dict[str, Any]
    pipeline: str
    listed: tuple[str, ...]
    index: dict[str, Any]

    @property
    def pixels(self) -> int:
        """A side of the picture for one of x."""
        return 2 ** (len(self.codec_config["block_out_channels"]) - 1) if self.codec else 1


def load_model(
    name_or_folder: str,
    device: str = "cpu",
    dtype: str = "float32",
    revision: str | None = None,
    *,
    lora: str | Lora | Sequence[str | Lora] = (),
    scheduler: str | Mapping[str, Any] | None = None,
) -> Model:
    """Loads a model by card name, diffusers folder, hub id or Stable Diffusion file, ready to be
    run.

    Args:
        name_or_folder: A card's name (``python -m hcache models`` lists them), a folder with
            ``model_index.json`` or a bare U-Net folder, a hub id ``owner/name``, or a
            ``.safetensors`` checkpoint of Stable Diffusion.
        device: As PyTorch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; or ``auto``, the best
            there is.
        dtype: To compute in: ``float32``, ``float16`` or ``bfloat16``.
        revision: Of a hub id: a branch, tag or commit.
        lora: One LoRA or several to add to the weights, each as ``FOLDER_OR_FILE[:scale]``.
        scheduler: The noise schedule of a model whose files say none: a name in
            :data:`hcache.noise_schedules.NAMED`, a folder or file with ``scheduler_config.json``,
            or what such a file holds.

    Raises:
        UnknownModelError: nothing goes by that name; the message suggests the nearest names.
        ModelError: something does, but cannot be loaded or is not a model that hcache knows; or a
            LoRA does not fit it.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    device = best_device() if device == AUTO else device
    card, loras, stated = find_card(name_or_folder), as_loras(lora), as_schedule(scheduler)
    if card.file is not None:
        return load_checkpoint(card, device, DTYPES[dtype], loras, stated)
    parts = read_parts(folder_of(card, revision), card.name)
    _check_text_width(parts, card.name)
    # what is refused is refused before weights are read
    check_loras(loras, parts.pipeline, LORA_PIPELINES, card.name)
    schedule, anatomy = scheduler_of(parts, stated), _anatomy(parts, card.name)
    check_weights_suffice(anatomy.parameters, parts.network, f"the network of {card.name}")
    network = _load_module(NETWORKS[parts.config["_class_name"]], parts.network, dtype, card.name)
    network = _placed(network, device)
    codec: Codec = Identity()
    if parts.codec is not None:
        kind = AUTOENCODERS[parts.codec_config["_class_name"]]
        size = _parameters(kind, parts.codec_config, card.name)
        check_weights_suffice(size, parts.codec, f"the autoencoder of {card.name}")
        loaded = _load_module(
            kind, parts.codec, codec_dtype(kind, parts.codec_config, dtype), card.name
        )
        codec = Autoencoder(
            _placed(loaded, device), by_moments=parts.pipeline == "StableDiffusionXLPipeline"
        )
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


def load_for(spec: RunSpec, device: str, provenance: Mapping[str, Any] | None = None) -> Model:
    """The model that a run asks for: with its LoRAs, and by the schedule that was stated for it.

    Args:
        spec: The run.
        device: As for :func:`load_model`.
        provenance: That of the run if it is there already. Runs of before could be begun without a
            stated schedule; what they went by stands in it.
    """
    return load_model(
        spec.model,
        device,
        spec.dtype,
        lora=spec.loras,
        scheduler=stated_schedule(spec, provenance or {}),
    )


def stated_schedule(spec: RunSpec, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The schedule that was stated for a run; {} where the model's own files say it."""
    made_by = provenance.get("scheduler")
    if spec.scheduler or not isinstance(made_by, Mapping):
        return dict(spec.scheduler)
    card = find_card(spec.model)
    folder = None if card.file else local_folder(card)
    if folder is None or _schedule_file(folder):
        return {}
    return {"_class_name": "DDIMScheduler", **made_by}


def as_loras(given: str | Lora | Sequence[str | Lora]) -> tuple[Lora, ...]:
    """LoRAs as they may be given, one or several, by name or found already."""
    several = [given] if isinstance(given, str | Lora) else given
    return tuple(find_lora(each) if isinstance(each, str) else pinned(each) for each in several)


def as_schedule(given: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """A schedule as it may be stated, by name or as a configuration; {} if none is."""
    return find_schedule(given) if isinstance(given, str) else dict(given or {})


def best_device() -> str:
    """``cuda`` or ``mps`` if there is one, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_anatomy(
    name_or_folder: str,
    *,
    lora: str | Lora | Sequence[str | Lora] = (),
    scheduler: str | Mapping[str, Any] | None = None,
) -> Anatomy:
    """The sites of a model from its configuration alone.

    No weights are read, and for a card no network is needed. What :func:`load_model` would refuse
    for its configuration is refused here.
    """
    card, loras, stated = find_card(name_or_folder), as_loras(lora), as_schedule(scheduler)
    parts = _configured_parts(card)
    if not card.file:
        scheduler_of(parts, stated)  # so that what cannot be sampled is refused here already
    elif stated:
        schedule_of_file(card, scheduler_of(parts), stated)
    check_loras(loras, parts.pipeline, LORA_PIPELINES, card.name)
    _check_text_width(parts, card.name)
    return _anatomy(parts, card.name)


def _parameters(kind: Any, config: Mapping[str, Any], name: str) -> int:
    """How many a network of a configuration has; it is built on the meta device, without memory."""
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in kind.from_config(dict(config)).parameters())
    except Exception as error:  # noqa: BLE001 - absurd sizes make diffusers raise whatever comes
        raise ModelError(
            f"the {kind.__name__} of {name} cannot be built: {_first_line(error)}"
        ) from error


def _anatomy(parts: Parts, name: str) -> Anatomy:
    try:
        return anatomy_of_config(parts.config, parts.pixels, _latent_side(parts))
    except Exception as error:  # noqa: BLE001 - absurd sizes make diffusers raise whatever comes
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the network of {name} cannot be built: {_first_line(error)}") from error


def load_scheduler(
    name_or_folder: str, scheduler: str | Mapping[str, Any] | None = None
) -> Scheduler:
    """The noise schedule of a model from its configuration alone, likewise."""
    card, stated = find_card(name_or_folder), as_schedule(scheduler)
    parts = _configured_parts(card)
    if card.file:
        return schedule_of_file(card, scheduler_of(parts), stated)
    return scheduler_of(parts, stated)


def _configured_parts(card: Card) -> Parts:
    folder = configuration_of(card) if card.file else config_folder_of(card)
    return read_parts(folder, card.name)


def read_parts(folder: Path, name: str) -> Parts:
    """What lies where in a model folder.

    Raises:
        ModelError: a part is missing, or of a kind that hcache does not know.
    """
    index = (
        _read_config(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    )
    network, codec = _find(folder, ("unet", "transformer")), _find(folder, ("vae", "vqvae"))
    if network is None:
        raise ModelError(
            f"{folder} has none of unet/config.json, transformer/config.json and config.json: there"
            " is no diffusion model in it"
        )
    config = _read_config(network / "config.json")
    config["_class_name"] = kind = network_class(config)
    pipeline = pipeline_of(index, kind, name)
    if kind not in NETWORKS:
        raise ModelError(f"{name} is a {kind}; expected one of {', '.join(NETWORKS)}")
    codec_config = _read_config(codec / "config.json") if codec else {}
    if codec:
        check_codec(codec_config, pipeline, name)
    for part in ("vae", "vqvae"):
        if codec is None and (index.get(part) or [None])[0] is not None:
            raise ModelError(
                f"{folder} misses {part}/config.json, which its model_index.json names; complete"
                " the folder"
            )
    check_network(config, NETWORKS[kind], codec_config, name)
    listed = tuple(
        part
        for part, kind in index.items()
        if isinstance(kind, list) and kind and kind[0] is not None
    )
    return Parts(
        folder=folder,
        network=network,
        config=config,
        codec=codec,
        codec_config=codec_config,
        pipeline=pipeline,
        listed=listed,
        index=index,
    )


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The part's own folder; of a network also the model folder itself, as old repositories have
    it.
    """
    for name in names:
        if (folder / name / "config.json").is_file():
            return folder / name
    return folder if "unet" in names and (folder / "config.json").is_file() else None


def _load_module(kind: Any, folder: Path, dtype: str, name: str) -> nn.Module:
    """The weights: safetensors if there are any, else a checkpoint read without running any code
    in it.
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
            f"the {kind.__name__} of {name} cannot be loaded: {_first_line(error)}"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"the weights in {folder} lack {len(missing)} tensors that the configuration asks for, "
            f"first {missing[0]}; the folder is incomplete"
        )
    _check_unexpected(report["unexpected_keys"], folder)
    return module.eval().requires_grad_(False)


HARMLESS = re.compile(
    r"(^|\.)(position_ids|logit_scale)$|^(vision_model|visual_projection|text_projection)\."
)
"""Tensors of a text encoder's file that take no part in encoding text: counters, and the other
half of CLIP.
"""


def _check_unexpected(names: Iterable[str], folder: Path) -> None:
    """What a file holds and no network has a place for would be left out: a LoRA, an adapter,
    another kind of model.
    """
    found = sorted(names)
    if found:
        raise ModelError(
            f"the weights in {folder} hold {len(found)} tensors that its network has no place for,"
            f" first {found[0]}; expected the network's own alone. Merge what was added to it (a"
            " LoRA, an adapter) and save it again"
        )


def _placed(module: nn.Module, device: str) -> nn.Module:
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used: {_first_line(error)}") from error


def _latent_side(parts: Parts) -> int | None:
    """A side of FLUX's latent, which its transformer does not name but its autoencoder does."""
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
    """What makes tensors of prompts or classes. LoRAs, which change text encoders too, are added
    here.
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
    pipeline = _text_pipeline(parts, network, codec, device, dtype)
    add_loras(pipeline, loras)
    return text_conditioner(pipeline)


def _conditioner_without_text(config: Mapping[str, Any]) -> Conditioner | None:
    """That of a model which takes classes or nothing, from its configuration; None if it takes
    text.
    """
    if config["_class_name"] == "DiTTransformer2DModel":
        classes = config.get("num_embeds_ada_norm") or 1000
        return ByClass(classes, null=classes)
    if config["_class_name"] in PLAIN_NETWORKS:
        classes = config.get("num_class_embeds")
        takes = config.get("class_embed_type") in ("timestep", "identity") or classes is not None
        return ByClass(classes or 2**31) if takes else Unconditional()
    return None


def load_conditioner(name_or_folder: str) -> Conditioner | None:
    """What a model takes beside x_t, from its configuration alone; None if that is text.

    Call it with a conditioning to have what the model does not take refused.
    """
    return _conditioner_without_text(_configured_parts(find_card(name_or_folder)).config)


def _text_pipeline(
    parts: Parts, network: nn.Module, codec: Autoencoder, device: str, dtype: str
) -> Any:
    """The model's own pipeline around its network and autoencoder, with its text encoders."""
    import diffusers  # whose pipelines bring transformers with them, which only text needs

    config_kind, have = parts.config["_class_name"], _text_encoders(parts, dtype)
    have |= {
        "transformer" if config_kind in TRANSFORMERS else "unet": network,
        "vae": codec.network,
    }
    unused = (
        {} if config_kind in TRANSFORMERS else {"image_encoder": None, "feature_extractor": None}
    )
    if parts.pipeline == "StableDiffusionPipeline":
        unused |= {"safety_checker": None, "requires_safety_checker": False}
    encoders = [
        weights_in(parts.folder / part) for part in parts.listed if part.startswith("text_encoder")
    ]
    variants = {found.variant for found in encoders if found} - {None}
    unused |= {"variant": variants.pop()} if len(variants) == 1 else {}
    try:
        return (
            getattr(diffusers, parts.pipeline)
            .from_pretrained(
                parts.folder,
                dtype=DTYPES[dtype],
                local_files_only=True,
                low_cpu_mem_usage=False,
                **have,
                **unused,
            )
            .to(device)
        )
    except Exception as error:  # noqa: BLE001 - a missing tokenizer, a spoilt encoder: all say it in their own way
        raise ModelError(
            f"the text encoder in {parts.folder} cannot be loaded: {_first_line(error)}"
        ) from error


def _check_text_width(parts: Parts, name: str) -> None:
    """The U-Net must attend to what its text encoders give: of SDXL both, one beside the other."""
    files = [
        parts.folder / part / "config.json"
        for part in parts.listed
        if part.startswith("text_encoder")
    ]
    for file in filter(Path.is_file, files):
        check_sizes(_read_config(file), f"the text encoder in {file.parent}")
    field = TEXT_WIDTHS.get(parts.config["_class_name"])
    if field is None or not files or not all(f.is_file() for f in files):
        return
    configs = [_read_config(file) for file in files]
    given = [config.get("hidden_size", config.get("d_model")) for config in configs]
    wanted = parts.config.get("encoder_hid_dim") or parts.config.get(field, 1280)
    known = [width for width in given if isinstance(width, int)]
    if isinstance(wanted, int) and len(known) == len(given) and sum(known) != wanted:
        raise ModelError(
            f"the network of {name} attends to text of width {wanted} ({field}), and"
            f" its text encoders give {' + '.join(map(str, given))}; expected parts of one model"
        )


TEXT_WIDTHS = {
    "UNet2DConditionModel": "cross_attention_dim",
    "PixArtTransformer2DModel": "caption_channels",
}
"""The field in which a network says how wide the text is that it takes."""


def _text_encoders(parts: Parts, dtype: str) -> dict[str, nn.Module]:
    """The text encoders by their part's name, each with the very tensors that it asks for."""
    import transformers

    found = {}
    for part in (part for part in parts.listed if part.startswith("text_encoder")):
        folder, kind = parts.folder / part, parts.index[part][1]
        try:
            module, report = getattr(transformers, kind).from_pretrained(
                folder, dtype=DTYPES[dtype], output_loading_info=True, local_files_only=True
            )
        except Exception as error:  # noqa: BLE001 - whatever a spoilt file makes a library raise
            raise ModelError(
                f"the text encoder in {folder} cannot be loaded: {_first_line(error)}"
            ) from error
        if missing := sorted(report["missing_keys"]):
            raise ModelError(
                f"the weights in {folder} lack {len(missing)} tensors, first {missing[0]}; "
                "the folder is incomplete"
            )
        _check_unexpected(
            (name for name in report["unexpected_keys"] if not HARMLESS.search(name)), folder
        )
        found[part] = module.eval().requires_grad_(False)
    return found


def scheduler_of(parts: Parts, stated: Mapping[str, Any] | None = None) -> Scheduler:
    """The model's own noise schedule, as DDIM or as a flow; or the stated one, if it has none.

    Raises:
        ModelError: it is another kind of schedule than DDIM samples from (see
            :mod:`hcache.models.schedulers`); or the model's files say none and none is stated, or
            they say one and another is stated.
    """
    flux = parts.config["_class_name"] == "FluxTransformer2DModel"
    named = (parts.index.get("scheduler") or [None, None])[1]
    if named is not None:
        check_kind(named, str(parts.folder / "model_index.json"), flux=flux)
    own = _schedule_file(parts.folder)
    if own and stated:
        raise ModelError(
            f"{parts.folder} says its noise schedule itself ({own.relative_to(parts.folder)});"
            " leave --scheduler out"
        )
    if own:
        return scheduler_from(_read_config(own) | _set_by_pipeline(parts), str(own), flux=flux)
    if named is not None:
        raise ModelError(
            f"{parts.folder} misses scheduler/scheduler_config.json, which its model_index.json"
            " names; complete the folder"
        )
    if flux:
        raise ModelError(
            f"{parts.folder} has no scheduler/scheduler_config.json; expected that of a flow, with"
            " its shift"
        )
    if not stated:
        raise ModelError(
            f"{parts.folder} says nothing of its noise schedule (no scheduler_config.json, there or"
            " in scheduler/); state the one that it was trained with: --scheduler"
            f" {' or '.join(NAMED)}, or --scheduler FOLDER_OR_FILE with a scheduler_config.json"
        )
    if parts.codec is not None and stated.get("clip_sample"):
        raise ModelError(
            "the stated noise schedule clips the predicted x_0 to [-1, 1] (clip_sample), which is"
            f" for pixels, and {parts.folder} works on latents; give a scheduler_config.json with"
            " clip_sample: false"
        )
    return scheduler_from(
        {**stated, **_set_by_pipeline(parts)}, "the stated schedule (--scheduler)"
    )


def _schedule_file(folder: Path) -> Path | None:
    """Where a model folder says its noise schedule."""
    places = (folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json")
    return next((path for path in places if path.is_file()), None)


def _set_by_pipeline(parts: Parts) -> dict[str, Any]:
    """What Stable Diffusion's own pipeline sets in every scheduler that has such a field,
    whatever its file says.
    """
    if parts.pipeline != "StableDiffusionPipeline":
        return {}
    return {"steps_offset": 1, "clip_sample": False}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(
            f"{path} is not valid JSON: expected an object, got {type(config).__name__}"
        )
    return config


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
