"""Measures the memory of the weights that an object holds, wherever they are in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

DEEPEST = 12
"""The largest depth of objects inside an object. A pipeline in a function in a conditioner is
at 5.
"""


def weight_bytes(value: Any) -> int:
    """Counts the bytes of all networks that an object holds.

    What two networks share counts once. A model holds its text encoders inside functions, so this
    looks into these, too.
    """
    tensors = {
        tensor.data_ptr(): tensor.nbytes
        for network in _networks(value, set(), DEEPEST)
        for tensor in (*network.parameters(), *network.buffers())
    }
    return sum(tensors.values())


def _networks(value: Any, seen: set[int], depth: int) -> Iterator[torch.nn.Module]:
    if depth < 0 or id(value) in seen or isinstance(value, (str, bytes, type, torch.Tensor)):
        return
    seen.add(id(value))
    if isinstance(value, torch.nn.Module):
        yield value
        return
    for item in _inside(value):
        yield from _networks(item, seen, depth - 1)


def _inside(value: Any) -> Iterator[Any]:
    """Yields what an object holds: items, attributes, and variables of a function's closure."""
    if isinstance(value, Mapping):
        yield from list(value.values())
    elif isinstance(value, Sequence):
        yield from list(value)
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    for cell in getattr(value, "__closure__", None) or ():
        yield cell.cell_contents
    yield from list(getattr(value, "__dict__", {}).values())
    yield getattr(value, "__self__", None)
