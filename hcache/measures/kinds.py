"""The kinds of stored results by name, to look for them without loading what measures them."""

from __future__ import annotations

RESPONSES, DIRECTION, LEAKAGE, ADDITIVITY = "responses", "direction", "leakage", "additivity"
CONTROLLABILITY, SWAP = "controllability", "swap"
DECODABILITY, ALIGNMENT, CODES, COSINES = "decodability", "alignment", "codes", "cosines"
LEVELS, LIKENESS = "levels", "likeness"
PREVIEWS = "previews"
DUPLICATES = "duplicates"
CKA, MAP = "cka", "map"
SPARSE, STEERING = "sparse", "steering"
