"""``python -m hcache``: models, anatomy, convert-adm, convert-ddpm, estimate, extract, invert,
runs, info, verify, repair, labels, export, direction, render, figure, measure, compare, probe,
read, reader, bench, tasks, cancel, dashboard, background.

Installed, ``hcache`` is the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..errors import HcacheError, UsageError, told_of
from ..models.adm_flags import WITHOUT_EFFECT
from ..noise_schedules import NAMED
from ..specs import NULL_CLASS, SCHEDULES
from ..starting import wait_asleep
from . import commands
from .attention import add_attention
from .background import add_background
from .bench import add_bench
from .dashboard import add_dashboard
from .directions import add_direction
from .edit_steps import add_edit_steps
from .figure import add_figure
from .measures import add_measures
from .probe import add_probes
from .progress import reported
from .readers import add_read, add_reader
from .render import add_render
from .schema import add_schema
from .where import add_places

MODEL = (
    "a known model, a folder in diffusers' format, a Stable Diffusion .safetensors, or a hub id"
    " (owner/name@rev)"
)


class _Parser(argparse.ArgumentParser):
    """A parser that reports wrong usage in one line, like every other error.

    ``listing``: makes the end of the help when the help is printed. ``fill``: adds options that are
    slow to find. It is called when the parser is used.
    """

    listing: Callable[[], str] | None = None
    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def filled(self) -> None:
        """Adds the options that were left for later."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)

    def parse_known_args(self, *given: Any, **named: Any) -> Any:
        """Parses as argparse does, with all options."""
        self.filled()
        return super().parse_known_args(*given, **named)

    def format_usage(self) -> str:
        """Formats the usage as argparse does, with all options."""
        self.filled()
        return super().format_usage()

    def format_help(self) -> str:
        """Formats the help as argparse does, with all options and the listing."""
        self.filled()
        return super().format_help() + (f"\n{self.listing()}\n" if self.listing else "")

    def error(self, message: str) -> NoReturn:
        if message.startswith("argument --") and message.endswith("expected one argument"):
            option = message.removeprefix("argument ").split(":")[0].split("/")[0]
            message += f" (a value that begins with a dash is given as {option}=VALUE)"
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse_args(self, *given: Any, **named: Any) -> argparse.Namespace:
        """Parses as argparse does, and refuses ``--`` alone as a value.

        argparse would lose such a value.
        """
        found = super().parse_args(*given, **named)
        for name in [name for name, value in vars(found).items() if value == []]:
            self.error(f"--{name.replace('_', '-')} cannot be two dashes alone")
        return found


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands.

    Each command sets ``run`` to its function.
    """
    return parsers()[""]


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Returns the parser of each command. They are built once.

    The keys are what a user types: ``runs``, ``direction fit``. The parser of the whole program has
    the key "".
    """
    parser = _Parser(
        prog=_typed(), description="Extract and inspect the h-space and skips of diffusion U-Nets."
    )
    parser.add_argument("--version", action="version", version=f"hcache {__version__}")
    sub = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    known = {"": parser}
    for add in ADDED:
        add(partial(_add_command, known, sub, ""))
    for prefix, (text, add) in GROUPS.items():
        known[prefix] = group = sub.add_parser(prefix, help=text, description=text)
        under = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
        add(partial(_add_command, known, under, f"{prefix} "))
    return known


def _add_command(
    known: dict[str, argparse.ArgumentParser],
    under: Any,
    prefix: str,
    name: str,
    run: Any,
    text: str,
    home: bool = True,
) -> argparse.ArgumentParser:
    """Adds a command with the options that all commands have.

    Args:
        known: The parsers by what a user types. The new one is added.
        under: The subparsers that it is added to.
        prefix: What a user types before its name.
        name: The command's name.
        run: The command's function.
        text: What the command does, for ``--help``.
        home: Whether the command works with runs.
    """
    known[prefix + name] = child = under.add_parser(name, help=text, description=text)
    child.set_defaults(run=run)
    child.add_argument("--json", action="store_true", help="print JSON instead of text")
    child.add_argument(
        "--status", metavar="FILE", help="write the progress of the command to this JSON file"
    )
    if home:
        child.add_argument(
            "--home",
            help="folder of the runs (default: $HCACHE_HOME, or else the user's cache folder)",
        )
    return child


