"""The sampling loop, which extraction, swaps, edits and previews all use. There is only one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..errors import UsageError
from ..features import Features
from ..models.condition import Condition
from ..models.conditioners import COND, Guided
from ..models.model import Model
from ..models.taps import Passing, Taps
from ..specs import NEXT, UNCONDITIONED, Conditioning
from .calibration import Calibrate, Calibration, calibrated_x
from .noise import start_noise, step_noise
from .schedule import DiffusionSchedule, Schedule, check_eta, schedule_of


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The moment of a denoising at which an edit is called.

    ``index`` is the step from 0 (most noise), ``t`` is the training timestep, and ``branch`` is the
    branch of guidance.
    """

    index: int
    t: float
    branch: str = COND


class Edit(Protocol):
    """A pure function from Features to Features.

    If it returns the object that it was given, nothing is computed again. Under guidance it is
    called once for each branch, and ``moment.branch`` names the branch.

    An edit that also acts at other places of the network, or at a transformer's blocks, has
    ``at_places``: for each place a function of the moment. That function returns the edit there,
    which takes m rows (m, c, h, w) of the n samples, and the numbers of these rows; or None for no
    edit. Fetch donors in the first call, because the second may come from several threads at once.
    """

    def __call__(self, features: Features, moment: Moment, /) -> Features: ...


AtPlace = Callable[[Moment], Passing | None]

Nudge = Callable[[torch.Tensor, int], torch.Tensor]
"""A function from x_t (n, c, h, w) and the index of the step to the x_t to use instead."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One denoising step of a batch of n.

    ``features`` are those before any edit; under guidance, of the conditional branch. ``eps`` is
    the noise prediction in D_t, and ``x_0`` is the predicted x_0 (P_t). Both come from one
    prediction, except in an asymmetric edit, where ``x_0`` comes from the edited one.
    """

    index: int
    t: float
    x_t: torch.Tensor
    features: Features
    eps: torch.Tensor
    x_0: torch.Tensor
    x_next: torch.Tensor


def denoise(
    model: Model,
    seeds: Sequence[int] | None = None,
    steps: int = 50,
    eta: float | Sequence[float] = 0.0,
    edit: Edit | None = None,
    *,
    nudge: Nudge | None = None,
    conditioning: Conditioning | Guided = UNCONDITIONED,
    asymmetric: bool = False,
    x_t: torch.Tensor | None = None,
    start: int = 0,
    schedule: str = NEXT,
    places: Sequence[str] = (),
    calibrate: Calibrate | None = None,
) -> Iterator[Step]:
    """Denoises a batch, and yields one :class:`Step` at a time.

    A diffusion is sampled by DDIM, a flow by Euler's method, a distilled model by its own steps.

    Args:
        model: The model.
        seeds: One per sample. Each sample's noise follows from its own seed, in any batch. It may
            be left out if ``x_t`` is given and no step adds noise.
        steps: The length of the whole schedule, S.
        eta: 0 for deterministic DDIM, 1 for that of DDPM, γ of TCD; one number or one per step.
        edit: Changes the features of every step before they are decoded.
        nudge: Changes x_t itself before every step.
        conditioning: Prompts or classes, one for all or one per sample, and guidance; or tensors
            that were made of them.
        asymmetric: The edited prediction enters P_t only, and D_t keeps the unedited one (Asyrp:
            "Diffusion Models already have a Semantic Latent Space", Kwon, Jeong, Uh, 2022,
            https://arxiv.org/abs/2210.10960). False: it enters both.
        x_t: Samples (n, c, h, w) at the noise level of step ``start``, to continue from instead of
            noise.
        start: The index of the first step, with ``x_t``.
        schedule: Where a step ends: one of :data:`hcache.specs.SCHEDULES`; a run's own is
            ``run.spec.schedule``.
        places: Other places of the U-Net that ``features`` should contain besides h and skips.
        calibrate: InjectFusion's calibration of an asymmetric edit.

    Raises:
        UsageError: arguments do not match each other or the model.
    """
    _check_edits(model, levels := schedule_of(model, steps, schedule), edit, calibrate, asymmetric)
    etas = [eta] * steps if isinstance(eta, int | float) else list(eta)
    x = _first(model, levels, seeds, steps, etas, x_t, start)
    every_step = guided_by(model, conditioning, len(x))
    for index in range(start, steps):
        with torch.inference_mode():  # not around the yield: the mode belongs to the thread
            x, guided = x if nudge is None else nudge(x, index), every_step.at(index)
            features, eps, x_0 = _predict(model, levels, guided, x, index, edit, asymmetric, places)
            found = None if calibrate is None else calibrate(index)
            if found is not None:
                eps, x_0 = _calibrated(model, levels, guided, x, index, (eps, x_0), found)
            noise = _noise(levels, seeds, x, index, etas[index])
            x_next = levels.advance(x_0, eps, index, etas[index], noise)
        t = levels.timesteps[index]
        yield Step(index=index, t=t, x_t=x, features=features, eps=eps, x_0=x_0, x_next=x_next)
        x = x_next


