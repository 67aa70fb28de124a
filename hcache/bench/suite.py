"""The whole table: all comparisons, their subjects, and what cannot be measured here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..allocator import keep_freed_memory
from ..errors import UsageError
from ..progress import part
from .extraction import extraction
from .growth import growth
from .labelling import labelling
from .machine import describe_machine
from .neighbour import neighbour
from .processes import allocator, components, dashboard, memory
from .reading import reading
from .rendering import edit, figure, preview
from .setting import BenchRow, BenchSetting

Comparison = Callable[[BenchSetting], Generator[float, None, list[BenchRow]]]

OF_MODELS: dict[str, Comparison] = {
    "extraction": extraction,
    "preview": preview,
    "edit": edit,
    "figure": figure,
}
"""The comparisons for every model, on every kind of device."""

OF_THE_MACHINE: dict[str, Comparison] = {
    "reading": reading,
    "reader": labelling,
    "pca": components,
    "memory": memory,
    "dashboard": dashboard,
    "allocator": allocator,
    "neighbour": neighbour,
    "growth": growth,
}

NAMES = (*OF_MODELS, *OF_THE_MACHINE)
GPU_SUBJECTS = ("toyfaces", "celebahq-256", "sd-1.5")
GPU_DTYPES = ("float16", "bfloat16")


def check_names(only: Sequence[str]) -> tuple[str, ...]:
    """Returns the requested comparisons, or all if none is named.

    Raises:
        UsageError: a name is unknown.
    """
    for name in only:
        if name not in NAMES:
            raise UsageError(f"no comparison {name!r}; there are {', '.join(NAMES)}")
    return tuple(name for name in NAMES if not only or name in only)


def bench(
    setting: BenchSetting, only: Sequence[str] = ()
) -> Generator[float, None, dict[str, Any]]:
    """Measures the comparisons.

    Yields the share done and returns the machine and the rows as plain data.

    Comparisons of models run on the CPU with toyfaces. If there is a GPU, they also run on it, in
    half precision and also with full-size networks. Comparisons without a model run once.
    """
    import torch

    names = check_names(only)
    machine = describe_machine(keep_freed_memory())
    work = list(pieces(setting, names, torch.cuda.is_available()))
    rows: list[BenchRow] = []
    for number, (name, at) in enumerate(work):
        found = yield from part(_one(name, at), number / len(work), 1 / len(work))
        on = f"{at.subject}, {at.device}, {at.dtype}" if name in OF_MODELS else ""
        rows += [replace(row, on=on) for row in found]
    if not torch.cuda.is_available():
        rows += [
            BenchRow(
                name=name,
                what=f"{name}, with {', '.join(GPU_SUBJECTS)} in {' and '.join(GPU_DTYPES)}",
                against="as on the CPU",
                on="CUDA",
                note="not measured: there is no CUDA device here",
            )
            for name in names
            if name in OF_MODELS
        ]
    return {"machine": machine, "quick": setting.quick, "rows": [_plain(row) for row in rows]}


def pieces(
    setting: BenchSetting, names: Sequence[str], cuda: bool
) -> Iterator[tuple[str, BenchSetting]]:
    """Lists the comparisons, each with its own setting."""
    for name in names:
        yield name, setting.at(f"{name}-cpu")
    for subject in GPU_SUBJECTS if cuda else ():
        for dtype in GPU_DTYPES:
            for name in (name for name in names if name in OF_MODELS):
                yield (
                    name,
                    replace(
                        setting.at(f"{name}-{subject}-{dtype}"),
                        subject=subject,
                        device="cuda",
                        dtype=dtype,
                    ),
                )


def _one(name: str, setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    yield 0.0
    rows = yield from (OF_MODELS | OF_THE_MACHINE)[name](setting)
    return rows


def _plain(row: BenchRow) -> dict[str, Any]:
    return {**asdict(row), "met": row.met}