def _typed() -> str:
    """Returns how this command was started: ``hcache`` if it is installed, else ``python -m
    hcache``.
    """
    return "hcache" if Path(sys.argv[0]).stem == "hcache" else "python -m hcache"


def _add_models(command: Any) -> None:
    command("models", commands.models, "List the models that have a name.", home=False)
    child = command(
        "anatomy", commands.anatomy, "Show a model's sites, their shapes and bytes.", home=False
    )
    child.add_argument("model", help=MODEL)
    _add_additions(child)


def _add_extraction(command: Any) -> None:
    for name, run, text in (
        (
            "estimate",
            commands.estimate,
            "Print how many bytes an extraction would take. Nothing runs.",
        ),
        (
            "extract",
            commands.extract,
            "Extract h-space and skips into a run. The same command continues an interrupted"
            " extraction.",
        ),
    ):
        child = command(name, run, text)
        child.add_argument("model", metavar="MODEL", help=MODEL)
        child.add_argument(
            "--samples", type=int, help="number of samples (default: that of the model card)"
        )
        child.add_argument(
            "--seed",
            type=int,
            help="seed of the first sample; the seeds of the others follow (default: 0)",
        )
        child.add_argument(
            "--eta", type=float, help="0: deterministic DDIM; 1: the variance of DDPM (default: 0)"
        )
        _add_run_arguments(child)
    child = command("invert", commands.invert, "Invert real pictures by DDIM into a run.")
    child.add_argument("model", metavar="MODEL", help=MODEL)
    child.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="picture files; their centre is cropped, and the output says so",
    )
    child.add_argument(
        "--inversion",
        choices=commands.INVERSIONS,
        default=commands.DDIM,
        help=(
            "what survives guidance: with negative-prompt, the prompt is the negative prompt, too;"
            " with null-text, the text of the branch without the prompt is optimised for every"
            " picture and step (default: ddim)"
        ),
    )
    _add_run_arguments(child)


def _add_runs(command: Any) -> None:
    command("runs", commands.runs, "List the runs of the home.")


def _add_watching(command: Any) -> None:
    """Adds the commands that list runs and tasks, and stop tasks."""
    for name, run, text in (
        ("info", commands.info, "Describe one run."),
        (
            "cancel",
            commands.cancel,
            "Stop a run's extraction, or a task on it, after its current step.",
        ),
    ):
        child = command(name, run, text)
        child.add_argument("run_name", metavar="RUN")
    child.add_argument(
        "--task",
        metavar="ID",
        help="cancel this background task of the run instead; `python -m hcache tasks RUN` lists"
        " them",
    )
    child = command(
        "tasks",
        commands.list_tasks,
        "List the background tasks that the dashboard started on a run.",
    )
    child.add_argument("run_name", metavar="RUN")


def _add_checking(command: Any) -> None:
    child = command(
        "commit",
        commands.commit,
        "Add shards that SLURM tasks finished after the extracting command had ended.",
    )
    child.add_argument("run_name", metavar="RUN")
    for name, run, text in (
        (
            "verify",
            commands.verify,
            "Check the files, checksums and values of a run. The exit code is 3 if it is damaged.",
        ),
        (
            "repair",
            commands.repair,
            "Move damaged shards of a run aside and extract their samples again.",
        ),
    ):
        child = command(name, run, text)
        child.add_argument("run_name", metavar="RUN")
        child.add_argument(
            "--device",
            default="auto",
            help="device of the computation (default: the best available)",
        )
        if name == "repair":
            child.add_argument(
                "--yes",
                action="store_true",
                help="do not ask before running the model of a run that came from elsewhere",
            )
        if name == "verify":
            child.add_argument(
                "--rerun",
                type=int,
                default=0,
                metavar="N",
                help="compute N random samples again and compare them",
            )


