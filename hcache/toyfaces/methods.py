"""Measures every method for directions on toyfaces.

The table in docs/results/methods.md comes from this command.

    python -m hcache.toyfaces.methods --work DIR [--unseen 64] [--strength 1] [--clip FOLDER]

All methods are fitted on one run and tried on the same other samples, asymmetrically over all
steps. Methods without attributes give ``COMPONENTS`` directions each. Which of these stands for an
attribute, and with which sign, is chosen on ``CHOICE_SAMPLES`` other samples. It is then measured
like all others. Asyrp trains with a CLIP of drawn faces (``hcache.toyfaces.clip``), on all the
steps on which it is tried. The command writes ``methods.json`` into ``--work`` after every cell,
and continues from it. ``as_table`` makes the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..analysis.permutation import p_value
from ..cache.files import checksum_of
from ..cache.layout import writable_home
from ..cache.reading import Run
from ..cards import default_spec
from ..directions.asyrp_clip import load_clip
from ..directions.direction import Direction, Move
from ..directions.fitting import Fit, fit
from ..directions.naive import naive_direction, top_samples
from ..directions.pullback import PixelMove
from ..directions.supervised import both_ends, conditional_direction, difference_direction
from ..directions.unit import net_of
from ..directions.vae import ALL_OF_H
from ..edits.shift import Shift
from ..extraction.run import extract
from ..models.loading import load_model
from ..models.model import Model
from ..progress import drive_under_bar
from ..recipes.window import Window
from ..sampling.loop import denoise
from .clip import FOLDER, ends, held_out, told_apart
from .factors import NAMES
from .measure import ATTRIBUTES, MODEL, UNSEEN_SEED, sample_images
from .reader import read

POSITIVES = 64
FEW = (5, 20, 100)
ALIGNED = 20
COMPONENTS = 5
CHOICE_SEED = 2_000_000
CHOICE_SAMPLES = 16
RANDOM = "random"
BY_CHANCE, CHANCES = "random positives", 19
"""The null of the table: directions to so many sets of random positives, as large, of unit length.
"""

PER_SAMPLE = ("vae", "local", "block")
"""Kinds of moves that move each sample by its own: how far in the end, and how much of it
towards the mean, is kept.
"""

ASYRP = {"iterations": 20, "batch": 2, "t_edit": 0.0}
"""Fewer and smaller batches than the method's defaults, on all steps: some 400 steps of the
optimiser.
"""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A move to try, at ``sign`` times the strength.

    ``seconds``: the time of its fit. ``told``: facts that are stored with its cell.
    """

    move: Move
    seconds: float
    sign: int = 1
    told: Mapping[str, Any] = field(default_factory=dict)


Cells = Iterator[tuple[str, str, Callable[[], Made]]]
"""Method, intended attribute ("" if there is none), and the function that makes the move."""


def cells(run: Run, model: Model, strength: float, clip: Path) -> Cells:
    """Yields everything to measure.

    Components are chosen at ``strength``. Asyrp trains with the CLIP of a folder.
    """
    labels = run.labels["toyfaces"]

    def made(method: str, **more: Any) -> Callable[[], Made]:
        return lambda: _timed(
            lambda: fit_moves(Fit(method=method, run=run.name, **more), run, model)[0]
        )

    unnamed = {
        name: Components(run, model, made_by, strength)
        for name, made_by in component_fits(run).items()
    }
    for attribute in ATTRIBUTES:
        top, bottom = both_ends(run, labels[attribute], POSITIVES)
        yield "naive", attribute, made("naive", positives=tuple(top))
        yield "local naive", attribute, made("local", positives=tuple(top))
        yield "VAE", attribute, made("vae", positives=tuple(top))
        yield "VAE, all of h", attribute, made("vae", positives=tuple(top), options=ALL_OF_H)
        yield (
            "supervised",
            attribute,
            made("supervised", positives=tuple(top), negatives=tuple(bottom)),
        )
        yield (
            "conditional",
            attribute,
            lambda attribute=attribute: _timed(lambda: _conditional(run, attribute)),
        )
        yield "boundary", attribute, made("boundary", positives=tuple(top), negatives=tuple(bottom))
        for name, components in unnamed.items():
            yield (
                name,
                attribute,
                lambda components=components, attribute=attribute: components.made(attribute),
            )
        yield (
            "Asyrp",
            attribute,
            lambda attribute=attribute: made_by_asyrp(run, model, attribute, clip),
        )
    yield RANDOM, "", made("random")
    for number in range(CHANCES):
        chance = lambda number=number: _timed(lambda: _by_chance(run, number))  # noqa: E731
        yield f"{BY_CHANCE} {number + 1}", "", chance
    for name, positives in few_positives(run).items():
        yield f"naive, {name}", "glasses", made("naive", positives=positives)
        few = {"neighbours": min(16, len(positives) - 1)}
        yield f"local naive, {name}", "glasses", made("local", positives=positives, options=few)
        yield f"VAE, {name}", "glasses", made("vae", positives=positives)


