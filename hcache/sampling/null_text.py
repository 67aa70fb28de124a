r"""Null-text inversion: DDIM inversion that survives guidance.

A picture is inverted without guidance, which gives a trajectory x*_T, ..., x*_0, the pivot. Then it
is denoised with guidance. At every step the text ∅_t of the unconditional branch is optimised, so
that the step from the denoised x_t ends near the pivot:

    min over ∅_t of ‖x*_{t-1} - step(x_t; ∅_t, text)‖²

It begins at ∅ of the step before, and first at the encoded negative prompt. Weights and the text of
the prompt stay as they are. Numbers of iterations, learning rates and the loss that is small enough
are those of the source, whose 50 steps are taken for any number of steps. Of the texts that were
tried, the one with the least loss is kept.

References:
    Null-text Inversion for Editing Real Images using Guided Diffusion Models (Mokady, Hertz,
        Aberman, Pritch, Cohen-Or, 2022), https://arxiv.org/abs/2211.09794
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, fields, replace

import torch

from ..errors import UsageError
from ..models.condition import Condition
from ..models.conditioners import COND, UNCOND, Guided
from ..models.model import Model
from ..specs import NEXT, Conditioning
from .inversion import invert
from .schedule import Schedule, schedule_of


@dataclass(frozen=True, kw_only=True)
class NullText:
    """How the text of one step is optimised.

    The defaults are the source's numbers.

    ``iterations``: passes of the unconditional branch at most. ``learning_rate``: Adam's at the
    first step; it falls to half at the last. ``enough``: the loss that ends a step, at the first
    step and in addition at the last.
    """

    iterations: int = 10
    learning_rate: float = 1e-2
    enough: tuple[float, float] = (1e-5, 1e-3)

    def rate(self, share: float) -> float:
        """Returns the learning rate after a share of the steps."""
        return self.learning_rate * (1 - share / 2)

    def small(self, share: float) -> float:
        """Returns the loss that is small enough after a share of steps."""
        first, more = self.enough
        return first + more * share


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """Inverted pictures and the texts that they need.

    ``x_t``: their noise (n, c, h, w). ``null_text``: (steps, n, tokens, d) float32.
    """

    x_t: torch.Tensor
    null_text: torch.Tensor


def check_null_text(model: Model, conditioning: Conditioning) -> None:
    """Makes sure that null-text inversion is possible with a model.

    Raises:
        UsageError: its guidance has no branch with a text of its own.
    """
    _text_of(model, model.condition(conditioning.rows([0]), 1))


def _text_of(model: Model, guided: Guided) -> torch.Tensor:
    """Returns the text of the branch without the prompt, (n, tokens, d)."""
    text = guided.branches[UNCOND].text if UNCOND in guided.branches else None
    if text is None:
        raise UsageError(
            f"null-text inversion changes the text of the branch without the prompt, which"
            f" {model.card.name} does not have; leave --inversion out"
        )
    return text


def invert_null_text(
    model: Model,
    x_0: torch.Tensor,
    steps: int,
    conditioning: Conditioning,
    schedule: str = NEXT,
    null_text: NullText = NullText(),  # noqa: B008 - it is frozen
) -> Generator[torch.Tensor, None, Inverted]:
    """Inverts clean samples by null-text inversion.

    They are (n, c, h, w). It yields x after every step. There are ``steps`` steps of the inversion
    without guidance, and as many of the optimisation.

    Raises:
        UsageError: the model has no guidance by texts.
    """
    check_null_text(model, conditioning)
    pivot = [x_0]
    for x in invert(model, x_0, steps, conditioning.without_guidance(), schedule):
        pivot.insert(0, x)
        yield x
    levels = schedule_of(model, steps, schedule)
    guided = _usual(model.condition(conditioning, len(x_0)))
    x, texts = pivot[0].clone(), []
    text = _text_of(model, guided)
    for index in range(steps):
        target = pivot[index + 1].to(x).clone()
        text, x = _optimised(model, levels, guided, text, x, target, index, null_text)
        texts.append(text)
        yield x
    return Inverted(x_t=pivot[0], null_text=torch.stack(texts))


def _optimised(
    model: Model,
    levels: Schedule,
    guided: Guided,
    text: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    index: int,
    null_text: NullText,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Optimises the text of one step, and returns it with x after the step.

    Every sample is optimised on its own: it stops at its own loss, whatever the others do.
    """
    t, share = levels.timesteps[index], index / len(levels.timesteps)
    with torch.no_grad():
        cond = model.trace(x, t, guided.branches[COND])[1]
    kept, kept_x = text, x
    least = torch.full((len(x),), torch.inf, device=x.device)
    stopped = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    tried = text.float().clone().requires_grad_()
    optimiser = torch.optim.Adam([tried], lr=null_text.rate(share))
    for _ in range(null_text.iterations):
        with torch.enable_grad():
            uncond = model.trace(x, t, replace(guided.branches[UNCOND], text=tried))[1]
            both = guided.combine({COND: cond, UNCOND: uncond})
            eps, x_0 = levels.split(both, x, index)
            after = levels.advance(x_0, eps, index, 0.0, None)
            loss = (after - target).square().flatten(1).mean(1)
        better = (loss.detach() < least) & ~stopped
        rows = better.view(-1, 1, 1)
        kept = torch.where(rows, tried.detach(), kept)
        kept_x = torch.where(rows[..., None], after.detach(), kept_x)
        least = torch.where(better, loss.detach(), least)
        stopped = stopped | (loss.detach() < null_text.small(share))
        if bool(stopped.all()):
            break
        (tried.grad,) = torch.autograd.grad(loss.sum(), tried)
        optimiser.step()
    return kept, kept_x


def _usual(guided: Guided) -> Guided:
    """Returns the same with copies of its tensors, which may have gradients.

    Texts are encoded in inference mode, and such tensors take part in no gradient.
    """
    copies = {
        name: Condition(
            **{
                f.name: None if (value := getattr(branch, f.name)) is None else value.clone()
                for f in fields(Condition)
            }
        )
        for name, branch in guided.branches.items()
    }
    return replace(guided, branches=copies)
