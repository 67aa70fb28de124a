"""Makes each figure for print in one call, from a run. Figures show themselves in a notebook, and
``save`` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..cache.reading import Run
from ..errors import UsageError
from ..progress import drive_under_bar
from ..recipes.window import Window
from .choices import Choice, default_grid, default_strip, default_swaps, default_ways
from .drawing import WIDTHS, Figure, Style
from .making import Maker
from .table import Table, draw_table
from .ufigure import Swapped, draw_u

if TYPE_CHECKING:
    from ..edits.batches import Renders


def u_figure(
    run: Run,
    donor: int | None = None,
    recipient: int | None = None,
    *,
    donor_run: str = "",
    steps: tuple[int, int] | None = None,
    alpha: float = 1.0,
    **style: Any,
) -> Figure:
    """Makes the U-figure of swaps at each site.

    It shows donor, recipient, the U, and pictures beside h and every skip group.

    Args:
        run: The recipient's run. It is also the donor's, unless ``donor_run`` names another run of
            the same home.
        donor: The sample number of A (default: the second sample).
        recipient: The sample number of B (default: the first sample).
        donor_run: The name of the donor's run.
        steps: First and last step of the swap (default: all).
        alpha: The strength of the swap.
        style: ``width`` ("single", "double" or inches), ``size`` of the type in points, ``caption``
            (a text, or "" for none).
    """
    given = {"donor": donor, "recipient": recipient, "window": _window(steps)}
    return figure_of(
        run, changed(default_swaps(run), **given, donor_run=donor_run, alpha=alpha), **style
    )


def strip(
    run: Run,
    label: str | None = None,
    *,
    sample: int | None = None,
    ways: Sequence[str] | None = None,
    strengths: Sequence[float] | None = None,
    top: int | None = None,
    steps: tuple[int, int] | None = None,
    site: str | None = None,
    asymmetric: bool = True,
    **style: Any,
) -> Figure:
    """Makes a strip: one sample edited at several strengths.

    There is a row for each way to find the direction, and a column per strength.

    Args:
        run: A run that stores h, or the site, in full.
        label: The label that ways are fitted to (default: the first).
        sample: The sample number (default: the first sample that is at no end of the label).
        ways: ``naive``, ``vae``, ``supervised``, ``boundary``, ``pca``, ``random``, or
            ``saved:NAME``.
        strengths: The strengths of the columns.
        top: The number of positives.
        steps: First and last step of the edit (default: all).
        site: The tensor that fitted ways move (default: h, or the first that is stored in full).
        asymmetric: Whether the edited prediction enters P_t only.
        style: The style, as in ``u_figure``.
    """
    start = default_strip(run)
    if label is not None and ways is None:
        ways = default_ways(run, label)
    given = {
        "label": label,
        "sample": sample,
        "ways": _tuple(ways),
        "strengths": _tuple(strengths),
        "top": top,
        "window": _window(steps),
        "site": site,
    }
    return figure_of(run, changed(start, **given, asymmetric=asymmetric), **style)


def grid(
    run: Run,
    attributes: Sequence[str] | None = None,
    *,
    samples: Sequence[int] | None = None,
    ways: Sequence[str] | None = None,
    strength: float | None = None,
    top: int | None = None,
    steps: tuple[int, int] | None = None,
    site: str | None = None,
    asymmetric: bool = True,
    **style: Any,
) -> Figure:
    """Makes a grid: samples edited by several attributes.

    There is a row per sample and way, and a column per attribute (a label, or a ``saved:NAME``
    direction). The arguments are those of ``strip``.
    """
    given = {
        "attributes": _tuple(attributes),
        "samples": _tuple(samples),
        "ways": _tuple(ways),
        "strength": strength,
        "top": top,
        "window": _window(steps),
        "site": site,
    }
    return figure_of(run, changed(default_grid(run), **given, asymmetric=asymmetric), **style)


def changed(choice: Any, **given: Any) -> Any:
    """Returns a choice with the given values in place of its own.

    None keeps a value.
    """
    return replace(choice, **{name: value for name, value in given.items() if value is not None})


def figure_of(
    run: Run,
    choice: Choice,
    *,
    drive: Callable[..., Any] = drive_under_bar,
    renders: Renders | None = None,
    **style: Any,
) -> Figure:
    """Renders missing cells of a figure and draws it.

    ``drive(work, text)`` runs the work to its end. ``renders`` computes the pictures; None means
    this process.
    """
    from ..extraction.run import load_model_of

    look, caption = style_of(**style)
    made = drive(
        Maker(run=run, load=lambda: load_model_of(run), renders=renders).make(choice),
        type(choice).__name__.lower(),
    )
    return draw(made, look, caption)


def draw(made: Swapped | Table, style: Style, caption: str | None = None) -> Figure:
    """Draws any of the three figures from its pictures.

    ``caption``: None means the default caption.
    """
    return (
        draw_u(made, style, caption)
        if isinstance(made, Swapped)
        else draw_table(made, style, caption)
    )


def style_of(
    width: str | float = "double", size: float | None = None, caption: str | None = None
) -> tuple[Style, str | None]:
    """Returns the style, and the caption that replaces the default.

    By default the type of a single column is smaller.
    """
    if isinstance(width, str) and width not in WIDTHS:
        raise UsageError(
            f"the width of a figure is {', '.join(WIDTHS)} or a number of inches, got {width!r}"
        )
    inches = WIDTHS[width] if isinstance(width, str) else float(width)
    size = size if size is not None else (8.0 if inches > WIDTHS["single"] else 7.0)
    return Style(width=inches, size=size, captioned=caption != ""), caption or None


def _window(steps: tuple[int, int] | None) -> Window | None:
    return None if steps is None else Window(first=steps[0], last=steps[1])


def _tuple(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)
