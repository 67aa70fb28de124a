"""Cross-attention maps of a run's samples by step and token, kept beside the run.

A run that was extracted with ``--store attention=full`` has them in its shards. Otherwise they are
made sample by sample, and kept as ``attention.<sample>`` among the run's projections. They are
pooled over heads and layers. A run that has grown measures the latter again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np

from ..cache.projections import load_projections, save_projections
from ..cache.reading import Run
from ..edits.cached import cached_x
from ..errors import UsageError
from ..models.attention_maps import attention_maps, check_attention
from ..models.conditioners import COND, ByText
from ..models.model import Model
from ..specs import ATTENTION, FULL

MAPS, TOKENS = "maps", "tokens"


@dataclass(frozen=True, kw_only=True)
class WordMaps:
    """Where each token of a prompt is attended to.

    ``tokens``: the prompt's, without those that mark its ends and fill it up. ``maps`` (steps,
    tokens, h, w) float32: the share of a place's attention, at the size of x_t.
    """

    tokens: tuple[str, ...]
    maps: np.ndarray = field(repr=False)

    def of(self, token: int, step: int | None = None) -> np.ndarray:
        """The map (h, w) of a token.

        It is that of a step, or the mean over all steps.

        Raises:
            UsageError: there is no such token or step.
        """
        steps = len(self.maps)
        if not 0 <= token < len(self.tokens) or not (step is None or 0 <= step < steps):
            raise UsageError(
                f"there are {len(self.tokens)} tokens and {steps} steps, from 0; got token {token}"
                f" and step {step}"
            )
        return self.maps[:, token].mean(0) if step is None else self.maps[step, token]


def stored_maps(run: Run, sample: int) -> WordMaps | None:
    """The maps of a sample that were kept; None without any."""
    if run.anatomy.attention and run.policy(ATTENTION) == FULL:
        return _in_shards(run, sample)
    found = load_projections(run, _name(run, sample))
    if found is None or not {MAPS, TOKENS} <= found.keys():
        return None
    maps, tokens = found[MAPS], found[TOKENS]
    fits = maps.ndim == 4 and maps.shape[:2] == (run.spec.steps, len(tokens))
    if not fits or maps.dtype.kind != "f" or tokens.dtype.kind != "U":
        return None
    return WordMaps(tokens=tuple(map(str, tokens)), maps=maps)


def _in_shards(run: Run, sample: int) -> WordMaps | None:
    """The maps of a sample that the run stores; None if it does not know the prompt's tokens."""
    prompts = run.spec.conditioning.rows([sample]).prompts
    tokens = run.provenance.get("tokens")
    known = tokens.get(prompts[0]) if isinstance(tokens, dict) and prompts else None
    length = (run.anatomy.attention or (0,))[0]
    if not isinstance(known, dict) or not all(
        place.isdecimal() and int(place) < length for place in known
    ):
        return None
    places = [int(place) for place in known]
    maps = [run.row(ATTENTION, sample, step)[places] for step in range(run.spec.steps)]
    return WordMaps(tokens=tuple(map(str, known.values())), maps=np.stack(maps))


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
    save_projections(
        run, _name(run, sample), {MAPS: made.maps, TOKENS: np.array(made.tokens, np.str_)}
    )
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


def _name(run: Run, sample: int) -> str:
    run.position(sample)
    return f"attention.{sample}"
