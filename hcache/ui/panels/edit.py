"""Edit: a direction from a label or from picked pictures, and what moving along it does."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import streamlit as st

from ...cache.reading import Run
from ...directions.direction import Direction
from ...directions.naive import naive_direction, top_samples
from ...directions.supervised import supervised_direction
from ...edits.window import Window
from ...errors import AnalysisError
from ...figures.pictures import png_bytes
from ...figures.strips import draw_strip
from ...readers import find_reader
from ...specs import FULL
from .. import loaders, state
from ..grid import picture_grid
from ..work import run_button

STRENGTHS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
NAIVE, SUPERVISED = "naive", "supervised"
METHODS_HELP = (
    "naive: mean h of the positives minus mean h of all samples. supervised: minus mean h of as many samples at the "
    "other end of the label (Haas et al. 2023, Discovering Interpretable Directions in the Semantic Latent Space of "
    "Diffusion Models)."
)
FROM_LABEL, FROM_PICTURES = "a label", "pictures I pick"


def direction_panel(run: Run) -> tuple[Direction | None, str | None]:
    """The direction, and the attribute it is meant to change if it came from a label."""
    run.anatomy.need_unet("moving h")
    if run.policy("h") != FULL:
        raise AnalysisError("this run does not hold h in full, which a direction needs; extract with --store h=full")
    labels = loaders.labels_of(run)
    sources = [FROM_LABEL, FROM_PICTURES] if labels else [FROM_PICTURES]
    left, right = st.columns(2)
    with left:
        source = state.select("Direction from", "source", sources)
    with right:
        methods = [NAIVE, SUPERVISED] if source == FROM_LABEL else [NAIVE]
        method = state.select("Method", "method", methods, help=METHODS_HELP)
    positives, target = _from_label(run, labels) if source == FROM_LABEL else (_from_pictures(run), None)
    if not 2 <= len(positives) < len(run):
        st.info(f"Pick 2 or more positives, and not all; {len(positives)} so far.")
        return None, target
    negatives = _opposites(run, labels[target], positives) if method == SUPERVISED else []
    return _fit(str(run.folder), len(run), tuple(positives), tuple(negatives)), target


def strip_panel(run: Run, direction: Direction, target: str | None) -> None:
    """One sample over strengths, symmetric above asymmetric, with the reader's values under every picture."""
    st.subheader("Full edit")
    left, right = st.columns([1, 2])
    with left:
        ids = run.sample_ids
        sample = state.sample("Sample to edit", "sample", ids, int(ids[0]))
    with right:
        first, last = state.window("Steps in which to edit", "window", run.spec.steps, help="0 has most noise.")
    made_of = (tuple(direction.made_by["positives"]), tuple(direction.made_by.get("negatives", ())))
    result = run_button(
        "Render the strip",
        "strip",
        (run.name, len(run), made_of, sample, first, last),
        lambda: _render(run, sample, direction, Window(first=first, last=last)),
    )
    if result is None:
        return
    spreads = {name: float(np.nanstd(values)) for name, values in loaders.labels_of(run).items()}
    pictures, readings = result
    st.html(draw_strip(pictures, STRENGTHS, readings, spreads, target))
    st.caption(
        "Strength 1: root mean square of Δh/σ is 1 over all steps, channels and places. Under each picture "
        "what the attribute "
        "reader sees; tinted by the change from strength 0, full tint at 2.5 of the attribute's spreads. "
        "Symmetric: the edited "
        "noise enters P_t and D_t (Haas et al. 2023); asymmetric: P_t only (Asyrp: Kwon, Jeong, Uh 2022)."
    )


