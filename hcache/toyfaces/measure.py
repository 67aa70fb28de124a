"""Measures all numbers of a model's card.

    python -m hcache.toyfaces.measure --work DIR [--model toyfaces-ldm-64] [--samples 512] [--unseen
    64]

Writes ``facts.json`` and ``sheet.png`` (the first 64 samples, not picked) into ``--work``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.linalg import sqrtm
from scipy.stats import ks_2samp
from tqdm import tqdm

from ..cache.layout import writable_home
from ..cache.reading import Run
from ..cards import default_spec
from ..directions.direction import Direction, random_direction
from ..directions.naive import naive_direction, top_samples
from ..edits.shift import Shift
from ..extraction.run import extract
from ..models.loading import load_model
from ..models.model import Model
from ..recipes.window import Window
from ..sampling.loop import Edit, denoise
from .drawing import draw_dataset
from .factors import BINARY, FACTORS, NAMES
from .h_use import h_use
from .losses import degrade
from .reader import load_reader, read, read_features, to_tensor
from .train import HELD_OUT

MODEL = "toyfaces-ddpm-64"
ATTRIBUTES = ("yaw", "hair_colour", "smile", "glasses")
LOWEST = ", lowest"
"""Ends the name of a direction whose positives are the samples with the lowest readings."""
STRENGTHS = (1.2, 2.0, 3.0, 4.0)
UNSEEN_SEED = 1_000_000


def sample_images(
    model: Model,
    seeds: Sequence[int],
    steps: int,
    edit: Edit | None = None,
    batch: int = 16,
    text: str = "sampling",
) -> np.ndarray:
    """Samples finished pictures (n, 64, 64, 3) uint8.

    An edit, if there is one, is asymmetric.
    """
    parts = []
    for i in tqdm(range(0, len(seeds), batch), desc=text):
        for step in denoise(model, seeds[i : i + batch], steps, edit=edit, asymmetric=True):
            x = step.x_next
        parts.append(model.to_images(x).numpy())
    return np.concatenate(parts)


def reader_accuracy(count: int = 2000) -> dict[str, dict[str, float]]:
    """Measures R² of the reader on held-out drawings.

    For binary factors it measures accuracy. Drawings are read as drawn, and with mild blur and
    noise.
    """
    images, factors = draw_dataset(range(HELD_OUT, HELD_OUT + count))
    reader, rng = load_reader(), torch.Generator().manual_seed(0)
    clean = to_tensor(images)
    with torch.inference_mode():
        readings = {
            "clean": torch.cat([reader(part) for part in clean.split(250)]).numpy(),
            "degraded": (
                torch.cat([reader(degrade(part, rng)) for part in clean.split(250)]).numpy()
            ),
        }
    return {
        kind: {name: _accuracy(factors[:, i], values[:, i], name) for i, name in enumerate(NAMES)}
        for kind, values in readings.items()
    }


def _accuracy(truth: np.ndarray, reading: np.ndarray, name: str) -> float:
    if name in BINARY:
        return float(((reading > 0.5) == (truth > 0.5)).mean())
    return float(1 - np.square(reading - truth).sum() / np.square(truth - truth.mean()).sum())


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Computes the Fréchet distance of two sets of features (n, d).

    They are taken as normally distributed.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel,
        Ramsauer, Unterthiner, Nessler, Hochreiter, 2017), https://arxiv.org/abs/1706.08500
    """
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(cov_a @ cov_b).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root))


def grain(images: np.ndarray) -> float:
    """Estimates the standard deviation of white noise in pictures.

    The whole range of tones is 2. The estimate is the median of the absolute mixed second
    differences of neighbouring pixels, divided by 1.35, which is this median for white noise of
    deviation 1. Flat areas and straight edges have no such differences.

    Args:
        images: Pictures (n, height, width, 3) uint8.
    """
    tones = images.astype(np.float32) / 127.5 - 1
    mixed = tones[:, 1:, 1:] - tones[:, :-1, 1:] - tones[:, 1:, :-1] + tones[:, :-1, :-1]
    return float(np.median(np.abs(mixed)) / 1.35)


def compare_with_data(images: np.ndarray) -> dict[str, Any]:
    """Compares samples with held-out drawings: readings, features of the reader, grain."""
    n = len(images)
    drawings, _ = draw_dataset(range(HELD_OUT, HELD_OUT + 2 * n))
    ours, theirs = read(images), read(drawings)
    features = read_features(drawings)
    return {
        "samples": n,
        "ks": {name: float(ks_2samp(ours[name], theirs[name]).statistic) for name in NAMES},
        "share_with_glasses": float((ours["glasses"] > 0.5).mean()),
        "spread": {name: [float(ours[name].std()), float(theirs[name].std())] for name in NAMES},
        "frechet": frechet_distance(read_features(images), features[:n]),
        "frechet_of_data_halves": frechet_distance(features[:n], features[n:]),
        "grain": grain(images),
    }


