"""The noise schedule of a model folder: its own, or the one that the user gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelError
from ..noise_schedules import NAMED, schedule_file
from .configurations import PICTURE
from .parts import Parts, read_config
from .schedulers import FLOWS, Scheduler, check_kind, scheduler_from


def scheduler_of(parts: Parts, stated: Mapping[str, Any] | None = None) -> Scheduler:
    """Returns the model's noise schedule, as DDIM or as a flow.

    If the model has none, it is the given one.

    Raises:
        ModelError: DDIM does not sample from such a schedule (see :mod:`hcache.models.schedulers`),
            the model's files contain none and none is given, or they contain one and another is
            given.
    """
    network = parts.config["_class_name"]
    named = (parts.index.get("scheduler") or [None, None])[1]
    if named is not None:
        check_kind(named, str(parts.folder / "model_index.json"), network=network)
    own = schedule_file(parts.folder)
    if own and stated:
        raise ModelError(
            f"{parts.folder} contains its noise schedule ({own.relative_to(parts.folder)}); leave"
            " --scheduler out"
        )
    if own:
        config = read_config(own) | _set_by_pipeline(parts)
        return scheduler_from(config, str(own), network=network)
    if named is not None:
        raise ModelError(
            f"{parts.folder} lacks scheduler/scheduler_config.json, which its model_index.json"
            " names; complete the folder"
        )
    if network in FLOWS:
        raise ModelError(
            f"{parts.folder} has no scheduler/scheduler_config.json; expected that of a flow, with"
            " its shift"
        )
    if not stated:
        raise ModelError(
            f"{parts.folder} does not contain its noise schedule (no scheduler_config.json, there"
            " or in scheduler/); give the one that it was trained with: --scheduler"
            f" {' or '.join(NAMED)}, or --scheduler FOLDER_OR_FILE with a scheduler_config.json"
        )
    if parts.codec is not None and stated.get("clip_sample"):
        raise ModelError(
            "the given noise schedule clips the predicted x_0 to [-1, 1] (clip_sample), which is"
            f" for pixels, and {parts.folder} works on latents; give a scheduler_config.json with"
            " clip_sample: false"
        )
    return scheduler_from(
        {**stated, **_set_by_pipeline(parts)}, "the stated schedule (--scheduler)"
    )


def _set_by_pipeline(parts: Parts) -> dict[str, Any]:
    """Returns the values that Stable Diffusion's own pipeline sets in every scheduler with such a
    field, whatever its file says.

    The inpainting pipeline sets only the offset, and that of InstructPix2Pix sets nothing.
    """
    if parts.pipeline != "StableDiffusionPipeline" or parts.beside == PICTURE:
        return {}
    return {"steps_offset": 1} if parts.beside else {"steps_offset": 1, "clip_sample": False}
