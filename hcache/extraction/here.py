"""Computes ranges in this process, one after the other, with a loaded model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Interrupted
from ..models.model import Model
from .device_names import device_names
from .places import Ranges, Taking
from .shard import Behind, Progress, ShardPart, Show, compute_range, show_nothing


@dataclass(frozen=True, kw_only=True)
class Here:
    """This process as a place of computation.

    ``show`` receives the predicted x_0 of every step.
    """

    model: Model
    show: Show = show_nothing

    @property
    def device(self) -> str:
        """The name of the model's device."""
        return device_names([str(self.model.device)])

    def compute(
        self,
        ranges: Ranges,
        commit: Taking,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """Computes all ranges.

        One range is flushed and committed while the next is computed. See
        :class:`~hcache.extraction.places.Place`.
        """
        computed, most = commit.done, ranges.spec.batch
        with Behind() as closing, Behind() as writing:
            for start, end in ranges.todo:
                part = ShardPart(
                    model=self.model,
                    spec=ranges.spec,
                    folder=ranges.folder,
                    start=start,
                    stop=end,
                    provenance=ranges.provenance,
                    show=self.show,
                )

                def tick(piece: ShardPart, step: int, before: int = computed - start) -> None:
                    with commit.whole:
                        report(
                            Progress(
                                done=commit.done,
                                total=ranges.spec.samples,
                                step=step,
                                steps=piece.ticks,
                                shard=piece.size,
                                closing=before + piece.start - commit.done,
                            )
                        )
                    if stop():
                        raise Interrupted

                most = compute_range(part, tick, writing, closing, commit, most)
                computed += part.size
