"""Whether a sparse feature detects a label, and whether moving h along it moves the label.

For each label three directions are compared: a sparse feature of h, a principal component, and the
naive direction. The feature and the component are those whose values correlate most with the label
in the samples that the dictionary was trained on. The naive direction is fitted to the same
samples. Everything else is measured on the held-out samples.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..analysis.bootstrap import bootstrap, mean_of
from ..analysis.estimate import Estimate
from ..analysis.leakage import leakage
from ..analysis.permutation import p_value
from ..cache.reading import Run
from ..directions.direction import Direction, in_sigmas
from ..directions.naive import naive_direction, top_samples
from ..directions.pca import pca_directions
from ..directions.sparse import feature_directions
from ..errors import AnalysisError
from ..progress import part
from ..recipes.window import Window
from ..sparse.dictionary import Dictionary, make_dictionary
from ..sparse.plan import DictionaryPlan
from ..sparse.tokens import FEWEST_TRIED, held_out_rows, too_few
from .driver import Driver, TrialGrid
from .groups import groups_among, of_groups
from .kinds import STEERING
from .label_values import values_digest, values_of
from .responses import response_of, tables_of
from .stored import Measuring, measured

FEATURE, COMPONENT, NAIVE = "sparse feature", "principal component", "naive"
WAYS = (FEATURE, COMPONENT, NAIVE)
COMPONENTS, SHUFFLES = 5, 999
"""The number of components to choose from, and of shuffles of a label."""


@dataclass(frozen=True, kw_only=True)
class Steered:
    """A direction for a label, and how well it detects it.

    ``values`` (n,): each sample's value along the direction, signed to rise with the label.
    ``number``: the number of the feature or component.
    """

    move: Direction
    values: np.ndarray
    number: int


def steering(
    driver: Driver,
    plan: DictionaryPlan,
    labels: Mapping[str, np.ndarray],
    samples: int,
    strengths: tuple[float, ...],
    *,
    nulls: int = 19,
    null: str = "samples",
    repeats: int = 2000,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Measures how sparse features detect labels, and how they move them.

    ``{"labels": {label: {way: {"number", "detects", "detects_p", "response"}, "beside"}},
    "leakage": {way: {"leakage", "chance", "p"}}}``. ``detects``: the correlation with the label in
    held-out samples, with p from shuffled labels. ``beside``: the feature's slope less that of each
    other way, in spreads per unit of strength.

    Args:
        driver: The model with its reader.
        plan: The plan of a dictionary of h.
        labels: Each label's values (n,), by the reader's name for it.
        samples: The number of held-out samples that edits are tried on.
        strengths: The strengths of edits. 0 must be among them.
        nulls: The number of random directions.
        null: The kind of random directions.
        repeats: The number of bootstrap draws.
        groups: The group of each sample (n,). Samples of one group belong together.

    Raises:
        AnalysisError: there are too few held-out samples.
    """
    parameters = {
        **of_groups(groups),
        "plan": plan.to_json(),
        "names": {name: values_digest(values) for name, values in labels.items()},
        "values": values_of(driver.run, labels),
        "samples": samples,
        "strengths": strengths,
        "reader": driver.reader_name,
        "nulls": nulls,
        "null": null,
        "repeats": repeats,
    }

    def compute() -> Generator[float, None, dict[str, Any]]:
        if why := too_few(driver.run, plan, samples):
            raise AnalysisError(why)
        dictionary = yield from part(make_dictionary(driver.run, plan), 0.0, 0.3)
        held_out = held_out_rows(driver.run, plan.seed)
        tried = driver.run.sample_ids[held_out][:samples].tolist()
        grid = TrialGrid(samples=tuple(tried), window=_whole(driver.run), strengths=strengths)
        found = yield from part(fitted(driver.run, dictionary, labels, ~held_out), 0.3, 0.1)
        work = _measured(driver, grid, found, (nulls, null, repeats), groups)
        answers, leaks = yield from part(work, 0.4, 0.6)
        _detect(found, answers, labels, held_out, groups)
        return {"labels": answers, "leakage": leaks}

    return (yield from measured(driver.run, STEERING, parameters, compute))


def _whole(run: Run) -> Window:
    return Window(first=0, last=run.spec.steps - 1)


def detection(
    values: np.ndarray, label: np.ndarray, held_out: np.ndarray, groups: np.ndarray | None = None
) -> dict[str, Any]:
    """Correlates values with a label in held-out samples.

    The result is ``{"detects": Estimate, "detects_p"}``. p is the probability that shuffled labels
    correlate as much. All arguments are (n,). ``groups`` are drawn as a whole.
    """
    rows = np.flatnonzero(held_out & np.isfinite(label))
    x, y = values[rows].astype(np.float64), label[rows].astype(np.float64)
    if len(rows) < FEWEST_TRIED or not (np.ptp(x) > 0 and np.ptp(y) > 0):
        why = f"the {len(rows)} held-out samples with a value are too few, or all the same"
        return {"detects": Estimate.undefined(why, len(rows)), "detects_p": None}

    def correlation(counts: np.ndarray) -> np.ndarray:
        share = counts / counts.sum(1, keepdims=True)
        mean_x, mean_y = share @ x, share @ y
        both = share @ (x * y) - mean_x * mean_y
        spread = (share @ x**2 - mean_x**2) * (share @ y**2 - mean_y**2)
        return both / np.sqrt(np.where(spread > 1e-12 * x.var() * y.var(), spread, np.nan))

    rng = np.random.default_rng(0)
    z = (x - x.mean()) / x.std() / len(x)
    shuffled = np.stack([rng.permutation((y - y.mean()) / y.std()) for _ in range(SHUFFLES)]) @ z
    found = bootstrap(correlation, len(rows), clusters=None if groups is None else groups[rows])
    return {"detects": found, "detects_p": p_value(abs(found.value), np.abs(shuffled))}


