"""Pictures of edits computed on a Ray cluster. Each worker has its own model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache.reading import Run, open_run
from ..cache.seen import Shared, token_in
from ..progress import drive
from ..ray_pool import RayPool, pool
from .batches import Batch, MadePictures, versions_of

if TYPE_CHECKING:
    from ..models.model import Model


@dataclass(frozen=True, kw_only=True)
class RenderingWorker:
    """Loads a run's model on a machine and computes batches there.

    ``load``: loads the model of a run for a device. It is a function at the top level of a module.
    ``home``: the home of donors from other runs.
    """

    shared: Shared
    home: Path
    load: Callable[[Run, str], Model]

    def __call__(self, gpu: bool, cpus: int) -> Callable[[Batch], MadePictures]:
        """Returns the function that computes a batch.

        Raises:
            CacheError: this machine does not see the run, or has other versions.
            ModelError: the model cannot be loaded here.
        """
        self.shared.check()
        import torch

        from .executor import Executor

        if not gpu:
            torch.set_num_threads(max(1, cpus))
        run = open_run(self.shared.folder)
        executor = Executor(self.load(run, "cuda" if gpu else "cpu"), run, self.home)

        def compute(batch: Batch) -> MadePictures:
            pictures = drive(batch.pictures(executor))
            return MadePictures(pictures=pictures, versions=versions_of(executor.model))

        return compute


@dataclass(eq=False, kw_only=True)
class RendersOnRay:
    """Computes batches on a cluster, one on each worker at a time.

    The cluster is used from the first batch on. Nothing starts if nothing is rendered.
    """

    address: str
    run: Run
    home: Path
    load: Callable[[Run, str], Model]
    cpus: int
    stack: ExitStack
    _pool: RayPool | None = field(default=None, init=False)

    @property
    def at_once(self) -> bool:
        """See :attr:`~hcache.edits.batches.Renders.at_once`."""
        return True

    def pictures(self, batches: Sequence[Batch]) -> Generator[float, None, list[MadePictures]]:
        """See :meth:`~hcache.edits.batches.Renders.pictures`.

        Raises:
            UsageError: the cluster cannot be used, or all its workers died.
            CacheError: a machine does not see the run, or has other versions.
        """
        if self._pool is None:
            token = self.stack.enter_context(token_in(self.run.folder))
            shared = Shared(folder=self.run.folder, token=token)
            make = RenderingWorker(shared=shared, home=self.home, load=self.load)
            self._pool = self.stack.enter_context(pool(self.address, make, self.cpus))
        return (yield from self._pool.map(batches))


@contextmanager
def renders_on_ray(
    address: str,
    run: Run,
    load: Callable[[Run, str], Model],
    *,
    home: Path | None = None,
    cpus: int = 0,
) -> Iterator[RendersOnRay]:
    """Computes batches of a run on a Ray cluster during the block.

    Args:
        address: See :func:`~hcache.ray_cluster.session`.
        run: The run of all batches.
        load: Loads the model of a run for a device; a function at the top level of a module.
        home: The home of donors from other runs. Default: the run's own home.
        cpus: CPUs per worker if no machine has a GPU; 0 means all CPUs of a machine.
    """
    with ExitStack() as stack:
        yield RendersOnRay(
            address=address,
            run=run,
            home=run.home if home is None else home,
            load=load,
            cpus=cpus,
            stack=stack,
        )
