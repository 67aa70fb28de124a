"""Where a command computes: the options ``--ray`` and ``--slurm``, and what they lead to."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..cache.reading import Run
    from ..edits.batches import Renders
    from ..extraction.places import Place

LOCAL = ""
"""The value of ``--ray`` without an address: a cluster of this machine's devices."""


def add_ray(child: Any) -> None:
    """Adds the options of Ray to a command."""
    child.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help=(
            "compute on the Ray cluster at HOST:PORT or auto; without ADDRESS, on all devices of"
            " this machine (give the option last, or as --ray=ADDRESS)"
        ),
    )
    child.add_argument(
        "--ray-cpus",
        type=int,
        metavar="N",
        help="CPUs per Ray worker if no machine has a GPU (default: all CPUs of a machine)",
    )


def add_places(child: Any) -> None:
    """Adds the options of Ray and SLURM to a command that extracts."""
    add_ray(child)
    child.add_argument(
        "--slurm",
        nargs="?",
        const="",
        metavar="KEY=VALUE,...",
        help=(
            "compute by an array of SLURM jobs: tasks=8,slurm_partition=gpu,gpus_per_node=1,"
            "timeout_min=240; all names but tasks are parameters of submitit (give the option last,"
            " or with =)"
        ),
    )


def place_of(arguments: argparse.Namespace) -> Place | None:
    """Finds the place that ``--ray`` or ``--slurm`` names.

    Returns None for this process or ``--devices``.

    Raises:
        UsageError: two places are named, or options of a place that is not named.
    """
    given = [
        f"--{name}"
        for name in ("devices", "ray", "slurm")
        if getattr(arguments, name, None) is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are two places to compute; give one of them")
    _check_cpus(arguments)
    if arguments.slurm is not None:
        from ..extraction.on_slurm import OnSlurm, require_submitit

        require_submitit()
        return OnSlurm.parse(arguments.slurm)
    if arguments.ray is None:
        return None
    from ..ray_cluster import require_ray

    require_ray()  # before a model is loaded
    from ..extraction.on_ray import OnRay

    return OnRay(address=arguments.ray, cpus=arguments.ray_cpus or 0)


def _check_cpus(arguments: argparse.Namespace) -> None:
    if arguments.ray_cpus is not None and arguments.ray is None:
        raise UsageError("--ray-cpus goes with --ray; give both or neither")
    if arguments.ray_cpus is not None and arguments.ray_cpus < 1:
        raise UsageError(f"--ray-cpus takes 1 or more, got {arguments.ray_cpus}")


@contextmanager
def renders_of(
    arguments: argparse.Namespace, run: Run, home: Path | None = None
) -> Iterator[Renders | None]:
    """Yields the cluster that renders a run's pictures.

    It is that of ``--ray``, and None without the option. ``home``: the home of donors from other
    runs.

    Raises:
        UsageError: Ray is not installed, or nobody answers at the address.
    """
    _check_cpus(arguments)
    if arguments.ray is None:
        yield None
        return
    from ..edits.ray_rendering import renders_on_ray
    from ..extraction.run import load_model_of
    from ..ray_cluster import check_address, require_ray

    require_ray()  # before anything is computed
    if arguments.ray:
        check_address(arguments.ray)
    cpus = arguments.ray_cpus or 0
    with renders_on_ray(arguments.ray, run, load_model_of, home=home, cpus=cpus) as renders:
        yield renders
