"""Converts the prompts and class labels of a run to tensors for the network.

The model's own diffusers pipeline encodes text. Encoded prompts are remembered, so the prompt of
thousands of samples is encoded once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from ..bounded import ByteCache
from ..errors import UsageError
from ..specs import Conditioning
from .condition import NOTHING, Condition

COND, UNCOND = "cond", "uncond"


@dataclass(frozen=True, kw_only=True)
class Guided:
    """The branches to run, and how to combine them.

    They are for n samples, by name, with the scale that combines them. ``null_text``: a function
    from a step to the text (n, tokens, d) that the unconditional branch has at this step, if it
    differs from step to step.
    """

    branches: dict[str, Condition]
    scale: float = 1.0
    null_text: Callable[[int], torch.Tensor] | None = None

    def at(self, index: int) -> Guided:
        """Returns the branches at a step, which is ``index``."""
        usual = self.branches[UNCOND].text if UNCOND in self.branches else None
        if self.null_text is None or usual is None:
            return self
        text = self.null_text(index).to(device=usual.device, dtype=usual.dtype)
        branches = {**self.branches, UNCOND: replace(self.branches[UNCOND], text=text)}
        return Guided(branches=branches, scale=self.scale)

    def combine(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Returns uncond + scale (cond - uncond), or the only branch."""
        if UNCOND not in outputs:
            return outputs[COND]
        return outputs[UNCOND] + self.scale * (outputs[COND] - outputs[UNCOND])


class Conditioner(Protocol):
    """Makes conditions from a conditioning and the number of samples.

    ``kind`` is ``none``, ``class`` or ``text``.
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
    """Conditions for ``classes`` classes.

    ``null`` is the label for no class, if the model was trained with one.
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
                    "guidance needs a class that stands for no class, and this model has none"
                    " that is known; leave --guidance out, or give the one it was trained with:"
                    " --null-class N"
                )
            branches[UNCOND] = Condition(class_labels=torch.full((n,), null, device=device))
        return Guided(branches=branches, scale=conditioning.guidance)

    def _null(self, given: int | None) -> int | None:
        """Returns the label of no class: the model's own, or the given one."""
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
"""The largest size of the conditions that a model keeps: hundreds of Stable Diffusion's, or about
ten of FLUX's.
"""


class ByText:
    """Conditions from prompts by a pipeline's text encoders.

    Args:
        encode: A function (prompt, whether it is the negative one) -> the condition of one sample.
        distilled: Whether the guidance scale is an input of the network (FLUX dev,
            time_cond_proj_dim) instead of a second branch.
        guidable: False if there is no guidance at all (FLUX schnell).
        tokens: A function prompt -> its tokens by their place in the encoded text, without those
            that mark its ends and fill it up; None if they are not known.
    """

    kind = "text"

    def __init__(
        self,
        encode: Callable[[str, bool], Condition],
        distilled: bool = False,
        guidable: bool = True,
        tokens: Callable[[str], dict[int, str]] | None = None,
    ) -> None:
        self._encode, self._known = encode, ByteCache(CONDITION_BYTES)
        self.distilled, self.guidable, self.tokens = distilled, guidable, tokens

    def encode(self, prompt: str, negative: bool) -> Condition:
        """Returns the condition of one prompt. The last ones are kept."""
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
    """Returns the conditioner of a text pipeline.

    Args:
        pipeline: One of ``configurations.TEXT_PIPELINES``, with its text encoders.
        beside: Channels (1, c, h, w) that the network gets in addition to x_t's, for every sample.
    """
    found = _text_conditioner(pipeline)
    if beside is None:
        return found
    encode = found.encode
    return ByText(
        lambda prompt, negative: replace(encode(prompt, negative), beside=beside),
        found.distilled,
        found.guidable,
        found.tokens,
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
    tokens = partial(_clip_tokens, getattr(pipeline, "tokenizer", None))
    if kind == "StableDiffusionXLPipeline":
        return ByText(
            lambda prompt, negative: _encode_xl(pipeline, prompt, negative),
            distilled,
            tokens=tokens,
        )
    return ByText(
        lambda prompt, _: Condition(text=_encode_sd(pipeline, prompt)), distilled, tokens=tokens
    )


def _clip_tokens(tokenizer: Any, prompt: str) -> dict[int, str]:
    """CLIP's tokens of a prompt by place, as far as they fit: ``</w>`` ends a word."""
    ids = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length).input_ids
    special = set(tokenizer.all_special_ids)
    words = tokenizer.convert_ids_to_tokens(ids)
    return {
        place: str(word).removesuffix("</w>")
        for place, (number, word) in enumerate(zip(ids, words, strict=True))
        if number not in special
    }


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
    """Encodes text for Sana. The pipeline puts its own instruction to Gemma before every prompt
    except the negative one.
    """
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
    """Encodes text for PixArt, without ``clean_caption``, which changes prompts only if two more
    packages are installed.
    """
    device = pipeline.text_encoder.device
    text, mask, _, _ = pipeline.encode_prompt(
        prompt, do_classifier_free_guidance=False, device=device, clean_caption=False
    )
    sizes = None
    side = pipeline.transformer.config.sample_size * pipeline.vae_scale_factor
    if pipeline.transformer.use_additional_conditions:
        sizes = torch.tensor([[side, side, 1.0]], dtype=text.dtype, device=device)
    return Condition(text=text, mask=mask, sizes=sizes)
