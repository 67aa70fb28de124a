"""Ranges computed on a Ray cluster: an actor on each device, on as many machines as there are.

Each actor loads the model once and writes its shards where the run lies. So all machines must see
the run's folder under one path. Before an actor gets anything to do it reads a token from a file
that this process wrote there, and tells its versions. Machines that join later get actors, too.

Ray is optional (``pip install 'hcache[cluster]'``), and imported when it is asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..cache.seen import Token, disagreement, token_in
from ..errors import CacheError, UsageError
from ..ray_cluster import Seat, Seats, actor_class, last_line, session
from .handing_out import PATIENCE, Gone, Team, Worker, hand_out
from .places import Ranges, Samples, Taking
from .ray_actor import Died, Hello, RangeActor
from .shard import Progress

LOOK = 1.0
"""The seconds between two checks for new machines."""

GATHERING = 120.0
"""The seconds that the first actors have to report whether they see the run."""


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """A Ray cluster.

    ``address``: that of a running cluster (``host:port`` or ``auto``), or "" for a cluster of this
    machine's devices that ends with the work. ``cpus``: CPUs per actor if no machine has a GPU; 0
    means all CPUs of a machine.
    """

    address: str = ""
    cpus: int = 0

    @property
    def device(self) -> str:
        """The device for the run's provenance. Each shard names its own device."""
        return "a Ray cluster; each shard names its device"

    def compute(
        self,
        ranges: Ranges,
        commit: Taking,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """Computes ranges; see :class:`~hcache.extraction.places.Place`.

        Raises:
            UsageError: Ray is not installed, the address does not answer, or versions differ.
            CacheError: a machine does not see the run's folder.
        """
        with session(self.address) as ray, token_in(ranges.folder) as token:
            team = _Actors(ray, ranges, token, self.cpus)
            hand_out(team, ranges, commit, report, stop)


@dataclass(kw_only=True, eq=False)
class _Actor(Worker):
    seat: Seat
    actor: Any
    hello: Hello | None = None
    ready: bool = False
    reason: str = ""
    lost: bool = False

    @property
    def writes_as(self) -> tuple[int, str]:
        return (self.hello.pid, self.hello.host_mark) if self.hello else (0, "")

    def give(self, samples: Samples) -> None:
        self.actor.give.remote(samples)

    def how_it_ended(self) -> str:
        return f"{self.seat.name}: {self.reason or 'its process or its machine is gone'}"


class _Actors(Team):
    """The actors on all machines. Each is polled for its messages."""

    def __init__(self, ray: Any, ranges: Ranges, token: Token, cpus: int) -> None:
        self._ray, self._ranges, self._token = ray, ranges, token
        self._seats = Seats(ray, cpus)
        self.workers: list[Worker] = []
        self._asked: dict[Any, _Actor] = {}
        self._looked, self._began = 0.0, time.monotonic()

    def look_around(self, waiting: int) -> None:
        """Starts actors on new machines."""
        now = time.monotonic()
        if self.living() and (now - self._looked < LOOK or not waiting):
            return
        self._looked = now
        died = [each for each in self.workers if isinstance(each, _Actor) and each.lost]
        for each in died:
            each.lost = False
        for seat in self._seats.free([each.seat for each in died], len(self._ranges.todo)):
            self._start(seat)

    def _start(self, seat: Seat) -> None:
        found = actor_class(self._ray, RangeActor, seat, calls=4)
        device = "cuda" if seat.gpu else "cpu"
        worker = _Actor(seat=seat, actor=found.remote(self._ranges, self._token, device, seat.cpus))
        self.workers.append(worker)
        self._ask(worker)

    def _ask(self, worker: _Actor) -> None:
        self._asked[worker.actor.told.remote()] = worker

    def hear(self) -> Iterator[tuple[Worker, Any]]:
        asked = list(self._asked)
        done, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0.1) if asked else ([], [])
        for reference in done:
            worker = self._asked.pop(reference)
            try:
                messages = self._ray.get(reference)
            except (self._ray.exceptions.RayError, OSError) as error:
                # an unreachable actor must not continue with a range that another gets
                with suppress(self._ray.exceptions.RayError):
                    self._ray.kill(worker.actor)
                worker.reason, worker.lost = last_line(error), True
                yield worker, Gone()
                continue
            for message in messages:
                if isinstance(message, Hello):
                    yield from self._greet(worker, message)
                elif isinstance(message, Died):
                    yield from self._lost(worker, message.reason)
                else:
                    yield worker, message
            if not worker.ended:
                self._ask(worker)
        self._admit()

    def _greet(self, worker: _Actor, hello: Hello) -> Iterator[tuple[Worker, Any]]:
        """Refuses a machine that cannot take part. A machine that joined late is left out
        instead.
        """
        worker.hello = hello
        if not (problem := disagreement(self._ranges.folder, hello.seen, hello.versions)):
            return
        text = f"{worker.seat.name} {problem}"
        if worker.seat.first:
            raise UsageError(text) if hello.seen == "" else CacheError(text)
        logging.getLogger(__name__).warning("%s; it is left out", text)
        worker.hello = None
        yield from self._lost(worker, problem)

    def _lost(self, worker: _Actor, reason: str) -> Iterator[tuple[Worker, Any]]:
        worker.reason = " ".join(reason.split())[:300]
        self._ray.kill(worker.actor)
        yield worker, Gone()

    def _admit(self) -> None:
        """Lets actors begin. The first ones begin after all of them have reported that they can
        take part.
        """
        actors = [worker for worker in self.living() if isinstance(worker, _Actor)]
        silent = [worker for worker in actors if worker.seat.first and worker.hello is None]
        if silent and time.monotonic() - self._began < GATHERING:
            return
        for worker in actors:
            worker.ready = worker.hello is not None

    def end(self) -> None:
        actors = [worker for worker in self.living() if isinstance(worker, _Actor)]
        ends = [worker.actor.end.remote(PATIENCE) for worker in actors if worker.hello]
        if ends:
            self._ray.wait(ends, num_returns=len(ends), timeout=PATIENCE + 2)
        for worker in actors:
            self._ray.kill(worker.actor)
