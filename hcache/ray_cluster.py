"""A session with a Ray cluster: a running one, or one of this machine only.

This module knows nothing of models or runs.

References:
    Ray: A Distributed Framework for Emerging AI Applications (Moritz, Nishihara, Wang et al.,
    2018), https://arxiv.org/abs/1712.05889
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from .errors import UsageError

ANSWER = 5.0
"""The seconds that a cluster has to answer at its address."""

STORE = 100 * 2**20
"""The bytes of a local cluster's object store, through which only short records pass."""

RESTARTS = 2
"""How often a worker that died on a living machine is started again there."""

EXTRA = "pip install 'hcache[cluster]'"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A living machine of a cluster."""

    id: str
    name: str
    cpus: int
    gpus: int


@contextmanager
def session(address: str) -> Iterator[Any]:
    """Connects to a cluster during the block, and yields the module ``ray``.

    Args:
        address: ``host:port`` or ``auto`` of a running cluster. "" starts one with all devices of
            this machine, which ends with the block.

    Raises:
        UsageError: Ray is not installed, no cluster answers there, or its version differs.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    if address:
        check_address(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _connect(ray, address)
        for number, handler in handlers.items():  # Ray installs its own handler of SIGTERM
            with suppress(ValueError, TypeError):
                signal.signal(number, handler)
        yield ray
    finally:
        ray.shutdown()


def require_ray() -> Any:
    """Returns the module ``ray``.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UsageError(f"--ray needs Ray, which is not installed: {EXTRA}") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    more = {"address": address} if address else {"address": "local", "object_store_memory": STORE}
    if not address:
        more["include_dashboard"] = False
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **more)
    except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())
        if "Version mismatch" in text:
            raise UsageError(
                f"the Ray cluster at {address} has other versions of Ray or Python than this"
                f" machine; install the same ones: {text[:300]}"
            ) from error
        where = f"at {address}" if address else "on this machine"
        raise UsageError(f"no Ray cluster could be used {where}: {text[:300]}") from error


def check_address(address: str) -> None:
    """Makes sure that a cluster answers at an address.

    Raises:
        UsageError: nothing answers, or it is not an address.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"--ray takes the address of a cluster as HOST:PORT, or auto; got {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except OSError as error:
        raise UsageError(
            f"nobody answers at {address} ({error.strerror or error}); start a cluster there with"
            " `ray start --head`, or give --ray alone to use this machine"
        ) from error


def nodes_of(ray: Any) -> list[Node]:
    """Returns the living machines of the cluster."""
    found = []
    for node in ray.nodes():
        if node.get("Alive"):
            has = node.get("Resources", {})
            found.append(
                Node(
                    id=node["NodeID"],
                    name=node.get("NodeName") or node.get("NodeManagerHostname", "?"),
                    cpus=int(has.get("CPU", 0)),
                    gpus=int(has.get("GPU", 0)),
                )
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A place for one worker on a machine.

    It is a GPU if ``gpu`` is true, and otherwise ``cpus`` CPUs. ``node``: the machine's id.
    ``first``: the machine was there when the work began. ``restarts``: how often a worker died
    there before.
    """

    node: str
    name: str
    gpu: bool
    cpus: int
    first: bool
    restarts: int = 0


class Seats:
    """Finds places for workers on a cluster.

    Machines may join late.

    Args:
        ray: The module ``ray``, in a session.
        cpus: CPUs per worker if no machine has a GPU; 0 means all CPUs of a machine.
    """

    def __init__(self, ray: Any, cpus: int) -> None:
        self._ray, self._cpus = ray, cpus
        self._known: set[str] = set()

    def free(self, lost: Iterable[Seat] = (), most: int = 1024) -> list[Seat]:
        """Returns the places where workers can be started now.

        These are places on new machines, and those of workers that died on a living machine, at
        most :data:`RESTARTS` times.

        Args:
            lost: The places of workers that died since the last call.
            most: The largest number of places on one new machine.

        Raises:
            UsageError: the cluster has nothing to compute on.
        """
        first, nodes = not self._known, nodes_of(self._ray)
        alive = {node.id for node in nodes}
        found = [
            replace(seat, first=False, restarts=seat.restarts + 1)
            for seat in lost
            if seat.node in alive and seat.restarts < RESTARTS
        ]
        with_gpus = any(node.gpus for node in nodes)
        for node in nodes:
            if node.id in self._known:
                continue
            self._known.add(node.id)
            each = min(self._cpus or node.cpus, node.cpus)
            count = node.gpus if with_gpus else node.cpus // each if each else 0
            seat = Seat(node=node.id, name=node.name, gpu=with_gpus, cpus=each, first=first)
            found += [seat] * min(count, most)
        if first and not found:
            raise UsageError(
                "the Ray cluster has neither GPUs nor CPUs to compute on; start its machines with"
                " --num-cpus or --num-gpus"
            )
        return found


def actor_class(ray: Any, kind: type, seat: Seat, calls: int = 1) -> Any:
    """Returns a class whose actors start at a place.

    An actor has the GPU or the CPUs of the place. ``calls``: how many calls an actor takes at once,
    each in a thread.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return ray.remote(max_concurrency=calls, max_restarts=0)(kind).options(
        num_gpus=1 if seat.gpu else 0,
        num_cpus=0 if seat.gpu else seat.cpus,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=seat.node, soft=False),
    )


def last_line(error: BaseException) -> str:
    """Returns Ray's description of a death in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "memory" in line.lower() or "died" in line]
    named = [line for line in reversed(lines) if "Error" in line]
    return [*telling, *named, *reversed(lines), type(error).__name__][0][:300]
