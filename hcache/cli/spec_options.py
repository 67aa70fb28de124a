"""The options that describe a run, and the spec that they mean."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cache.plan import fit_budget, parse_bytes
from ..cards import default_spec, find_card
from ..errors import UsageError
from ..noise_schedules import NAMED
from ..specs import DDIM, NULL_CLASS, NULL_TEXT, SCHEDULES, Conditioning, RunSpec, parse_store
from ..texts import read_text
from .where import add_places

NEGATIVE_PROMPT = "negative-prompt"
INVERSIONS = DDIM, NEGATIVE_PROMPT, NULL_TEXT
"""How pictures are inverted: plainly, or so that the result survives guidance."""

MODEL = (
    "a known model, a folder in diffusers' format, a Stable Diffusion .safetensors, or a hub id"
    " (owner/name@rev)"
)


def spec_of(arguments: argparse.Namespace, **more: Any) -> RunSpec:
    """Returns the spec of the arguments of ``extract``, ``estimate`` and ``invert``."""
    names = ("samples", "steps", "seed", "eta", "store_dtype", "dtype", "batch", "schedule")
    changes = {name: getattr(arguments, name, None) for name in names}
    changes["store"] = parse_store(arguments.store) if arguments.store else None
    changes["conditioning"] = conditioning_of(arguments)
    changes |= {"loras": added(arguments)["lora"], "scheduler": added(arguments)["scheduler"]}
    if getattr(arguments, "inversion", DDIM) == NULL_TEXT:
        changes["inversion"] = NULL_TEXT
    spec = default_spec(arguments.model, **{**changes, **more})
    if arguments.budget is None:
        return spec
    if arguments.store:
        raise UsageError("--budget chooses what to store; leave --store out")
    from ..models.loading import load_anatomy

    anatomy = load_anatomy(spec.model, lora=spec.loras, scheduler=spec.scheduler)
    spec, chosen = fit_budget(spec, anatomy, parse_bytes(arguments.budget))
    print("\n".join(chosen), file=sys.stderr)
    return spec


def added(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the LoRAs and the schedule that the arguments add.

    They are in the form for ``load_model``.
    """
    from ..loras import find_lora
    from ..noise_schedules import find_schedule

    stated = arguments.scheduler
    return {
        "lora": tuple(find_lora(text) for text in arguments.lora or ()),
        "scheduler": find_schedule(stated) if stated else {},
    }


def conditioning_of(arguments: argparse.Namespace) -> Conditioning:
    """Returns the card's conditioning, overridden by the arguments."""
    found = find_card(arguments.model).conditioning
    if arguments.prompts is not None:
        found = replace(found, prompts=read_prompts(arguments.prompts))
    if arguments.prompt is not None:
        found = replace(found, prompts=(arguments.prompt,))
    if arguments.negative_prompt is not None:
        found = replace(found, negative_prompt=arguments.negative_prompt)
    if arguments.classes is not None:
        try:
            found = replace(
                found, classes=tuple(int(part) for part in arguments.classes.split(","))
            )
        except ValueError as error:
            raise UsageError(
                f"--classes takes whole numbers separated by commas, got {arguments.classes!r}"
            ) from error
    if arguments.null_class is not None:
        found = replace(found, null_class=arguments.null_class)
    if arguments.guidance is not None:
        found = replace(found, guidance=arguments.guidance)
    by_prompt = getattr(arguments, "inversion", DDIM) == NEGATIVE_PROMPT
    return found.inverted_by_prompt() if by_prompt else found


def read_prompts(path: str) -> tuple[str, ...]:
    """Reads one prompt per line. Empty lines do not count."""
    lines = read_text(Path(path), f"the prompts in {path}").splitlines()
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise UsageError(f"{path} holds no prompts; expected one per line")
    return prompts


def add_additions(child: argparse.ArgumentParser) -> None:
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


def add_run_options(child: argparse.ArgumentParser) -> None:
    """Adds the options that ``estimate``, ``extract`` and ``invert`` share."""
    add_additions(child)
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
