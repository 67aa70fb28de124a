"""Compares methods that move each sample by its own Δh with the naive direction, on toyfaces.

    python -m hcache.toyfaces.per_sample --work DIR [--unseen 128]

For each attribute there are positives of one kind, positives of two kinds, and the samples with
the highest readings. Kinds differ in pose (for yaw: in hair colour). Every method is fitted on the
same positives of one run and tried on the same other samples, at strength 1, asymmetrically over
all steps. The differences to the naive direction are paired: of the same samples.

All cells are tried on 32 samples first, then on 32 more, and so on. The command writes
``per_sample.json`` into ``--work`` after every cell and continues from it, so a stopped command
leaves a table of fewer samples. ``as_table`` makes the table in docs/results/methods.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis.bootstrap import bootstrap, mean_of
from ..analysis.estimate import Estimate
from ..cache.layout import writable_home
from ..cache.reading import Run
from ..cards import default_spec
from ..directions.fitting import Fit
from ..directions.naive import top_samples
from ..directions.store import list_moves, load_move, save_move
from ..directions.supervised import both_ends
from ..directions.unit import net_of
from ..directions.vae import ALL_OF_H
from ..extraction.run import extract
from ..models.loading import load_model
from ..models.model import Model
from .factors import BINARY, NAMES
from .measure import ATTRIBUTES, MODEL, UNSEEN_SEED, sample_images
from .methods import POSITIVES, Made, fitted_in_time, moved_images, spreads_of
from .reader import read

FEW = 20
"""The number of positives of one kind or of two."""

MISALIGNED, ALIGNED = f"{FEW} of two kinds", f"{FEW} of one kind"
HIGHEST = f"{POSITIVES} highest"
SETS = (MISALIGNED, ALIGNED, HIGHEST)
BLOCK = 32
"""The number of samples that every cell is tried on before any is tried on more."""

REDUCED = {"components": 32, "latent": 4}


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """A method to try, with its options.

    ``name``: its name in the table. ``method``: its registered name. ``options``: its options.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ATTRIBUTES
    sets: tuple[str, ...] = (MISALIGNED, ALIGNED)


@dataclass(frozen=True, kw_only=True)
class MethodCell:
    """One line of the table.

    It is one row for one attribute and one set of positives.
    """

    positives: str
    attribute: str
    row: str
    fit: Fit

    @property
    def key(self) -> tuple[str, str, str]:
        """Its name among the results."""
        return self.positives, self.attribute, self.row


MAIN = (
    MethodRow(name="naive", method="naive", sets=SETS),
    MethodRow(name="VAE, all of h", method="vae", options=ALL_OF_H, sets=SETS),
    MethodRow(name="VAE, 32 components", method="vae", options=REDUCED, sets=SETS),
    MethodRow(name="local naive", method="local", sets=SETS),
)
VARIANTS = (
    MethodRow(
        name="VAE, 32 components, one a step",
        method="vae",
        options={**REDUCED, "networks": "one a step"},
    ),
    MethodRow(
        name="VAE, 32 components, 16 latent",
        method="vae",
        options={**REDUCED, "latent": 16},
        only=("glasses",),
    ),
    MethodRow(
        name="VAE, 32 components, KL weight 0.1",
        method="vae",
        options={**REDUCED, "beta": 0.1},
        only=("glasses",),
    ),
)


