"""The kinds of stored results by name: what a page or a comparison looks for, without loading
what measures them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESPONSES, DIRECTION, LEAKAGE, ADDITIVITY = "responses", "direction", "leakage", "additivity"
CONTROLLABILITY, SWAP = "controllability", "swap"
DECODABILITY, ALIGNMENT, CODES, COSINES = "decodability", "alignment", "codes", "cosines"
LEVELS, LIKENESS = "levels", "likeness"
PREVIEWS = "previews"
DUPLICATES = "duplicates"
CKA, MAP = "cka", "map"

DEFINITIONS = {DECODABILITY: 2, DIRECTION: 2, CONTROLLABILITY: 2, LEAKAGE: 2, SWAP: 2, CODES: 2}
"""How often what a kind means has changed, from 1 on; part of its results' parameters where it is
more than 1.

2: shuffled labels and random directions as families, groups of samples, nulls of as many unseen
samples, what is not defined said to be so.
"""

OLDER = "measured by an older definition; measure again"


def is_older(kind: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a stored result is of an older definition than today's."""
    return parameters.get("definition", 1) < DEFINITIONS.get(kind, 1)


def as_of_today(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the definition that they are asked by."""
    return (
        {**parameters, "definition": DEFINITIONS[kind]} if kind in DEFINITIONS else dict(parameters)
    )
