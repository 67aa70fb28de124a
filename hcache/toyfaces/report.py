"""Measures the documentation's numbers of the shipped weights, and writes them there.

    python -m hcache.toyfaces.report --work DIR [--only PART] [--model MODEL] [--docs FOLDER]

The parts are ``facts`` (samples against drawings, and naive directions), ``methods`` (the table of
direction methods), ``readers`` (readers by texts and clicks against the truth), ``verdict`` (what
can be read from h, and what swaps carry), ``random`` (naive directions against random positives,
at three lengths), ``per_sample`` (methods that move each sample by its own Δh) and ``breeds``
(positives of one breed of drawn dogs, and of several). Each is kept in ``DIR`` and continues where
it stopped. Results are written beside the weights as JSON, with the
digest of the measured weights. The cards and the tables of the documentation are then written from
these files alone. A table stands between two comments of a Markdown file:
``<!-- measured: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.layout import writable_home
from ..cache.reading import Run
from ..cache.records import list_records
from ..cards import default_spec
from ..directions.differences import EQUAL, OWN, REST
from ..errors import UsageError
from ..extraction.run import extract
from ..measures.kinds import PREVIEWS
from ..models.loading import load_model
from . import breeds, card, measure, methods, per_sample
from .factors import NAMES
from .measure import ATTRIBUTES, LOWEST, MODEL
from .read_back import read_back
from .reader import WEIGHTS
from .shipped import NULL

FOLDER = WEIGHTS.parent
MODELS = ("toyfaces-ddpm-64", "toyfaces-adm-64", "toyfaces-ldm-64")
PARTS = ("facts", "methods", "readers", "verdict", "random", "per_sample", "breeds")
VERDICT_SAMPLES = 256
"""The number of samples of every model. Probes with different n are not comparable."""

DRAWINGS, POSITIVES, READ_SAMPLES = 512, 32, 128
QUESTIONS = ("decodability", "swaps")
READ_FROM = {"decodable": "read from h:", "in x_t": "read from x_t:"}
EFFECT = "effect of "
LENGTH_WORDS = {EQUAL: "equal length", OWN: "own length", REST: "5 components out"}


def measure_facts(model: str, work: Path) -> None:
    """Compares samples with drawings, and measures naive directions.

    It also writes the sheet and the card.
    """
    measure.main(["--work", str(work / model), "--model", model])
    shutil.copy(work / model / "facts.json", FOLDER / f"{model}.facts.json")
    shutil.copy(work / model / "sheet.png", FOLDER / model / "sheet.png")
    card.main(["--model", model])


def measure_methods(model: str, work: Path) -> None:
    """Measures the table of direction methods, for the DDPM only."""
    if model == MODEL:
        methods.main(["--work", str(work / model)])
        shutil.copy(work / model / "methods.json", FOLDER / "methods.json")


def measure_per_sample(model: str, work: Path) -> None:
    """Compares methods for each sample with the naive direction.

    This is done for the DDPM only.
    """
    if model == MODEL:
        per_sample.main(["--work", str(work / model)])
        shutil.copy(work / model / "per_sample.json", FOLDER / "per_sample.json")


def measure_breeds(model: str, work: Path) -> None:
    """Measures directions from positives of one breed and of several.

    The model is that of dogs. It also writes its card. This is done once, with the DDPM of faces.
    """
    if model == MODEL:
        breeds.main(["--work", str(work / breeds.MODEL)])
        for name in (breeds.SHEET, breeds.STRIP):
            shutil.copy(work / breeds.MODEL / name, FOLDER / breeds.MODEL / name)
        shutil.copy(work / breeds.MODEL / "breeds.json", FOLDER / f"{breeds.MODEL}.breeds.json")
        card.main(["--model", breeds.MODEL])


def measure_readers(model: str, work: Path) -> None:
    """Compares readers by texts and clicks with the truth.

    This is done for the DDPM only."""
    if model != MODEL or _is_current(FOLDER / "readers.json", model):
        return
    spec = default_spec(model, samples=READ_SAMPLES, steps=20, store={"h": "pooled"}, batch=8)
    run = extract(load_model(model), spec, writable_home(work / model / "home"))
    found = read_back(run, DRAWINGS, POSITIVES)
    _write(FOLDER / "readers.json", {"settings": {"weights": spec.weights}, "readers": found})


def measure_verdict(model: str, work: Path) -> None:
    """Measures held-out probes and swaps, by the command for users."""
    out = FOLDER / f"{model}.verdict.json"
    if not _is_current(out, model):
        _, cells = _measured(model, work, QUESTIONS)
        _write(out, {"settings": _verdict_settings(model), "cells": cells})


def measure_random(model: str, work: Path) -> None:
    """Measures naive directions against random positives, by the command for users."""
    out = FOLDER / f"{model}.random.json"
    if _is_current(out, model):
        return
    run, _ = _measured(model, work, ("random",))
    records = [
        record for record in list_records(run, PREVIEWS) if record.parameters["name"] in ATTRIBUTES
    ]
    readings = {
        record.parameters["name"]: {
            "length": float(record.result["lengths"][0]),
            "random_length": float(np.median(record.result["lengths"][1:])),
            **_at_lengths(record.result["readings"][record.parameters["name"]]),
        }
        for record in records
    }
    nulls = records[0].parameters["nulls"]
    _write(out, {"settings": {**_verdict_settings(model), "nulls": nulls}, "readings": readings})


def _at_lengths(found: Mapping[str, Any]) -> dict[str, Any]:
    """Keeps what the table shows of a reading at every length."""
    shown = ("change", "random", "effect", "p")
    return {at: found[at] and {key: found[at][key] for key in shown} for at in LENGTH_WORDS}


def _verdict_settings(model: str) -> dict[str, Any]:
    return {"weights": default_spec(model).weights, "samples": VERDICT_SAMPLES}


def _measured(model: str, work: Path, measures: Sequence[str]) -> tuple[Run, list[dict[str, Any]]]:
    """Extracts the verdict's run, and runs ``measure`` on it: the run and the printed cells."""
    home = writable_home(work / model / "home")
    store = {"h": "full", "skip.*": "pooled"}
    spec = default_spec(model, samples=VERDICT_SAMPLES, steps=20, seed=500, store=store, batch=8)
    run = extract(load_model(model), spec, home)
    words = [word for what in measures for word in ("--what", what)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hcache", "measure", run.name, "--json"),
            *("--home", str(home), *words),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run, json.loads(done.stdout)


WORK: Mapping[str, Callable[[str, Path], None]] = {
    "facts": measure_facts,
    "methods": measure_methods,
    "readers": measure_readers,
    "verdict": measure_verdict,
    "random": measure_random,
    "per_sample": measure_per_sample,
    "breeds": measure_breeds,
}


def _is_current(path: Path, model: str) -> bool:
    """Returns whether a file of results belongs to the present weights."""
    return path.exists() and _read(path)["settings"]["weights"] == default_spec(model).weights


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def tables(folder: Path = FOLDER) -> dict[str, str]:
    """Returns the Markdown of every measured table, by its name.

    The numbers come from the files of a folder.
    """
    facts = {model: _read(folder / f"{model}.facts.json") for model in MODELS}
    found = {
        "weights": weights_table(facts),
        "samples": samples_table(facts),
        "directions": directions_table(facts),
        "meaningless": meaningless_table(facts[MODEL]),
        "methods": methods_table(_read(folder / "methods.json")),
    }
    if all("h_use" in each for each in facts.values()):
        found["h-use"] = h_use_table(facts)
    if (folder / "readers.json").exists():
        found["readers"] = readers_table(_read(folder / "readers.json")["readers"])
    verdicts = {model: folder / f"{model}.verdict.json" for model in MODELS}
    if all(path.exists() for path in verdicts.values()):
        found["verdict"] = verdict_table({m: _read(path) for m, path in verdicts.items()})
    if (folder / "per_sample.json").exists():
        found["per-sample"] = per_sample_table(_read(folder / "per_sample.json"))
    if (folder / f"{breeds.MODEL}.breeds.json").exists():
        measured = _read(folder / f"{breeds.MODEL}.breeds.json")
        found["breeds"] = f"{breeds.as_table(measured)}\n{_weights_of(measured, breeds.MODEL)}"
    randoms = {model: folder / f"{model}.random.json" for model in MODELS}
    known = {model: _read(path) for model, path in randoms.items() if path.exists()}
    if known:
        found["random"] = random_table(known)
    return found


def weights_table(facts: Mapping[str, Any]) -> str:
    """Returns a table of the digests of the measured weights.

    The numbers of each model belong to these weights.
    """
    rows = [
        (f"`{model}`", f"`{found['settings']['weights'][:12]}`") for model, found in facts.items()
    ]
    return _table(("model", "digest of its weights"), rows)


def methods_table(facts: Mapping[str, Any]) -> str:
    """Returns the table of direction methods, and names its weights."""
    return f"{methods.as_table(facts)}\n{_weights_of(facts)}"


def per_sample_table(facts: Mapping[str, Any]) -> str:
    """Returns the table of methods for each sample, and names its weights."""
    return f"{per_sample.as_table(facts)}\n{_weights_of(facts)}"


def _weights_of(facts: Mapping[str, Any], model: str = MODEL) -> str:
    measured, shipped = facts["settings"]["weights"], default_spec(model).weights
    which = "the shipped ones" if measured == shipped else "which shipped before"
    return f"Measured with the weights `{measured[:12]}`, {which}."


def samples_table(facts: Mapping[str, Any]) -> str:
    """Tabulates how near samples are to drawings, by model and steps."""
    rows = []
    for model, found in facts.items():
        few = [found["few_steps"]] if "few_steps" in found else []
        for data in ({"steps": found["settings"]["steps"], **found["data"]}, *few):
            worst = max(data["ks"], key=data["ks"].get)
            rows.append(
                (
                    f"`{model}`",
                    f"{data['steps']}",
                    f"{data['grain']:.3f}" if "grain" in data else "not measured",
                    f"{data['ks'][worst]:.2f} ({_words(worst)})",
                    f"{data['frechet']:.2f} ({data['frechet_of_data_halves']:.2f})",
                )
            )
    head = ("model", "steps", "grain", "KS, worst of 8 factors", "Fréchet distance (data halves)")
    return _table(head, rows)


def h_use_table(facts: Mapping[str, Any]) -> str:
    """Tabulates what h adds to the decoder's first convolution.

    The table also says what changes without h.
    """
    parts = {}
    for model, found in facts.items():
        shares = found["h_use"]["first_block"]
        parts[model] = [(h / skip) for h, skip in shares]
    ratio = [f"{min(part):.2f} to {max(part):.2f}" for part in parts.values()]
    rows = [("what h adds to the decoder's first convolution, over what the skip adds", *ratio)]
    rows += [
        (
            f"mean absolute change of {_words(name)} without h",
            *(f"{found['h_use']['without'][name]:.3f}" for found in facts.values()),
        )
        for name in NAMES
    ]
    return _table(("", *(f"`{model}`" for model in facts)), rows)


def directions_table(facts: Mapping[str, Any]) -> str:
    """Tabulates the largest change of each attribute, by model.

    The change is given at the strength at which it is largest.
    """
    rows = []
    for attribute in ATTRIBUTES:
        for name in (attribute, attribute + LOWEST):
            if not all(name in found["directions"] for found in facts.values()):
                continue
            cells = [_largest(found["directions"][name], attribute) for found in facts.values()]
            rows.append((_words(name), *cells))
    return _table(("direction", *(f"`{model}`" for model in facts)), rows)


def _largest(effect: Mapping[str, Mapping[str, Any]], attribute: str) -> str:
    strength = max(effect, key=lambda at: abs(effect[at][attribute][0]))
    return f"{_interval(effect[strength][attribute])} at {strength}"


def meaningless_table(facts: Mapping[str, Any]) -> str:
    """Tabulates what meaningless directions change.

    They are random directions, and directions to random positives.
    """
    effects = facts["directions"]
    names = [name for name in effects if name.startswith("random ") and name != NULL]
    rows = [
        (f"{name}, strength {at}", *(_interval(effects[name][at][a]) for a in ATTRIBUTES))
        for name in (*names, NULL)
        for at in effects[name]
    ]
    return _table(("direction", *map(_words, ATTRIBUTES)), rows)


def readers_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulates correlations of readers with the truth of drawings.

    The table also has correlations with the toy reader.
    """
    columns = {
        "texts, truth": "texts: truth",
        "texts, toy reader": "texts: toy reader on samples",
        "clicks on pixels, truth": "clicks on pixels: truth",
        "clicks on pixels, AUC": "held-out AUC",
        "clicks on toyfaces-clip, truth": "clicks on `toyfaces-clip`: truth",
        "clicks on toyfaces-clip, AUC": "held-out AUC",
    }
    rows = [
        (
            _words(name),
            *(
                f"{value:.2f}" if isinstance(value, float) else value or ""
                for value in (found[name].get(key, "") for key in columns)
            ),
        )
        for name in NAMES
    ]
    return _table(("factor", *columns.values()), rows)


def verdict_table(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulates the cells of the verdict that all models have.

    There is one row per question and subject.
    """
    cells = {
        model: {(cell["question"], cell["subject"]): cell for cell in verdict["cells"]}
        for model, verdict in verdicts.items()
    }
    shared = [key for key in sorted(cells[MODEL]) if all(key in found for found in cells.values())]
    rows = [
        (
            f"{_asked(question)} {_words(subject)}".strip(),
            *(_estimate(cells[m][question, subject]) for m in cells),
        )
        for question, subject in shared
    ]
    return _table(("", *(f"`{model}`" for model in cells)), rows)


def _asked(question: str) -> str:
    """Returns a question of the verdict in the words of the table."""
    if question.startswith(EFFECT):
        return f"carried by a swap of {question.removeprefix(EFFECT)}:"
    return READ_FROM.get(question, question)


def random_table(known: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulates naive directions beside random positives, at three lengths.

    One row per attribute and length. A cell has the change with its interval, the root mean square
    of the random directions' changes, and p by rank.
    """
    rows = [
        (
            _words(name),
            words,
            *(_beside_random(found["readings"].get(name, {}).get(at)) for found in known.values()),
        )
        for name in ATTRIBUTES
        for at, words in LENGTH_WORDS.items()
    ]
    return _table(("direction", "length", *(f"`{model}`" for model in known)), rows)


def _beside_random(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "no random direction changes it"
    change = found["change"]
    interval = _interval((change["value"], change["low"], change["high"]))
    return f"{interval}; random {found['random']:.2f}; p {found['p']:.3f}"


def _estimate(cell: Mapping[str, Any]) -> str:
    """Returns a cell's value and interval as ``measure --json`` prints them."""
    if cell.get("value") is None:
        return "not defined"
    return f"{cell['value']:.2f} ({cell['low']:.2f} to {cell['high']:.2f})"


def _interval(triple: Sequence[float]) -> str:
    mean, low, high = triple[:3]
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


BLOCK = re.compile(r"(<!-- measured: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, found: Mapping[str, str]) -> str:
    """Returns a Markdown text with its measured tables renewed.

    Raises:
        UsageError: the text asks for a table that nothing measures.
    """

    def one(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in found:
            known = ", ".join(sorted(found))
            raise UsageError(f"no measured table is named {name!r}; there are: {known}")
        return f"{match[1]}{found[name]}\n{match[3]}"

    return BLOCK.sub(one, text)


def write_tables(docs: Path) -> list[Path]:
    """Writes the measured tables into the Markdown files of a folder.

    Returns the files that changed.
    """
    found, changed = tables(), []
    for path in sorted(docs.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = filled(before, found)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.report", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for intermediate results")
    parser.add_argument(
        "--only",
        choices=PARTS,
        action="append",
        help="part to measure; repeat it for several (default: all)",
    )
    parser.add_argument(
        "--model",
        choices=MODELS,
        action="append",
        help="model to measure; repeat it for several (default: all three)",
    )
    parser.add_argument(
        "--docs", type=Path, default=Path("docs"), help="folder of Markdown files (default: docs)"
    )
    args = parser.parse_args(argv)
    for part in args.only or PARTS:
        for model in args.model or MODELS:
            WORK[part](model, args.work)
    for path in write_tables(args.docs):
        print(f"written: {path}")
    strip, pictures = FOLDER / breeds.MODEL / breeds.STRIP, args.docs / "pictures"
    if strip.exists() and pictures.is_dir():
        shutil.copy(strip, pictures)


if __name__ == "__main__":
    main()
