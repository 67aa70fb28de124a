"""Features: the activations at the cut, as one value that edits map to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import UsageError, did_you_mean

Array = Any  # a torch tensor or a numpy array, (n, c, h, w) or, of a single sample, (c, h, w)


@dataclass(frozen=True, kw_only=True)
class Features:
    """What passes from a U-Net's encoder to its decoder.

    ``h``: the output of the whole mid block, (n, c, h, w). ``skips[g - 1]``: the members of skip
    group ``g``, in the order in which ``up_blocks[g - 1]`` consumes them, each (n, c, h, w). A
    group that a cache does not hold in full is None. A transformer has neither: its ``blocks[k]``
    are the outputs of its blocks, to be read only. ``others``: by name what passes at other places
    of a U-Net, where that was asked for: ``down.0``, ``mid.attn``, ``up.1``.
    """

    h: Array  # None of a transformer
    skips: tuple[tuple[Array, ...] | None, ...]
    blocks: tuple[Array | None, ...] = ()
    others: Mapping[str, Array] = field(default_factory=dict)

    def __getitem__(self, member: str) -> Array:
        """One tensor: ``features["h"]``, ``features["skip.2.0"]``."""
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
            raise KeyError(member)  # a cache that does not hold the group in full
        return group[int(place)]

    def items(self) -> Iterator[tuple[str, Array]]:
        """All tensors present, by member name, from the bottleneck outward."""
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
        """The same features but for the named tensors.

        Raises:
            UsageError: a name that is not a tensor here, a group's (``skip.2``) among them: a group
                has members.
        """
        if not changes:
            return self
        known = [name for name, _ in self.items()]
        for name in changes:
            if name not in known:
                raise UsageError(f"no tensor {name!r} to replace{did_you_mean(name, known)}")
        return self.map(lambda name, tensor: changes.get(name, tensor))

    def map(self, change: Callable[[str, Array], Array]) -> Features:
        """Every tensor through ``change(name, tensor)``."""
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
        """The samples ``start`` to ``stop`` of the batch."""
        return self.map(lambda _, tensor: tensor[start:stop])

    @staticmethod
    def join(parts: Sequence[Features], concatenate: Callable[[list[Array]], Array]) -> Features:
        """One batch of several.

        They are joined along the first axis by ``concatenate`` (``torch.cat``, say).
        """
        return parts[0].map(lambda name, _: concatenate([part[name] for part in parts]))
