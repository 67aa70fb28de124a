"""Stable Diffusion in one file, read by diffusers' own single-file loader.

A file holds weights and no configuration. Its tensors show the width of the text and the channels
of the picture. Marks of trainers (the tensors ``v_pred`` and ``ztsnr``, entries of the metadata)
show what it predicts. Everything else comes from the configuration of a model of its kind, or from
the card's ``config``. The choice is reported.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, SchedulerMixin
from safetensors import SafetensorError, safe_open

from ..cards import PACKAGE, Card
from ..errors import ModelError
from ..specs import Lora
from .anatomy import anatomy_of
from .codecs import Autoencoder, codec_dtype
from .conditioners import text_conditioner
from .loras import add_loras, check_loras
from .model import Model
from .schedulers import Scheduler, scheduler_from

_log = logging.getLogger(__name__)

CROSS_ATTENTION = "model.diffusion_model.{}.transformer_blocks.0.attn2.to_k.weight"

KINDS = {
    768: "stable-diffusion-v1-5/stable-diffusion-v1-5",
    1024: "stabilityai/stable-diffusion-2-1",
    2048: "stabilityai/stable-diffusion-xl-base-1.0",
}
"""Maps the width of the text that the U-Net attends to, to the card with the configuration of the
checkpoint.
"""


CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"

CONDITIONED = {
    5: "depth (Stable Diffusion 2 depth)",
    7: "a small picture (the x4 upscaler)",
    8: "another picture (InstructPix2Pix)",
    9: "a mask and a masked picture (inpainting)",
}
"""Maps the number of channels that a U-Net takes, to the meaning of those beyond the latent's 4."""

BASE, FULL_SIZE = 64, 96
"""The latent side of Stable Diffusion 2.x-base, which predicts noise, and of 2.x, which
predicts v.
"""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The marks in a file.

    ``predicts_v`` is None if the file does not say. ``side`` is that of its latent, or None.
    """

    width: int
    channels: int | None
    predicts_v: bool | None
    zero_snr: bool
    side: int | None

    @property
    def schedule(self) -> dict[str, Any]:
        """Returns the fields of a noise schedule that the file determines."""
        told: dict[str, Any] = {}
        if self.predicts_v is not None:
            told["prediction_type"] = "v_prediction" if self.predicts_v else "epsilon"
        return told | ({"rescale_betas_zero_snr": True} if self.zero_snr else {})


def _file_of(card: Card) -> Path:
    """Returns the file of a single-file card. It may have disappeared since the card was read."""
    if card.file is None:
        raise ModelError(
            f"{card.source} is not a file; expected a checkpoint (.safetensors) on this disk"
        )
    return card.file


def configuration_of(card: Card) -> Path:
    """Returns the folder with the configuration of a checkpoint.

    It is the card's own, or that of the recognised kind.

    Raises:
        ModelError: the file's network cannot be run, is of an unknown kind, or does not match the
            folder.
    """
    file = _file_of(card)
    marks = read_marks(file, bool(card.config))
    if card.config:
        folder = Path(card.config).expanduser()
        _check_against(marks, folder, file)
        return folder
    if marks.width == 1024 and marks.side != FULL_SIZE:
        kinds = "2.x (predicts v, 96 x 96) or 2.x-base (noise, 64 x 64)"
        known = "is 2.x-base" if marks.side == BASE else f"does not say whether it is {kinds}"
        raise ModelError(
            f"{file} is a Stable Diffusion 2 and {known}: give a card of your own (HCACHE_CARDS)"
            " whose config names a folder with its configuration (scheduler/, unet/, vae/,"
            " tokenizer/), such as that of stabilityai/stable-diffusion-2-1-base"
        )
    return PACKAGE / "configs" / KINDS[marks.width].replace("/", "--")


def schedule_of_file(
    card: Card, configured: SchedulerMixin, stated: Mapping[str, Any] | None = None
) -> Scheduler:
    """Returns a configuration's noise schedule with the file's own marks.

    Assumptions are reported.

    Args:
        card: The card of the file.
        configured: The schedule of the configuration.
        stated: The schedule that the user gave, which overrides the configuration's.

    Raises:
        ModelError: the two do not make a supported schedule (see :mod:`hcache.models.schedulers`),
            or the file's own marks contradict the given one.
    """
    config = {"_class_name": type(configured).__name__, **configured.config}
    file = _file_of(card)
    told = read_marks(file, bool(card.config)).schedule
    if stated:
        for name, value in told.items():
            if (given := stated.get(name, _UNSAID[name])) != value:
                raise ModelError(
                    f"{file} is marked with {name} {value}, but the given schedule (--scheduler)"
                    f" has {given}; give one that agrees, or leave it out"
                )
        by_pipeline = {"clip_sample": False, "steps_offset": configured.config.steps_offset}
        return scheduler_from({**stated, **by_pipeline}, "the stated schedule (--scheduler)")
    changed = {name: value for name, value in told.items() if config.get(name) != value}
    whose = card.config or "a model of its kind"
    parts = [
        f"noise schedule {config.get('beta_schedule')} of {whose}, since a single file holds none"
    ]
    if "prediction_type" not in told:
        parts.append(f"prediction {config.get('prediction_type', 'epsilon')} likewise")
    parts += [f"{name} {value} by the file's own mark" for name, value in changed.items()]
    _log.warning("%s: %s", file.name, "; ".join(parts))
    return scheduler_from({**config, **told, "clip_sample": False}, f"the schedule of {file}")


_UNSAID = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
"""The values that diffusers' schedulers assume for missing fields that determine a file's kind."""


def _pipeline_of(card: Card, marks: Marks) -> tuple[Any, dict[str, Any]]:
    """Returns the pipeline's class of a file, and the options to load it with."""
    from diffusers import (  # these import transformers
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
    )

    options: dict[str, Any] = {}
    is_xl = marks.width == 2048
    if card.config:
        options = {"config": card.config, "local_files_only": True}
        is_xl = (Path(card.config).expanduser() / "text_encoder_2").is_dir()
    if is_xl:
        return StableDiffusionXLPipeline, options
    pixels_only = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    return StableDiffusionPipeline, {**options, **pixels_only}


