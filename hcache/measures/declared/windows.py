"""Windows: at which noise levels a direction acts."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.estimate import Estimate
from ...recipes.window import Window
from ..evidence import Evidence
from ..exhibits import Point
from ..kinds import CONTROLLABILITY
from ..measure import LABELS, MODEL, READER, Measure, Part, Work, later
from ..noise import EDGES, level_of, windows_of
from ..setting import NULL, NULLS, SAMPLES, TOGETHER, Setting

MOST_SAMPLES = 8
"""The largest number of samples that a direction is tried on in every window. There are several
windows.
"""


def parts(setting: Setting) -> Iterator[Part]:
    """Yields every label's direction in every window of steps."""
    windows = windows_of(setting.run, EDGES)
    samples = setting.tried[:MOST_SAMPLES]
    alone = 2.0 * len(samples) * sum(map(setting.share, windows))
    for name, beside in setting.with_randoms(setting[NULLS]):
        yield Part(
            title=f"{name} by noise level",
            passes=alone * (1 + beside),
            work=later(lambda name=name: _over(setting, name, windows, samples)),
        )


def _over(setting: Setting, name: str, windows: list[Window], samples: list[int]) -> Work:
    from ..edits import controllability_over

    return controllability_over(
        setting.driver,
        setting.moves[name],
        windows,
        samples,
        name=name,
        strength=max(setting.strengths),
        nulls=setting[NULLS],
        null=setting[NULL],
        groups=setting.groups,
    )


def controllability_points(evidence: Evidence, label: str) -> list[Point]:
    """Returns the change per unit of strength over log SNR.

    There is one point per window.
    """
    rows = [row for row in evidence.rows_of(CONTROLLABILITY, label) if label in row["readings"]]
    return [
        Point(
            at=level_of(evidence.run, Window(**row["window"])),
            null=found["random"],
            p=found["p"],
            estimate=Estimate.from_json(found["change"]),
        )
        for row in rows
        for found in [row["readings"][label]]
    ]


MEASURE = Measure(
    name="windows",
    title="at which noise levels a direction acts",
    parts=parts,
    definitions={CONTROLLABILITY: 2},  # 2: random directions as a family
    needs=(LABELS, READER, MODEL),
    parameters=(SAMPLES, NULLS, NULL, TOGETHER),
    along_with="directions",
)
