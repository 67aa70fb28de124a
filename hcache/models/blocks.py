"""Transformers without bottleneck and skips: the outputs of their blocks, ``block.<k>``.

A diffusion transformer keeps one width and one number of tokens from its first block to its last.
It has no bottleneck, so it has no h-space. It has no connections around blocks, so it has no skip
groups. The outputs of its blocks can be cached and probed like any activation. They are not called
h anywhere. They can be swapped with those of another sample and moved along directions, too: a
change of a block's image tokens affects all blocks after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
)
from torch import nn

from ..errors import ModelError
from ..features import Features
from ..thread_locks import ThreadLock
from .condition import Condition
from .taps import NO_TAPS, Taps

Transformer = (
    DiTTransformer2DModel
    | FluxTransformer2DModel
    | PixArtTransformer2DModel
    | SD3Transformer2DModel
    | SanaTransformer2DModel
)

WITHOUT = (
    "{kind} is a transformer: all its blocks have the same width and the same number of tokens, so"
    " it has no U-Net, no bottleneck (h-space) and no skip groups; what its blocks put out can be"
    " cached, probed, swapped and moved as block.0 to block.{last}"
)


_ONE_AT_A_TIME = ThreadLock()
"""Hooks are the network's, which threads of a dashboard share. Each would hear the calls of all."""


def why_no_unet(transformer: Transformer) -> str:
    """Returns the reason to give when h or skips are requested."""
    return WITHOUT.format(kind=type(transformer).__name__, last=len(blocks_of(transformer)) - 1)


def blocks_of(transformer: Transformer) -> list[nn.Module]:
    """Returns the blocks in the order in which they run.

    FLUX's single-stream blocks follow its double-stream ones.
    """
    return [*transformer.transformer_blocks, *getattr(transformer, "single_transformer_blocks", ())]


def trace(
    transformer: Transformer,
    x_t: torch.Tensor,
    t: float,
    condition: Condition,
    taps: Taps = NO_TAPS,
) -> tuple[Features, torch.Tensor]:
    """Evaluates the network and returns all blocks' outputs and the prediction.

    Args:
        x_t: Noisy latents (n, c, h, w) in the transformer's dtype.
        t: Training timestep.
        condition: Class labels (DiT), or text (all others).
        taps: The changes of blocks' outputs (n, width, rows, columns).

    Returns:
        Features with ``blocks`` (n, width, rows, columns) each, of the image's tokens only and
        before any change of their own, and the prediction (n, c', h, w).
    """
    n, _, height, width = x_t.shape
    patch = 2 if isinstance(transformer, FluxTransformer2DModel) else transformer.config.patch_size
    rows, columns = height // patch, width // patch
    with _listening(blocks_of(transformer), (rows, columns), taps) as heard:
        if isinstance(transformer, FluxTransformer2DModel):
            output = _run_flux(transformer, x_t, t, condition)
        elif isinstance(transformer, PixArtTransformer2DModel):
            output = _run_pixart(transformer, x_t, t, condition)
        elif isinstance(transformer, SD3Transformer2DModel):
            output = _run_sd3(transformer, x_t, t, condition)
        elif isinstance(transformer, SanaTransformer2DModel):
            output = _run_sana(transformer, x_t, t, condition)
        else:
            timesteps = torch.full((n,), t, device=x_t.device)
            output = transformer(
                x_t, timestep=timesteps, class_labels=condition.class_labels, return_dict=False
            )[0]
    return Features(h=None, skips=(), blocks=tuple(heard)), output


@contextmanager
def _listening(
    blocks: list[nn.Module], size: tuple[int, int], taps: Taps
) -> Iterator[list[torch.Tensor]]:
    """Collects each block's image tokens (n, width, rows, columns) in a list, and changes them.

    A block of FLUX or Stable Diffusion 3 returns text and image separately, text first. Text tokens
    stay as they are. Without a change, the block's own output is passed on.
    """
    heard: list[torch.Tensor] = []
    count = size[0] * size[1]

    def hear(number: int, output: Any) -> Any:
        every = output[-1] if isinstance(output, tuple) else output
        found = every[:, -count:].transpose(1, 2).unflatten(2, size)
        heard.append(found)
        changed = taps(f"block.{number}", found)
        if changed is found:
            return output
        tokens = changed.to(every.dtype).flatten(2).transpose(1, 2)
        tokens = torch.cat([every[:, :-count], tokens], 1)
        return (*output[:-1], tokens) if isinstance(output, tuple) else tokens

    with _ONE_AT_A_TIME:
        handles = [
            block.register_forward_hook(lambda _, __, output, number=number: hear(number, output))
            for number, block in enumerate(blocks)
        ]
        try:
            yield heard
        finally:
            for handle in handles:
                handle.remove()