def load_checkpoint(
    card: Card,
    device: str,
    dtype: torch.dtype,
    loras: tuple[Lora, ...] = (),
    stated: Mapping[str, Any] | None = None,
) -> Model:
    """Loads a model from one ``.safetensors`` file.

    It adds LoRAs and uses a schedule, if they are given.

    Raises:
        ModelError: it is not such a checkpoint, or its tokenizer is not on this disk and cannot be
            downloaded.
    """
    file = _file_of(card)
    marks = read_marks(file, bool(card.config))
    configuration_of(card)  # this refuses models that cannot be run
    kind, options = _pipeline_of(card, marks)
    check_loras(loras, kind.__name__, (kind.__name__,), card.name)
    try:
        pipeline = kind.from_single_file(str(file), torch_dtype=dtype, **options).to(device)
    except Exception as error:  # noqa: BLE001 - missing tensors, no network, no tokenizer: each in its own way
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{file} cannot be loaded: {first}. Its tokenizer and configuration come from the hub;"
            " with no network give a card of your own (HCACHE_CARDS) whose config names a folder"
            " with them, of any model of its kind"
        ) from error
    if (
        codec_dtype(AutoencoderKL, pipeline.vae.config, str(dtype).removeprefix("torch."))
        == "float32"
    ):
        pipeline.vae.float()
    add_loras(pipeline, loras)
    for part in (pipeline.unet, pipeline.vae):
        part.eval().requires_grad_(False)
    return Model(
        card=card,
        network=pipeline.unet,
        scheduler=schedule_of_file(card, pipeline.scheduler, stated),
        anatomy=anatomy_of(
            pipeline.unet,
            pipeline.vae_scale_factor,
            tokens=pipeline.text_encoder.config.max_position_embeddings,
        ),
        codec=Autoencoder(pipeline.vae),
        conditioner=text_conditioner(pipeline),
        loras=loras,
        stated=dict(stated or {}),
    )