def fitted(
    run: Run, dictionary: Dictionary, labels: Mapping[str, np.ndarray], trained: np.ndarray
) -> Generator[float, None, dict[str, dict[str, Steered]]]:
    """Fits the three directions of every label to the training samples."""
    components = yield from part(pca_directions(run, min(COMPONENTS, len(run) - 1)), 0.0, 0.5)
    features, scores = dictionary.samples[:, : dictionary.alive], _along(run, components)
    best = {}
    for done, (name, label) in enumerate(labels.items()):
        rows = trained & np.isfinite(label)
        high = np.where(rows, label, np.nan)
        positives = top_samples(run, high, max(2, int(rows.sum()) // 4))
        naive = naive_direction(run, positives)
        feature, component = (_best(each[rows], label[rows]) for each in (features, scores))
        (move,) = feature_directions(run, dictionary, [feature[0]], [{"method": "sparse"}])
        best[name] = {
            FEATURE: _turned(move, features[:, feature[0]], *feature),
            COMPONENT: _turned(components[component[0]], scores[:, component[0]], *component),
            NAIVE: Steered(move=naive, values=_along(run, [naive])[:, 0], number=0),
        }
        yield (done + 1) / len(labels)
    return best


def _best(values: np.ndarray, label: np.ndarray) -> tuple[int, int]:
    """Returns the column of values (n, k) that correlates most with a label (n,), and the sign."""
    x, y = values - values.mean(0), label - label.mean()
    length = np.linalg.norm(x, axis=0)
    along = np.divide(y @ x, length, out=np.zeros(len(length)), where=length > 0)
    place = int(np.abs(along).argmax())
    return place, 1 if along[place] >= 0 else -1


def _turned(move: Direction, values: np.ndarray, number: int, sense: int) -> Steered:
    """Returns a direction with the sign that makes it rise with the label."""
    turned = replace(move, delta=move.delta * np.float32(sense))
    return Steered(move=turned, values=values * sense, number=number)


def _along(run: Run, moves: Sequence[Direction]) -> np.ndarray:
    """Projects every sample onto some directions, in σ over all steps (n, moves)."""
    found = np.zeros((len(run), len(moves)))
    for step in range(run.spec.steps):
        h = run.matrix("h", step).reshape(len(run), *run.anatomy.shape("h"))
        for column, move in enumerate(moves):
            sigma = np.broadcast_to(move.sigma[step], h.shape)
            z = in_sigmas(h - h.mean(0), sigma)
            along = in_sigmas(move.delta[step], move.sigma[step])
            found[:, column] += z.reshape(len(h), -1) @ along.ravel().astype(np.float64)
    return found


def _detect(
    found: Mapping[str, Mapping[str, Steered]],
    answers: dict[str, Any],
    labels: Mapping[str, np.ndarray],
    held_out: np.ndarray,
    groups: np.ndarray | None,
) -> None:
    """Adds to the answers the chosen directions, and how well each detects its label."""
    for name, ways in found.items():
        for way, each in ways.items():
            answers[name][way] |= detection(each.values, labels[name], held_out, groups)
            answers[name][way]["number"] = each.number


def _measured(
    driver: Driver,
    grid: TrialGrid,
    found: Mapping[str, Mapping[str, Steered]],
    chance: tuple[int, str, int],
    groups: np.ndarray | None,
) -> Generator[float, None, tuple[dict[str, Any], dict[str, Any]]]:
    """Measures the responses to all directions and to random ones, and the leakage of each way."""
    nulls, null, repeats = chance
    moves = [found[name][way].move for way in WAYS for name in found]
    randoms = driver.randoms(nulls, null, moves[-1], grid.samples)
    among = groups_among(driver.run, groups, grid.samples)
    tables = yield from tables_of(driver, [*moves, *randoms], grid, among)
    lengths = np.array([getattr(each, "length", np.nan) for each in (*moves, *randoms)])
    random, count = list(range(len(moves), len(lengths))), len(found)
    most, zero = int(np.argmax(grid.strengths)), grid.strengths.index(0)
    changes = np.stack([table[:, :, most] - table[:, :, zero] for table in tables.values()], 2)
    spreads = [driver.spreads[name] for name in tables]
    answers: dict[str, Any] = {name: {way: {} for way in WAYS} for name in found}
    leaks = {}
    for number, way in enumerate(WAYS):
        own = slice(number * count, (number + 1) * count)
        all_leaks = leakage(
            changes[own], spreads, list(found), list(tables), changes[random], repeats=repeats
        )
        leaks[way] = {
            "leakage": all_leaks,
            "chance": all_leaks.chance,
            "p": all_leaks.p_of_share,
        }
        for place, name in enumerate(found):
            chosen = [number * count + place, *random]
            answers[name][way]["response"] = response_of(
                tables[name][chosen], grid, lengths[chosen], driver.spreads[name], repeats
            )
    gamma = np.array(grid.strengths)
    for place, name in enumerate(found):
        change = tables[name] - tables[name][:, :, [zero]]
        slopes = change @ gamma / np.square(gamma).sum() / driver.spreads[name]
        answers[name]["beside"] = {
            way: bootstrap(mean_of(slopes[place] - slopes[number * count + place]), len(slopes[0]))
            for number, way in enumerate(WAYS)
            if way != FEATURE
        }
    return answers, leaks
