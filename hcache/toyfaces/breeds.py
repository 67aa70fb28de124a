"""Measures what positives of one breed do that positives of mixed breeds do not.

    python -m hcache.toyfaces.breeds --work DIR [--fit 1024] [--positives 64] [--unseen 128]

The question comes from edits of photographs of dogs: a direction towards happy dogs is said to work
only if all its positives are of one breed. Here the breed and the expression of every sample are
read by a reader that was trained on drawings. Naive directions are fitted to the happiest samples
of all breeds and to the happiest of each breed, and applied to samples that had no part in it.
Naive directions are relative to all samples, so those from one breed contain the breed. Directions
against the least happy samples of the same breed do not. Directions fitted to randomly chosen
positives are measured for comparison. Methods that move each sample by its own Δh are fitted to the
positives of mixed breeds as well. The command writes ``breeds.json``, ``breeds.webp`` and
``sheet.png`` (64 samples, not picked) into ``DIR``, and continues from what is there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..analysis.alignment import alignment
from ..cache.layout import writable_home
from ..cache.reading import Run
from ..cards import default_spec
from ..directions.fitting import Fit
from ..directions.naive import top_samples
from ..extraction.run import extract
from ..models.loading import load_model
from ..models.model import Model
from .dogs import NAMES
from .dogs_reader import read
from .measure import UNSEEN_SEED, sample_images
from .methods import fitted_in_time, moved_images

MODEL, READER = "toydogs-ddpm-64", "toydogs"
SHEET, STRIP = "sheet.png", "breeds.webp"
MIXED, RANDOM = "mixed breeds", "random positives"
AGAINST = "against unhappy ones"
PER_SAMPLE = {"VAE": "vae", "local naive": "local"}
STEPS, STRENGTHS = 20, (1.0, 2.0)
EACH = 2
"""The number of dogs of every breed in the strip."""

ALIGNED_AT = 0.6
"""The step at which alignment of positives is measured, as a share of all steps."""


def breed_of(readings: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the most likely breed of every sample, (n,) places in ``NAMES``."""
    return np.stack([readings[f"breed {name}"] for name in NAMES]).argmax(0)


def chosen_positives(run: Run, count: int) -> dict[str, tuple[int, ...]]:
    """Chooses sets of positives, by name.

    They are the happiest samples of all breeds, the happiest of each breed, and random ones.
    """
    drawn = np.random.default_rng(0).choice(run.sample_ids, count, replace=False)
    return {**at_one_end(run, count), RANDOM: tuple(int(i) for i in drawn)}


