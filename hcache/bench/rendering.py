"""The requests of pages to a model: preview, edit from its first step, and batched U-figure."""

from __future__ import annotations

from collections.abc import Generator

import torch

from ..cache.reading import Run
from ..directions.direction import digest_of, random_direction, spread
from ..edits.cached import cached_features, cached_x
from ..edits.render import render_recipes, shift_by
from ..edits.shift import Shift
from ..edits.swaps import swap_recipes
from ..extraction.run import extract
from ..features import Features
from ..models.model import Model
from ..progress import drive, part
from ..recipes.edits import DonorRef
from ..recipes.recipe import recipe_of
from ..recipes.window import Window
from ..sampling.loop import denoise, predict
from .baselines import full_call
from .extraction import STORES
from .setting import BenchRow, BenchSetting
from .subjects import load_subject, subject_spec
from .timing import Ratio, interleaved


def preview(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Compares P_t from cached features with the whole network.

    This happens when a slider moves.
    """
    rows, (model, run) = [], _run_of(setting, samples=8, steps=4, store="all")
    for count, batch in enumerate((1, 8)):
        step, samples = run.spec.steps // 2, range(batch)
        features = Features.join(
            [cached_features(model, run, sample, step) for sample in samples], torch.cat
        )
        features = features.map(lambda _, tensor: tensor.to(model.dtype))
        x = torch.cat([cached_x(model, run, sample, step) for sample in samples])
        text, t = model.condition(n=batch).branches["cond"].text, torch.tensor(run.timesteps[step])

        def cached(f: Features = features, x: torch.Tensor = x, step: int = step) -> None:
            _wait(model, predict(model, f, x, step, run.spec.steps))

        def full(
            x: torch.Tensor = x, t: torch.Tensor = t, text: torch.Tensor | None = text
        ) -> None:
            with torch.inference_mode():
                _wait(model, full_call(model, x, t, text))

        timed = yield from part(
            interleaved({"cached": cached, "full": full}, 2 * setting.rounds), 0.5 * count, 0.5
        )
        rows.append(
            BenchRow(
                name=f"preview, {batch}",
                what=f"one-step preview from the cache, batch {batch}",
                aim=0.65,
                against="one full U-Net call, same batch",
                ratio=Ratio.of(timed, "cached", "full"),
                note=(
                    "features read and widened before, as on the Edit page; ours is the embedding"
                    " of t, the decoder half and x_0, theirs the network alone"
                ),
            )
        )
    return rows


def edit(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Times moving a picture along a direction.

    The edit starts from the cached x_t of its first edited step.
    """
    model, run = _run_of(setting, samples=2, steps=setting.size(20, 4), store="h")
    steps = run.spec.steps
    window = Window(first=steps // 2, last=steps - 1)
    direction = random_direction(spread(run), 0, run.spec.model, run.timesteps)
    recipe, moves = (
        recipe_of(run, 0, [shift_by(direction, 1.0, window)]),
        {digest_of(direction): direction},
    )

    def cached() -> None:
        drive(render_recipes(model, run, [recipe], run.home, moves))

    def from_noise() -> None:
        shift = Shift(direction, [1.0], window, model)
        for step in denoise(model, [run.seed(0)], steps, 0.0, shift):
            x = step.x_next
        model.to_images(x)

    timed = yield from interleaved({"cached": cached, "noise": from_noise}, setting.rounds)
    left = (steps - window.first) / steps
    return [
        BenchRow(
            name="edit",
            what=f"full edit from t_edit, {left:.0%} of {steps} steps left",
            against="the same edit from noise",
            aim=left + 0.05,
            ratio=Ratio.of(timed, "cached", "noise"),
        )
    ]


def figure(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Times swapping a donor's activations at each site alone.

    The sites are h and each skip group.
    """
    model, run = _run_of(setting, samples=2, steps=setting.size(8, 2), store="h")
    donor, window = DonorRef(run=run.name, sample=1), Window(first=0, last=run.spec.steps - 1)
    recipes = swap_recipes(run, 0, model.anatomy.sites, donor, 1.0, window)

    def together() -> None:
        drive(render_recipes(model, run, recipes, run.home))

    def one_by_one() -> None:
        for recipe in recipes:
            drive(render_recipes(model, run, [recipe], run.home))

    timed = yield from interleaved({"together": together, "alone": one_by_one}, setting.rounds)
    aim = 0.8 if model.device.type == "cpu" else 0.4
    return [
        BenchRow(
            name="figure",
            what=f"the U-figure (h and {len(recipes) - 1} groups) as one batch",
            aim=aim,
            against="one after the other",
            ratio=Ratio.of(timed, "together", "alone"),
        )
    ]


def _run_of(setting: BenchSetting, samples: int, steps: int, store: str) -> tuple[Model, Run]:
    model = load_subject(setting.subject, setting.device, setting.dtype)
    spec = subject_spec(model, samples, steps, samples, setting.dtype, STORES[store])
    return model, extract(model, spec, setting.work)


def _wait(model: Model, result: torch.Tensor) -> None:
    """Waits for CUDA, which computes asynchronously."""
    if result.is_cuda:
        torch.cuda.synchronize(model.device)
