"""A U-Net cut in two at its bottleneck.

         encode(x_t, t)                       decode(features, t)
    x_t ───────────────► Features(h, skips) ───────────────────► prediction

Both are plain functions over a diffusers U-Net, ``UNet2DModel`` or ``UNet2DConditionModel``, and
run its own modules in its own order, so that ``decode(encode(x))`` is ``unet(x)``, bit for bit. No
forward hooks: what is not called cannot be left behind.

h is the output of the whole mid block, before the first skip is concatenated to it: the h-space of
"Diffusion Models already have a Semantic Latent Space" (Kwon, Jeong, Uh, 2022,
https://arxiv.org/abs/2210.10960).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from ..errors import ModelError, UsageError
from ..features import Features
from .block_parts import After, run_down, run_up, separable
from .condition import NOTHING, Condition
from .taps import NO_TAPS, Taps, reaches_into_mid, run_mid

UNet = UNet2DModel | UNet2DConditionModel


class Embedding(NamedTuple):
    """The embeddings that every block of either half gets.

    ``time`` (n, d): that of time, classes and additional conditions. ``text``: the text.
    ``beside``: channels (n, c', h, w) that the encoder half takes in addition to those of x_t.
    """

    time: torch.Tensor
    text: torch.Tensor | None = None
    beside: torch.Tensor | None = None

    def rows(self, part: slice) -> Embedding:
        """Returns the embeddings of some samples of the batch."""
        text, beside = (None if each is None else each[part] for each in self[1:])
        return Embedding(self.time[part], text, beside)


def encode(
    unet: UNet,
    x_t: torch.Tensor,
    t: torch.Tensor | float,
    condition: Condition = NOTHING,
    embedding: Embedding | None = None,
    taps: Taps = NO_TAPS,
) -> Features:
    """Runs the encoder half, including the mid block.

    Args:
        x_t: Noisy samples (n, c, h, w) in the U-Net's dtype.
        t: Training timestep, one for all or one per sample (n,).
        condition: Class labels, text and added conditions, if the model takes them.
        embedding: The result of ``embed`` for the same n, t and condition, if it is known.
            Otherwise it is computed.
        taps: What to do at the places of this half. :func:`with_kept` returns what they kept.

    Raises:
        ModelError: the model needs a condition that was not given, or takes none.
    """
    emb, context, beside = embedding or embed(unet, len(x_t), t, condition, x_t.device)
    x_t = x_t if beside is None else torch.cat([x_t, beside.to(x_t)], 1)
    image = 2 * x_t - 1.0 if unet.config.center_input_sample else x_t
    x = unet.conv_in(image)
    skips = (x,)
    for k, block in enumerate(unet.down_blocks):
        if hasattr(block, "skip_conv"):
            x, taken, image = block(hidden_states=x, temb=emb, skip_sample=image)
        elif separable(block) and taps.reach(f"down.{k}.resnet."):
            x, taken = run_down(block, x, emb, context, _after(taps, f"down.{k}"))
        else:
            x, taken = block(hidden_states=x, temb=emb, **_attended(block, context))
        x = taps(f"down.{k}", x)
        skips += taken
    if reaches_into_mid(unet.mid_block, taps):
        h = run_mid(unet.mid_block, x, emb, context, taps)
    elif unet.mid_block is not None:
        h = unet.mid_block(x, emb, **_attended(unet.mid_block, context))
    else:
        h = x
    return Features(h=h, skips=_group(skips, [len(block.resnets) for block in unet.up_blocks]))


def decode(
    unet: UNet,
    features: Features,
    t: torch.Tensor | float,
    condition: Condition = NOTHING,
    embedding: Embedding | None = None,
    taps: Taps = NO_TAPS,
) -> torch.Tensor:
    """Runs the decoder half: features -> the U-Net's prediction.

    The prediction is (n, c, h, w): noise, v or x_0.
    """
    # diffusers' FreeU scales its inputs in place, which would change the features
    scaled = bool(getattr(unet.up_blocks[0], "s1", None))
    x = features.h.clone() if scaled else features.h
    emb, context, _ = embedding or embed(unet, len(x), t, condition, x.device)
    image = None
    groups = _all_groups(features)
    sizes = _upsample_sizes(unet, groups)
    for k, (block, group, size) in enumerate(zip(unet.up_blocks, groups, sizes, strict=True)):
        forward_order = tuple(reversed(group))
        if hasattr(block, "skip_conv"):
            x, image = block(x, forward_order, emb, image)
        elif separable(block) and taps.reach(f"up.{k}.resnet."):
            x = run_up(block, x, forward_order, emb, context, size, _after(taps, f"up.{k}"))
        else:
            more = _attended(block, context) | ({} if size is None else {"upsample_size": size})
            x = block(hidden_states=x, res_hidden_states_tuple=forward_order, temb=emb, **more)
        x = taps(f"up.{k}", x)
        x = x.clone() if scaled else x
    x = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)) if unet.conv_norm_out else x)
    if image is not None:
        x = x + image
    if unet.config.time_embedding_type == "fourier" and isinstance(unet, UNet2DModel):
        x = x / _timesteps(t, len(x), x.device).reshape(-1, *[1] * (x.ndim - 1))
    return x


def _after(taps: Taps, block: str) -> After:
    """Returns what to do with the output of each resnet of a block."""
    return lambda j, x: taps(f"{block}.resnet.{j}", x)


def with_kept(features: Features, taps: Taps) -> Features:
    """Returns the features with the activations kept by both halves."""
    return replace(features, others={**features.others, **taps.kept}) if taps.kept else features


def dtype_of(network: torch.nn.Module) -> torch.dtype:
    """Returns a network's dtype. diffusers' own property goes through all modules at every call,
    which takes a millisecond.
    """
    return next(network.parameters()).dtype


def time_embedding(
    unet: UNet,
    n: int,
    t: torch.Tensor | float,
    device: torch.device,
    guidance: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the U-Net's embedding of time alone (n, d).

    Classes and other conditions are not added yet. For a network with distilled guidance, it also
    embeds the scale (n,).
    """
    if isinstance(unet, UNet2DModel):
        return unet.time_embedding(unet.time_proj(_timesteps(t, n, device)).to(dtype_of(unet)))
    like = torch.empty((n, 0), device=device, dtype=dtype_of(unet))
    told = (
        None
        if guidance is None
        else _guidance_embedding(guidance, unet.config.time_cond_proj_dim).to(like)
    )
    return unet.time_embedding(unet.get_time_embed(sample=like, timestep=t), told)


def _guidance_embedding(guidance: torch.Tensor, width: int) -> torch.Tensor:
    """Embeds a guidance scale (n,) like ``StableDiffusionPipeline.get_guidance_scale_embedding``:
    (n, width).

    References:
        On Distillation of Guided Diffusion Models (Meng, Rombach, Gao, Kingma, Ermon, Ho, Salimans,
        2022), https://arxiv.org/abs/2210.03142
    """
    half = width // 2
    rates = torch.exp(
        torch.arange(half, device=guidance.device) * -(math.log(10000.0) / (half - 1))
    )
    angles = 1000 * (guidance.float() - 1)[:, None] * rates[None]
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))


