"""Measures how well readers by texts and by clicks read the drawn faces, whose factors are known.

    python -m hcache.toyfaces.read_back RUN [--drawings 512] [--positives 32]

RUN is a run of an embedded model, by its folder or its name in the home. Texts are read with
``toyfaces-clip``, a small CLIP that was trained on captions of drawings. A reader from clicks is
fitted to the samples with the highest readings of the toy reader, positives alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

import numpy as np

from ..cache.reading import Run, open_run
from ..errors import AnalysisError
from ..readers.clicks import PIXELS, fit_clicks
from ..readers.reader import Reader
from ..readers.texts import Texts
from .clip import FOLDER, ends
from .drawing import draw_dataset
from .factors import NAMES
from .train import HELD_OUT


def by_texts() -> Reader:
    """Makes a reader of all factors by the texts of their ends."""
    pairs = {name: ends(name)[::-1] for name in NAMES}
    return Texts(model=str(FOLDER), attributes=pairs, templates=("{}",)).open("texts", "cpu")


def read_back(run: Run, drawings: int, positives: int) -> dict[str, dict[str, float | str]]:
    """Measures correlations of readings with the truth, by factor.

    The truth is known for held-out drawings. On the run's samples the toy reader takes its place.

    Args:
        run: A run of an embedded model.
        drawings: The number of held-out drawings, whose factors are known.
        positives: The number of samples that a reader from clicks is fitted to.
    """
    pictures, factors = draw_dataset(range(HELD_OUT, HELD_OUT + drawings))
    theirs, texts = run.labels["toyfaces"], by_texts()
    of_drawings, of_samples = texts(pictures), texts(run.images)
    found: dict[str, dict[str, float | str]] = {}
    for i, name in enumerate(NAMES):
        truth = factors[:, i]
        found[name] = {
            "texts, truth": _correlation(of_drawings[name], truth),
            "texts, toy reader": _correlation(of_samples[name], theirs[name]),
        }
        for what, encoder in (("pixels", PIXELS), ("toyfaces-clip", str(FOLDER))):
            found[name] |= _by_clicks(run, theirs, name, positives, encoder, what, pictures, truth)
    return found


def _by_clicks(
    run: Run,
    theirs: Mapping[str, np.ndarray],
    name: str,
    positives: int,
    encoder: str,
    what: str,
    pictures: np.ndarray,
    truth: np.ndarray,
) -> dict[str, float | str]:
    values = np.full(len(run), np.nan)
    values[np.argsort(theirs[name])[-positives:]] = 1
    try:
        head = fit_clicks(run.images, values, name, encoder, device="cpu")
    except AnalysisError:
        return {f"clicks on {what}, truth": "refused"}
    read = head.open("clicks", "cpu")(pictures)[name]
    return {
        f"clicks on {what}, truth": _correlation(read, truth),
        f"clicks on {what}, AUC": head.quality["score"],
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def main(argv: list[str] | None = None) -> None:
    """Runs the command: prints a JSON object, one line per factor."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.read_back", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "run", metavar="RUN", help="a run of an embedded model: its folder, or its name in the home"
    )
    parser.add_argument(
        "--drawings", type=int, default=512, help="number of held-out drawings (default: 512)"
    )
    parser.add_argument(
        "--positives",
        type=int,
        default=32,
        help="number of positives for readers by clicks (default: 32)",
    )
    args = parser.parse_args(argv)
    for name, row in read_back(open_run(args.run), args.drawings, args.positives).items():
        print(json.dumps({"factor": name} | {key: _short(value) for key, value in row.items()}))


def _short(value: float | str) -> float | str:
    return value if isinstance(value, str) else round(value, 2)


if __name__ == "__main__":
    main()
