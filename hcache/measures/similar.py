"""The questions of the verdict that are answered by similarities of pictures."""

from __future__ import annotations

from collections.abc import Iterable

from ..similarities.registry import similarity_of
from ..similarities.similarity import ASPECTS, Similarity

READ = "read attributes"
"""The aspect of quantities that a reader reads."""


def question_of(similarity: Similarity) -> str:
    """Names the question how far an edit changes pictures."""
    return f"changed by {similarity.name}"


def carried_question(similarity: Similarity) -> str:
    """Names the question what a swap carries; a site follows."""
    return f"carried by {similarity.name} at"


def further_of(quantity: str) -> Similarity | None:
    """The similarity of a quantity, if it has to be asked for."""
    found = similarity_of(quantity)
    return None if found is None or found.always else found


def aspect_of(quantity: str) -> str:
    """Says what of a picture a quantity sees, such as style."""
    found = similarity_of(quantity)
    return READ if found is None else found.aspect


def by_aspect(quantities: Iterable[str]) -> dict[str, list[str]]:
    """Quantities by what they see, in the order of tables."""
    known = list(quantities)
    found = {each: [name for name in known if aspect_of(name) == each] for each in (*ASPECTS, READ)}
    return {aspect: names for aspect, names in found.items() if names}
