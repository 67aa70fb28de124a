"""Cross-attention maps of a sample that were kept or stored, by step and token. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..cache.projections import load_projections, save_projections
from ..cache.reading import Run
from ..errors import UsageError
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


def keep_maps(run: Run, sample: int, made: WordMaps) -> None:
    """Keeps the maps of a sample beside the run."""
    arrays = {MAPS: made.maps, TOKENS: np.array(made.tokens, np.str_)}
    save_projections(run, _name(run, sample), arrays)


def _name(run: Run, sample: int) -> str:
    run.position(sample)
    return f"attention.{sample}"
