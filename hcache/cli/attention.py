"""``python -m hcache attention``: which places of a picture attend to which words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_bytes
from ..cache.layout import home_folder, run_folder
from ..cache.reading import open_run
from ..errors import HcacheError, UsageError, refused
from .progress import drive_with_bar
from .result import Result, table


def attention(arguments: argparse.Namespace) -> Result:
    """Maps which places attend to the words of a sample's prompt.

    If a file is named, the maps over the picture are written to it.
    """
    from ..extraction.run import load_model_of
    from ..figures.overlay import overlay
    from ..figures.pictures import contact_sheet, png_bytes
    from ..measures.attention import word_maps

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    out = None if arguments.out is None else Path(arguments.out)
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out takes a file that ends in .png, got {out}")
    work = word_maps(lambda: load_model_of(run, arguments.device), run, arguments.sample)
    found = drive_with_bar(work, "mapping words")
    step = arguments.step
    maps = [found.of(i, step) for i in range(len(found.tokens))]
    rows = [(token, f"{each.mean():.4f}") for token, each in zip(found.tokens, maps, strict=True)]
    text = table(rows, ("token", "mean share of attention"))
    if out is not None:
        picture = run.picture(arguments.sample)
        pictures = np.stack([picture, *(overlay(picture, each) for each in maps)])
        try:
            write_bytes(out, png_bytes(contact_sheet(pictures, len(pictures))[0]))
        except HcacheError:
            raise
        except OSError as error:
            raise refused(str(out), error) from error
        text += f"\nwrote {out}: the picture, then one for each token"
    data = {
        "run": run.name,
        "sample": arguments.sample,
        "tokens": list(found.tokens),
        "shares": [float(each.mean()) for each in maps],
    }
    return Result(text=text, data=data)


def add_attention(command: Any) -> None:
    """Adds the command's parser."""
    child = command(
        "attention",
        attention,
        "Show which word of the prompt each place of a picture attends to, by step.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument("--sample", type=int, required=True, metavar="N", help="sample number")
    child.add_argument(
        "--step", type=int, metavar="K", help="step (default: the mean over all steps)"
    )
    child.add_argument("--out", metavar="FILE", help="PNG to write, with the maps over the picture")
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: the best available)"
    )