def at_one_end(run: Run, count: int, highest: bool = True) -> dict[str, tuple[int, ...]]:
    """Chooses the happiest samples of all breeds and of each.

    If ``highest`` is false, it chooses the least happy ones. There are ``count`` of each kind, or a
    quarter of a breed with fewer.
    """
    labels = run.labels[READER]
    breeds, values = breed_of(labels), labels["happy"] if highest else -labels["happy"]
    found = {MIXED: tuple(top_samples(run, values, count))}
    for place, name in enumerate(NAMES):
        own = np.where(breeds == place, values, np.nan)
        found[name] = tuple(top_samples(run, own, min(count, int((breeds == place).sum()) // 4)))
    return found


def fits(run: Run, count: int) -> dict[str, Fit]:
    """Returns what is tried, by its name.

    The naive direction is fitted to every set of positives, against the mean of all samples. The
    supervised one is fitted against the least happy samples of the same breed, or of all breeds.
    The happiest samples of all breeds also get a VAE and a local naive direction.
    """
    chosen, unhappy = chosen_positives(run, count), at_one_end(run, count, highest=False)
    found = {
        name: Fit(method="naive", run=run.name, positives=positives)
        for name, positives in chosen.items()
    }
    for name, negatives in unhappy.items():
        found[f"{name}, {AGAINST}"] = Fit(
            method="supervised", run=run.name, positives=chosen[name], negatives=negatives
        )
    for words, method in PER_SAMPLE.items():
        name = f"{MIXED}, {words}"
        found[name] = Fit(method=method, run=run.name, positives=chosen[MIXED])
    return found


def alignment_of_positives(run: Run, positives: Sequence[int]) -> dict[str, Any]:
    """Measures how far positives agree in h at one step.

    See :mod:`hcache.analysis.alignment`.
    """
    step = int(ALIGNED_AT * (run.spec.steps - 1))
    chosen = np.isin(run.sample_ids, positives)
    found = alignment(run.matrix("h", step), chosen)
    return {
        "step": step,
        "positives": len(positives),
        "alignment": found.alignment.to_json(),
        "reliability": found.reliability.to_json(),
        "p": found.p,
    }


def change_by_breed(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], spread: float
) -> dict[str, dict[str, list[float]]]:
    """Averages the changes by the breed of the recipient.

    They are the changes of ``happy`` and of the probability of the recipient's own breed.

    Args:
        before: Readings of the unedited samples.
        after: Readings of the edited samples.
        spread: The standard deviation of ``happy`` over the run, its unit.

    Returns:
        The mean and 95 % bootstrap interval of each change; ``happy`` in spreads.
    """
    breeds, found = breed_of(before), {}
    for place, name in enumerate(NAMES):
        rows = breeds == place
        own = f"breed {name}"
        found[name] = {
            "happy": _mean((after["happy"] - before["happy"])[rows] / spread),
            "own breed": _mean((after[own] - before[own])[rows]),
        }
    return found


def _mean(values: np.ndarray, repeats: int = 2000) -> list[float]:
    rows = np.random.default_rng(0).integers(0, len(values), (repeats, len(values)))
    low, high = np.quantile(values[rows].mean(1), (0.025, 0.975))
    return [float(values.mean()), float(low), float(high)]


def measure_breeds(
    model: Model, run: Run, unseen: int, positives: int, kept: Path
) -> dict[str, Any]:
    """Measures every set of positives and writes ``kept`` after each.

    What ``kept`` already has for these weights and sizes is not measured again.
    """
    settings = {"weights": run.spec.weights, "fit": len(run), "unseen": unseen}
    facts: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if facts.get("settings") != settings:
        facts = {"settings": settings, "effects": {}, "alignment": {}}
    facts["network"] = {
        "parameters": model.anatomy.parameters,
        "h": list(model.anatomy.h or ()),
        "skips": [len(group) for group in model.anatomy.skips],
    }
    seeds, steps = [UNSEEN_SEED + i for i in range(unseen)], run.spec.steps
    unedited = sample_images(model, seeds, steps, text="unedited")
    before, spread = read(unedited), float(run.labels[READER]["happy"].std())
    shown = np.concatenate([np.flatnonzero(breed_of(before) == k)[:EACH] for k in range(4)])
    rows = {"unedited": np.concatenate(list(unedited[shown]), 1)}
    for name, fit in fits(run, positives).items():
        if name not in facts["alignment"]:
            facts["alignment"][name] = alignment_of_positives(run, fit.positives)
        make = cache(partial(fitted_in_time, fit, run, model))
        for strength in STRENGTHS:
            at, known = f"{strength:g}", facts["effects"].setdefault(name, {})
            picture = kept.with_name(f"{name} {at}.png")
            if at not in known:
                images = moved_images(model, seeds, steps, make().move, strength, f"{name} {at}")
                known[at] = change_by_breed(before, read(images), spread)
                Image.fromarray(np.concatenate(list(images[shown]), 1)).save(picture)
                kept.write_text(json.dumps(facts, indent=1) + "\n")
            if strength == STRENGTHS[0]:
                rows[name] = np.asarray(Image.open(picture))
    strip(rows).save(kept.with_name(STRIP), quality=90)
    return facts


def strip(rows: Mapping[str, np.ndarray]) -> Image.Image:
    """Draws rows of pictures under each other, with their names. Each is (h, w, 3) uint8."""
    font, height = ImageFont.load_default(15), next(iter(rows.values())).shape[0]
    margin = int(max(font.getlength(name) for name in rows)) + 16
    width = margin + max(row.shape[1] for row in rows.values())
    found = Image.new("RGB", (width, height * len(rows)), "white")
    draw = ImageDraw.Draw(found)
    for place, (name, row) in enumerate(rows.items()):
        draw.text((8, height * (place + 0.5)), name, "black", font, anchor="lm")
        found.paste(Image.fromarray(row), (margin, height * place))
    return found


def as_table(facts: Mapping[str, Any]) -> str:
    """Tabulates the changes of ``happy`` and of the own breed."""
    columns = ("positives", "alignment", "strength", *NAMES, "own breed")
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    for name, effect in facts["effects"].items():
        agreed = facts["alignment"][name]["alignment"]["value"]
        for at, found in effect.items():
            cells = " | ".join(
                "{:+.2f} ({:+.2f} to {:+.2f})".format(*found[breed]["happy"]) for breed in NAMES
            )
            kept = ", ".join(f"{found[breed]['own breed'][0]:+.2f}" for breed in NAMES)
            lines.append(f"| {name} | {agreed:.2f} | {at} | {cells} | {kept} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.breeds", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--fit", type=int, default=1024, help="number of samples of 20 steps to fit on"
    )
    parser.add_argument("--positives", type=int, default=64)
    parser.add_argument(
        "--unseen", type=int, default=128, help="number of unseen samples for the test"
    )
    parser.add_argument("--device", default="auto", help="device, by its PyTorch name")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    model = load_model(MODEL, args.device)
    spec = default_spec(MODEL, samples=args.fit, steps=STEPS, store={"h": "full"}, batch=16)
    run = extract(model, spec, writable_home(args.work / "home"))
    if not (sheet := args.work / SHEET).exists():
        images = sample_images(model, range(64), 50, text="sheet")
        rows = [np.concatenate(list(images[i : i + 8]), 1) for i in range(0, 64, 8)]
        Image.fromarray(np.concatenate(rows)).save(sheet)
    kept = args.work / "breeds.json"
    print(as_table(measure_breeds(model, run, args.unseen, args.positives, kept)))


if __name__ == "__main__":
    main()
