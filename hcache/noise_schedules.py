"""Noise schedules that a user gives for a model whose files contain none. It uses no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError

_DDPM = {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "prediction_type": "epsilon"}

NAMED: Mapping[str, Mapping[str, Any]] = {
    "ddpm-linear": {
        **_DDPM,
        "beta_schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "clip_sample": True,
    },
    "ddpm-cosine": {**_DDPM, "beta_schedule": "squaredcos_cap_v2", "clip_sample": True},
    "stable-diffusion": {
        **_DDPM,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    },
}
"""Schedules by name. The first two clip the predicted x_0 to [-1, 1], so they are for pixels.

References:
    Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020),
    https://arxiv.org/abs/2006.11239 (linear)
    Improved Denoising Diffusion Probabilistic Models (Nichol, Dhariwal, 2021),
    https://arxiv.org/abs/2102.09672 (cosine)
    High-Resolution Image Synthesis with Latent Diffusion Models (Rombach, Blattmann, Lorenz, Esser,
    Ommer, 2022), https://arxiv.org/abs/2112.10752 (Stable Diffusion)
"""

FILE = "scheduler_config.json"

MOST_BYTES = 2**20


def schedule_file(folder: Path) -> Path | None:
    """Returns the file of a model folder's noise schedule.

    It is None if there is none.
    """
    places = (folder / "scheduler" / FILE, folder / FILE)
    return next((path for path in places if path.is_file()), None)


def name_of(config: Mapping[str, Any]) -> str:
    """Returns the name of a schedule in ``NAMED``, or ""."""
    return next((name for name, known in NAMED.items() if dict(known) == dict(config)), "")


def find_schedule(text: str) -> dict[str, Any]:
    """Returns the scheduler's configuration of a name, folder or file.

    Args:
        text: A name in ``NAMED``, a ``scheduler_config.json``, or a folder that holds one, by
            itself or in ``scheduler/``.

    Raises:
        UsageError: the text is none of them, or the file is not a configuration.
    """
    if text in NAMED:
        return dict(NAMED[text])
    path = Path(text).expanduser()
    found = path if path.is_file() else schedule_file(path)
    if found is None:
        raise UsageError(
            f"--scheduler takes one of {', '.join(NAMED)}, or a folder or file with"
            f" {FILE}; got {text!r}"
        )
    try:
        with found.open("rb") as file:
            config = json.loads(file.read(MOST_BYTES).decode("utf-8"))
        if not isinstance(config, dict) or "_class_name" not in config:
            raise ValueError("it names no _class_name")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{found} is not a scheduler's configuration: {error}") from error
    return {
        name: value
        for name, value in config.items()
        if (name == "_class_name" or not name.startswith("_")) and value != -math.inf
    }
