"""``python -m hcache figure``: U-figures, strips, grids, maps and sparse features for print."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..cache.layout import H, home_folder, run_folder
from ..cache.reading import open_run
from ..errors import UsageError
from ..specs import parse_numbers, parse_samples
from .progress import drive_with_bar
from .result import Result
from .where import add_ray, renders_of

FORMATS = (".pdf", ".svg", ".png")

RENDERED = ("u", "strip", "grid")
"""The figures whose pictures are rendered."""


def figure(arguments: argparse.Namespace) -> Result:
    """Makes the figure and writes it to every --out."""
    from ..figures import notebook

    for out in arguments.out:
        if Path(out).suffix.lower() not in FORMATS:
            raise UsageError(f"--out names a file that ends in {', '.join(FORMATS)}, got {out}")
    run = open_run(run_folder(home_folder(arguments.home), arguments.run_name))
    style = {
        "width": _width(arguments.width),
        "size": arguments.font_size,
        "caption": arguments.caption,
        "drive": drive_with_bar,
    }
    steps = _steps(arguments.steps)
    make = {
        "u": _u,
        "strip": _strip,
        "grid": _grid,
        "cka": _cka,
        "swaps": _swap_map,
        "groups": _groups,
        "sparse": _sparse,
    }[arguments.kind]
    if arguments.ray is not None and arguments.kind not in RENDERED:
        raise UsageError(f"--ray is for {', '.join(RENDERED)}; this figure renders no pictures")
    with renders_of(arguments, run) as renders:
        style |= {"renders": renders} if arguments.kind in RENDERED else {}
        made = make(notebook, run, arguments, {"steps": steps, **style})
    paths = [str(made.save(out)) for out in arguments.out]
    data = {
        "run": run.name,
        "kind": arguments.kind,
        "out": paths,
        "caption": made.caption,
        "inches": [made.width / 72, made.height / 72],
    }
    size = f"{made.width / 72:.2f} x {made.height / 72:.2f} in"
    return Result(
        text="\n".join([*(f"wrote {path} ({size})" for path in paths), made.caption]), data=data
    )


def _u(notebook: Any, run: Any, arguments: argparse.Namespace, style: dict[str, Any]) -> Any:
    return notebook.u_figure(
        run,
        arguments.donor,
        arguments.recipient,
        donor_run=arguments.donor_run,
        alpha=arguments.alpha,
        **style,
    )


def _strip(notebook: Any, run: Any, arguments: argparse.Namespace, style: dict[str, Any]) -> Any:
    samples = parse_samples(arguments.samples)
    if len(samples) > 1:
        raise UsageError(f"a strip shows one sample; --samples names {len(samples)}")
    return notebook.strip(
        run,
        _only(arguments.label),
        sample=_only(samples),
        ways=arguments.way,
        strengths=parse_numbers(arguments.strengths) or None,
        top=arguments.top,
        site=arguments.site,
        asymmetric=not arguments.symmetric,
        **style,
    )


def _grid(notebook: Any, run: Any, arguments: argparse.Namespace, style: dict[str, Any]) -> Any:
    return notebook.grid(
        run,
        arguments.label,
        samples=parse_samples(arguments.samples) or None,
        ways=arguments.way,
        strength=_only(parse_numbers(arguments.strengths)),
        top=arguments.top,
        site=arguments.site,
        asymmetric=not arguments.symmetric,
        **style,
    )


def _cka(notebook: Any, run: Any, arguments: argparse.Namespace, style: dict[str, Any]) -> Any:
    """Returns the map of a site's steps. It is measured if it is not stored."""
    from ..figures.plots import similarity_map
    from ..measures.alike import other_run, runs_alike, steps_alike
    from ..measures.declared.cka import COMPARED, TIMES, map_of

    site, beside = arguments.site or H, arguments.beside
    if site not in run.stored_sites:
        known = ", ".join(run.stored_sites)
        raise UsageError(f"{run.name} does not store {site[:60]}; it has {known}")
    most, shuffles = COMPARED.default, TIMES.default
    work = (
        runs_alike(run, other_run(run, beside), site, most, shuffles)
        if beside
        else steps_alike(run, site, most, shuffles)
    )
    record = style.pop("drive")(work, "measuring CKA")
    del style["steps"]
    return similarity_map(map_of(record), **style)


def _swap_map(notebook: Any, run: Any, arguments: argparse.Namespace, style: dict[str, Any]) -> Any:
    """Returns the map of the measured swaps, with one row per site."""
    from ..figures.plots import swap_map as drawn
    from ..measures.declared.swaps import swap_map
    from ..measures.evidence import Evidence

    found = swap_map(Evidence(run))
    if found is None:
        raise UsageError(
            f"no swaps were measured on {run.name}; measure them first: python -m hcache measure"
            f" {run.name} --what swaps --everywhere yes"
        )
    return drawn(found, **{name: style[name] for name in ("width", "size", "caption")})


def _groups(notebook: Any, run: Any, arguments: argparse.Namespace, style: dict[str, Any]) -> Any:
    """Returns the table of which group carries what, from the measured swaps."""
    from ..figures.plots import group_map as drawn
    from ..measures.declared.swaps import group_map
    from ..measures.evidence import Evidence

    found = group_map(Evidence(run))
    if found is None:
        raise UsageError(
            f"no swaps were measured on {run.name}; measure them first: python -m hcache measure"
            f" {run.name} --what swaps --similarities all"
        )
    return drawn(found, **{name: style[name] for name in ("width", "size", "caption")})


