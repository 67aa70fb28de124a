"""Cross-attention maps of a run's samples by step and token, kept beside the run.

A run that was extracted with ``--store attention=full`` has them in its shards. Otherwise they are
made sample by sample, and kept as ``attention.<sample>`` among the run's projections. They are
pooled over heads and layers. A run that has grown measures the latter again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
import torch

from ..cache.reading import Run
from ..edits.cached import cached_x
from ..errors import UsageError
from ..models.attention_maps import cross_attentions
from ..models.condition import Condition
from ..models.conditioners import COND, ByText
from ..models.model import Model
from ..specs import ATTENTION
from .stored_words import WordMaps, keep_maps, stored_maps


def attention_maps(model: Model, x_t: torch.Tensor, t: float, condition: Condition) -> torch.Tensor:
    """Makes the cross-attention maps of one sample at a timestep.

    x_t (1, c, h, w) -> the share of each token at each place, (tokens, h, w) float32.

    Raises:
        UsageError: the model is no U-Net with cross-attention, or x_t is of several samples.
    """
    if len(x_t) != 1:
        raise UsageError(f"attention maps take one sample at a time, got {len(x_t)}")
    check_attention(model)
    with torch.inference_mode():
        return model.trace(x_t, t, condition, (ATTENTION,))[0].others[ATTENTION][0]


def check_attention(model: Model) -> None:
    """Makes sure that a model has attention to its prompt.

    Raises:
        UsageError: the model is no U-Net with cross-attention to a prompt.
    """
    if model.anatomy.without or not cross_attentions(model.network):
        raise UsageError(
            f"{model.card.name} has no cross-attention to a prompt in its blocks; attention maps"
            " need a text U-Net such as Stable Diffusion"
        )


def word_maps(load: Callable[[], Model], run: Run, sample: int) -> Generator[float, None, WordMaps]:
    """Makes the cross-attention maps of a sample at all steps.

    They are made from its cached x_t. Yields the share done. Under guidance they are of the branch
    with the prompt. What is kept is looked up.

    Args:
        load: Gives the run's model, when it is needed.
        run: The run.
        sample: Its number.

    Raises:
        UsageError: the model has no cross-attention to a prompt, or the prompt is empty.
    """
    if (known := stored_maps(run, sample)) is not None:
        yield 1.0
        return known
    prompts = run.spec.conditioning.rows([sample]).prompts
    if not prompts or not prompts[0].strip():
        raise UsageError(f"sample {sample} has no prompt, so there are no words to map")
    model = load()
    check_attention(model)
    places = _tokens_of(model, prompts[0])
    condition = model.condition(run.spec.conditioning.rows([sample]), 1).branches[COND]
    found = []
    for index, t in enumerate(run.timesteps):
        maps = attention_maps(model, cached_x(model, run, sample, index), t, condition)
        found.append(maps[list(places)].cpu().numpy())
        yield (index + 1) / run.spec.steps
    made = WordMaps(tokens=tuple(places.values()), maps=np.stack(found).astype(np.float32))
    keep_maps(run, sample, made)
    return made


def _tokens_of(model: Model, prompt: str) -> dict[int, str]:
    """The prompt's tokens by their place in the encoded text."""
    known = model.conditioner.tokens if isinstance(model.conditioner, ByText) else None
    if known is None:
        raise UsageError(
            f"it is not known which tokens {model.card.name} makes of a prompt; attention maps are"
            " of text U-Nets with CLIP's tokenizer"
        )
    return known(prompt)
