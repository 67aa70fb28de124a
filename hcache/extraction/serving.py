"""The main function of a worker, which loads the model once and computes the ranges that it is
given.

The same function serves a process of the pool and an actor on Ray. They differ in the transport of
messages.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch

from ..allocator import keep_freed_memory
from ..errors import HcacheError, Interrupted
from ..models.loading import load_for
from .places import Ranges, Samples
from .shard import Behind, ShardPart, compute_range


class Inbox(Protocol):
    """Tells a worker which range to compute, or to end.

    ``None`` means to end. Both methods raise EOFError if no more messages can arrive.
    """

    def recv(self) -> Samples | None:
        """Waits for the next message."""
        ...

    def poll(self) -> bool:
        """Returns whether there is a message. A worker that computes is only told to end."""
        ...


def serve(
    inbox: Inbox, tell: Callable[[Any], None], ranges: Ranges, device: str, threads: int
) -> None:
    """Computes ranges on a device until it is told to end.

    Args:
        inbox: The messages to the worker.
        tell: Sends a number of finished steps, a finished shard, or the error that ended the
            worker.
        ranges: The run and its folder. ``todo`` is ignored.
        device: The name of the device in PyTorch.
        threads: The number of threads on a CPU.
    """
    telling = threading.Lock()

    def send(message: Any) -> None:
        # a shard may finish while the next one, made smaller for lack of memory, is computed
        with telling:
            tell(message)

    def tick(piece: ShardPart, step: int) -> None:
        if inbox.poll():
            raise Interrupted
        send(step)

    try:
        keep_freed_memory()
        if device == "cpu":
            torch.set_num_threads(threads)
        _compute(inbox, send, tick, ranges, device)
    except (EOFError, BrokenPipeError, ConnectionResetError, Interrupted):
        return
    except (HcacheError, OSError) as error:
        with contextlib.suppress(OSError):  # nobody listens any more
            tell(error)


def _compute(
    inbox: Inbox,
    send: Callable[[Any], None],
    tick: Callable[[ShardPart, int], None],
    ranges: Ranges,
    device: str,
) -> None:
    model, most = load_for(ranges.spec, device, ranges.provenance), ranges.spec.batch
    with Behind() as closing, Behind() as writing:
        while (samples := inbox.recv()) is not None:
            part = ShardPart(
                model=model,
                spec=ranges.spec,
                folder=ranges.folder,
                start=samples[0],
                stop=samples[1],
                provenance=ranges.provenance,
            )
            most = compute_range(part, tick, writing, closing, send, most)
            writing.wait()
            closing.wait()