def _sparse(notebook: Any, run: Any, arguments: argparse.Namespace, style: dict[str, Any]) -> Any:
    """Returns the strongest sparse features of the last dictionary that was measured."""
    from ..figures.sparse_plot import sparse_plot
    from ..measures.declared.sparse import firing_of, sheet_of, strongest, told_of
    from ..measures.evidence import Evidence
    from ..measures.kinds import SPARSE

    evidence, site = Evidence(run), arguments.site or H
    found = [each for each in evidence.of_kind(SPARSE) if each.parameters["site"] == site]
    if not found:
        raise UsageError(
            f"no sparse features of {site[:60]} were trained on {run.name}; train them"
            f" first: python -m hcache measure {run.name} --what sparse --sparse-site"
            f" {site[:60]}"
        )
    record, some = found[-1], strongest(found[-1])
    sheet = sheet_of(run, record.result, some)
    printed = {name: style[name] for name in ("width", "size", "caption")}
    pictures = None if sheet is None else sheet.pictures
    return sparse_plot(firing_of(record, evidence, some), pictures, told_of(record), **printed)


def _only(values: Any) -> Any:
    """Returns the only value given, or None if there is none."""
    if values and len(values) > 1:
        raise UsageError(f"give only one of these for this figure: {', '.join(map(str, values))}")
    return values[0] if values else None


def _steps(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and dash and last.isdecimal()):
        raise UsageError(f"--steps are a first and a last, 0-19; got {text!r}")
    return int(first), int(last)


def _width(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def add_figure(command: Any) -> None:
    """Adds the command's parser."""
    child = command(
        "figure",
        figure,
        "Make a figure for print (U-figure, strip, grid, map of CKA or of swaps) as PDF, SVG or"
        " PNG.",
    )
    child.add_argument(
        "kind",
        choices=("u", "strip", "grid", "cka", "swaps", "groups", "sparse"),
        help=(
            "u: swaps at h and at every skip group; strip: methods by strengths; grid: samples and"
            " methods by attributes; cka: steps of a site; swaps: what every site carries, from an"
            " earlier measurement; groups: the same with intervals, by structure, style, colour and"
            " identity; sparse: the strongest features of an earlier training, with their samples"
        ),
    )
    child.add_argument("run_name", metavar="RUN")
    child.add_argument(
        "--out",
        action="append",
        required=True,
        metavar="FILE",
        help="file to write, .pdf, .svg or .png; may be repeated",
    )
    _add_swap(child)
    _add_edit(child)
    _add_print(child)
    add_ray(child)


def _add_swap(child: Any) -> None:
    """Adds the options of the U-figure."""
    child.add_argument(
        "--donor",
        type=int,
        metavar="N",
        help="u: the donor's sample number (default: the second sample)",
    )
    child.add_argument(
        "--recipient",
        type=int,
        metavar="N",
        help="u: the recipient's sample number (default: the first sample)",
    )
    child.add_argument(
        "--donor-run",
        default="",
        metavar="RUN",
        help="u: the donor's run, if it is a different one",
    )
    child.add_argument(
        "--alpha", type=float, default=1.0, help="u: strength of the swap (default: 1)"
    )


def _add_edit(child: Any) -> None:
    """Adds the options of strips and grids, and the steps of an edit."""
    child.add_argument(
        "--samples",
        metavar="N[,N...]",
        help="sample numbers; strip: one; grid: several (default: samples that are not in the fit)",
    )
    child.add_argument(
        "--label",
        action="append",
        metavar="LABEL",
        help="label that the methods are fitted to; grid: may be repeated, or saved:NAME",
    )
    child.add_argument(
        "--way",
        action="append",
        metavar="METHOD",
        help=(
            "a method of `python -m hcache direction fit --help` that needs no model, or"
            " saved:NAME; may be repeated (default: those that the Figures page proposes)"
        ),
    )
    child.add_argument(
        "--strengths",
        metavar="X[,X...]",
        help="strip: strengths of the columns; grid: one strength",
    )
    child.add_argument(
        "--top",
        type=int,
        metavar="N",
        help="number of positives (default: an eighth of the samples)",
    )
    child.add_argument(
        "--site",
        help="cka: the site whose steps are compared; sparse: the features' site; strip, grid: the"
        " tensor that fitted methods move: h, down.0, mid.attn, block.3, ... (default: h)",
    )
    child.add_argument(
        "--beside",
        default="",
        metavar="RUN",
        help="cka: compare with the steps of this run instead",
    )
    child.add_argument(
        "--steps", metavar="A-B", help="first and last step of the edit (default: all steps)"
    )
    child.add_argument(
        "--symmetric", action="store_true", help="edit symmetrically: D_t as well as P_t"
    )


def _add_print(child: argparse.ArgumentParser) -> None:
    """Adds the options of the printed size."""
    child.add_argument(
        "--width", default="double", help="single (3.3 in), double (6.9 in; default) or inches"
    )
    child.add_argument(
        "--font-size",
        type=float,
        metavar="POINTS",
        help="font size in points (default: 8; single: 7)",
    )
    child.add_argument("--caption", help="caption instead of the default one; empty for none")
