"""The evidence behind a row of the verdict: charts over all runs, and the pictures of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from ..analysis.probes import AUC
from ..figures.evidence import (
    bars_with_null,
    carried,
    cosines_over_noise,
    curves_over_noise,
    leakage_maps,
    read_and_move,
    response_curves,
)
from ..figures.strips import draw_sheet
from ..measures.cells import (
    ALIGNED,
    COMPONENTS_DCI,
    CONTROLLABLE,
    DECODABLE,
    DISENTANGLED,
    EDITS,
    EFFECT,
    IN_X,
    INTERACTION,
    LINEAR,
)
from ..measures.evidence import Evidence

Runs = Mapping[str, Evidence]
"""By name."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A chart, or pictures as HTML; ``title`` says what it shows. ``run``: whose pictures they
    are.
    """

    title: str
    figure: go.Figure | None = None
    html: str = ""
    run: str = ""


def exhibits(question: str, subject: str, runs: Runs) -> list[Exhibit]:
    """What stands behind a row: of those runs on which it was measured."""
    makers: dict[str, Callable[[str, Runs], list[Exhibit]]] = {
        DECODABLE: _read_and_move,
        IN_X: _read_and_move,
        CONTROLLABLE: _controllable,
        LINEAR: _linear,
        ALIGNED: _aligned,
        INTERACTION: _interaction,
    }
    if question == DISENTANGLED:
        return _edits(runs) if subject == EDITS else _codes(subject, runs)
    if question.startswith(EFFECT):
        return _swapped(question.removeprefix(EFFECT).strip(), runs)
    return makers[question](subject, runs)


def _read_and_move(label: str, runs: Runs) -> list[Exhibit]:
    """Decodability of h and of x_t, and controllability, over noise levels."""
    read = {}
    for name, evidence in runs.items():
        if found := evidence.decodability(label):
            read[name] = {
                "x_t" if site == "x" else site: points for site, points in sorted(found.items())
            }
    move = {
        name: points
        for name, evidence in runs.items()
        if (points := evidence.controllability(label))
    }
    if not read and not move:
        return []
    metric = next((runs[name].metric(label) for name in read), "score")
    title = f"{_words(label)}: where in denoising it can be read, and where moving h moves it"
    if not move:
        chance = 0.5 if metric == AUC else 0.0
        return [
            Exhibit(
                title=f"{_words(label)}: where in denoising it can be read",
                figure=curves_over_noise(read, f"held-out {metric}", "shuffled labels", chance),
            )
        ]
    return [Exhibit(title=title, figure=read_and_move(read, move, metric))]


def _responses(label: str, runs: Runs) -> list[Exhibit]:
    found = {
        name: response for name, evidence in runs.items() if (response := evidence.response(label))
    }
    title = f"{_words(label)}: the reading's mean change over strengths, all steps edited"
    return [Exhibit(title=title, figure=response_curves(found, _words(label)))] if found else []


def _strips(label: str, runs: Runs) -> list[Exhibit]:
    return [
        Exhibit(
            title=f"{name}: {_words(strip.title)}",
            html=draw_sheet(strip.pictures, strip.columns),
            run=name,
        )
        for name, evidence in runs.items()
        for strip in evidence.strips(label)
    ]


def _controllable(label: str, runs: Runs) -> list[Exhibit]:
    return _responses(label, runs) + _read_and_move(label, runs) + _strips(label, runs)


def _linear(label: str, runs: Runs) -> list[Exhibit]:
    return _responses(label, runs) + _strips(label, runs)


def _aligned(label: str, runs: Runs) -> list[Exhibit]:
    curves = {}
    for name, evidence in runs.items():
        reliability, share = evidence.alignment(label)
        if reliability:
            curves[name] = {"reliability of the mean": reliability, "alignment": share}
    title = f"{_words(label)}: how far positives agree in h"
    if not curves:
        return []
    return [
        Exhibit(title=title, figure=curves_over_noise(curves, "share in common", "random samples"))
    ]


def _interaction(_: str, runs: Runs) -> list[Exhibit]:
    found = {name: pairs for name, evidence in runs.items() if (pairs := evidence.interaction())}
    title = "What two directions together fail to add up to, by pair"
    return (
        [
            Exhibit(
                title=title,
                figure=bars_with_null(found, "failure to add up (0: they add up)", "random pairs"),
            )
        ]
        if found
        else []
    )


def _edits(runs: Runs) -> list[Exhibit]:
    found = {name: matrix for name, evidence in runs.items() if (matrix := evidence.leakage())}
    made = []
    if found:
        title = (
            "Mean change of every reading under every edit, at the largest strength; * leaks beyond"
            " chance"
        )
        made.append(Exhibit(title=title, figure=leakage_maps(found)))
    rows = {name: steps for name, evidence in runs.items() if (steps := evidence.cosines())}
    if rows:
        made.append(
            Exhibit(
                title="Cosines between the labels' directions in h", figure=cosines_over_noise(rows)
            )
        )
    return made


def _codes(subject: str, runs: Runs) -> list[Exhibit]:
    name, words = ("disentanglement", "D of DCI") if subject == COMPONENTS_DCI else ("sap", "SAP")
    curves = {run: found for run, evidence in runs.items() if (found := evidence.codes(name))}
    title = f"{words} of h's components and channels, and of x_t's components"
    return (
        [Exhibit(title=title, figure=curves_over_noise(curves, words, "rotated codes"))]
        if curves
        else []
    )


def _swapped(site: str, runs: Runs) -> list[Exhibit]:
    effects = {
        name: found[site] for name, evidence in runs.items() if site in (found := evidence.swaps())
    }
    if not effects:
        return []
    made = [
        Exhibit(title=f"What a swap of {site} carries over, all steps", figure=carried(effects))
    ]
    windows = {
        name: {
            quantity: evidence.swaps_over(site, quantity)
            for quantity in ("pixels", "structure", "colour")
        }
        for name, evidence in runs.items()
        if evidence.swaps_over(site, "pixels")
    }
    if windows:
        title = (
            f"What it carries when {site} is swapped in one window of steps, beyond another donor's"
        )
        made.append(
            Exhibit(
                title=title, figure=curves_over_noise(windows, "carried, less another's", "none")
            )
        )
    for name, evidence in runs.items():
        if (strip := evidence.swapped(site)) is not None:
            made.append(
                Exhibit(
                    title=f"{name}: {strip.title}",
                    html=draw_sheet(strip.pictures, strip.columns),
                    run=name,
                )
            )
    return made


def _words(name: str) -> str:
    return name.replace("_", " ")