def direction_effects(
    model: Model, run: Run, unseen: int, positives: int, work: Path, batch: int = 16
) -> dict[str, Any]:
    """Measures how the naive directions change readings.

    The samples had no part in fitting the directions. Every entry is the mean change of every
    reading, in its own spread over the run, with a 95 % bootstrap interval over samples. A factor
    that is not binary has two directions: towards the samples with the highest readings, and
    towards those with the lowest. For comparison there are random directions of equal length, and
    directions fitted in the same way to randomly chosen positives. What an earlier call with the
    same settings measured is not measured again.
    """
    seeds = [UNSEEN_SEED + i for i in range(unseen)]
    labels = run.labels["toyfaces"]
    spreads = {name: float(values.std()) for name, values in labels.items()}
    before = read(sample_images(model, seeds, run.spec.steps, batch=batch, text="unedited"))
    kept = work / "effects.json"
    settings = {"run": run.name, "fit": len(run), "unseen": unseen, "positives": positives}
    known = json.loads(kept.read_text()) if kept.exists() else {}
    effects: dict[str, Any] = known["effects"] if known.get("settings") == settings else {}

    def measure(name: str, direction: Direction, strengths: Sequence[float]) -> None:
        """One direction at some strengths, into ``effects``; what is known so far is on disk
        after each.
        """
        for strength in strengths:
            if f"{strength:g}" in effects.get(name, {}):
                continue
            window = Window(first=0, last=run.spec.steps - 1)
            shift = Shift(direction, [strength], window, model)
            text = f"{name} {strength:+g}"
            images = sample_images(model, seeds, run.spec.steps, shift, batch, text)
            Image.fromarray(np.concatenate(list(images[:16]), 1)).save(
                work / f"{text.replace(' ', '')}.png"
            )
            after = read(images)
            effects.setdefault(name, {})[f"{strength:g}"] = {
                factor: _mean_change(before[factor], after[factor], spreads[factor])
                for factor in NAMES
            }
            kept.write_text(json.dumps({"settings": settings, "effects": effects}, indent=1))

    for attribute in ATTRIBUTES:
        measure(
            attribute,
            naive_direction(run, top_samples(run, labels[attribute], positives)),
            STRENGTHS,
        )
        if attribute not in BINARY:
            lowest = top_samples(run, labels[attribute], positives, highest=False)
            measure(attribute + LOWEST, naive_direction(run, lowest), STRENGTHS)
    sigma = naive_direction(run, [int(i) for i in run.sample_ids[:2]]).sigma
    for seed in range(2):
        measure(f"random {seed}", random_direction(sigma, seed), STRENGTHS[-1:])
    chosen = np.random.default_rng(0).choice(run.sample_ids, positives, replace=False)
    measure("random positives", naive_direction(run, [int(i) for i in chosen]), STRENGTHS[1::2])
    return effects


def _mean_change(
    before: np.ndarray, after: np.ndarray, spread: float, repeats: int = 2000
) -> list[float]:
    """Returns the mean change in spreads, and its 95 % bootstrap interval."""
    change = (after - before) / spread
    rows = np.random.default_rng(0).integers(0, len(change), (repeats, len(change)))
    low, high = np.quantile(change[rows].mean(1), (0.025, 0.975))
    return [float(change.mean()), float(low), float(high)]


def main(argv: list[str] | None = None) -> None:
    """Runs the command: measures all numbers of the card."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.measure", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument(
        "--samples", type=int, default=512, help="number of samples to compare with drawings"
    )
    parser.add_argument("--steps", type=int, default=50, help="DDIM steps of these samples")
    parser.add_argument(
        "--fit", type=int, default=1072, help="number of samples of 20 steps to fit directions on"
    )
    parser.add_argument("--positives", type=int, default=150)
    parser.add_argument(
        "--unseen", type=int, default=64, help="number of unseen samples for the directions"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--device", default="auto", help="device, by its PyTorch name (default: the best available)"
    )
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    model = load_model(args.model, args.device)
    spec = default_spec(
        args.model, samples=args.fit, steps=20, store={"h": "full"}, batch=args.batch
    )
    facts = _known_facts(args.work / "facts.json", spec.weights, args)
    if "data" not in facts:
        facts["reader"] = reader_accuracy()
        images = sample_images(model, range(args.samples), args.steps, batch=args.batch)
        side = [
            np.concatenate(list(images[i : i + 8]), 1) for i in range(0, min(64, len(images)), 8)
        ]
        Image.fromarray(np.concatenate(side)).save(args.work / "sheet.png")
        facts["data"] = compare_with_data(images)
        (args.work / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    run = extract(model, spec, writable_home(args.work / "home"))
    facts["few_steps"] = {
        "steps": run.spec.steps,
        **compare_with_data(run.images[: args.samples]),
    }
    if "h_use" not in facts:
        facts["h_use"] = h_use(model, args.unseen, run.spec.steps)
    facts["directions"] = direction_effects(
        model, run, args.unseen, args.positives, args.work, args.batch
    )
    facts["network"] = {
        "parameters": model.anatomy.parameters,
        "h": model.anatomy.h,
        "skips": [len(group) for group in model.anatomy.skips],
    }
    facts["factors"] = [factor.name for factor in FACTORS]
    (args.work / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


def _known_facts(path: Path, weights: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns an earlier call's results if samples and weights are the same."""
    settings = {key: str(value) for key, value in vars(args).items() if key != "work"} | {
        "weights": weights
    }
    facts = json.loads(path.read_text()) if path.exists() else {}
    same = all(
        facts.get("settings", {}).get(key) == settings[key]
        for key in ("model", "weights", "samples", "steps")
    )
    kept = {key: facts[key] for key in ("reader", "data", "h_use") if key in facts} if same else {}
    return {**kept, "settings": settings}


if __name__ == "__main__":
    main()
