"""The default captions of figures: model, run, samples, steps, methods, strengths."""

from __future__ import annotations

from collections.abc import Sequence

from ..cache.layout import H
from ..cache.reading import Run
from ..directions.fitting import METHODS, NEGATIVES
from ..recipes.window import CONSTANT, Window
from .choices import SAVED, Grid, Strip, Swaps, chosen_for, name_of, ways_from_label

UNIT = "At strength 1 the root mean square of Δh/σ is 1."


def swap_caption(run: Run, choice: Swaps) -> str:
    """Returns the caption of a U-figure."""
    other = f" of run {choice.donor_run}" if choice.donor_run not in ("", run.name) else ""
    blend = f", blended at {choice.alpha:.0%}" if choice.alpha < 1 else ""
    return (
        f"Swaps in {_source(run)}: recipient B (sample {choice.recipient}) with the activations of"
        f" donor A (sample {choice.donor}{other}) at h or one skip group{blend},"
        f" {_steps(run, choice.window)}. Numbers: root mean square distance from B, divided by the"
        " distance of A from B."
    )


def strip_caption(run: Run, choice: Strip, below: str) -> str:
    """Returns the caption of a strip.

    ``below`` explains the numbers below the pictures, if there are any.
    """
    label = name_of(choice.label)
    ways = _ways(choice.ways, choice.top, [choice.label])
    along = f" along {label}" if label and ways_from_label().keys() & set(choice.ways) else ""
    strengths = ", ".join(f"{strength:g}" for strength in choice.strengths)
    read = f" Below each picture: {below}." if below else ""
    labels = [choice.label] if choice.label else []
    return (
        f"Sample {choice.sample} of {_source(run)}, edited{along} in {_steps(run, choice.window)}, "
        f"{_symmetry(choice)}, at strengths {strengths}. {ways}"
        f"{_part(run, [choice.sample], labels, choice.top, choice.ways)} {UNIT}{_at(choice)}{read}"
    )


def grid_caption(run: Run, choice: Grid) -> str:
    """Returns the caption of a grid of samples and methods by attributes."""
    saved = choice.attributes[0].startswith(SAVED)
    ways = (
        "Columns: saved directions." if saved else _ways(choice.ways, choice.top, choice.attributes)
    )
    samples = ", ".join(map(str, choice.samples))
    labels = [] if saved else list(choice.attributes)
    return (
        f"Samples {samples} of {_source(run)}, edited in {_steps(run, choice.window)},"
        f" {_symmetry(choice)}, at strength {choice.strength:g}."
        f" {ways}{_part(run, choice.samples, labels, choice.top, choice.ways)} {UNIT}{_at(choice)}"
    )


def _source(run: Run) -> str:
    model = run.spec.model.rstrip("/").rsplit("/", 1)[-1]
    return f"{model} (run {run.name})"


def _steps(run: Run, window: Window) -> str:
    t, shape = run.timesteps, "" if window.shape == CONSTANT else f", {window.shape}"
    if (window.first, window.last) == (0, run.spec.steps - 1):
        return f"all {run.spec.steps} steps{shape}"
    between = f"t = {t[window.first]:g} to {t[window.last]:g}"
    return f"steps {window.first} to {window.last} of {run.spec.steps} ({between}{shape})"


def _at(choice: Strip | Grid) -> str:
    """Says where fitted directions move, unless it is h."""
    return "" if choice.site == H else f" Fitted directions move {choice.site}, not h."


def _symmetry(choice: Strip | Grid) -> str:
    return "asymmetric (P_t only)" if choice.asymmetric else "symmetric (P_t and D_t)"


def _ways(ways: Sequence[str], top: int, labels: Sequence[str]) -> str:
    """Says which samples the methods were fitted to."""
    fitted = [name_of(way) for way in ways if way in ways_from_label()]
    if not fitted:
        return ""
    of = name_of(labels[0]) if len(labels) == 1 else "value of the label"
    both = [name_of(w) for w in ways if w in METHODS and NEGATIVES in METHODS[w].needs]
    also = "" if both == fitted else f", {' and '.join(both)} also"
    lowest = f"{also or ' and'} to the {top} with the lowest" if both else ""
    return f"Fitted ({', '.join(fitted)}) to the {top} samples with the highest {of}{lowest}."


def _part(
    run: Run, samples: Sequence[int], labels: Sequence[str], top: int, ways: Sequence[str]
) -> str:
    """Says whether the shown samples took part in the fits."""
    if not labels or not ways_from_label().keys() & set(ways):
        return ""
    inside = sorted(chosen_for(run, labels, top) & set(samples))
    if not inside:
        shown = "None of the samples shown took" if len(samples) > 1 else "The sample shown took no"
        return f" {shown} part in the fit."
    return f" Of the samples shown, {', '.join(map(str, inside))} may have taken part in the fit."
