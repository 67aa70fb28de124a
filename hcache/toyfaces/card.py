"""Writes the card of a shipped model from the results of ``measure``.

    python -m hcache.toyfaces.card [--model toyfaces-ldm-64]

All numbers come from two files that are kept beside the weights, ``<model>.facts.json`` (of dogs:
``<model>.breeds.json``) and ``<model>.training.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from . import breeds
from .factors import FACTORS, NAMES
from .measure import ATTRIBUTES, LOWEST, MODEL
from .reader import WEIGHTS

TEMPLATE = Path(__file__).parent / "card_template.md"
DOGS_TEMPLATE = TEMPLATE.with_name("dogs_card_template.md")


def write_card(model: str, facts: dict[str, Any], training: dict[str, Any]) -> str:
    """Returns the card as Markdown."""
    data, settings, effects = facts["data"], facts["settings"], facts["directions"]
    reader = facts["reader"]
    n = data["samples"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        model=model,
        introduction=training["introduction"],
        network=_network(training["structure"], facts["network"]),
        noise=training["noise"],
        samples=n,
        twice=2 * n,
        sample_steps=settings["steps"],
        noise_floor=1.36 * (1 / n + 1 / (2 * n)) ** 0.5,
        ks_rows="\n".join(
            "| {} | {:.2f} | {:.2f} | {:.2f} |".format(
                _words(name), data["ks"][name], *data["spread"][name]
            )
            for name in NAMES
        ),
        share=data["share_with_glasses"],
        data_share=next(factor.share for factor in FACTORS if factor.name == "glasses"),
        frechet=data["frechet"],
        frechet_data=data["frechet_of_data_halves"],
        few_steps=_few_steps(facts),
        weights=settings["weights"],
        positives=settings["positives"],
        fit=settings["fit"],
        unseen=settings["unseen"],
        strengths=" | ".join(f"strength {strength}" for strength in effects[ATTRIBUTES[0]]),
        strength_rule="---|" * len(effects[ATTRIBUTES[0]]),
        direction_rows="\n".join(_direction_row(name, effects[name]) for name in _meant(effects)),
        null_header=" | ".join(_words(name) for name in ATTRIBUTES),
        null_rule="---|" * len(ATTRIBUTES),
        null_rows="\n".join(
            f"| {name} at {strength} | "
            + " | ".join(_interval(effect[strength][a]) for a in ATTRIBUTES)
            + " |"
            for name, effect in effects.items()
            if name not in _meant(effects)
            for strength in effect
        ),
        verdict=_verdict(effects),
        reader_bytes=WEIGHTS.stat().st_size,
        names=" | ".join(_words(factor.name) for factor in FACTORS),
        rule="---|" * len(FACTORS),
        clean=" | ".join(f"{reader['clean'][name]:.3f}" for name in NAMES),
        degraded=" | ".join(f"{reader['degraded'][name]:.3f}" for name in NAMES),
        duration=_duration(training["hours"]),
        **{key: training[key] for key in ("faces", "steps", "batch", "rate", "machine")},
        tried="\n".join(f"- {line}" for line in training["tried"]),
    )


def write_dogs_card(facts: dict[str, Any], training: dict[str, Any]) -> str:
    """Returns the card of the model of dogs as Markdown."""
    settings = facts["settings"]
    return DOGS_TEMPLATE.read_text(encoding="utf-8").format(
        model=breeds.MODEL,
        introduction=training["introduction"],
        network=_network(training["structure"], facts["network"]),
        noise=training["noise"],
        table=breeds.as_table(facts),
        run_steps=breeds.STEPS,
        duration=_duration(training["hours"]),
        **{key: settings[key] for key in ("weights", "fit", "unseen")},
        **{key: training[key] for key in ("faces", "steps", "batch", "rate", "machine")},
        tried="\n".join(f"- {line}" for line in training["tried"]),
    )


def _few_steps(facts: dict[str, Any]) -> str:
    """Describes samples of fewer steps and the grain of both. The text is empty without results."""
    few = facts.get("few_steps")
    if few is None:
        return ""
    worst = max(few["ks"], key=few["ks"].get)
    many = facts["data"].get("grain")
    return (
        ("" if many is None else f"Grain: {many:.3f}. ")
        + f"With {few['steps']} steps, {few['samples']} samples: grain {few['grain']:.3f}, Fréchet"
        f" distance {few['frechet']:.2f}, largest KS {few['ks'][worst]:.2f} ({_words(worst)})."
        " Grain is the standard deviation of white noise in the samples, tones from -1 to 1."
    )


def _meant(effects: dict[str, Any]) -> list[str]:
    """Returns the directions that mean a factor, one end after the other."""
    return [name for a in ATTRIBUTES for name in (a, a + LOWEST) if name in effects]


def _direction_row(name: str, effect: dict[str, dict[str, list[float]]]) -> str:
    target = name.removesuffix(LOWEST)
    other = max(
        (factor for factor in NAMES if factor != target),
        key=lambda factor: abs(effect["4"][factor][0]),
    )
    cells = " | ".join(_interval(effect[strength][target]) for strength in effect)
    return f"| {_words(name)} | {cells} | {_words(other)} {effect['4'][other][0]:+.2f} |"


def _interval(triple: list[float]) -> str:
    mean, low, high = triple
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _verdict(effects: dict[str, Any]) -> str:
    """Which directions move their factor by a spread or more the way they should, by the end of the
    interval that is nearer to 0, at 4 units or fewer."""
    moved = [name for name in _meant(effects) if _least(name, effects[name]) >= 1]
    still = [name for name in _meant(effects) if name not in moved]
    names = "; ".join(map(_words, moved)) or "none"
    text = (
        "By one spread or more (the end of the interval nearer to 0, at 4 units or fewer):"
        f" {names}."
    )
    return text + (f" Not: {'; '.join(map(_words, still))}." if still else "")


def _least(name: str, effect: dict[str, dict[str, list[float]]]) -> float:
    """How far a direction moves its factor towards its end at least, at the strength where that
    is most.
    """
    changes = [at[name.removesuffix(LOWEST)] for at in effect.values()]
    return max(-high if name.endswith(LOWEST) else low for _, low, high in changes)


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} minutes"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _network(structure: str, facts: dict[str, Any]) -> str:
    """Describes the U-Net in words, with the model's own sizes."""
    shape, groups = " x ".join(map(str, facts["h"])), facts["skips"]
    return (
        f"{structure}; {facts['parameters'] / 1e6:.2f} M parameters; h is {shape}; {sum(groups)}"
        f" skips in {len(groups)} groups of {groups[0]}"
    )


def main(argv: list[str] | None = None) -> None:
    """Runs the command: writes a model's card from its measurements."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.card", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, help="output folder (default: the model's folder)")
    args = parser.parse_args(argv)
    of_dogs = args.model == breeds.MODEL
    facts, training = (
        json.loads((WEIGHTS.parent / f"{args.model}.{part}.json").read_text())
        for part in ("breeds" if of_dogs else "facts", "training")
    )
    out = args.out or WEIGHTS.parent / args.model / "README.md"
    written = (
        write_dogs_card(facts, training) if of_dogs else write_card(args.model, facts, training)
    )
    out.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
