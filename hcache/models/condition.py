"""What a batch is conditioned on, as tensors the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Of n samples; every field (n, ...) or None. None of them for an unconditional model.

    ``class_labels``: (n,). ``text``: encoded prompts (n, tokens, d). ``pooled``: pooled prompts (n,
    d) of SDXL, FLUX and Stable Diffusion 3. ``sizes``: SDXL's (n, 6) of original size, crop and
    target size; PixArt's (n, 3) of height, width and their ratio. ``mask``: which tokens of the
    text count (n, tokens). ``guidance``: the scale (n,) that a guidance-distilled model is told.
    ``beside``: channels (n, c', h, w) that an inpainting or editing U-Net takes below x_t's.
    """

    class_labels: torch.Tensor | None = None
    text: torch.Tensor | None = None
    pooled: torch.Tensor | None = None
    sizes: torch.Tensor | None = None
    guidance: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    beside: torch.Tensor | None = None

    @property
    def added(self) -> dict[str, torch.Tensor] | None:
        """What ``UNet2DConditionModel`` calls ``added_cond_kwargs``."""
        if self.sizes is None or self.pooled is None:
            return None
        return {"text_embeds": self.pooled, "time_ids": self.sizes}

    @staticmethod
    def join(parts: Sequence[Condition]) -> Condition:
        """One batch of several of the same kind, one below the other."""
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Condition)}
        return Condition(
            **{name: None if rows[0] is None else torch.cat(rows) for name, rows in columns.items()}
        )

    def expand(self, n: int) -> Condition:
        """The same for n samples, of a condition of one."""
        found = {f.name: getattr(self, f.name) for f in fields(Condition)}
        return Condition(
            **{k: None if v is None else v.expand(n, *v.shape[1:]) for k, v in found.items()}
        )


NOTHING = Condition()
