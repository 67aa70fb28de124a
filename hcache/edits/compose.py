"""Composes edits: one after the other, inside a mask, or a different edit for every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..errors import UsageError
from ..features import Features
from ..models.taps import Passing
from ..recipes.masks import Mask
from ..sampling.loop import AtPlace, Edit, Moment


def acts_at(edit: Edit) -> Mapping[str, AtPlace]:
    """Returns the effect of an edit outside h and skips.

    The result is by place of the U-Net.
    """
    return getattr(edit, "at_places", {})


def places_of(edits: Sequence[Edit]) -> list[str]:
    """Returns the other places where any of the edits acts."""
    return list(dict.fromkeys(place for edit in edits for place in acts_at(edit)))


class Chain:
    """Several edits in a row. Each gets the result of the previous one."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = tuple(edits)
        self.at_places = {place: self._at(place) for place in places_of(edits)}

    def _at(self, place: str) -> AtPlace:
        acts = [found[place] for found in map(acts_at, self.edits) if place in found]

        def act(moment: Moment) -> Passing | None:
            now = [found for each in acts if (found := each(moment)) is not None]

            def change(x: torch.Tensor, rows: slice) -> torch.Tensor:
                for each in now:
                    x = each(x, rows)
                return x

            return change if now else None

        return act

    def __call__(self, features: Features, moment: Moment) -> Features:
        for edit in self.edits:
            features = edit(features, moment)
        return features


class Masked:
    """An edit that acts inside a mask.

    The result is b + m (edited - b), with m in each site's own resolution. Where m is 1 the result
    is the edited value, and where m is 0 it is the value before the edit, bit for bit.
    """

    def __init__(self, edit: Edit, mask: Mask) -> None:
        self.edit, self.mask = edit, mask
        self.at_places = {place: self._at(act) for place, act in acts_at(edit).items()}

    def _at(self, act: AtPlace) -> AtPlace:
        def masked(moment: Moment) -> Passing | None:
            now = act(moment)

            def change(x: torch.Tensor, rows: slice) -> torch.Tensor:
                after = x if now is None else now(x, rows)
                return x if after is x else self._inside(x, after)

            return None if now is None else change

        return masked

    def __call__(self, features: Features, moment: Moment) -> Features:
        edited = self.edit(features, moment)
        if edited is features:
            return features
        before = dict(features.items())
        changes = {
            name: self._inside(before[name], after)
            for name, after in edited.items()
            if after is not before[name]
        }
        return features.replace(
            {name: tensor for name, tensor in changes.items() if tensor is not before[name]}
        )

    def _inside(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        m = torch.from_numpy(self.mask.at(*before.shape[-2:])).to(before.device)
        if not bool(m.any()):
            return before
        blended = (before + m * (after - before)).to(before.dtype)
        return torch.where(m == 1, after, torch.where(m == 0, before, blended))


class PerRow:
    """A different edit for every row of the batch.

    A whole figure is thus one pass through the loop. Each edit gets only its own row, so its result
    does not depend on the other rows.
    """

    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = tuple(edits)
        self.at_places = {place: self._at(place) for place in places_of(edits)}

    def _at(self, place: str) -> AtPlace:
        acts = [acts_at(edit).get(place) for edit in self.edits]

        def act(moment: Moment) -> Passing | None:
            now = [None if each is None else each(moment) for each in acts]

            def change(x: torch.Tensor, rows: slice) -> torch.Tensor:
                before = [x[i : i + 1] for i in range(len(x))]
                after = [
                    row if each is None else each(row, slice(0, 1))
                    for row, each in zip(before, now[rows], strict=True)
                ]
                if all(new is old for new, old in zip(after, before, strict=True)):
                    return x
                joined = torch.empty_like(x)
                for i, row in enumerate(after):
                    joined[i : i + 1] = row
                return joined

            return change if any(now) else None

        return act

    def __call__(self, features: Features, moment: Moment) -> Features:
        if len(features.h) != len(self.edits):
            raise UsageError(
                f"{len(self.edits)} edits were given for {len(features.h)} samples; give one a"
                " sample"
            )
        rows = [features.rows(i, i + 1) for i in range(len(self.edits))]
        edited = [edit(row, moment) for edit, row in zip(self.edits, rows, strict=True)]
        if all(after is before for after, before in zip(edited, rows, strict=True)):
            return features

        def join(name: str, tensor: torch.Tensor) -> torch.Tensor:
            """Joins tensors and keeps their layout in memory.

            A tensor that no edit has changed is returned without a copy. For two layouts of the
            same numbers, the results of a convolution differ by rounding.
            """
            if all(after[name] is before[name] for after, before in zip(edited, rows, strict=True)):
                return tensor
            joined = torch.empty_like(tensor)
            for i, after in enumerate(edited):
                joined[i : i + 1] = after[name]
            return joined

        return features.map(join)
