"""Features: the activations at the cut, as one value that edits map to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import UsageError, did_you_mean

Array = Any  # a torch tensor or a numpy array, (n, c, h, w) or, for a single sample, (c, h, w)


@dataclass(frozen=True, kw_only=True)
class Features:
    """The activations that a U-Net's encoder passes to its decoder.

    ``h``: the output of the whole mid block, (n, c, h, w). ``skips[g - 1]``: the members of skip
    group ``g``, in the order in which ``up_blocks[g - 1]`` consumes them, each (n, c, h, w). A
    group that a cache does not store in full is None. A transformer has neither: its ``blocks[k]``
    are the outputs of its blocks, which can only be read. ``others``: activations at other places
    of a U-Net by name, if they were asked for: ``down.0``, ``mid.attn``, ``up.1``.
    """

    h: Array  # None for a transformer
    skips: tuple[tuple[Array, ...] | None, ...]
    blocks: tuple[Array | None, ...] = ()
    others: Mapping[str, Array] = field(default_factory=dict)

    def __getitem__(self, member: str) -> Array:
        """Returns one tensor: ``features["h"]``, ``features["skip.2.0"]``."""
        if member == "h":
            return self.h
        if member in self.others:
            return self.others[member]
        family, number, *index = member.split(".")
        if family == "block":
            return self.blocks[int(number)]
        if family != "skip":
            raise KeyError(member)  # a place that was not asked for
        (place,) = index
        group = self.skips[int(number) - 1]
        if group is None:
            raise KeyError(member)  # a cache that does not store the group in full
        return group[int(place)]

    def items(self) -> Iterator[tuple[str, Array]]:
        """Yields all tensors by member name, from the bottleneck outward."""
        if self.h is not None:
            yield "h", self.h
        for g, group in enumerate(self.skips, 1):
            for i, tensor in enumerate(group or ()):
                yield f"skip.{g}.{i}", tensor
        for k, tensor in enumerate(self.blocks):
            if tensor is not None:
                yield f"block.{k}", tensor
        yield from self.others.items()

    def replace(self, changes: dict[str, Array]) -> Features:
        """Returns the same features with the named tensors replaced.

        Raises:
            UsageError: a name is not that of a tensor here. The name of a group (``skip.2``) is not
                either, because a group has members.
        """
        if not changes:
            return self
        known = [name for name, _ in self.items()]
        for name in changes:
            if name not in known:
                raise UsageError(f"no tensor {name!r} to replace{did_you_mean(name, known)}")
        return self.map(lambda name, tensor: changes.get(name, tensor))

    def map(self, change: Callable[[str, Array], Array]) -> Features:
        """Returns the features with every tensor passed through ``change(name, tensor)``."""
        h = None if self.h is None else change("h", self.h)
        skips = tuple(
            (
                None
                if group is None
                else tuple(change(f"skip.{g}.{i}", tensor) for i, tensor in enumerate(group))
            )
            for g, group in enumerate(self.skips, 1)
        )
        blocks = tuple(
            None if b is None else change(f"block.{k}", b) for k, b in enumerate(self.blocks)
        )
        others = {name: change(name, tensor) for name, tensor in self.others.items()}
        return Features(h=h, skips=skips, blocks=blocks, others=others)

    def rows(self, start: int, stop: int) -> Features:
        """Returns the samples ``start`` to ``stop`` of the batch."""
        return self.map(lambda _, tensor: tensor[start:stop])

    @staticmethod
    def join(parts: Sequence[Features], concatenate: Callable[[list[Array]], Array]) -> Features:
        """Joins several batches into one.

        ``concatenate`` joins them along the first axis (for example ``torch.cat``).
        """
        return parts[0].map(lambda name, _: concatenate([part[name] for part in parts]))
