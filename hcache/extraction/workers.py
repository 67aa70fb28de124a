"""Extraction on several devices: one process on each computes shards, and this one takes them into
the run.

        this process                               a worker, on its device
    hands out (start, stop)      ────────────►   computes and writes the shard
    tells of progress            ◄────────────   a step is done
    renames, manifest, index     ◄────────────   the shard is whole and flushed

Manifest and index have one writer, this process, which holds the run's lock. Shards are the same
ranges of samples as on one device, and a sample's noise is its own, so that the arrays are the same
too. A worker whose pipe closes ends itself; what a dead worker had in work is handed to another.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ..allocator import keep_freed_memory
from ..cache.layout import SHARDS
from ..cache.shards import Finished, partial_name
from ..errors import HcacheError, Interrupted, ModelError, UsageError
from ..models.loading import load_for
from ..specs import RunSpec
from .shard import Behind, Progress, ShardPart, compute_range

PATIENCE = 10.0
"""Seconds that a worker is given to end by itself."""

METHOD = "spawn"
"""How processes are started: a forked one could not use CUDA."""


def parse_devices(text: str) -> list[str]:
    """``cuda:0,cuda:1`` as a list; ``cpu:2`` are two processes on the CPU.

    Raises:
        UsageError: an entry is no device.
    """
    devices: list[str] = []
    for entry in text.split(","):
        kind, _, number = entry.strip().partition(":")
        if (
            not kind.isidentifier()
            or (number and not number.isdecimal())
            or (kind == "cpu" and number == "0")
        ):
            raise UsageError(
                "--devices takes devices with commas between (cuda:0,cuda:1), or cpu:2; got"
                f" {text!r}"
            )
        devices += ["cpu"] * int(number or 1) if kind == "cpu" else [entry.strip()]
    twice = sorted({device for device in devices if device != "cpu" and devices.count(device) > 1})
    if twice:
        raise UsageError(f"--devices names {', '.join(twice)} twice; give each device once")
    return devices


@dataclass(kw_only=True)
class _Worker:
    """A worker as this process sees it: the range in work, how many steps of it are done, and
    how it died if it did.
    """

    device: str
    process: BaseProcess
    pipe: Connection
    range: tuple[int, int] | None = None
    step: int = 0
    ended: str = ""

    @property
    def size(self) -> int:
        return self.range[1] - self.range[0] if self.range else 0


def extract_on(
    devices: Sequence[str],
    spec: RunSpec,
    folder: Path,
    todo: Sequence[tuple[int, int]],
    provenance: dict[str, Any],
    commit: Any,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    """Computes the ranges ``todo`` on several devices.

    Args:
        devices: One process each.
        spec: The run, in ``folder``.
        folder: The run's.
        todo: Ranges of samples, a shard each.
        provenance: For every shard to keep.
        commit: Called with every finished shard; ``done``: how many samples are committed.
        report: Called whenever a worker has done a step.
        stop: Asked several times a second.

    Raises:
        Interrupted: ``stop`` said so.
        ModelError: every worker died.
    """
    waiting = deque(todo)
    context = multiprocessing.get_context(METHOD)
    threads = max(1, torch.get_num_threads() // max(1, list(devices).count("cpu")))
    workers = [
        start_worker(context, device, spec, folder, provenance, threads)
        for device in devices[: len(todo)]
    ]
    try:
        while waiting or any(worker.range for worker in workers if not worker.ended):
            alive = [worker for worker in workers if not worker.ended]
            if not alive:
                raise ModelError(_all_died(workers))
            for worker in alive:
                if waiting and worker.range is None:
                    _hand_out(worker, waiting, folder)
            pipes = {worker.pipe: worker for worker in alive if not worker.ended}
            heard = set(wait(list(pipes), timeout=0.2))
            for worker in [worker for pipe, worker in pipes.items() if pipe in heard]:
                _hear(worker, waiting, folder, commit)
                report(_progress(workers, spec, commit.done))
            if stop():
                raise Interrupted
    finally:
        _end(workers, folder)


def start_worker(
    context: Any, device: str, spec: RunSpec, folder: Path, provenance: dict[str, Any], threads: int
) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work, args=(theirs, device, spec, folder, provenance, threads), daemon=True
    )
    process.start()
    theirs.close()  # so that the worker's end is the only one, and its death is heard
    return _Worker(device=device, process=process, pipe=ours)


def _hand_out(worker: _Worker, waiting: deque[tuple[int, int]], folder: Path) -> None:
    worker.range, worker.step = waiting.popleft(), 0
    try:
        worker.pipe.send(worker.range)
    except OSError:
        _bury(worker, waiting, folder)


def _hear(
    worker: _Worker,
    waiting: deque[tuple[int, int]],
    folder: Path,
    commit: Callable[[Finished], None],
) -> None:
    """One message of a worker: a number of steps, a finished shard, or what went wrong; or that
    it is dead.
    """
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        _bury(worker, waiting, folder)
        return
    if isinstance(message, BaseException):
        raise message
    if isinstance(message, Finished) and worker.range is not None:
        _, stop = worker.range
        worker.range, worker.step = (
            (message.shard.stop, stop) if message.shard.stop < stop else None,
            0,
        )
        commit(message)
    else:
        worker.step = message


def _bury(worker: _Worker, waiting: deque[tuple[int, int]], folder: Path) -> None:
    """Hands on what a dead worker had in work, and sweeps up what it left."""
    worker.process.join(PATIENCE)
    worker.ended = (
        f"{worker.device}: process {worker.process.pid}, exit code {worker.process.exitcode}"
    )
    logging.getLogger(__name__).warning("a worker died (%s); the others do its part", worker.ended)
    if worker.range:
        (folder / SHARDS / partial_name(worker.range[0], worker.process.pid)).unlink(
            missing_ok=True
        )
        waiting.appendleft(worker.range)
        worker.range = None


def _all_died(workers: Sequence[_Worker]) -> str:
    ends = "; ".join(worker.ended for worker in workers)
    return (
        f"every worker died ({ends}), perhaps for want of memory: take a smaller --batch or fewer"
        " --devices; what was committed is kept"
    )


def _progress(workers: Sequence[_Worker], spec: RunSpec, done: int) -> Progress:
    """That of all workers together: their steps, weighed by the sizes of their shards."""
    size = sum(worker.size for worker in workers)
    steps = (2 if spec.images else 1) * spec.steps
    step = sum(worker.step * worker.size for worker in workers)
    return Progress(done=done, total=spec.samples, step=step, steps=steps * size, shard=size)


def _end(workers: Sequence[_Worker], folder: Path) -> None:
    """Workers end when they are told to or their pipe ends, after the step they are in; who does
    not is killed.
    """
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.pipe.send(None)
        worker.pipe.close()
    for worker in workers:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        if worker.range:
            (folder / SHARDS / partial_name(worker.range[0], worker.process.pid)).unlink(
                missing_ok=True
            )


def _work(
    pipe: Connection,
    device: str,
    spec: RunSpec,
    folder: Path,
    provenance: dict[str, Any],
    threads: int,
) -> None:
    """A worker's whole life."""
    for number in (signal.SIGINT, signal.SIGTERM):  # its master is told, and closes the pipe
        signal.signal(number, signal.SIG_IGN)

    sending = threading.Lock()

    def send(message: Any) -> None:
        # a shard may be finished while the next one, made smaller for want of memory, is in work
        with sending:
            pipe.send(message)

    def tick(piece: ShardPart, step: int) -> None:
        if pipe.poll():  # one at work is told nothing but to end; or the pipe was closed
            raise Interrupted
        send(step)

    most = spec.batch
    try:
        keep_freed_memory()
        if device == "cpu":
            torch.set_num_threads(threads)
        model = load_for(spec, device, provenance)
        with Behind() as closing, Behind() as writing:
            while (samples := pipe.recv()) is not None:
                start, stop = samples
                part = ShardPart(
                    model=model,
                    spec=spec,
                    folder=folder,
                    start=start,
                    stop=stop,
                    provenance=provenance,
                )
                most = compute_range(part, tick, writing, closing, send, most)
                writing.wait()
                closing.wait()
    except (EOFError, BrokenPipeError, ConnectionResetError, Interrupted):
        return
    except (HcacheError, OSError) as error:
        with contextlib.suppress(OSError):  # nobody listens any more
            pipe.send(error)