def guided_by(model: Model, conditioning: Conditioning | Guided, n: int) -> Guided:
    """Returns the branches of guidance of n samples. They are made if they are not given."""
    return conditioning if isinstance(conditioning, Guided) else model.condition(conditioning, n)


def _noise(
    levels: Schedule, seeds: Sequence[int] | None, x: torch.Tensor, index: int, eta: float
) -> torch.Tensor | None:
    """Returns the noise that a step adds to x, by the samples' seeds, or None if it adds none."""
    if seeds is None or not levels.noisy(index, eta):
        return None
    return step_noise(seeds, index, tuple(x.shape[1:])).to(x)


def _check_edits(
    model: Model,
    levels: Schedule,
    edit: Edit | None,
    calibrate: Calibrate | None,
    asymmetric: bool,
) -> None:
    """Makes sure that an edit and its calibration are possible with the model."""
    if edit is not None and not getattr(edit, "at_places", None):
        model.anatomy.need_unet("an edit of h or skips")
    if calibrate is not None and not (asymmetric and isinstance(levels, DiffusionSchedule)):
        raise UsageError(
            "calibration needs an asymmetric edit of a diffusion model that is sampled by DDIM, not"
            " of a flow or a distilled model"
        )


def predict(
    model: Model,
    features: Features | Mapping[str, Features],
    x_t: torch.Tensor,
    index: int,
    steps: int,
    conditioning: Conditioning | Guided = UNCONDITIONED,
) -> torch.Tensor:
    """Computes P_t from features alone: the one-step preview.

    It needs only the decoder half.

    Args:
        features: Cached or edited features of n samples at step ``index`` of ``steps``. Under
            guidance they are those of both branches by name.
        x_t: Their x_t (n, c, h, w).
    """
    schedule = schedule_of(model, steps)
    guided = guided_by(model, conditioning, len(x_t)).at(index)
    by_branch = {COND: features} if isinstance(features, Features) else dict(features)
    if by_branch.keys() != guided.branches.keys():
        raise UsageError(
            f"features of the branches {', '.join(guided.branches)} are needed, got"
            f" {', '.join(by_branch)}"
        )
    with torch.inference_mode():
        t = schedule.timesteps[index]
        outputs = {
            name: model.decode(by_branch[name], t, condition)
            for name, condition in guided.branches.items()
        }
        return schedule.split(guided.combine(outputs), x_t, index)[1]


