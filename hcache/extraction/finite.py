"""Checks that an extraction computes only finite values, without waiting for the device at every
step.

The sum of a tensor is finite as long as all its values are, and one pass over memory computes it.
The sums of every step stay on the device and are read once per shard, before it is committed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import ModelError
from ..features import Features
from ..sampling.loop import Step


class Finite:
    """Collects the sums of a shard's tensors, in order."""

    def __init__(self) -> None:
        self._what: list[tuple[str, str]] = []
        self._sums: list[torch.Tensor] = []

    @torch.inference_mode()
    def note(self, name: str, when: str, tensor: torch.Tensor) -> None:
        """Adds a tensor (n, ...)."""
        self._what.append((name, when))
        self._sums.append(tensor.sum(tuple(range(1, tensor.ndim)), dtype=torch.float32))

    def note_step(self, step: Step) -> None:
        """Adds a denoising step, whether it is stored or not."""
        when = f"step {step.index} (t = {step.t:g})"
        for name, tensor in (
            ("x", step.x_t),
            *_as_computed(step.features),
            ("eps", step.eps),
            ("x_0", step.x_0),
            ("the next x", step.x_next),
        ):
            self.note(name, when, tensor)

    def check(self, samples: Sequence[int], dtype: str) -> None:
        """Makes sure that all values were finite.

        Args:
            samples: The numbers of the n samples.
            dtype: The dtype of the computation, for the advice.

        Raises:
            ModelError: a value was not. The message names the first site, step and sample.
        """
        bad = ~torch.isfinite(torch.stack(self._sums)).cpu()
        if not bool(bad.any()):
            return
        place = int(bad.any(1).nonzero()[0])
        (name, when), row = self._what[place], int(bad[place].nonzero()[0])
        raise ModelError(
            f"{name} of sample {samples[row]} is not finite at {when}; {advice(dtype)}"
        )


def advice(dtype: str) -> str:
    """Returns the advice for values that are not finite."""
    if dtype == "float16":
        return "half precision overflows in this model: compute in bfloat16 or float32 (--dtype)"
    return (
        "the model's weights or its schedule are damaged: load the model again, or compare it"
        " with its own pipeline"
    )


def _as_computed(features: Features) -> list[tuple[str, torch.Tensor]]:
    """Returns skips from the input inward, then h, or a transformer's blocks."""
    groups = [(g, group or ()) for g, group in enumerate(features.skips, 1)]
    found = [
        (f"skip.{g}.{i}", member)
        for g, group in reversed(groups)
        for i, member in reversed([*enumerate(group)])
    ]
    if features.h is not None:
        found.append(("h", features.h))
    found += [(f"block.{k}", block) for k, block in enumerate(features.blocks)]
    return found + [*features.others.items()]
