"""Measures every way to find directions on toyfaces, side by side: the README's table comes out of this command.

    python -m hcache.toyfaces.methods --work DIR [--unseen 64] [--strength 1]

All are fitted on one run and tried on the same samples, which had no part in it, asymmetrically over all steps.
Writes ``methods.json`` into ``--work`` after every cell, and goes on from it; ``as_table`` makes the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.layout import writable_home
from ..cache.reading import Run
from ..cards import default_spec
from ..directions.direction import Direction, Move
from ..directions.fitting import Fit, fit
from ..directions.naive import top_samples
from ..directions.pullback import PixelMove
from ..directions.supervised import both_ends, conditional_direction, difference_direction
from ..edits.shift import Shift
from ..edits.window import Window
from ..extract import extract
from ..models.loading import load_model
from ..models.model import Model
from ..progress import drive
from ..sampling.loop import denoise
from .factors import NAMES
from .measure import ATTRIBUTES, MODEL, UNSEEN_SEED, sample_images
from .reader import read

POSITIVES = 64
FEW = (5, 20, 100)
ALIGNED = 20
RANDOM = "random"
Cells = Iterator[tuple[str, str, Callable[[], Move]]]
"""Method, attribute that is meant ("" for those that mean none), and what makes the move."""


def cells(run: Run, model: Model) -> Cells:
    """Everything that is measured."""
    labels = run.labels["toyfaces"]

    def made(method: str, **more: Any) -> Callable[[], Move]:
        return lambda: drive(fit(Fit(method=method, run=run.name, **more), run, model))[0]

    for attribute in ATTRIBUTES:
        top, bottom = both_ends(run, labels[attribute], POSITIVES)
        yield "naive", attribute, made("naive", positives=tuple(top))
        yield "VAE", attribute, made("vae", positives=tuple(top))
        yield "supervised", attribute, made("supervised", positives=tuple(top), negatives=tuple(bottom))
        yield "conditional", attribute, lambda attribute=attribute: _conditional(run, attribute)
        yield "boundary", attribute, made("boundary", positives=tuple(top), negatives=tuple(bottom))
    yield RANDOM, "", made("random")
    for name, positives in few_positives(run).items():
        yield f"naive, {name}", "glasses", made("naive", positives=positives)
        yield f"VAE, {name}", "glasses", made("vae", positives=positives)
    first = int(run.sample_ids[0])
    yield "PCA, first", "", made("pca")
    yield "Jacobian, first", "", made("jacobian", options={"sample": first, "iterations": 20})
    yield "pullback, first", "", made("pullback", options={"sample": first})


def few_positives(run: Run) -> dict[str, tuple[int, ...]]:
    """Positives with glasses: few and many of all poses; as many again of one pose, and of two opposite ones."""
    labels = run.labels["toyfaces"]
    chosen = {f"{count} positives": tuple(top_samples(run, labels["glasses"], count)) for count in FEW}
    wearing, yaw = labels["glasses"] > 0.5, labels["yaw"]
    middle = top_samples(run, np.where(wearing, -np.abs(yaw), np.nan), ALIGNED)
    left, right = both_ends(run, np.where(wearing, yaw, np.nan), ALIGNED // 2)
    return {**chosen, f"{ALIGNED} of one pose": tuple(middle), f"{ALIGNED} of two poses": (*left, *right)}


def _conditional(run: Run, attribute: str) -> Direction:
    """Top minus bottom, the other attributes' directions projected out."""
    found = {
        name: difference_direction(run, *both_ends(run, run.labels["toyfaces"][name], POSITIVES)) for name in ATTRIBUTES
    }
    own = found.pop(attribute)
    return conditional_direction(own, list(found.values()))


def moved_images(model: Model, seeds: Sequence[int], steps: int, move: Move, strength: float, text: str) -> np.ndarray:
    """The samples of some seeds, moved: (n, height, width, 3) uint8."""
    if not isinstance(move, PixelMove):
        window = Window(first=0, last=steps - 1)
        parts = [
            sample_images(model, rows, steps, Shift(move, [strength] * len(rows), window, model), len(rows), text)
            for rows in (seeds[i : i + 32] for i in range(0, len(seeds), 32))
        ]
        return np.concatenate(parts)
    import torch

    parts = []
    for rows in (seeds[i : i + 32] for i in range(0, len(seeds), 32)):
        before = next(step for step in denoise(model, rows, steps) if step.index == move.index)
        x_t = move.moved(before.x_t, torch.full((len(rows),), strength))
        *_, last = denoise(model, rows, steps, x_t=x_t, start=move.index)
        parts.append(model.to_images(last.x_next).numpy())
    return np.concatenate(parts)


