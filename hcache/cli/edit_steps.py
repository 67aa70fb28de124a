"""``python -m hcache edit-steps``: which steps to edit in, as Asyrp chooses them."""

from __future__ import annotations

import argparse
from typing import Any

from ..cache.layout import home_folder, run_folder
from ..cache.reading import open_run
from ..errors import UsageError
from ..specs import parse_samples
from .progress import drive_with_bar
from .result import Result, table


def edit_steps(arguments: argparse.Namespace) -> Result:
    """Chooses t_edit and t_boost, and says which steps these are."""
    from ..extraction.run import load_model_of
    from ..measures.edit_steps import choose_steps, cosine_of, distance_for, rule_for
    from ..recipes.window import Window

    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    cosine = arguments.cosine
    if cosine is None:
        if not arguments.clip:
            raise UsageError(
                "the rule needs the cosine of two texts: give --clip MODEL --source TEXT --target"
                " TEXT, or --cosine C"
            )
        cosine = cosine_of(arguments.clip, arguments.source, arguments.target, arguments.device)
    name, device = arguments.distance, arguments.device
    rule = rule_for(
        name, cosine, arguments.edit_threshold, arguments.boost_threshold, arguments.from_xt
    )
    distance = distance_for(name, min(run.anatomy.image[:2]), arguments.encoder, device)
    work = choose_steps(
        load_model_of(run, device),
        run,
        distance,
        rule,
        samples=parse_samples(arguments.samples),
        steps=arguments.inversion_steps,
    )
    found = drive_with_bar(work, "inverting")
    window = Window.down_to(run.timesteps, found.t_edit.value)
    n = found.t_edit.n
    rows = [
        (title, f"{each.value:g}", f"{each.low:g} to {each.high:g}")
        for title, each in (("t_edit", found.t_edit), ("t_boost", found.t_boost))
    ]
    text = f"{table(rows, ('', 't', f'95 % interval, {n} pictures'))}\n"
    text += f"steps {window.first} to {window.last} of {run.name}; cosine of the texts {cosine:.4f}"
    data = {
        "run": run.name,
        "distance": name,
        "cosine": cosine,
        "t_edit": found.t_edit.to_json(),
        "t_boost": found.t_boost.to_json(),
        "window": [window.first, window.last],
        "timesteps": list(found.timesteps),
        "means": found.distances.mean(1).tolist(),
    }
    return Result(text=text, data=data)


def add_edit_steps(command: Any) -> None:
    """Adds the command's parser."""
    child = command(
        "edit-steps",
        edit_steps,
        "Choose the steps of an edit as Asyrp does: by LPIPS along the inversion of pictures.",
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument(
        "--source", default="", metavar="TEXT", help="text for what pictures show, such as face"
    )
    child.add_argument(
        "--target",
        default="",
        metavar="TEXT",
        help="text for what they should show, such as smiling face",
    )
    child.add_argument(
        "--clip",
        default="",
        metavar="MODEL",
        help="CLIP that compares the texts, such as openai/clip-vit-base-patch16",
    )
    child.add_argument(
        "--cosine", type=float, metavar="C", help="cosine of the texts' embeddings, if you know it"
    )
    _add_rule(child)
    child.add_argument(
        "--samples",
        metavar="N[,N...]",
        help="samples whose pictures are inverted (default: the first 32)",
    )
    child.add_argument(
        "--inversion-steps",
        type=int,
        default=0,
        metavar="S",
        help="number of inversion steps (default: the run's)",
    )
    child.add_argument(
        "--encoder", default="", metavar="MODEL", help="image encoder for gram and layout"
    )
    child.add_argument(
        "--device", default="auto", help="device of the computation (default: the best available)"
    )


def _add_rule(child: Any) -> None:
    """Adds the options of the distance and its thresholds."""
    child.add_argument(
        "--distance",
        default="lpips",
        metavar="NAME",
        help="similarity instead of LPIPS, by its name for `measure --similarities`; needs both"
        " thresholds",
    )
    child.add_argument(
        "--edit-threshold",
        type=float,
        metavar="D",
        help="threshold of t_edit (default for LPIPS: 0.33)",
    )
    child.add_argument(
        "--boost-threshold",
        type=float,
        metavar="D",
        help="threshold of t_boost (default for LPIPS: 0.1, or 1.2 with --from-xt)",
    )
    child.add_argument(
        "--from-xt",
        action="store_true",
        help="choose t_boost by the distance of x_t instead of P_t",
    )
