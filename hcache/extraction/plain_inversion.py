"""How well plain DDIM inversion under guidance would do, beside one that survives guidance."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch

from ..cache.labels import save_labels
from ..cache.reading import Run
from ..errors import UsageError
from ..models.model import Model
from ..sampling.inversion import invert
from ..sampling.loop import denoise
from .shard import reconstruction_error

LABELS, ERROR = "plain-inversion", "plain_reconstruction_error"
"""The label set and the label that the errors are kept as."""

BATCH = 8


def plain_error(model: Model, run: Run) -> Generator[float, None, np.ndarray]:
    """Measures the error of plain DDIM inversion of a run's pictures.

    It has the run's prompt, guidance and steps, and no negative prompt. Yields the share done, and
    returns the root mean square difference (n,) of pictures from what is made of them again, of the
    full range. The errors are saved as labels of the run.
    """
    spec = run.spec
    conditioning = replace(spec.conditioning, negative_prompt="")
    errors = []
    for start in range(0, len(run), BATCH):
        samples = run.sample_ids[start : start + BATCH].tolist()
        originals = np.stack([_original(run, sample) for sample in samples])
        pixels = torch.from_numpy(originals).permute(0, 3, 1, 2).to(model.device).float() / 127.5
        x = model.codec.encode(pixels - 1)[:, : model.anatomy.x[0]]
        own = conditioning.rows(samples)
        for done, noise in enumerate(invert(model, x, spec.steps, own, spec.schedule), 1):  # noqa: B007 - the last is the result
            yield (start + len(samples) * done / spec.steps / 2) / len(run)
        for step in denoise(
            model, steps=spec.steps, conditioning=own, x_t=noise, schedule=spec.schedule
        ):
            share = (1 + (step.index + 1) / spec.steps) / 2
            yield (start + len(samples) * share) / len(run)
        again = model.to_images(step.x_next, samples).numpy()
        errors.append(reconstruction_error(originals, again))
    found = np.concatenate(errors)
    columns = dict(zip(run.sample_ids.tolist(), map(float, found), strict=True))
    save_labels(run, LABELS, {ERROR: columns})
    return found


def _original(run: Run, sample: int) -> np.ndarray:
    """A real picture (height, width, 3) uint8, as it was inverted."""
    found = run.original(sample)
    if found is None:
        raise UsageError(
            f"{run.name} was sampled from noise, not from real pictures; invert pictures first"
        )
    return found
