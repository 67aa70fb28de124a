"""Declares linear probes for the Probes page and the command ``probe``."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from ..analysis.probes import AUC, LOGISTIC, RIDGE
from ..cache.labels import find_label
from ..cache.layout import X
from ..cache.reading import Run
from ..specs import NONE, POOLED
from .by_cell import ByCell, Choice, LearningCurves, Options, ProbeMap, Work
from .costs import probe_seconds
from .decodability import ProbeOptions, decodability, default_sites, stored_decodability
from .duplicates import duplicates_in_words
from .groups import APART, BY_RUN, groups_of, in_words
from .learning import learning, stored_learning
from .parameter import Parameter

OWN = "own"
KINDS = {OWN: "Automatic", RIDGE: "Ridge: values (R²)", LOGISTIC: "Logistic: two classes (AUC)"}
MOST_NAMED = 6

KIND = Parameter(
    name="kind",
    text="kind of probe; own: logistic of two classes, ridge of other values",
    default=OWN,
    choices=tuple(KINDS),
)
PARAMETERS = (
    KIND,
    Parameter(name="pooled", text="average over space first", default=False),
    Parameter(name="folds", text="folds of the cross-validation", default=5, least=2, most=10**6),
    Parameter(
        name="controls",
        text="fits of shuffled labels; 0: 99 of ridge, 19 of logistic",
        default=0,
        least=0,
        most=10**6,
    ),
    Parameter(name="draws", text="draws of the bootstrap", default=500, least=1, most=10**7),
    Parameter(name="seed", text="seed of folds, shuffling and draws", default=0, least=0),
)
GROUPS = Parameter(
    name="groups",
    text=(
        "samples that belong together, never on both sides of a fold: run (those of one prompt,"
        " class or picture), none, or a label whose values are the groups"
    ),
    default=BY_RUN,
)


def probe_options(options: Options) -> ProbeOptions:
    """Returns the options of a probe from the values of parameters."""
    given = {each.name: each.default for each in (*PARAMETERS, GROUPS)} | dict(options)
    return ProbeOptions(
        kind=None if given["kind"] == OWN else given["kind"],
        pooled=given["pooled"],
        folds=given["folds"],
        controls=given["controls"] or None,
        repeats=given["draws"],
        seed=given["seed"],
        groups=given["groups"],
    )


def _measure(
    run: Run, labels: Sequence[str], sites: Sequence[str], steps: Sequence[int], options: Options
) -> Work:
    return decodability(run, labels, sites, steps, probe_options(options))


def _stored(run: Run, label: str, sites: Sequence[str], options: Options) -> ProbeMap:
    return stored_decodability(run, label, sites, probe_options(options))


def _seconds(run: Run, known: ProbeMap, options: Options) -> float:
    """Estimates the seconds that the unknown cells will take."""
    missing = {
        site: sum((site, step) not in known.cells for step in range(known.steps))
        for site in known.sites
    }
    return probe_seconds(run, missing, [find_label(run, known.label)])


def _asks(run: Run, labels: Sequence[str]) -> list[Choice | Parameter]:
    """Returns the choices: the kind of probe, and groups if the run says that samples belong
    together.
    """
    kind = Choice(
        parameter=KIND,
        label="Probe",
        key="probe",
        values=KINDS,
        help=(
            "Automatic: ridge for a continuous label, logistic for a binary one. Logistic on a"
            " continuous label separates the samples above its median from the others."
        ),
    )
    found = in_words(run, groups_of(run))
    if not found:
        return [kind]
    words = {BY_RUN: f"From the run: {found}", APART: "None: each sample on its own"}
    words |= {name: f"Samples with the same {name}" for name in labels}
    together = Choice(
        parameter=GROUPS,
        label="Samples that belong together",
        key="groups",
        values=words,
        help="Samples of one prompt, class or picture are never on both sides of a fold.",
    )
    return [kind, together]


def _words(run: Run, known: ProbeMap, options: Options) -> str:
    """Says what is measured, and which sites are not stored."""
    chosen = probe_options(options)
    kind = "logistic" if known.metric == AUC else "ridge"
    chance = "0.5 is chance" if known.metric == AUC else "0 is as good as predicting the mean"
    text = (
        f"A {kind} probe at {len(known.sites)} sites × {known.steps} steps, {len(run)} samples."
        f" {known.metric} is measured on held-out samples ({chosen.folds} folds; the penalty is"
        f" chosen inside each); {chance}. The null is"
        f" {chosen.shuffles(find_label(run, known.label))} fits with shuffled labels"
        " (Hewitt, Liang 2019)."
    )
    together = in_words(run, groups_of(run, chosen.groups))
    text += (
        f" {together[:1].upper()}{together[1:]}: folds, shuffles and intervals are of groups."
        if together
        else ""
    )
    text += f" {copies}." if (copies := duplicates_in_words(run)) else ""
    pooled = [site for site in known.sites if site != X and run.policy(site) == POOLED]
    text += (
        f" Of {', '.join(pooled)} only the mean over space is stored and probed." if pooled else ""
    )
    absent = [site for site in run.anatomy.sites if run.policy(site) == NONE]
    if absent:
        names = ", ".join(absent) if len(absent) <= MOST_NAMED else f"{len(absent)} sites"
        text += (
            f" Not stored, so not probed: {names}. To probe them, extract a run with `--store"
            f" {absent[0]}=pooled`."
        )
    return text


def _curves(
    run: Run, label: str, step: int, sites: Sequence[str], options: Options
) -> Generator[float, None, dict[str, Any]]:
    found = yield from learning(run, label, step, sites, probe_options(options))
    return {site: record.result for site, record in found.items()}


def _stored_curves(
    run: Run, label: str, step: int, sites: Sequence[str], options: Options
) -> dict[str, dict[str, Any]]:
    return stored_learning(run, label, step, sites, probe_options(options))


BY_CELL = ByCell(
    title="Linear probe",
    measure=_measure,
    stored=_stored,
    sites=default_sites,
    seconds=_seconds,
    words=_words,
    parameters=(*PARAMETERS, GROUPS),
    asks=_asks,
    curves=LearningCurves(measure=_curves, stored=_stored_curves),
)