def component_fits(run: Run) -> dict[str, Fit]:
    """Returns the fits of the methods without attributes.

    Methods for one sample use the run's first.
    """
    first = int(run.sample_ids[0])
    options = {
        "PCA": {},
        "Jacobian": {"sample": first, "iterations": 20},
        "pullback": {"sample": first},
    }
    return {
        name: Fit(method=name.lower(), run=run.name, options={"count": COMPONENTS, **more})
        for name, more in options.items()
    }


class Components:
    """The directions of a method without attributes.

    They are fitted once, and tried once on the samples of the choice.
    """

    def __init__(self, run: Run, model: Model, fit: Fit, strength: float) -> None:
        self.run, self.model, self.fit, self.strength = run, model, fit, strength

    @cached_property
    def fitted(self) -> tuple[tuple[Move, ...], float]:
        """Fits all directions, the largest first, and measures the seconds."""
        began = time.monotonic()
        return fit_moves(self.fit, self.run, self.model), time.monotonic() - began

    @cached_property
    def tried(self) -> list[dict[str, float]]:
        """Measures what each component changes.

        The result is the mean change of every factor per unit of strength, in its spread.
        """
        seeds, steps = [CHOICE_SEED + i for i in range(CHOICE_SAMPLES)], self.run.spec.steps
        before = read(
            sample_images(self.model, seeds, steps, batch=len(seeds), text="choice, unedited")
        )
        found = []
        for k, move in enumerate(self.fitted[0], 1):
            text = f"choice, {self.fit.method} {k}"
            after = read(moved_images(self.model, seeds, steps, move, self.strength, text))
            moved = changes(before, after, spreads_of(self.run), self.strength)
            found.append({name: values[0] for name, values in moved.items()})
        return found

    def made(self, attribute: str) -> Made:
        """Returns the component that stands for an attribute.

        It also returns what the others would have moved.
        """
        component, sign = choose(self.tried, attribute)
        moves, seconds = self.fitted
        told: dict[str, Any] = {
            "component": component + 1,
            "sign": sign,
            "choice": [moved[attribute] for moved in self.tried],
        }
        return Made(move=moves[component], seconds=seconds, sign=sign, told=told)


def made_by_asyrp(run: Run, model: Model, attribute: str, clip: Path) -> Made:
    """Trains a block of Asyrp for an attribute.

    It is trained from the text of the attribute's low end to that of its high end.
    """
    source, target = ends(attribute)
    options = {**ASYRP, "clip": str(clip), "source": source, "target": target}
    made = _timed(
        lambda: fit_moves(Fit(method="asyrp", run=run.name, options=options), run, model)[0]
    )
    told = {"texts": [source, target], "clip": clip_digest(clip), "loss": made.move.made_by["loss"]}
    return replace(made, told=told)


def clip_digest(folder: Path) -> str:
    """Returns 12 hex digits that identify a CLIP's weights."""
    return checksum_of(folder / "model.safetensors", "sha256").partition(":")[2][:12]


def clip_accuracy(run: Run, folder: Path) -> dict[str, Any]:
    """Measures how well a CLIP distinguishes every attribute's texts.

    It is measured on drawings that it did not see, and on a run's samples. For these, the reader
    gives the truth.
    """
    clip = load_clip(str(folder), torch.device("cpu"))
    return {
        "digest": clip_digest(folder),
        "drawings": told_apart(clip, *held_out(), ATTRIBUTES),
        "samples": told_apart(clip, run.images, run.labels["toyfaces"], ATTRIBUTES),
    }


def choose(tried: Sequence[Mapping[str, float]], attribute: str) -> tuple[int, int]:
    """Returns the component that moves a factor most, and its sign.

    Components are counted from 0. With the sign ±1 the component raises the factor.
    """
    best = max(range(len(tried)), key=lambda k: abs(tried[k][attribute]))
    return best, 1 if tried[best][attribute] >= 0 else -1


def fit_moves(chosen: Fit, run: Run, model: Model) -> tuple[Move, ...]:
    """Fits the moves of a method under a progress bar."""
    return drive_under_bar(fit(chosen, run, model), f"fitting, {chosen.method}")


