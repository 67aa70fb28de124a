"""What stands behind a cell of the verdict: curves and pictures, gathered from a run's stored
results.

Plain numbers out; nothing is computed but averages, no model is loaded, and what was not measured
is an empty list or None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..analysis.estimate import Contrast, Estimate
from ..analysis.swaps import Carriers, SwapEffect, which_carries
from ..cache.layout import H, X
from ..cache.reading import Run
from ..cache.records import Record, load_sheet
from ..recipes.window import Window
from .cells import is_whole
from .kinds import (
    ADDITIVITY,
    ALIGNMENT,
    CODES,
    CONTROLLABILITY,
    COSINES,
    DECODABILITY,
    DIRECTION,
    LEAKAGE,
    SWAP,
)
from .label_values import current_records
from .noise import level_of, log_snr_of

TOLD = 0.1
"""R² from which a factor counts as told by some codes."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A measure at a place (log SNR, or what the axis says), with its null there and p, if there
    are any.
    """

    at: float
    estimate: Estimate
    null: float | None = None
    p: float | None = None


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Pictures (rows, columns, height, width, 3) uint8 with what their columns are."""

    title: str
    columns: tuple[str, ...]
    pictures: np.ndarray


class Evidence:
    """All stored results of a run, read once."""

    def __init__(self, run: Run) -> None:
        self.run, self.records = run, current_records(run)

    def of_kind(self, kind: str) -> Iterator[Record]:
        return (record for record in self.records if record.kind == kind)

    def decodability(self, label: str) -> dict[str, list[Point]]:
        """By site (``h``, ``x``): the score over log SNR; the null is that of shuffled labels."""
        found = {}
        for record in self.of_kind(DECODABILITY):
            given = record.parameters
            usual = not (given["pooled"] or given.get("kind"))
            if given["label"] == label and given["site"] in (H, X) and usual:
                points = [
                    self._point(row, "score", row["control"], row["p"])
                    for row in record.result["steps"]
                ]
                if len(points) >= len(found.get(given["site"], ())):
                    found[given["site"]] = points
        return found

    def metric(self, label: str) -> str:
        """R² or AUC."""
        return next(
            (
                r.result["metric"]
                for r in self.of_kind(DECODABILITY)
                if r.parameters["label"] == label
            ),
            "score",
        )

    def alignment(self, label: str) -> tuple[list[Point], list[Point]]:
        """Reliability of the mean over a label's positives, and their alignment, over log SNR."""
        rows = self._rows_of(ALIGNMENT, label)
        reliability = [self._point(row, "reliability", 0.0, row["p"]) for row in rows]
        return reliability, [self._point(row, "alignment", 0.0, row["p"]) for row in rows]

    def controllability(self, label: str) -> list[Point]:
        """The change per unit of strength by window of steps, over the windows' mean log SNR."""
        rows = [row for row in self._rows_of(CONTROLLABILITY, label) if label in row["readings"]]
        return [
            Point(
                at=level_of(self.run, Window(**row["window"])),
                null=found["random"],
                p=found["p"],
                estimate=Estimate.from_json(found["change"]),
            )
            for row in rows
            for found in [row["readings"][label]]
        ]

    def response(self, label: str) -> dict[str, Any] | None:
        """What moving along a label's direction did to its reading, with the strengths: see
        ``responses.direction``.
        """
        record = self._direction(label)
        if record is None or label not in record.result["readings"]:
            return None
        return {
            **record.result["readings"][label],
            "strengths": record.parameters["grid"]["strengths"],
        }

    def strips(self, label: str) -> list[Strip]:
        """Samples over strengths along a label's direction, and along one random direction."""
        record = self._direction(label)
        if record is None:
            return []
        columns = tuple(f"{strength:+g}" for strength in record.parameters["grid"]["strengths"])
        shared = {name: record.parameters[name] for name in ("grid", "reader")}
        wanted = {f"along the direction of {label}": record.parameters["move"]}
        if record.result["null_moves"]:
            wanted["along a random direction"] = record.result["null_moves"][0]
        found = {
            title: load_sheet(self.run, "responses", {"move": move, **shared})
            for title, move in wanted.items()
        }
        return [
            Strip(title=title, columns=columns, pictures=sheet)
            for title, sheet in found.items()
            if sheet is not None and sheet.shape[1] == len(columns)
        ]

    def leakage(self) -> dict[str, Any] | None:
        """The leakage matrix of most edits: as :class:`~hcache.analysis.leakage.Leakage` was
        written.
        """
        found = max(
            self.of_kind(LEAKAGE), key=lambda record: len(record.parameters["moves"]), default=None
        )
        return None if found is None else found.result["leakage"]

    def cosines(self) -> list[dict[str, Any]]:
        """By step: ``{"step", "at", "pairs"}``."""
        found = max(
            self.of_kind(COSINES), key=lambda record: len(record.parameters["ends"]), default=None
        )
        level = log_snr_of(self.run)
        return (
            []
            if found is None
            else [{**row, "at": float(level[row["step"]])} for row in found.result]
        )

    def codes(self, name: str) -> dict[str, list[Point]]:
        """By codes (``components of h``): ``disentanglement`` or ``sap`` over log SNR; the null is
        rotated codes.

        Steps at which no factor can be told are left out: there either is chance.
        """
        found = {}
        for record in self.of_kind(CODES):
            site = record.parameters["site"]
            found[f"{record.parameters['codes']} of {'x_t' if site == X else site}"] = [
                self._point(row, name, row["rotated"][name], row["p"][name])
                for row in record.result["steps"]
                if max(r["value"] for r in row["informativeness"].values()) >= TOLD
                and row[name]["value"] is not None
            ]
        return found

    def interaction(self) -> dict[str, Contrast]:
        """Additivity of every pair, by ``a + b``; and of all as one."""
        found = max(
            self.of_kind(ADDITIVITY), key=lambda record: len(record.result["pairs"]), default=None
        )
        if found is None:
            return {}
        pairs = zip(found.result["pairs"], found.result["readings"], strict=True)
        named = {" + ".join(pair): Contrast.from_json(contrast) for pair, contrast in pairs}
        return {**named, "all pairs": Contrast.from_json(found.result["all"]["readings"])}

    def swaps(self) -> dict[str, SwapEffect]:
        """By site: the effect of swapping it in all steps."""
        return {
            site: SwapEffect.from_json(record.result) for site, record in self._swaps(None).items()
        }

    def swaps_over(self, site: str, quantity: str) -> list[Point]:
        """What a site carries of a quantity beyond another donor, by window of steps."""
        found = []
        for record in self.of_kind(SWAP):
            window = record.parameters["window"]
            if record.parameters["site"] == site and not is_whole(window, self.run):
                contrast = Contrast.from_json(record.result["carried"][quantity])
                at = level_of(self.run, Window(**window))
                if contrast.excess.defined:
                    found.append(Point(at=at, estimate=contrast.excess, null=0.0, p=contrast.p))
        return sorted(found, key=lambda point: point.at)

    def carriers(self) -> tuple[Carriers, ...]:
        """Which site carries what, over all steps."""
        return which_carries(self.swaps())

    def swapped(self, site: str) -> Strip | None:
        """Pairs, a row each, with what was made of them."""
        record = self._swaps(site).get(site)
        sheet = None if record is None else load_sheet(self.run, SWAP, record.parameters)
        columns = ("B", "A", f"B with A's {site}", "with another's", "with noise")
        if sheet is None or sheet.shape[1] != len(columns):
            return None
        return Strip(title=f"{site} of A put into B, in all steps", columns=columns, pictures=sheet)

    def _swaps(self, only: str | None) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for record in self.of_kind(SWAP):
            site = record.parameters["site"]
            better = site not in found or record.result["pairs"] > found[site].result["pairs"]
            if is_whole(record.parameters["window"], self.run) and only in (None, site) and better:
                found[site] = record
        order = [site for site in self.run.anatomy.sites if site in found]
        return {site: found[site] for site in order}

    def _direction(self, label: str) -> Record | None:
        found = (record for record in self.of_kind(DIRECTION) if record.parameters["name"] == label)
        return max(
            found, key=lambda record: len(record.parameters["grid"]["samples"]), default=None
        )

    def _rows_of(self, kind: str, label: str) -> list[Mapping[str, Any]]:
        found = (record for record in self.of_kind(kind) if record.parameters["name"] == label)
        record = max(found, key=lambda record: len(record.result), default=None)
        return [] if record is None else record.result

    def _point(self, row: Mapping[str, Any], name: str, null: float, p: float) -> Point:
        at = float(log_snr_of(self.run)[row["step"]])
        return Point(at=at, estimate=Estimate.from_json(row[name]), null=null, p=p)
