"""A pool of processes on this machine, one per device. It needs only Python.

A worker ends itself when its pipe closes, so it does not outlive the process that started it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from ..atomic import host_mark
from ..errors import UsageError
from .device_names import device_names
from .handing_out import PATIENCE, Gone, Team, Worker, hand_out
from .places import Ranges, Samples, Taking
from .serving import serve
from .shard import Progress

METHOD = "spawn"
"""The way to start processes. A forked process could not use CUDA."""


def parse_devices(text: str) -> list[str]:
    """Parses ``cuda:0,cuda:1``. ``cpu:2`` means two processes on the CPU.

    Raises:
        UsageError: an entry is not a device.
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
                "--devices takes devices separated by commas (cuda:0,cuda:1), or cpu:2; got"
                f" {text!r}"
            )
        devices += ["cpu"] * int(number or 1) if kind == "cpu" else [entry.strip()]
    twice = sorted({device for device in devices if device != "cpu" and devices.count(device) > 1})
    if twice:
        raise UsageError(f"--devices names {', '.join(twice)} twice; give each device once")
    return devices


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One process on each of ``devices``."""

    devices: Sequence[str]

    @property
    def device(self) -> str:
        """The names of all devices."""
        return device_names(self.devices)

    def compute(
        self,
        ranges: Ranges,
        commit: Taking,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """Computes ranges; see :class:`~hcache.extraction.places.Place`."""
        hand_out(_Processes(self.devices[: len(ranges.todo)], ranges), ranges, commit, report, stop)


@dataclass(kw_only=True, eq=False)
class _Process(Worker):
    device: str
    process: BaseProcess
    pipe: Connection

    @property
    def writes_as(self) -> tuple[int, str]:
        return self.process.pid or 0, host_mark()

    def give(self, samples: Samples) -> None:
        self.pipe.send(samples)

    def how_it_ended(self) -> str:
        self.process.join(PATIENCE)
        return f"{self.device}: process {self.process.pid}, exit code {self.process.exitcode}"


class _Processes(Team):
    def __init__(self, devices: Sequence[str], ranges: Ranges) -> None:
        context = multiprocessing.get_context(METHOD)
        threads = max(1, torch.get_num_threads() // max(1, list(devices).count("cpu")))
        self.workers: list[Worker] = []
        for device in devices:
            self.workers.append(start_worker(context, device, ranges, threads))

    def look_around(self, waiting: int) -> None:
        """Does nothing, because no workers can join."""

    def hear(self) -> Iterator[tuple[Worker, Any]]:
        pipes = {worker.pipe: worker for worker in self.living() if isinstance(worker, _Process)}
        for pipe in wait(list(pipes), timeout=0.2):
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                message = Gone()
            yield pipes[pipe], message

    def end(self) -> None:
        processes = [worker for worker in self.workers if isinstance(worker, _Process)]
        for worker in processes:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
            worker.pipe.close()
        for worker in processes:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def start_worker(context: Any, device: str, ranges: Ranges, threads: int) -> _Process:
    """Starts a process that extracts ranges of samples."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, ranges, device, threads), daemon=True)
    process.start()
    theirs.close()  # so that only the worker holds this end, and its death is noticed
    return _Process(device=device, process=process, pipe=ours)


def _work(pipe: Connection, ranges: Ranges, device: str, threads: int) -> None:
    """Runs a process from start to end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # its master is told, and closes the pipe
        signal.signal(number, signal.SIG_IGN)
    serve(pipe, pipe.send, ranges, device, threads)