def _predict(
    model: Model,
    schedule: Schedule,
    guided: Guided,
    x: torch.Tensor,
    index: int,
    edit: Edit | None,
    asymmetric: bool,
    places: Sequence[str],
) -> tuple[Features, torch.Tensor, torch.Tensor]:
    """Returns (features, ε of D_t, P_t) of one step. It decodes twice only if an asymmetric edit
    has changed something.

    All branches of guidance run as one batch. An edit of a transformer's blocks runs the network
    twice, because ``features`` are those before the edit.
    """
    t, names, n = schedule.timesteps[index], list(guided.branches), len(x)
    batch = x if len(names) == 1 else x.repeat(len(names), 1, 1, 1)
    condition = (
        Condition.join(list(guided.branches.values()))
        if len(names) > 1
        else guided.branches[names[0]]
    )

    def split(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return schedule.split(
            guided.combine(dict(zip(names, output.split(n), strict=True))), x, index
        )

    if edit is None:
        features, output = model.trace(batch, t, condition, places)
        return features.rows(0, n) if len(names) > 1 else features, *split(output)
    moments = [Moment(index=index, t=t, branch=name) for name in names]
    taps = Taps(changes=_changes(edit, moments, n))
    if model.anatomy.without:
        features, plain = model.trace(batch, t, condition)
        eps, x_0 = split(plain)
        if taps.changes:
            after, x_0 = split(model.trace(batch, t, condition, changes=taps.changes)[1])
            eps = eps if asymmetric else after
        return _by_branch(features, n, len(names))[0], eps, x_0
    embedding = model.embed(len(batch), t, condition)
    features = model.encode(batch, t, condition, embedding)
    passed = features
    if any(not place.startswith("up.") for place in taps.changes):
        passed = model.encode(batch, t, condition, embedding, taps)
    parts = _by_branch(passed, n, len(names))
    edited = [edit(part, moment) for part, moment in zip(parts, moments, strict=True)]
    changed = any(after is not before for after, before in zip(edited, parts, strict=True))
    joined = (
        (edited[0] if len(edited) == 1 else Features.join(edited, torch.cat)) if changed else passed
    )
    eps, x_0 = split(model.decode(joined, t, condition, embedding, taps))
    if asymmetric and (changed or taps.changes):
        eps, _ = split(model.decode(features, t, condition, embedding))
    return _by_branch(features, n, len(names))[0], eps, x_0


def _calibrated(
    model: Model,
    schedule: Schedule,
    guided: Guided,
    x: torch.Tensor,
    index: int,
    predicted: tuple[torch.Tensor, torch.Tensor],
    calibration: Calibration,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (ε of D_t, P_t) of an asymmetric edit after calibration."""
    eps, x_0 = predicted
    omega = calibration.omega.to(x).view(-1, 1, 1, 1)
    scaled = eps * calibration.dt_lambda.to(x).view(-1, 1, 1, 1)
    if not bool(omega.any()):
        return scaled, x_0
    moved = calibrated_x(x, eps, x_0, schedule.alpha_bar[index].to(x), calibration.omega)
    _, plain_eps, plain_x_0 = _predict(model, schedule, guided, moved, index, None, False, ())
    return torch.where(omega == 0, scaled, plain_eps), torch.where(omega == 0, x_0, plain_x_0)


def _by_branch(features: Features, n: int, branches: int) -> list[Features]:
    """Returns the features of a batch of n samples in each branch of guidance."""
    if branches == 1:
        return [features]
    return [features.rows(i * n, (i + 1) * n) for i in range(branches)]


def _changes(edit: Edit, moments: Sequence[Moment], n: int) -> dict[str, Passing]:
    """Returns the edits at other places, for a batch of n samples in all branches of guidance."""

    def change(acts: Sequence[Passing | None]) -> Passing:
        def changed(x: torch.Tensor, rows: slice) -> torch.Tensor:
            first = rows.start
            before, after = [], []
            for i, act in enumerate(acts):
                low, high = max(first, i * n), min(first + len(x), (i + 1) * n)
                if low < high:
                    old = x[low - first : high - first]
                    before.append(old)
                    after.append(old if act is None else act(old, slice(low - i * n, high - i * n)))
            if all(new is old for new, old in zip(after, before, strict=True)):
                return x
            return after[0] if len(after) == 1 else torch.cat(after)

        return changed

    acts: Mapping[str, AtPlace] = getattr(edit, "at_places", {})
    found = {place: [act(moment) for moment in moments] for place, act in acts.items()}
    return {place: change(now) for place, now in found.items() if any(now)}


def _first(
    model: Model,
    levels: Schedule,
    seeds: Sequence[int] | None,
    steps: int,
    etas: list[float],
    x_t: torch.Tensor | None,
    start: int,
) -> torch.Tensor:
    if not 0 <= start <= steps:
        raise UsageError(f"start must lie in 0 to {steps}, got {start}")
    if len(etas) != steps:
        raise UsageError(f"eta must be one number, or one per step ({steps}); got {len(etas)}")
    for eta in etas:
        if not 0 <= eta <= 1:
            raise UsageError(f"eta must lie in [0, 1] (0: deterministic DDIM, 1: DDPM), got {eta}")
    own = [] if seeds is None else seeds
    check_eta(levels, etas[start:])
    noisy = any(levels.noisy(index, etas[index]) for index in range(start, steps))
    if len(own) == 0 and (x_t is None or noisy):
        raise UsageError(
            "give seeds=[...], one a sample; they may be left out only with x_t and steps without"
            " noise (eta=0)"
        )
    if x_t is None:
        if start:
            raise UsageError(f"start={start} needs the x_t of that step; give x_t, or start at 0")
        x_t = start_noise(own, model.anatomy.x)
    elif seeds is not None and len(seeds) != len(x_t):
        raise UsageError(
            f"{len(seeds)} seeds were given for {len(x_t)} samples of x_t; give one a sample"
        )
    return x_t.to(device=model.device, dtype=torch.float32)
