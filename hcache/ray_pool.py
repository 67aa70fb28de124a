"""A pool of workers on a Ray cluster. Each keeps what it loaded, and gets one item at a time.

If a worker or its machine dies, another one gets its item. Machines that join late get workers,
too. This module knows nothing of models or runs.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from .errors import UsageError
from .ray_cluster import Seat, Seats, actor_class, last_line, session

LOOK = 1.0
"""The seconds between two checks for new machines."""

WAIT = 0.1
"""The seconds that one turn waits for a result."""

PATIENCE = 300.0
"""The seconds that a pool without any worker waits for one to begin."""

Make = Callable[[bool, int], Callable[[Any], Any]]
"""Makes a worker's function from one item to its result.

It gets whether the worker has a GPU, and its number of CPUs. It travels to other machines, so it is
a function or an instance of a class at the top level of a module.
"""


class PoolActor:
    """Makes its function once, and applies it to items."""

    def __init__(self, make: Make, gpu: bool, cpus: int) -> None:
        self._make, self._gpu, self._cpus = make, gpu, cpus
        self._do: Callable[[Any], Any] | None = None

    def begin(self) -> None:
        """Makes the function."""
        self._do = self._make(self._gpu, self._cpus)

    def do(self, item: Any) -> Any:
        """Returns the result of an item."""
        if self._do is None:
            raise RuntimeError("begin was not called")
        return self._do(item)


@dataclass(kw_only=True, eq=False)
class Ticket:
    """An item of a pool, and its result once it is done."""

    item: Any
    done: bool = False
    result: Any = None
    dropped: bool = False


@dataclass(kw_only=True, eq=False)
class _Member:
    seat: Seat
    actor: Any
    ready: bool = False
    ticket: Ticket | None = None


@dataclass(eq=False)
class RayPool:
    """The workers of a cluster and the items that wait for them.

    Args:
        ray: The module ``ray``, in a session.
        make: Makes a worker's function.
        cpus: CPUs per worker if no machine has a GPU; 0 means all CPUs of a machine.
    """

    ray: Any
    make: Make
    cpus: int = 0
    _members: list[_Member] = field(default_factory=list)
    _waiting: deque[Ticket] = field(default_factory=deque)
    _asked: dict[Any, _Member] = field(default_factory=dict)
    _lost: list[Seat] = field(default_factory=list)
    _reason: str = ""

    def __post_init__(self) -> None:
        self._seats = Seats(self.ray, self.cpus)
        self._looked, self._alone = 0.0, time.monotonic()

    def map(self, items: Sequence[Any]) -> Generator[float, None, list[Any]]:
        """Computes the results of items, in their order.

        It yields the share that is done. Several of these generators may take turns: their items
        are in work together.

        Raises:
            UsageError: the cluster has nothing to compute on, or all workers died. Errors of the
                workers' function are raised as they are.
        """
        tickets = self._tickets(items)
        try:
            while not all(ticket.done for ticket in tickets):
                self.turn()
                yield sum(ticket.done for ticket in tickets) / len(tickets)
        finally:
            _drop(tickets)
        return [ticket.result for ticket in tickets]

    def as_done(self, items: Sequence[Any]) -> Iterator[Any]:
        """Yields the results of items in the order in which they finish.

        The errors are those of :meth:`map`.
        """
        tickets = left = self._tickets(items)
        try:
            while left:
                self.turn()
                yield from (ticket.result for ticket in left if ticket.done)
                left = [ticket for ticket in left if not ticket.done]
        finally:
            _drop(tickets)

    def turn(self) -> None:
        """Hands out items and takes the results of a moment.

        It also starts workers on new machines, and again where one died.
        """
        self._look_around()
        for member in self._members:
            if member.ready and member.ticket is None and (ticket := self._next()):
                member.ticket = ticket
                self._asked[member.actor.do.remote(ticket.item)] = member
        if not self._asked:
            time.sleep(WAIT)
            return
        found, _ = self.ray.wait(list(self._asked), num_returns=1, timeout=WAIT)
        for reference in found:
            self._take(reference, self._asked.pop(reference))

    def end(self) -> None:
        """Ends all workers."""
        for member in self._members:
            self._kill(member)
        self._members.clear()
        self._asked.clear()

    def _tickets(self, items: Sequence[Any]) -> list[Ticket]:
        found = [Ticket(item=item) for item in items]
        self._waiting.extend(found)
        return found

    def _next(self) -> Ticket | None:
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.dropped:
                return ticket
        return None

    def _look_around(self) -> None:
        now = time.monotonic()
        if any(member.ready for member in self._members):
            self._alone = now
        if now - self._looked >= LOOK or self._lost:
            self._looked = now
            for seat in self._seats.free(self._lost):
                actor = actor_class(self.ray, PoolActor, seat)
                member = _Member(seat=seat, actor=actor.remote(self.make, seat.gpu, seat.cpus))
                self._members.append(member)
                self._asked[member.actor.begin.remote()] = member
            self._lost.clear()
        if not self._members and self._reason:
            raise UsageError(f"every worker on the Ray cluster died: {self._reason}")
        if now - self._alone > PATIENCE:
            raise UsageError(
                f"no worker on the Ray cluster began within {PATIENCE:g} s; see `ray status` on its"
                " first machine"
            )

    def _take(self, reference: Any, member: _Member) -> None:
        ticket, began = member.ticket, not member.ready
        try:
            result = self.ray.get(reference)
        except (self.ray.exceptions.RayError, OSError) as error:
            self._failed(member, error, began)
            return
        if began:
            member.ready = True
        elif ticket is not None:
            member.ticket, ticket.result, ticket.done = None, result, True

    def _failed(self, member: _Member, error: Exception, began: bool) -> None:
        """Raises an error of the function itself. Otherwise the worker is lost, not its item."""
        cause, ticket = getattr(error, "cause", None), member.ticket
        if isinstance(cause, BaseException):
            member.ticket = None
            if ticket is not None and ticket.dropped:
                return
            if not began or member.seat.first:
                raise cause from error
            logging.getLogger(__name__).warning("%s is left out: %s", member.seat.name, cause)
        else:
            self._reason = f"{member.seat.name}: {last_line(error)}"
            self._lost.append(member.seat)
        if ticket is not None:
            self._waiting.appendleft(ticket)
        self._kill(member)
        self._members.remove(member)

    def _kill(self, member: _Member) -> None:
        # an unreachable worker must not go on with an item that another one gets
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(member.actor)


def _drop(tickets: Sequence[Ticket]) -> None:
    """Takes back the items that nobody waits for any more."""
    for ticket in tickets:
        ticket.dropped = not ticket.done


@contextmanager
def pool(address: str, make: Make, cpus: int = 0) -> Iterator[RayPool]:
    """Gives a pool on a cluster during the block.

    Args:
        address: See :func:`~hcache.ray_cluster.session`.
        make: See :data:`Make`.
        cpus: CPUs per worker if no machine has a GPU; 0 means all CPUs of a machine.

    Raises:
        UsageError: see :func:`~hcache.ray_cluster.session`.
    """
    with session(address) as ray:
        found = RayPool(ray, make, cpus)
        try:
            yield found
        finally:
            found.end()
