"""The conditions of a run's samples, as tensors for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..cache.reading import Run
from ..models.conditioners import Guided
from ..models.model import Model
from ..specs import NULL_TEXT


def conditions_of(model: Model, run: Run, samples: Sequence[int]) -> Guided:
    """Makes the conditions under which samples of a run were denoised.

    If the run was made by null-text inversion, its optimised embeddings are read step by step.

    Raises:
        UsageError: the model does not take the run's conditioning.
    """
    found = model.condition(run.spec.conditioning.rows(samples), len(samples))
    if run.spec.inversion != NULL_TEXT:
        return found

    def null_text(index: int) -> torch.Tensor:
        rows = np.stack([run.null_text(sample, index) for sample in samples])
        return torch.from_numpy(rows)

    return replace(found, null_text=null_text)