def _add_exchange(command: Any) -> None:
    child = command(
        "labels-import",
        commands.labels_import,
        "Add a set of labels from a CSV to a run, as a whole or not at all.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument(
        "file",
        metavar="CSV",
        help="table with a column sample or seed, and one column for each label; an empty cell"
        " means no value",
    )
    child.add_argument(
        "--set", required=True, help="name of the set; a set of the same name is replaced"
    )
    child = command(
        "labels-accept",
        commands.labels_accept,
        "Accept a label set whose file you edited by hand.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--set", required=True, help="name of the set")
    child = command("labels-export", commands.labels_export, "Print a run's labels as CSV.")
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--set", help="print only this set (default: all)")
    child = command(
        "export", commands.export, "Write labels and pooled activations for other tools."
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("out", metavar="OUT", help="file to write, or folder for the projector")
    child.add_argument(
        "--format", choices=("csv", "parquet", "projector"), default="csv", help="default: csv"
    )
    child.add_argument("--site", default="h", help="site: h, skip.1, ... (default: h)")
    child.add_argument("--step", type=int, help="step (default: the middle one)")


def _add_conversion(command: Any) -> None:
    text = (
        "Convert a guided-diffusion checkpoint to a diffusers folder. The options have the"
        " names of the original scripts."
    )
    child = command("convert-adm", commands.convert_adm, text, home=False)
    _add_checkpoint(child)
    child.add_argument(
        "--preset",
        metavar="NAME",
        help=(
            "use the options of a published checkpoint, such as 128x128_diffusion; the default for"
            " a file of that name"
        ),
    )
    for name, kind, meaning in ADM_OPTIONS:
        names = _both_spellings(name) + (["--head-channels"] if name == "num_head_channels" else [])
        child.add_argument(*names, dest=name, type=kind, metavar="V", help=meaning)
    for name, kind in ADM_COMPARED:
        child.add_argument(
            *_both_spellings(name),
            dest=name,
            type=kind,
            metavar="V",
            help="known from the tensors; if given, compared with them",
        )
    for name in WITHOUT_EFFECT:
        child.add_argument(
            *_both_spellings(name), dest=name, metavar="V", help="accepted, but has no effect"
        )
    child.add_argument(
        "--attention-order", choices=("legacy", "new"), help="the same as --use-new-attention-order"
    )
    text = (
        "Convert an original DDPM checkpoint (celeba_hq.ckpt, bedroom.ckpt,"
        " church_outdoor.ckpt) to a diffusers folder."
    )
    child = command("convert-ddpm", commands.convert_ddpm, text, home=False)
    _add_checkpoint(child)
    child.add_argument(
        "--image-size",
        type=int,
        help="side length of the pictures in pixels (default: chosen so that attention is at 16 x"
        " 16)",
    )


def _add_checkpoint(child: argparse.ArgumentParser) -> None:
    child.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help=".pt, .ckpt or .safetensors; code in the file is never executed",
    )
    child.add_argument("out", metavar="OUT", help="folder to write")
    child.add_argument(
        "--weights",
        metavar="WHICH",
        help=(
            "ema: the moving average of a training state; raw: the weights themselves (default:"
            " the moving average if there is one; the output says so)"
        ),
    )


def _both_spellings(name: str) -> list[str]:
    """Returns both spellings, such as ``--num-heads`` and the original ``--num_heads``."""
    return list(dict.fromkeys([f"--{name.replace('_', '-')}", f"--{name}"]))


def _truth(text: str) -> bool:
    """Parses ``True`` or ``False``, as guided-diffusion's scripts do."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected True or False, got {text!r}")


def _add_additions(child: argparse.ArgumentParser) -> None:
    """Adds the options for what a model's files do not contain."""
    child.add_argument(
        "--lora",
        action="append",
        metavar="FOLDER_OR_FILE[:SCALE]",
        help=(
            "add a LoRA (file, folder or hub id) to the weights, times SCALE (default: 1); may be"
            " repeated"
        ),
    )
    child.add_argument(
        "--scheduler",
        metavar="NAME_OR_FILE",
        help=(
            f"the noise schedule of a model whose files contain none: {', '.join(NAMED)}, or a"
            " folder or file with scheduler_config.json"
        ),
    )


def _add_run_arguments(child: argparse.ArgumentParser) -> None:
    _add_additions(child)
    child.add_argument(
        "--steps", type=int, help="number of DDIM steps (default: that of the model card)"
    )
    child.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="timestep where a step ends: the next one (default), or that of diffusers' DDIM",
    )
    _add_condition(child)
    _add_storage(child)
    child.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, mps (default: the best available)"
    )
    child.add_argument(
        "--devices",
        metavar="LIST",
        help="cuda:0,cuda:1 or cpu:2: one process per device, into one run",
    )
    add_places(child)


