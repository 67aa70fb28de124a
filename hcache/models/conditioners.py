"""From prompts and class labels, as they stand in a run, to the tensors a network takes.

Text is encoded by the model's own diffusers pipeline; encoded prompts are remembered, so that
thousands of samples of one prompt encode it once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from ..bounded import ByteCache
from ..errors import UsageError
from ..specs import Conditioning
from .condition import NOTHING, Condition

COND, UNCOND = "cond", "uncond"


@dataclass(frozen=True, kw_only=True)
class Guided:
    """The branches to run, and how they are combined.

    For n samples, by name, with the scale that combines them.
    """

    branches: dict[str, Condition]
    scale: float = 1.0

    def combine(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """uncond + scale (cond - uncond), or the only branch there is."""
        if UNCOND not in outputs:
            return outputs[COND]
        return outputs[UNCOND] + self.scale * (outputs[COND] - outputs[UNCOND])


class Conditioner(Protocol):
    """``kind``: ``none``, ``class`` or ``text``. Called with a conditioning and the number of
    samples.
    """

    @property
    def kind(self) -> str:
        """``none``, ``class`` or ``text``."""
        ...

    def __call__(self, conditioning: Conditioning, n: int, device: torch.device) -> Guided: ...


class Unconditional:
    """The conditioner of a model that takes no condition."""

    kind = "none"

    def __call__(self, conditioning: Conditioning, n: int, device: torch.device) -> Guided:
        if conditioning != Conditioning():
            raise UsageError(
                "this model is unconditional: it takes no prompts, no class labels and no guidance;"
                " leave them out"
            )
        return Guided(branches={COND: NOTHING})


@dataclass(frozen=True)
class ByClass:
    """``classes`` there are.

    ``null`` stands for none of them, if the model was trained with such a label.
    """

    classes: int
    null: int | None = None
    kind = "class"

    def __call__(self, conditioning: Conditioning, n: int, device: torch.device) -> Guided:
        if conditioning.prompts or conditioning.negative_prompt:
            raise UsageError("this model takes class labels, not prompts; give --class")
        given = conditioning.classes
        if len(given) not in (1, n):
            raise UsageError(
                f"this model is class-conditional (0 to {self.classes - 1}): give one class, or one"
                " a sample"
            )
        if max(given) >= self.classes:
            raise UsageError(f"class labels must lie in 0 to {self.classes - 1}, got {max(given)}")
        labels = torch.tensor(given, device=device).expand(n)
        branches = {COND: Condition(class_labels=labels)}
        null = self._null(conditioning.null_class)
        if conditioning.guidance > 1:
            if null is None:
                raise UsageError(
                    "this model has no class that is known to stand for none, which guidance needs;"
                    " leave --guidance out, or name the one it was trained with: --null-class N"
                )
            branches[UNCOND] = Condition(class_labels=torch.full((n,), null, device=device))
        return Guided(branches=branches, scale=conditioning.guidance)

    def _null(self, given: int | None) -> int | None:
        """The label of no class: the model's own, else the one that was given."""
        if given is None:
            return self.null
        if self.null is not None and given != self.null:
            raise UsageError(f"the null class of this model is {self.null}; got {given}")
        if self.null is None and given >= self.classes:
            raise UsageError(
                f"the null class must lie in 0 to {self.classes - 1}, the labels there are; got"
                f" {given}"
            )
        return given


CONDITION_BYTES = 2**26
"""Of the conditions that a model keeps: hundreds of Stable Diffusion's, some ten of FLUX's."""


class ByText:
    """Prompts through a pipeline's text encoders.

    Args:
        encode: (prompt, whether it is the negative one) -> the condition of one sample.
        distilled: The guidance scale is an input of the network (FLUX dev, time_cond_proj_dim), not
            a second branch.
        guidable: False where neither is the case (FLUX schnell).
    """

    kind = "text"

    def __init__(
        self,
        encode: Callable[[str, bool], Condition],
        distilled: bool = False,
        guidable: bool = True,
    ) -> None:
        self._encode, self._known = encode, ByteCache(CONDITION_BYTES)
        self.distilled, self.guidable = distilled, guidable

    def encode(self, prompt: str, negative: bool) -> Condition:
        """The condition of one prompt; of those used last it is kept."""
        return self._known.get((prompt, negative), lambda: self._encode(prompt, negative))

    def __call__(self, conditioning: Conditioning, n: int, device: torch.device) -> Guided:
        if conditioning.classes:
            raise UsageError("this model takes prompts, not class labels; give --prompt")
        if conditioning.null_class is not None:
            raise UsageError(
                "this model takes prompts and has no null class; leave --null-class out"
            )
        prompts = conditioning.prompts or ("",)
        if len(prompts) not in (1, n):
            raise UsageError(
                f"{len(prompts)} prompts were given for {n} samples; give one, or one a sample"
            )
        found = Condition.join([self.encode(prompt, False) for prompt in prompts])
        cond = found if len(prompts) == n else found.expand(n)
        scale = conditioning.guidance
        if conditioning.negative_prompt and (self.distilled or not self.guidable):
            raise UsageError(
                "this model's guidance is distilled, without a second branch: it takes no negative"
                " prompt"
            )
        if self.distilled:
            told = torch.full((n,), scale, device=device)
            return Guided(branches={COND: replace(cond, guidance=told)})
        if scale == 1:
            return Guided(branches={COND: cond})
        if not self.guidable:
            raise UsageError(
                "this model was distilled to run without guidance; leave --guidance out"
            )
        uncond = self.encode(conditioning.negative_prompt, True).expand(n)
        return Guided(branches={COND: cond, UNCOND: uncond}, scale=scale)