def positives_of(labels: Mapping[str, np.ndarray], run: Run, attribute: str) -> dict[str, list]:
    """Returns the positives' sample numbers, by the name of their set.

    Positives of one kind are those nearest to the median pose. Those of two kinds come half from
    each end. For yaw the kinds are of hair colour.
    """
    values = labels[attribute]
    high = values > (0.5 if attribute in BINARY else np.quantile(values, 0.75))
    kinds = labels["hair_colour" if attribute == "yaw" else "yaw"]
    middle = np.where(high, -np.abs(kinds - np.median(kinds)), np.nan)
    left, right = both_ends(run, np.where(high, kinds, np.nan), FEW // 2)
    return {
        MISALIGNED: [*left, *right],
        ALIGNED: top_samples(run, middle, FEW),
        HIGHEST: top_samples(run, values, POSITIVES),
    }


def cells(run: Run) -> Iterator[MethodCell]:
    """Returns everything to try, the most decisive first."""
    labels = run.labels["toyfaces"]
    chosen = {attribute: positives_of(labels, run, attribute) for attribute in ATTRIBUTES}
    for rows in (MAIN, VARIANTS):
        for kind in SETS:
            for attribute in ATTRIBUTES:
                for row in rows:
                    if kind in row.sets and attribute in row.only:
                        yield _cell(row, kind, attribute, run.name, chosen[attribute][kind])


def _cell(row: MethodRow, kind: str, attribute: str, run: str, positives: list[int]) -> MethodCell:
    fit = Fit(method=row.method, run=run, positives=tuple(positives), options=row.options)
    return MethodCell(positives=kind, attribute=attribute, row=row.name, fit=fit)


def fitted(cell: MethodCell, run: Run, model: Model) -> Made:
    """Returns the cell's move.

    A move that needs training is saved, and loaded the next time. Other moves are fitted.
    """
    name = f"{cell.row} {cell.attribute} {cell.positives}".replace(",", "")
    saved = {each.name: each for each in list_moves(run)}
    if name in saved and saved[name].made_by.get("options", {}) == dict(cell.fit.options):
        return Made(move=load_move(run, name), seconds=float("nan"))
    made = fitted_in_time(cell.fit, run, model)
    if cell.fit.method == "vae":
        save_move(run, name, made.move, replace=True)
    return made


def tried(
    made: Made, run: Run, model: Model, seeds: list[int], before: Mapping[str, np.ndarray]
) -> dict[str, list[float]]:
    """Measures what a move does to every reading of every sample.

    The changes are in the factor's spread.
    """
    after = read(moved_images(model, seeds, run.spec.steps, made.move, 1.0, "moved"))
    spreads = spreads_of(run)
    return {
        name: [round(float(v), 4) for v in (after[name] - before[name]) / spreads[name]]
        for name in NAMES
    }


def mean_with_interval(values: np.ndarray) -> Estimate:
    """Returns the mean of values (n,) with its bootstrap interval."""
    return bootstrap(mean_of(values), len(values))


def as_table(facts: Mapping[str, Any]) -> str:
    """Writes the cells as Markdown, one table for each set of positives.

    Each is compared with the naive direction to the same positives.
    """
    columns = (
        "attribute",
        "method",
        "n",
        "target moves",
        "less naive, paired",
        "others, absolute",
        "net RMS",
        "cosine with -z",
    )
    head = f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|\n"
    known = {(each["positives"], each["attribute"], each["row"]): each for each in facts["cells"]}
    tables = []
    for kind in (MISALIGNED, ALIGNED, HIGHEST):
        lines = [
            _line(cell, known[kind, attribute, "naive"])
            for attribute in ATTRIBUTES
            for (positives, of, _), cell in known.items()
            if (positives, of) == (kind, attribute)
        ]
        if lines:
            tables.append(f"**Positives: {kind}**\n\n{head}" + "\n".join(lines) + "\n")
    return "\n".join(tables)


def _line(cell: Mapping[str, Any], naive: Mapping[str, Any]) -> str:
    target = cell["attribute"]
    change = np.array(cell["changes"][target])
    shared = slice(min(len(change), len(naive["changes"][target])))
    less = mean_with_interval(change[shared] - np.array(naive["changes"][target])[shared])
    others = np.mean([np.abs(cell["changes"][name]).mean() for name in NAMES if name != target])
    to_mean = cell["net"].get("to_mean_before", cell["net"]["to_mean"])
    return (
        f"| {target.replace('_', ' ')} | {cell['row']} | {len(change)} |"
        f" {_signed(mean_with_interval(change))} |"
        f" {'' if cell is naive else _signed(less)} | {others:.2f} |"
        f" {cell['net']['net_rms']:.2f} | {to_mean:+.2f} |"
    )


def _signed(found: Estimate) -> str:
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.per_sample", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the run and the results"
    )
    parser.add_argument(
        "--fit", type=int, default=1072, help="number of samples of 20 steps to fit on"
    )
    parser.add_argument(
        "--unseen", type=int, default=128, help="number of unseen samples for the test"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto", help="device, by its PyTorch name")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    model = load_model(MODEL, args.device)
    spec = default_spec(MODEL, samples=args.fit, steps=args.steps, store={"h": "full"}, batch=16)
    run = extract(model, spec, writable_home(args.work / "home"))
    path = args.work / "per_sample.json"
    settings = {"weights": spec.weights, "fit": len(run), "steps": args.steps}
    facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if facts.get("settings") != settings:
        facts = {"settings": settings, "cells": []}
    seeds = [UNSEEN_SEED + i for i in range(args.unseen)]
    for start in range(0, args.unseen, BLOCK):
        block = seeds[start : start + BLOCK]
        before = read(sample_images(model, block, spec.steps, batch=BLOCK, text="unedited"))
        for cell in cells(run):
            if _tried(facts, cell) <= start:
                made = fitted(cell, run, model)
                keep(facts, cell, made, run, model, tried(made, run, model, block, before))
                path.write_text(json.dumps(facts) + "\n")
    print(as_table(facts))


def _known(facts: Mapping[str, Any], cell: MethodCell) -> dict[str, Any] | None:
    keys = ("positives", "attribute", "row")
    return next(
        (each for each in facts["cells"] if tuple(each[key] for key in keys) == cell.key), None
    )


def _tried(facts: Mapping[str, Any], cell: MethodCell) -> int:
    """Returns the number of samples that a cell was tried on."""
    found = _known(facts, cell)
    return 0 if found is None else len(found["changes"][cell.attribute])


def keep(
    facts: dict[str, Any],
    cell: MethodCell,
    made: Made,
    run: Run,
    model: Model,
    changes: Mapping[str, list[float]],
) -> None:
    """Adds a cell's changes on further samples to ``facts``."""
    found = _known(facts, cell)
    if found is not None:
        for name, more in changes.items():
            found["changes"][name] += more
        return
    net = made.move.made_by.get("net") or net_of(made.move, model, run).to_json()
    facts["cells"].append(
        {
            "positives": cell.positives,
            "attribute": cell.attribute,
            "row": cell.row,
            "seconds": None if isnan(made.seconds) else made.seconds,
            "net": dict(net),
            "changes": dict(changes),
        }
    )


if __name__ == "__main__":
    main()
