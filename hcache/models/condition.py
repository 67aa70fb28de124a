"""The condition of a batch, as tensors for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The condition of n samples. Every field is (n, ...) or None. An unconditional model has none.

    ``class_labels``: (n,). ``text``: encoded prompts (n, tokens, d). ``pooled``: pooled prompts (n,
    d) of SDXL, FLUX and Stable Diffusion 3. ``sizes``: SDXL's (n, 6) of original size, crop and
    target size; PixArt's (n, 3) of height, width and their ratio. ``mask``: which tokens of the
    text count (n, tokens). ``guidance``: the scale (n,) as an input of a guidance-distilled model.
    ``beside``: channels (n, c', h, w) that an inpainting or editing U-Net takes in addition to
    x_t's.
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
        """Returns ``added_cond_kwargs`` for ``UNet2DConditionModel``."""
        if self.sizes is None or self.pooled is None:
            return None
        return {"text_embeds": self.pooled, "time_ids": self.sizes}

    @staticmethod
    def join(parts: Sequence[Condition]) -> Condition:
        """Concatenates several conditions of the same kind to one batch."""
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Condition)}
        return Condition(
            **{name: None if rows[0] is None else torch.cat(rows) for name, rows in columns.items()}
        )

    def expand(self, n: int) -> Condition:
        """Repeats the condition of one sample for n samples."""
        found = {f.name: getattr(self, f.name) for f in fields(Condition)}
        return Condition(
            **{k: None if v is None else v.expand(n, *v.shape[1:]) for k, v in found.items()}
        )


NOTHING = Condition()