def read_marks(file: Path, any_width: bool = False) -> Marks:
    """Reads the marks in a single file.

    Only names, shapes and metadata are read.

    Args:
        file: A ``.safetensors`` file.
        any_width: Whether the width of its text may be unknown, because a configuration is named.

    Raises:
        ModelError: it is not a Stable Diffusion of a known kind, or takes more than noise and text.
    """
    try:
        with safe_open(file, "pt") as tensors:
            names = set(tensors.keys())
            metadata = {
                str(k): str(v).strip().lower() for k, v in (tensors.metadata() or {}).items()
            }
            places = [
                CROSS_ATTENTION.format(place) for place in ("input_blocks.1.1", "input_blocks.4.1")
            ]
            shapes = {
                name: tensors.get_slice(name).get_shape() for name in {*places, CONV_IN} & names
            }
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is not a safetensors file that can be read: {error}") from error
    found = [
        shapes[name] for name in places if name in shapes
    ]  # XL attends from its second level on
    width = next(
        (shape[1] for shape in found if len(shape) == 2 and (any_width or shape[1] in KINDS)), None
    )
    if width is None:
        raise ModelError(
            f"{file} is not a Stable Diffusion checkpoint (1.x, 2.x or XL): it has no"
            f" {CROSS_ATTENTION.format('...')} of a known width ({', '.join(map(str, KINDS))})"
        )
    channels = _channels(shapes.get(CONV_IN), file)
    predicts_v = "v_pred" in names or metadata.get("modelspec.prediction_type") == "v"
    predicts_v = predicts_v or metadata.get("ss_v_parameterization") == "true"
    told_noise = metadata.get("modelspec.prediction_type") == "epsilon"
    zero_snr = "ztsnr" in names or metadata.get("ss_zero_terminal_snr") == "true"
    if zero_snr and not predicts_v:
        raise ModelError(
            f"{file} is marked as of a schedule with zero signal at its end (ztsnr) and not as"
            " predicting v (v_pred), without which that has no meaning; the marks contradict each"
            " other"
        )
    return Marks(
        width=width,
        channels=channels,
        zero_snr=zero_snr,
        side=_side(metadata),
        predicts_v=True if predicts_v else False if told_noise else None,
    )


def _channels(shape: list[int] | None, file: Path) -> int | None:
    """Returns the number of channels that the network takes, or None for a file without its first
    layer.
    """
    if shape is None:
        return None
    if len(shape) != 4:
        raise ModelError(
            f"{file} is not a Stable Diffusion checkpoint: {CONV_IN} has shape {tuple(shape)}"
        )
    if shape[1] != 4:
        what = CONDITIONED.get(shape[1], "something that is not known")
        as_folder = (
            ". As a folder in diffusers' format such a model is taken" if shape[1] in (8, 9) else ""
        )
        raise ModelError(
            f"{file} takes {shape[1]} channels: beside the 4 of the latent it is given {what};"
            f" expected a model that takes noise and text alone{as_folder}"
        )
    return shape[1]


def _side(metadata: dict[str, str]) -> int | None:
    """Returns the latent side from the metadata's ``modelspec.resolution``, ``768x768``."""
    side = metadata.get("modelspec.resolution", "").split("x")[0]
    return int(side) // 8 if side.isdecimal() else None


def _check_against(marks: Marks, folder: Path, file: Path) -> None:
    """Checks that the configuration describes a network like the file's."""
    try:
        config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # reading the folder reports this
    for name, seen in (("in_channels", marks.channels), ("cross_attention_dim", marks.width)):
        if seen is not None and config.get(name) != seen:
            raise ModelError(
                f"{file} has {name} {seen}, and the configuration that its card names, {folder},"
                f" has {config.get(name)}: name that of a model of the file's kind"
            )