def _add_condition(child: argparse.ArgumentParser) -> None:
    """Adds the options of prompts, classes and guidance."""
    child.add_argument("--prompt", help="prompt for all samples (default: that of the model card)")
    child.add_argument(
        "--prompts",
        metavar="FILE",
        help="file with one prompt per line, in the order of the samples",
    )
    child.add_argument("--negative-prompt", help="negative prompt of the guidance (default: none)")
    child.add_argument(
        "--classes",
        metavar="N[,N...]",
        help="class labels: one for all samples, or one for each sample",
    )
    child.add_argument(
        "--null-class",
        type=int,
        metavar="N",
        help=NULL_CLASS,
    )
    child.add_argument(
        "--guidance", type=float, help="scale of classifier-free guidance; 1 switches it off"
    )


def _add_storage(child: argparse.ArgumentParser) -> None:
    """Adds the options of what is stored, and of the batch."""
    child.add_argument(
        "--store",
        action="append",
        metavar="SITE=POLICY",
        help=(
            "full, pooled (mean over space) or none, for h, skip.1, ...; may be repeated (default:"
            " that of the model card)"
        ),
    )
    child.add_argument(
        "--budget",
        metavar="BYTES",
        help="size such as 20GB: store as much as fits, h first, and print the choice",
    )
    child.add_argument(
        "--store-dtype", choices=("float16", "float32"), help="dtype on disk (default: float16)"
    )
    child.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="dtype of the computation"
    )
    child.add_argument(
        "--batch",
        type=_batch,
        metavar="N",
        default=0,
        help=(
            "samples per batch and per shard (default: auto, which is 8, or on one GPU the fastest"
            " size that fits into memory)"
        ),
    )


def _batch(text: str) -> int:
    """Parses a number of samples; ``auto`` becomes 0."""
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected 1, 2, ... or auto, got {text!r}")
    return int(text)


ADM_OPTIONS = (
    ("image_size", int, "side length of the pictures in pixels (default: 256)"),
    ("num_heads", int, "number of attention heads, the same at every width"),
    ("num_heads_upsample", int, "number of attention heads in the decoder half"),
    (
        "num_head_channels",
        int,
        "channels per attention head; overrides --num-heads (default: 64)",
    ),
    (
        "use_new_attention_order",
        _truth,
        "queries, keys and values are stored separately (True), or by head (False, default)",
    ),
    ("noise_schedule", str, "linear (default) or cosine"),
    ("diffusion_steps", int, "training timesteps (default: 1000; 4000 for improved-diffusion)"),
    (
        "rescale_timesteps",
        _truth,
        "the network's time input is t 1000/T (default: False; True for improved-diffusion)",
    ),
    ("predict_xstart", _truth, "the network predicts x_0 instead of the noise (default: False)"),
)
"""Options of the original scripts that files do not contain: name, kind, meaning."""

ADM_COMPARED = (
    ("num_channels", int),
    ("num_res_blocks", int),
    ("channel_mult", str),
    ("attention_resolutions", str),
    ("class_cond", _truth),
    ("learn_sigma", _truth),
    ("use_scale_shift_norm", _truth),
    ("resblock_updown", _truth),
)
"""Options that the tensors show as well."""

ADDED = (
    _add_models,
    _add_extraction,
    _add_conversion,
    _add_runs,
    _add_watching,
    _add_checking,
    _add_exchange,
    add_render,
    add_figure,
    add_measures,
    add_edit_steps,
    add_attention,
    add_probes,
    add_read,
    add_bench,
    add_dashboard,
    add_background,
    add_schema,
)
"""The functions that add commands, in the order of ``--help``."""

GROUPS = {
    "reader": ("List, check and delete attribute readers.", add_reader),
    "direction": ("Fit, list, show, delete and import directions in h-space.", add_direction),
}
"""Commands with subcommands: name -> their purpose, and the function that adds them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    The codes are 0 done, 1 failed, 2 wrong usage, 3 damaged, 5 no space, 130 interrupted.
    """
    try:
        arguments = build_parser().parse_args(argv)
        if not getattr(arguments, "spins", False):
            wait_asleep()  # before the command imports torch
        with reported(arguments.status):
            result = arguments.run(arguments)
        print(json.dumps(result.data, indent=1) if arguments.json else result.text, flush=True)
        return result.exit_code
    except BrokenPipeError:
        return 1
    except (HcacheError, OSError, MemoryError) as error:
        told = told_of(error)
        print(f"hcache: {told}", file=sys.stderr)
        return told.exit_code
    except KeyboardInterrupt:
        return 130