@st.fragment
def preview_panel(run: Run, direction: Direction) -> None:
    """Predicted x_0 of one step with h moved: the decoder alone, so it follows the slider."""
    st.subheader("One-step preview")
    ids = run.sample_ids
    sample = int(state.recall("sample", int(ids[0]), int))
    sample = sample if sample in ids else int(ids[0])
    left, middle, right = st.columns([3, 1, 1])
    with left:
        step = state.slider("Step", "step", 0, run.spec.steps - 1, run.spec.steps // 2)
        strength = st.slider("Strength γ", -8.0, 8.0, 4.0, 0.5, key="preview-strength")
        st.caption(
            f"Sample {sample}, t = {run.timesteps[step]}. Cached h, moved, and cached skips through the decoder "
            "half; skips that "
            "are not stored are computed once a step."
        )
    with st.spinner("Loading the model …", show_time=True):
        before, after = _preview(run, sample, step, direction, strength)
    middle.image(png_bytes(before), caption="predicted x_0", width="stretch")
    right.image(png_bytes(after), caption=f"with γ = {strength:+g}", width="stretch")


def _from_label(run: Run, labels: dict[str, np.ndarray]) -> tuple[list[int], str]:
    left, middle, right = st.columns([2, 1, 2])
    with left:
        name = state.select("Label", "label", list(labels), format_func=lambda text: text.replace("_", " "))
    with middle:
        highest = state.select("Positives are the", "end", ["highest", "lowest"]) == "highest"
    with right:
        most = max(2, len(run) // 2)
        count = state.slider("How many positives", "positives", 2, most, min(max(4, len(run) // 8), most))
    positives = top_samples(run, labels[name], count, highest)
    with st.expander(f"The {len(positives)} positives"):
        uris = loaders.uris_of(run)
        rows = [run.position(sample) for sample in positives]
        captions = [f"{s} · {labels[name][r]:.2f}" for s, r in zip(positives, rows, strict=True)]
        picture_grid("positives", positives, [uris[r] for r in rows], captions, size=64)
    return positives, name


def _from_pictures(run: Run) -> list[int]:
    picked: set[int] = st.session_state.setdefault(f"positives-{run.name}", set())
    st.caption("Click pictures to add or remove them.")
    ids = run.sample_ids[:256]
    with st.container(height=300):
        clicked = picture_grid(
            "pick-positives",
            ids,
            loaders.uris_of(run)[: len(ids)],
            [str(i) for i in ids],
            marked=sorted(picked),
            size=64,
        )
    if clicked is not None:
        picked.symmetric_difference_update({clicked})
        st.rerun()
    return sorted(picked)


@st.cache_resource(max_entries=16, show_spinner="Averaging h …")
def _fit(folder: str, samples: int, positives: tuple[int, ...], negatives: tuple[int, ...]) -> Direction:
    from ...cache.reading import open_run

    run = open_run(folder)
    if not negatives:
        return naive_direction(run, positives)
    scores = np.full(len(run), np.nan)
    scores[[run.position(sample) for sample in positives]] = 1
    scores[[run.position(sample) for sample in negatives]] = -1
    return supervised_direction(run, scores, len(positives))


def _opposites(run: Run, values: np.ndarray, positives: list[int]) -> list[int]:
    """As many samples from the other end of the label."""
    at_top = top_samples(run, values, len(positives)) == positives
    return top_samples(run, values, len(positives), highest=not at_top)


def _render(
    run: Run, sample: int, direction: Direction, window: Window
) -> Generator[float, None, tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]]:
    from ...edits.render import render_moved

    model = loaders.model_of(run)
    pictures: dict[str, np.ndarray] = {}
    for i, (method, asymmetric) in enumerate((("symmetric", False), ("asymmetric", True))):
        steps = render_moved(model, run, [sample] * len(STRENGTHS), direction, STRENGTHS, window, asymmetric)
        pictures[method] = yield from _scaled(steps, 0.4 * i, 0.4 + 0.2 * i)
    reader = model.card.reader
    readings = {method: find_reader(reader)(images) for method, images in pictures.items()} if reader else {}
    return pictures, readings


def _scaled(steps: Generator[float, None, Any], start: float, length: float) -> Generator[float, None, Any]:
    """The share done of a part, as a share of the whole; the part's result."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            return end.value
        yield start + length * share


def _preview(run: Run, sample: int, step: int, direction: Direction, strength: float) -> tuple[np.ndarray, np.ndarray]:
    from ...edits.shift import Shift
    from ...sampling.loop import Moment, predict

    model = loaders.model_of(run)
    features, x_t, before = _preview_start(str(run.folder), sample, step)
    shift = Shift(direction, [strength], Window(first=0, last=run.spec.steps - 1), model)
    t = run.timesteps[step]
    moved = {branch: shift(part, Moment(index=step, t=t, branch=branch)) for branch, part in features.items()}
    after = predict(model, moved, x_t, step, run.spec.steps, run.spec.conditioning.rows([sample]))
    return before, model.to_images(after).numpy()[0]


@st.cache_resource(max_entries=64, show_spinner=False)
def _preview_start(folder: str, sample: int, step: int) -> tuple[Any, Any, np.ndarray]:
    """Features, x_t and predicted picture of a sample at a step, read (and what is not stored, computed) once."""
    from ...cache.reading import open_run
    from ...edits.cached import cached_branches, cached_x
    from ...sampling.loop import predict

    run = open_run(folder)
    model = loaders.model_of(run)
    features, x_t = cached_branches(model, run, sample, step), cached_x(model, run, sample, step)
    predicted = predict(model, features, x_t, step, run.spec.steps, run.spec.conditioning.rows([sample]))
    return features, x_t, model.to_images(predicted).numpy()[0]
