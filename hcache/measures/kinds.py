"""The names of the kinds of stored results, for finding them without loading the measures."""

from __future__ import annotations

RESPONSES, DIRECTION, LEAKAGE, ADDITIVITY = "responses", "direction", "leakage", "additivity"
DIRECTION_AT, LEAKAGE_AT = "direction_at", "leakage_at"
CONTROLLABILITY, SWAP = "controllability", "swap"
DECODABILITY, ALIGNMENT, CODES, COSINES = "decodability", "alignment", "codes", "cosines"
LEVELS, LIKENESS = "levels", "likeness"
PREVIEWS = "previews"
DUPLICATES = "duplicates"
CKA, MAP, COMPONENTS = "cka", "map", "components"
SPARSE, STEERING = "sparse", "steering"