def changes(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], spreads: Mapping[str, float], strength: float
) -> dict[str, list[float]]:
    """Per factor: mean change per unit of strength, in the factor's spread, 95 % bootstrap interval over samples, and
    the mean of the absolute changes."""
    found = {}
    for name in NAMES:
        change = (after[name] - before[name]) / spreads[name] / strength
        rows = np.random.default_rng(0).integers(0, len(change), (2000, len(change)))
        low, high = np.quantile(change[rows].mean(1), (0.025, 0.975))
        found[name] = [float(v) for v in (change.mean(), low, high, np.abs(change).mean())]
    return found


def as_table(facts: Mapping[str, Any]) -> str:
    """The cells with a target, a line each, as Markdown; the random direction has one for every attribute, other
    methods without a target one for the factor that they move most."""
    columns = ("attribute", "method", "target moves", "most unwanted", "others, absolute", "fit (s)")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for cell in facts["cells"]:
        most = max(NAMES, key=lambda name: abs(cell["changes"][name][0]))
        if cell["attribute"]:
            lines.append(_line(cell, cell["attribute"], ""))
        elif cell["method"] == RANDOM:
            lines += [_line(cell, attribute, "") for attribute in ATTRIBUTES]
        else:
            lines.append(_line(cell, most, " (moved most)"))
    return "\n".join(lines) + "\n"


def _line(cell: Mapping[str, Any], target: str, told: str) -> str:
    """A cell as a row of the table, for one of the factors."""
    mean, low, high, _ = cell["changes"][target]
    others = {name: values for name, values in cell["changes"].items() if name != target}
    worst = max(others, key=lambda name: abs(others[name][0]))
    kept = np.mean([values[3] for values in others.values()])
    return (
        f"| {target.replace('_', ' ')}{told} | {cell['method']} | {mean:+.2f} ({low:+.2f} to {high:+.2f}) | "
        f"{worst.replace('_', ' ')} {others[worst][0]:+.2f} | {kept:.2f} | {cell['seconds']:.1f} |"
    )


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m hcache.toyfaces.methods", description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="with the run of hcache.toyfaces.measure, if made")
    parser.add_argument("--fit", type=int, default=512, help="samples to fit on, at 20 steps")
    parser.add_argument("--unseen", type=int, default=64, help="samples to try on")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--device", default="auto", help="as PyTorch names it (default: the best there is)")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    model = load_model(MODEL, args.device)
    spec = default_spec(MODEL, samples=args.fit, steps=20, store={"h": "full"}, batch=16)
    run = extract(model, spec, writable_home(args.work / "home"))
    seeds = [UNSEEN_SEED + i for i in range(args.unseen)]
    settings = {"weights": spec.weights, "fit": args.fit, "unseen": args.unseen, "strength": args.strength}
    path = args.work / "methods.json"
    facts = json.loads(path.read_text()) if path.exists() else {}
    if facts.get("settings") != settings:
        facts = {"settings": settings, "cells": []}
    done = {(cell["method"], cell["attribute"]) for cell in facts["cells"]}
    spreads = {name: float(values.std()) for name, values in run.labels["toyfaces"].items()}
    before = read(sample_images(model, seeds, spec.steps, batch=32, text="unedited"))
    for method, attribute, make in cells(run, model):
        if (method, attribute) in done:
            continue
        began = time.monotonic()
        move = make()
        seconds = time.monotonic() - began
        text = f"{method} {attribute}".strip()
        after = read(moved_images(model, seeds, spec.steps, move, args.strength, text))
        facts["cells"].append({"method": method, "attribute": attribute, "seconds": seconds,
                               "changes": changes(before, after, spreads, args.strength)})  # fmt: skip
        path.write_text(json.dumps(facts, indent=1) + "\n")
    print(as_table(facts))


if __name__ == "__main__":
    main()