def embed(
    unet: UNet, n: int, t: torch.Tensor | float, condition: Condition, device: torch.device
) -> Embedding:
    """Returns the :class:`Embedding` of n samples for both halves.

    Errors are those of ``encode``.
    """
    wants_classes = unet.class_embedding is not None
    if condition.class_labels is None and wants_classes:
        raise ModelError("this model is class-conditional: give class labels, one a sample")
    if condition.class_labels is not None and not wants_classes:
        raise ModelError(
            "class labels were given, but this model has no class embedding; leave them out"
        )
    if isinstance(unet, UNet2DModel):
        return Embedding(_embed_plain(unet, n, t, condition, device))
    if condition.text is None:
        raise ModelError("this model is text-conditional: give prompts")
    like = torch.empty((n, 0), device=device, dtype=dtype_of(unet))
    if (unet.config.time_cond_proj_dim is None) != (condition.guidance is None):
        raise ModelError(
            "a guidance scale is given to networks with distilled guidance (time_cond_proj_dim),"
            " and to them alone"
        )
    emb = time_embedding(unet, n, t, device, condition.guidance)
    classes = unet.get_class_embed(sample=like, class_labels=condition.class_labels)
    if classes is not None:
        emb = (
            torch.cat([emb, classes], dim=-1)
            if unet.config.class_embeddings_concat
            else emb + classes
        )
    text = condition.text.to(dtype_of(unet))
    added = unet.get_aug_embed(
        emb=emb, encoder_hidden_states=text, added_cond_kwargs=condition.added
    )
    emb = emb if added is None else emb + added
    if unet.time_embed_act is not None:
        emb = unet.time_embed_act(emb)
    text = unet.process_encoder_hidden_states(
        encoder_hidden_states=text, added_cond_kwargs=condition.added
    )
    return Embedding(emb, text, condition.beside)


def _embed_plain(
    unet: UNet2DModel, n: int, t: torch.Tensor | float, condition: Condition, device: torch.device
) -> torch.Tensor:
    emb = time_embedding(unet, n, t, device)
    if unet.class_embedding is None:
        return emb
    labels = condition.class_labels
    if unet.config.class_embed_type == "timestep":
        labels = unet.time_proj(labels)
    return emb + unet.class_embedding(labels).to(dtype_of(unet))


def _timesteps(t: torch.Tensor | float, n: int, device: torch.device) -> torch.Tensor:
    timesteps = torch.as_tensor(t, device=device).reshape(-1)
    return timesteps * torch.ones(n, dtype=timesteps.dtype, device=device)


def _attended(block: torch.nn.Module, context: torch.Tensor | None) -> dict[str, Any]:
    """Returns the text for a block that attends to it."""
    return (
        {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
    )


def _all_groups(features: Features) -> tuple[tuple[torch.Tensor, ...], ...]:
    """Returns the skip groups. A cache may lack some, but the decoder needs all."""
    found = tuple(group for group in features.skips if group is not None)
    if len(found) < len(features.skips):
        raise UsageError(
            "a skip group is missing from these features: encode x_t again, which gives all of them"
        )
    return found


def _upsample_sizes(
    unet: UNet, groups: tuple[tuple[torch.Tensor, ...], ...]
) -> list[tuple[int, int] | None]:
    """Returns the target size of each up block if doubling would miss it, and otherwise None.

    Only ``UNet2DConditionModel`` supports this: the sides of its samples need not be multiples of
    its overall factor.
    """
    if isinstance(unet, UNet2DModel):
        return [None] * len(groups)
    factor = 2**unet.num_upsamplers
    if all(side % factor == 0 for side in groups[-1][-1].shape[-2:]):
        return [None] * len(groups)
    return [*((group[0].shape[2], group[0].shape[3]) for group in groups[1:]), None]


def _group(
    skips: tuple[torch.Tensor, ...], counts: list[int]
) -> tuple[tuple[torch.Tensor, ...], ...]:
    """Converts skips in forward order to groups from the bottleneck outward, each in order of
    consumption.
    """
    if len(skips) != sum(counts):
        raise ModelError(
            f"the encoder gives {len(skips)} skips and the decoder takes {sum(counts)}; expected as"
            " many"
        )
    waiting = list(skips)
    return tuple(tuple(waiting.pop() for _ in range(count)) for count in counts)
