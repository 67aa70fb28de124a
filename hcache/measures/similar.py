"""Questions of the verdict that similarities of pictures answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..similarities.registry import similarity_of
from ..similarities.similarity import ASPECTS, Similarity

READ = "read attributes"
"""The aspect of quantities that come from a reader."""


def question_of(similarity: Similarity) -> str:
    """Names the question how far an edit changes pictures."""
    return f"changed by {similarity.name}"


def carried_question(similarity: Similarity) -> str:
    """Names the question what a swap carries, without the site."""
    return f"carried by {similarity.name} at"


def further_of(quantity: str) -> Similarity | None:
    """Returns a quantity's similarity if it is measured only on request."""
    found = similarity_of(quantity)
    return None if found is None or found.always else found


def by_aspect(quantities: Iterable[str], read: Collection[str]) -> dict[str, list[str]]:
    """Sorts quantities by the aspect they see, in table order.

    ``read``: the quantities that come from a reader. They may have the name of a similarity.
    """
    known = {name: None if name in read else similarity_of(name) for name in quantities}
    found = {
        aspect: [
            name
            for name, similarity in known.items()
            if (READ if similarity is None else similarity.aspect) == aspect
        ]
        for aspect in (*ASPECTS, READ)
    }
    return {aspect: names for aspect, names in found.items() if names}