def fitted_in_time(chosen: Fit, run: Run, model: Model) -> Made:
    """Fits a move, and measures the seconds that it took.

    The move is the first that the fit makes.
    """
    return _timed(lambda: fit_moves(chosen, run, model)[0])


def _timed(make: Callable[[], Move]) -> Made:
    began = time.monotonic()
    move = make()
    return Made(move=move, seconds=time.monotonic() - began)


def spreads_of(run: Run) -> dict[str, float]:
    """Returns the standard deviation of every factor's reading over a run."""
    return {name: float(values.std()) for name, values in run.labels["toyfaces"].items()}


def few_positives(run: Run) -> dict[str, tuple[int, ...]]:
    """Chooses positives with glasses: few and many of all poses.

    There are also sets of the same size with one pose, and with two opposite poses.
    """
    labels = run.labels["toyfaces"]
    chosen = {
        f"{count} positives": tuple(top_samples(run, labels["glasses"], count)) for count in FEW
    }
    wearing, yaw = labels["glasses"] > 0.5, labels["yaw"]
    middle = top_samples(run, np.where(wearing, -np.abs(yaw), np.nan), ALIGNED)
    left, right = both_ends(run, np.where(wearing, yaw, np.nan), ALIGNED // 2)
    return {
        **chosen,
        f"{ALIGNED} of one pose": tuple(middle),
        f"{ALIGNED} of two poses": (*left, *right),
    }


def _conditional(run: Run, attribute: str) -> Direction:
    """Fits top minus bottom, with the other attributes' directions projected out."""
    found = {
        name: difference_direction(run, *both_ends(run, run.labels["toyfaces"][name], POSITIVES))
        for name in ATTRIBUTES
    }
    own = found.pop(attribute)
    return conditional_direction(own, list(found.values()))


def _by_chance(run: Run, number: int) -> Direction:
    """Fits the naive direction to positives that are chosen at random."""
    chosen = np.random.default_rng([number, POSITIVES]).permutation(run.sample_ids)[:POSITIVES]
    return naive_direction(run, chosen.tolist())


def moved_images(
    model: Model, seeds: Sequence[int], steps: int, move: Move, strength: float, text: str
) -> np.ndarray:
    """Returns moved samples of some seeds: (n, height, width, 3) uint8."""
    if not isinstance(move, PixelMove):
        window = Window(first=0, last=steps - 1)
        parts = [
            sample_images(
                model,
                rows,
                steps,
                Shift(move, [strength] * len(rows), window, model),
                len(rows),
                text,
            )
            for rows in (seeds[i : i + 32] for i in range(0, len(seeds), 32))
        ]
        return np.concatenate(parts)
    parts = []
    for rows in (seeds[i : i + 32] for i in range(0, len(seeds), 32)):
        before = next(step for step in denoise(model, rows, steps) if step.index == move.index)
        x_t = move.moved(before.x_t, torch.full((len(rows),), strength))
        *_, last = denoise(model, rows, steps, x_t=x_t, start=move.index)
        parts.append(model.to_images(last.x_next).numpy())
    return np.concatenate(parts)


def changes(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    spreads: Mapping[str, float],
    strength: float,
) -> dict[str, list[float]]:
    """Measures what a direction changes, for each factor.

    The result is the mean change per unit of strength, in the factor's spread, 95 % bootstrap
    interval over samples, and the mean of the absolute changes.
    """
    found = {}
    for name in NAMES:
        change = (after[name] - before[name]) / spreads[name] / strength
        rows = np.random.default_rng(0).integers(0, len(change), (2000, len(change)))
        low, high = np.quantile(change[rows].mean(1), (0.025, 0.975))
        found[name] = [float(v) for v in (change.mean(), low, high, np.abs(change).mean())]
    return found


def as_table(facts: Mapping[str, Any]) -> str:
    """Writes the cells as Markdown, one line each.

    The random direction has one line for every attribute. p is the rank of the target's change
    among those of directions to random positives, where these were measured.
    """
    columns = (
        "attribute",
        "method",
        "target moves",
        "most unwanted",
        "others, absolute",
        "fit (s)",
    )
    chance = [cell["changes"] for cell in facts["cells"] if cell["method"].startswith(BY_CHANCE)]
    columns += ("p, random positives",) if chance else ()
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for cell in facts["cells"]:
        if cell["method"].startswith(BY_CHANCE):
            continue
        for attribute in [cell["attribute"]] if cell["attribute"] else ATTRIBUTES:
            drawn = np.array([each[attribute][0] for each in chance])
            size = abs(cell["changes"][attribute][0])
            p = f" {p_value(size, np.abs(drawn)):.2f} |" if chance else ""
            lines.append(_line(cell, attribute) + p)
    lines += [_chance_line(chance, attribute) for attribute in ATTRIBUTES if chance]
    return "\n".join(lines) + "\n"


def _chance_line(chance: Sequence[Mapping[str, Any]], attribute: str) -> str:
    """Says within which number 9 of 10 directions to random positives move a factor."""
    sizes = np.abs([each[attribute][0] for each in chance])
    return (
        f"| {attribute.replace('_', ' ')} | {len(chance)} times random positives | 9 of 10 within"
        f" {np.quantile(sizes, 0.9):.2f} | | | | |"
    )


def _line(cell: Mapping[str, Any], target: str) -> str:
    """A cell as a row of the table, for one of the factors; a chosen component with its number,
    and its sign.
    """
    mean, low, high, _ = cell["changes"][target]
    others = {name: values for name, values in cell["changes"].items() if name != target}
    worst = max(others, key=lambda name: abs(others[name][0]))
    kept = np.mean([values[3] for values in others.values()])
    chosen = f", {cell['sign'] * cell['component']:+d}" if "component" in cell else ""
    return (
        f"| {target.replace('_', ' ')} | {cell['method']}{chosen} | {mean:+.2f} ({low:+.2f} to"
        f" {high:+.2f}) | {worst.replace('_', ' ')} {others[worst][0]:+.2f} | {kept:.2f} |"
        f" {cell['seconds']:.1f} |"
    )


def main(argv: list[str] | None = None) -> None:
    """The command."""
    args = _arguments(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    model = load_model(MODEL, args.device)
    spec = default_spec(MODEL, samples=args.fit, steps=20, store={"h": "full"}, batch=16)
    run = extract(model, spec, writable_home(args.work / "home"))
    seeds = [UNSEEN_SEED + i for i in range(args.unseen)]
    settings = {
        "weights": spec.weights,
        "fit": len(run),
        "unseen": args.unseen,
        "strength": args.strength,
    }
    path = args.work / "methods.json"
    facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if facts.get("settings") != settings:
        facts = {"settings": settings, "cells": []}
    trials = _Trials(
        model=model,
        steps=spec.steps,
        seeds=seeds,
        strength=args.strength,
        spreads=spreads_of(run),
        before=read(sample_images(model, seeds, spec.steps, batch=32, text="unedited")),
    )
    known: dict[tuple[str, ...], Any] = {
        (cell["method"], cell["attribute"]): cell for cell in facts["cells"]
    }
    everything = list(cells(run, model, args.strength, args.clip))
    facts["clip"] = clip_accuracy(run, args.clip)
    for method, attribute, make in everything:
        if (method, attribute) in known:
            continue
        made = make()
        if getattr(made.move, "kind", "") in PER_SAMPLE:
            made = replace(made, told={**made.told, "net": net_of(made.move, model, run).to_json()})
        known[method, attribute] = {
            "method": method,
            "attribute": attribute,
            "seconds": made.seconds,
            **made.told,
            "changes": trials.changes_of(made, f"{method} {attribute}".strip()),
        }
        facts["cells"] = [known[meant] for *key, _ in everything if (meant := tuple(key)) in known]
        path.write_text(json.dumps(facts, indent=1) + "\n")
    print(as_table(facts))


@dataclass(kw_only=True)
class _Trials:
    """Tries directions on unseen samples. Each direction is rendered only once."""

    model: Model
    steps: int
    seeds: list[int]
    strength: float
    spreads: Any
    before: Any
    tried: list[tuple[Any, float, Any]] = field(default_factory=list)

    def changes_of(self, made: Made, text: str) -> Any:
        """Measures what a direction changes, in each attribute's spread.

        ``text`` is shown beside the progress bar.
        """
        after = next(  # a component may stand for several attributes
            (found for move, sign, found in self.tried if move is made.move and sign == made.sign),
            None,
        )
        if after is None:
            strength = made.sign * self.strength
            after = read(
                moved_images(self.model, self.seeds, self.steps, made.move, strength, text)
            )
            self.tried.append((made.move, made.sign, after))
        return changes(self.before, after, self.spreads, self.strength)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.methods", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder of results, and of the run of hcache.toyfaces.measure if it was made",
    )
    parser.add_argument(
        "--fit", type=int, default=1072, help="number of samples of 20 steps to fit on"
    )
    parser.add_argument(
        "--unseen", type=int, default=64, help="number of unseen samples for the test"
    )
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument(
        "--clip",
        type=Path,
        default=FOLDER,
        help="folder of a CLIP from hcache.toyfaces.clip (default: the shipped one)",
    )
    parser.add_argument(
        "--device", default="auto", help="device, by its PyTorch name (default: the best available)"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