def text_conditioner(pipeline: Any, beside: torch.Tensor | None = None) -> ByText:
    """The conditioner of a text pipeline: one of ``configurations.TEXT_PIPELINES``.

    Args:
        pipeline: With its text encoders.
        beside: Channels (1, c, h, w) that the network is given below x_t's, for every sample.
    """
    found = _text_conditioner(pipeline)
    if beside is None:
        return found
    encode = found.encode
    return ByText(
        lambda prompt, negative: replace(encode(prompt, negative), beside=beside),
        found.distilled,
        found.guidable,
    )


def _text_conditioner(pipeline: Any) -> ByText:
    kind = type(pipeline).__name__
    if kind == "FluxPipeline":
        return ByText(
            lambda prompt, _: _encode_flux(pipeline, prompt),
            distilled=pipeline.transformer.config.guidance_embeds,
            guidable=False,
        )
    if kind.startswith("PixArt"):
        return ByText(lambda prompt, _: _encode_pixart(pipeline, prompt))
    if kind == "StableDiffusion3Pipeline":
        return ByText(lambda prompt, _: _encode_sd3(pipeline, prompt))
    if kind == "SanaPipeline":
        return ByText(lambda prompt, negative: _encode_sana(pipeline, prompt, negative))
    distilled = pipeline.unet.config.time_cond_proj_dim is not None
    if kind == "StableDiffusionXLPipeline":
        return ByText(lambda prompt, negative: _encode_xl(pipeline, prompt, negative), distilled)
    return ByText(lambda prompt, _: Condition(text=_encode_sd(pipeline, prompt)), distilled)


@torch.inference_mode()
def _encode_sd(pipeline: Any, prompt: str) -> torch.Tensor:
    return pipeline.encode_prompt(prompt, pipeline.text_encoder.device, 1, False)[0]


@torch.inference_mode()
def _encode_xl(pipeline: Any, prompt: str, negative: bool) -> Condition:
    device = pipeline.text_encoder_2.device
    text, _, pooled, _ = pipeline.encode_prompt(
        prompt, device=device, do_classifier_free_guidance=False
    )
    if negative and not prompt and pipeline.config.force_zeros_for_empty_prompt:
        text, pooled = torch.zeros_like(text), torch.zeros_like(pooled)
    size = pipeline.unet.config.sample_size
    height, width = (
        side * pipeline.vae_scale_factor
        for side in ((size, size) if isinstance(size, int) else size)
    )
    sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=text.dtype, device=device)
    return Condition(text=text, pooled=pooled, sizes=sizes)


@torch.inference_mode()
def _encode_flux(pipeline: Any, prompt: str) -> Condition:
    text, pooled, _ = pipeline.encode_prompt(prompt, device=pipeline.text_encoder.device)
    return Condition(text=text, pooled=pooled)


@torch.inference_mode()
def _encode_sd3(pipeline: Any, prompt: str) -> Condition:
    text, _, pooled, _ = pipeline.encode_prompt(
        prompt,
        None,
        None,
        device=pipeline.text_encoder.device,
        do_classifier_free_guidance=False,
    )
    return Condition(text=text, pooled=pooled)


@torch.inference_mode()
def _encode_sana(pipeline: Any, prompt: str, negative: bool) -> Condition:
    """The pipeline puts its own instruction to Gemma before every prompt but the negative one."""
    call = inspect.signature(type(pipeline).__call__).parameters
    text, mask, _, _ = pipeline.encode_prompt(
        prompt,
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        clean_caption=False,
        complex_human_instruction=None if negative else call["complex_human_instruction"].default,
    )
    return Condition(text=text, mask=mask)


@torch.inference_mode()
def _encode_pixart(pipeline: Any, prompt: str) -> Condition:
    """Without ``clean_caption``, which changes prompts only where two more packages are there."""
    device = pipeline.text_encoder.device
    text, mask, _, _ = pipeline.encode_prompt(
        prompt, do_classifier_free_guidance=False, device=device, clean_caption=False
    )
    sizes = None
    side = pipeline.transformer.config.sample_size * pipeline.vae_scale_factor
    if pipeline.transformer.use_additional_conditions:
        sizes = torch.tensor([[side, side, 1.0]], dtype=text.dtype, device=device)
    return Condition(text=text, mask=mask, sizes=sizes)