def _run_pixart(
    transformer: PixArtTransformer2DModel, x_t: torch.Tensor, t: float, condition: Condition
) -> torch.Tensor:
    """Runs PixArt, which takes T5's text with a mask. The 1024 model also takes the size of its
    picture.
    """
    if condition.text is None or condition.mask is None:
        raise ModelError("PixArt is text-conditional: give prompts")
    sizes = None if condition.sizes is None else condition.sizes.to(x_t.dtype)
    added = {
        "resolution": None if sizes is None else sizes[:, :2],
        "aspect_ratio": None if sizes is None else sizes[:, 2:],
    }
    return transformer(
        x_t,
        encoder_hidden_states=condition.text.to(x_t.dtype),
        encoder_attention_mask=condition.mask,
        timestep=torch.full((len(x_t),), t, device=x_t.device),
        added_cond_kwargs=added,
        return_dict=False,
    )[0]


def _run_sd3(
    transformer: SD3Transformer2DModel, x_t: torch.Tensor, t: float, condition: Condition
) -> torch.Tensor:
    """Runs Stable Diffusion 3, which takes the text of three encoders, and that of two of them
    pooled.
    """
    if condition.text is None or condition.pooled is None:
        raise ModelError("Stable Diffusion 3 is text-conditional: give prompts")
    return transformer(
        hidden_states=x_t,
        timestep=torch.full((len(x_t),), t, device=x_t.device),
        encoder_hidden_states=condition.text.to(x_t.dtype),
        pooled_projections=condition.pooled.to(x_t.dtype),
        return_dict=False,
    )[0]


def _run_sana(
    transformer: SanaTransformer2DModel, x_t: torch.Tensor, t: float, condition: Condition
) -> torch.Tensor:
    """Runs Sana, which takes Gemma's text with a mask, and time on its own scale."""
    if condition.text is None or condition.mask is None:
        raise ModelError("Sana is text-conditional: give prompts")
    time = torch.full((len(x_t),), t, device=x_t.device) * transformer.config.timestep_scale
    return transformer(
        x_t,
        encoder_hidden_states=condition.text.to(x_t.dtype),
        encoder_attention_mask=condition.mask,
        timestep=time,
        return_dict=False,
    )[0]


def _run_flux(
    transformer: FluxTransformer2DModel, x_t: torch.Tensor, t: float, condition: Condition
) -> torch.Tensor:
    """Runs FLUX, which takes latents in patches of 2 x 2, with the position of each."""
    n, _, height, width = x_t.shape
    rows, columns = height // 2, width // 2
    patches = x_t.unflatten(3, (columns, 2)).unflatten(
        2, (rows, 2)
    )  # (n, c, row, in row, column, in column)
    if condition.text is None or condition.pooled is None:
        raise ModelError("FLUX is text-conditional: give prompts")
    like: dict[str, Any] = {"device": x_t.device, "dtype": x_t.dtype}
    row, column = torch.meshgrid(
        torch.arange(rows, **like), torch.arange(columns, **like), indexing="ij"
    )
    output = transformer(
        hidden_states=patches.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, -1),
        encoder_hidden_states=condition.text.to(x_t.dtype),
        pooled_projections=condition.pooled.to(x_t.dtype),
        timestep=torch.full((n,), t / 1000, **like),
        img_ids=torch.stack([torch.zeros_like(row), row, column], -1).reshape(-1, 3),
        txt_ids=torch.zeros(condition.text.shape[1], 3, **like),
        guidance=condition.guidance,
        return_dict=False,
    )[0]
    patches = output.reshape(n, rows, columns, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(n, -1, height, width)
