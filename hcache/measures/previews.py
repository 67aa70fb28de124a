"""The effects of directions in one-step previews, a cheap replacement for full renders.

A preview moves h at one step and decodes only that step. The result is the predicted x_0 there,
which is read like a picture. Two decodings per sample replace a whole trajectory, so 200 random
directions can be tried. Whether previews agree with renders is checked if random directions were
rendered too (:func:`agreement`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.controllability import controllability
from ..analysis.groups import group_means
from ..cache.reading import Run
from ..cache.records import Record
from ..directions.differences import LENGTHS, Sets, differences
from ..errors import UsageError
from ..progress import part
from .driver import Driver
from .groups import groups_among, of_groups
from .kinds import PREVIEWS
from .stored import Measuring, measured

FEWEST_CHECKED = 8
"""The smallest number of rendered random directions for a meaningful correlation with previews."""


def against_random(
    driver: Driver,
    name: str,
    sets: Sets,
    samples: Sequence[int],
    step: int,
    *,
    directions: int,
    components: int,
    repeats: int = 2000,
    groups: np.ndarray | None = None,
) -> Measuring:
    """Compares a label's direction with random positives by previews.

    Random directions go to random positives, and all are compared at three lengths. The result is
    ``{"readings": {reading: {"equal", "own", "rest": Controllability, "changes": mean change of
    every random direction at equal length}}, "lengths", "share"}``. A length at which no random
    direction changes the reading has None. ``lengths``: those of the direction and the random ones
    before scaling. ``share``: how much of each lies along the first principal components.

    Args:
        driver: The driver, with a reader.
        name: The label.
        sets: The positives and negatives of its direction.
        samples: The samples to try on. They are in none of the sets.
        step: The step at which h is moved.
        directions: The number of pairs of random sets, which are as large as ``sets``.
        components: The number of principal components that are projected out.
        repeats: The number of bootstrap draws.
        groups: Numbers (n,) of the run's samples that belong together.
    """
    among = groups_among(driver.run, groups, samples)
    if directions < 2:
        raise UsageError(f"the null takes 2 random directions or more, got {directions}")
    parameters = {
        **of_groups(among),
        "name": name,
        "sets": [sorted(map(int, each)) for each in sets],
        "samples": list(map(int, samples)),
        "step": step,
        "reader": driver.reader_name,
        "nulls": directions,
        "components": components,
        "repeats": repeats,
    }

    def compute() -> Generator[float, None, dict[str, Any]]:
        """Computes the changes of all readings under all directions, at every length."""
        sizes = (len(sets[0]), len(sets[1]))
        own = yield from part(_tried(driver, [sets], samples, step, components), 0, 0.1)
        key = (PREVIEWS, sizes, tuple(samples), step, directions, components)
        if key not in driver.kept:  # labels with sets of one size share the random directions
            random = driver.random_sets(directions, sizes, samples)
            work = _tried(driver, random, samples, step, components)
            driver.kept[key] = yield from part(work, 0.1, 0.9)
        return _told(own, driver.kept[key], [*driver.spreads], among, repeats)

    return (yield from measured(driver.run, PREVIEWS, parameters, compute))


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """The tried directions.

    ``changes``: by length and reading (m, n), in spreads. The other fields are those of
    Differences.
    """

    changes: Mapping[str, Mapping[str, np.ndarray]]
    lengths: np.ndarray
    share: np.ndarray


def _told(
    own: _Tried,
    random: _Tried,
    readings: Sequence[str],
    among: np.ndarray | None,
    repeats: int,
) -> dict[str, Any]:
    """Returns the result of a label: its direction beside random ones, by reading."""
    both = own, random
    return {
        "readings": {
            reading: compared_with_random(_changes(both, reading, among), repeats)
            for reading in readings
        },
        "lengths": np.concatenate([each.lengths for each in both]),
        "share": np.concatenate([each.share for each in both]),
    }


def _changes(
    both: tuple[_Tried, _Tried], reading: str, among: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Returns the changes of a reading by length: (1 + m, n), for samples or groups."""
    return {
        length: group_means(
            np.concatenate([each.changes[length][reading] for each in both]), among, 1
        )
        for length in LENGTHS
    }


def _tried(
    driver: Driver, pairs: Sequence[Sets], samples: Sequence[int], step: int, components: int
) -> Generator[float, None, _Tried]:
    """Returns the differences of pairs of sets, previewed at every length."""
    found = yield from part(differences(driver.run, pairs, step, components), 0, 0.1)
    changes = {}
    for number, length in enumerate(LENGTHS):
        work = driver.preview_changes(found.delta[length], samples, step)
        changes[length] = yield from part(work, 0.1 + 0.3 * number, 0.3)
    return _Tried(changes=changes, lengths=found.lengths, share=found.share)


def compared_with_random(changes: Mapping[str, np.ndarray], repeats: int) -> dict[str, Any]:
    """Compares a reading's changes with those by random directions.

    They have the shape (1 + m, n) at every length and are in spreads. If no random direction
    changes the reading at a length, there is no null, and the result is None.
    """
    found: dict[str, Any] = {
        length: controllability(each[0], each[1:], repeats=repeats) if each[1:].any() else None
        for length, each in changes.items()
    }
    return {**found, "changes": changes[LENGTHS[0]].mean(1)}


def agreement(previews: Record, rendered: Record | None, reading: str) -> tuple[float, int] | None:
    """Correlates previews with full renders over directions.

    Returns the correlation and the number of directions.

    Args:
        previews: A result of :func:`against_random`.
        rendered: The result for the same label's direction by full renders, with random directions
            of the same sets, or None.
        reading: The reading to compare.

    Returns:
        None if fewer than 8 random directions were rendered, or if either does not vary.
    """
    if rendered is None or reading not in rendered.result["readings"]:
        return None
    if rendered.parameters["null"] != "samples":
        return None
    found = rendered.result["readings"][reading]
    gamma = np.array(rendered.parameters["grid"]["strengths"], np.float64)
    curves = [[each["value"] for each in found["curve"]], *found["null_curves"]]
    slopes = np.array(curves, np.float64) @ gamma / np.square(gamma).sum()
    if len(slopes) <= FEWEST_CHECKED:
        return None
    changes = np.array(previews.result["readings"][reading]["changes"][: len(slopes)], np.float64)
    slopes = slopes[: len(changes)]
    if not (changes.std() > 0 and slopes.std() > 0):
        return None
    return float(np.corrcoef(changes, slopes)[0, 1]), len(slopes)


def same_null(previews: Record, run: Run, records: Sequence[Record]) -> Record | None:
    """Finds full renders whose random directions are those of previews.

    Both draw the same sets if the label's direction has as many positives and negatives and was
    kept from the same samples. It is None if there is no such result.
    """
    wanted = previews.parameters
    found = [
        record
        for record in records
        if record.parameters["name"] == wanted["name"]
        and record.parameters["reader"] == wanted["reader"]
        and record.samples == len(run)
        and list(record.parameters["grid"]["samples"]) == wanted["samples"]
    ]
    return max(found, key=lambda record: int(record.parameters["nulls"]), default=None)
