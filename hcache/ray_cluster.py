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
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from .errors import UsageError

ANSWER = 5.0
"""The seconds that a cluster has to answer at its address."""

STORE = 100 * 2**20
"""The bytes of a local cluster's object store, through which only short records pass."""

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


def cpus_of(node: Node, wanted: int) -> int:
    """Returns how many CPUs a worker takes on a machine.

    It takes the wanted number, at most as many as there are. ``wanted`` 0 means all.
    """
    return min(wanted or node.cpus, node.cpus)


def mapped(
    address: str, function: Callable[[Any], Any], items: Iterable[Any]
) -> Generator[Any, None, None]:
    """Applies a function to every item on a cluster.

    It yields results in the order in which they finish. Each call has its own GPU, or a CPU if no
    machine has a GPU. If a call's machine dies, the call is repeated elsewhere. Closing the
    generator drops the calls that have not begun.

    Args:
        address: See :func:`session`.
        function: A function at the top level of a module that all machines have.
        items: Its arguments: a few numbers or names, not arrays.

    Raises:
        UsageError: the errors of :func:`session`. Errors of the function are also raised.
    """
    with session(address) as ray:
        nodes, waiting = nodes_of(ray), deque(items)
        gpus = sum(node.gpus for node in nodes)
        needs = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
        remote = ray.remote(**needs)(function)
        at_once = 2 * max(1, gpus or sum(node.cpus for node in nodes))
        at_work: list[Any] = []
        while waiting or at_work:
            while waiting and len(at_work) < at_once:
                at_work.append(remote.remote(waiting.popleft()))
            done, at_work = ray.wait(at_work, num_returns=1, timeout=None)
            for reference in done:
                yield _result(ray, reference)


def _result(ray: Any, reference: Any) -> Any:
    """Returns the result of a call, or raises its error."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, BaseException):
            raise cause from error
        text = " ".join(str(error).split())[:300]
        raise UsageError(f"Ray could not compute a part: {text}") from error
