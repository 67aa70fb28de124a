"""The Extract page: choose a model and what to store, see the size, and start, watch and stop the
extraction.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from pathlib import Path

import pandas as pd
import streamlit as st

from ...background import extractions as jobs
from ...cache.layout import IMAGES
from ...cache.plan import Plan, fit_budget, format_bytes, make_plan
from ...cards import Card, default_spec, find_card, load_cards
from ...errors import HcacheError, UsageError, told_of
from ...images.pictures import Picture, prepare_picture
from ...loras import find_lora
from ...noise_schedules import NAMED, find_schedule, schedule_file
from ...specs import (
    FULL,
    NONE,
    NULL_CLASS,
    NULL_TEXT,
    POLICIES,
    POOLED,
    Anatomy,
    Conditioning,
    Lora,
    RunSpec,
)
from .. import loaders, state
from ..downloads import weights_notice
from ..frame import PENDING
from ..pace import step_seconds
from ..text import literal, sentence
from ..watching import format_seconds

OTHER = "another folder or hub id …"
NOT_STATED = "choose one …"


def model_panel() -> str | None:
    """Returns the model to extract from, or None until there is one."""
    cards = load_cards()
    choice = state.select(
        "Model", "model", [*cards, OTHER], help="A known model, or any folder in diffusers' format."
    )
    if choice != OTHER:
        st.caption(literal(cards[choice].summary))
        return choice
    typed = state.text(
        "Folder or hub id", "other-model", placeholder="/data/my-ddpm or owner/name"
    ).strip()
    return find_card(typed).name if typed else None


def schedule_panel(model: str) -> str:
    """Returns the noise schedule that the user gives for a folder.

    It is a name, for a folder that contains no schedule; "" if none is needed or none is given yet.
    """
    folder = find_card(model).folder
    if folder is None or schedule_file(folder):
        return ""
    chosen = state.select(
        "Noise schedule",
        f"scheduler-{model}",
        [NOT_STATED, *NAMED],
        help=(
            "This folder does not contain the noise schedule that its network was trained with. If"
            " that schedule is not listed, put its scheduler_config.json into the folder."
        ),
    )
    return "" if chosen == NOT_STATED else chosen


_PLAIN, _BY_PROMPT, _NULL_TEXT = "plain DDIM", "negative prompt", "null text"
_INVERSION = (
    "Guidance amplifies the error of plain DDIM inversion. Negative prompt: the prompt is the"
    " negative prompt, too (Negative-prompt Inversion: Miyake, Iohara, Saito, Tanaka 2023). Null"
    " text: the text of the branch without the prompt is optimised for every picture and step"
    " (Null-text Inversion: Mokady, Hertz, Aberman, Pritch, Cohen-Or 2022), which takes some ten"
    " passes more a step. With both, the error of plain DDIM inversion is measured beside, as the"
    " label plain_reconstruction_error."
)


def spec_panel(model: str, anatomy: Anatomy, scheduler: str = "") -> tuple[RunSpec, list[Picture]]:
    """Returns the request: samples or real pictures, and the rest.

    The rest is steps, seed, conditioning and storage. Pictures are returned too, to be stored when
    the run starts.
    """
    card = find_card(model)
    pictures = _pictures_panel(anatomy)
    left, middle, right = st.columns(3)
    with middle:
        steps = state.whole(
            "Steps",
            f"steps-{model}",
            1,
            1000,
            card.steps,
            help="DDIM steps: Denoising Diffusion Implicit Models (Song, Meng, Ermon 2020).",
        )
    if pictures:
        left.metric("Pictures", len(pictures))
        seed, samples = 0, len(pictures)
    else:
        with left:
            samples = state.whole(
                "Samples",
                f"samples-{model}",
                1,
                1_000_000,
                card.samples,
                help="More samples extend an existing run.",
            )
        with right:
            seed = state.whole(
                "First seed",
                "seed",
                0,
                2**31,
                0,
                help="Sample i starts from the noise of seed + i.",
            )
    conditioning = _conditioning_panel(card)
    conditioning, inversion = _inversion_panel(card, conditioning, bool(pictures))
    loras = _loras_panel(card)
    budget, store = _store_panel(model, card, anatomy)
    spec = default_spec(
        model,
        samples=int(samples),
        steps=int(steps),
        seed=int(seed),
        store=store,
        conditioning=conditioning,
        inversion=inversion,
        images=tuple(picture.digest for picture in pictures),
        scheduler=find_schedule(scheduler) if scheduler else None,
        loras=loras,
    )
    if budget is not None:
        spec, chosen = fit_budget(spec, anatomy, budget)
        st.info("  \n".join(map(literal, chosen)), icon=":material/savings:")
    return spec, pictures


def _pictures_panel(anatomy: Anatomy) -> list[Picture]:
    """Returns uploaded pictures, prepared. If there are none, samples are drawn from noise."""
    height, width, _ = anatomy.image
    with st.expander("Invert real pictures instead of sampling"):
        files = st.file_uploader(
            "Pictures to invert",
            accept_multiple_files=True,
            key="pictures",
            help=(
                "DDIM inversion (Denoising Diffusion Implicit Models: Song, Meng, Ermon 2020) finds"
                " the noise that denoises to a picture. The run is then like any other."
            ),
        )
        found = [prepare_picture(file.getvalue(), file.name, height, width) for file in files]
        for file, picture in zip(files, found, strict=True):
            st.caption(
                f"{literal(file.name)}: {literal(', '.join(picture.notes) or 'used as it is')}."
            )
    return found


def _inversion_panel(
    card: Card, given: Conditioning, inverted: bool
) -> tuple[Conditioning, str | None]:
    """Returns the conditioning and the inversion of real pictures under guidance.

    ``inverted``: whether pictures are inverted.
    """
    if not inverted or loaders.takes(card) != loaders.TEXT or given.guidance == 1:
        return given, None
    ways = [_PLAIN, _BY_PROMPT, _NULL_TEXT]
    way = state.select("Inversion", f"inversion-{card.name}", ways, help=_INVERSION)
    if way == _BY_PROMPT:
        return given.inverted_by_prompt(), None
    return given, NULL_TEXT if way == _NULL_TEXT else None


def _conditioning_panel(card: Card) -> Conditioning:
    """Returns prompts or classes and guidance, for models that take them."""
    given, takes = card.conditioning, loaders.takes(card)
    if takes == loaders.TEXT:
        left, right = st.columns(2)
        with left:
            text = state.text(
                "Prompts, one per line",
                f"prompts-{card.name}",
                "\n".join(given.prompts),
                lines=True,
                help="One for all samples, or one per sample.",
            )
        with right:
            negative = state.text("Negative prompt", f"negative-{card.name}", given.negative_prompt)
        prompts = tuple(line.strip() for line in text.splitlines() if line.strip())
        given = dataclasses.replace(given, prompts=prompts, negative_prompt=negative)
    if takes == loaders.CLASSES:
        typed = state.text(
            "Class labels", f"classes-{card.name}", ", ".join(map(str, given.classes))
        )
        try:
            given = dataclasses.replace(
                given, classes=tuple(int(c) for c in typed.split(",") if c.strip())
            )
        except ValueError as error:
            raise UsageError(
                f"class labels are whole numbers separated by commas, got {typed!r}"
            ) from error
    if takes:
        guidance = state.amount(
            "Guidance",
            f"guidance-{card.name}",
            1.0,
            20.0,
            float(given.guidance),
            0.5,
            help="Classifier-Free Diffusion Guidance (Ho, Salimans 2022). 1 switches it off.",
        )
        given = dataclasses.replace(given, guidance=guidance)
    if takes == loaders.CLASSES:
        given = dataclasses.replace(given, null_class=_null_class(card))
        loaders.check_classes(card.name, given)
    return given


def _null_class(card: Card) -> int | None:
    """Returns the label for no class, for guidance, or None if it is unknown."""
    found = state.optional(
        "Null class",
        f"null-class-{card.name}",
        0.0,
        step=1.0,
        format="%.0f",
        placeholder="not given",
        help=f"{NULL_CLASS[0].upper()}{NULL_CLASS[1:]}. Guidance of a U-Net needs it.",
    )
    return None if found is None else int(found)


def _loras_panel(card: Card) -> tuple[Lora, ...]:
    """Returns LoRAs for a model that takes text."""
    if loaders.takes(card) != loaders.TEXT:
        return ()
    with st.expander("Add LoRAs to the weights"):
        typed = state.text(
            "LoRAs, one per line",
            f"loras-{card.name}",
            lines=True,
            placeholder="/data/style.safetensors:0.8",
            help=(
                "Files or folders on this disk, each with its scale after a colon. A hub id is"
                " taken if its file is in the local hub cache; `hf download owner/name` puts it"
                " there."
            ),
        )
    lines = [line.strip() for line in typed.splitlines() if line.strip()]
    found = tuple(find_lora(line, download=False) for line in lines)
    if found:
        loaders.check_loras(card.name, found)
    return found


def _store_panel(model: str, card: Card, anatomy: Anatomy) -> tuple[int | None, dict[str, str]]:
    """Returns a budget in bytes, or the storage of each site. Many blocks share one choice."""
    heading, budget = st.columns([3, 1], vertical_alignment="bottom")
    with budget:
        gigabytes = state.optional(
            "Budget (GB)",
            "budget",
            0.001,
            step=1.0,
            format="%.3f",
            placeholder="no limit",
            help="Stores as much as fits: h first, then the skip groups outward from it.",
        )
    heading.markdown(
        "**Storage of each site, at every step**",
        help=(
            "Full: all values. Pooled: the mean over space. None: computed again from the stored"
            " x_t when needed."
        ),
    )
    if anatomy.without:
        st.info(f"No h-space: {literal(anatomy.without)}.")
    sites = anatomy.sites if anatomy.h else ("block.*",)
    usual = default_spec(model, store=card.store or None)
    store = {}
    for column, site in zip(st.columns(len(sites)), sites, strict=True):
        with column:
            store[site] = state.select(
                site,
                f"store-{model}-{site}",
                POLICIES,
                default=usual.policy(site),
                disabled=gigabytes is not None,
                format_func=sentence,
            )
    if anatomy.storable != anatomy.sites:
        store |= _other_places(model, anatomy, usual, gigabytes is not None)
    return (None if gigabytes is None else int(gigabytes * 1e9)), store


def _other_places(model: str, anatomy: Anatomy, usual: RunSpec, disabled: bool) -> dict[str, str]:
    """Returns the storage of outputs of blocks, the mid block's attention, and attention maps."""
    found, maps = {}, bool(anatomy.attention)
    places = anatomy.storable[len(anatomy.sites) :]
    with st.expander(
        "Other places: outputs of blocks, the mid block's attention"
        + (", and maps of the prompt's words" if maps else "")
    ):
        for column, policy in zip(st.columns(2), (FULL, POOLED), strict=True):
            with column:
                chosen = state.many(
                    f"Stored {policy}",
                    f"others-{policy}-{model}",
                    places,
                    [place for place in places if usual.policy(place) == policy],
                    disabled=disabled,
                )
            found |= dict.fromkeys(chosen, policy)
        st.caption(
            "down.k and up.k are the outputs of diffusers' down_blocks[k] and up_blocks[k];"
            " mid.attn is the output of the mid block's attention. A place that is chosen twice is"
            " stored pooled."
            + (
                " attention is the share of each token of the prompt at each place, averaged over"
                " heads and layers (What the DAAM: Tang and others 2022)."
                if maps
                else ""
            )
        )
    return found


def plan_panel(spec: RunSpec, anatomy: Anatomy, home: Path) -> Plan:
    """Shows the bytes in total and per sample, and the time."""
    plan = make_plan(spec, anatomy)
    free = shutil.disk_usage(home).free
    seconds = _expected_seconds(spec, home)
    total, sample, disk, duration = st.columns(4)
    total.metric("Total", format_bytes(plan.total))
    sample.metric("Per sample", format_bytes(plan.total / plan.samples))
    disk.metric("Free on this disk", format_bytes(free))
    known = "unknown" if seconds is None else format_seconds(seconds)
    duration.metric(
        "Estimated time",
        known,
        help="At the rate of the last extraction of this model in this home.",
    )
    return plan


def _expected_seconds(spec: RunSpec, home: Path) -> float | None:
    """Returns the expected seconds at the rate of the last extraction of this model, or None."""
    step = step_seconds(home, spec.model)
    return None if step is None else spec.samples * spec.steps * step


def start_panel(spec: RunSpec, plan: Plan, home: Path, pictures: list[Picture]) -> None:
    """Shows the Start button, or why it cannot be pressed."""
    job = jobs.read_job(home / "runs" / spec.name)
    busy = bool(job and job.live)
    short = plan.total > shutil.disk_usage(home).free
    weights_notice(find_card(spec.model))
    if st.button(
        "Start extraction", type="primary", disabled=busy or short, key="start-extraction"
    ):
        try:
            for picture in pictures:
                picture.save(home / "runs" / spec.name / IMAGES)
            jobs.start(spec, home)
        except (HcacheError, OSError) as error:
            st.error(literal(told_of(error)))
        else:
            st.session_state[PENDING] = spec.name
            st.rerun()
    if short:
        st.error(
            f"The disk has not enough free space for {format_bytes(plan.total)}; store less, or"
            " free some space."
        )


def details_panel(spec: RunSpec, plan: Plan, home: Path) -> None:
    """Shows the bytes by part, and the equivalent command."""
    with st.expander("Storage by part"):
        names = {
            "x": "x_t of every step (float32)",
            "x_0": "predicted x_0 of every step (small, uint8)",
            "image": "finished pictures",
            "null_text": "optimised texts of null-text inversion",
            "overhead": "HDF5 metadata",
        }
        rows = [
            {
                "Part": names.get(part, part),
                "Stored": "" if spec.policy(part) == NONE else spec.policy(part),
                "Size": format_bytes(size),
            }
            for part, size in plan.parts.items()
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.code(
        "python -m hcache " + shlex.join(jobs.extract_arguments(spec, home)),
        language="bash",
        wrap_lines=True,
    )


def jobs_heading() -> None:
    """Draws the heading of the jobs and their states."""
    st.subheader("Jobs")
    st.caption(
        "Each job is a separate process. It continues when this page is closed or the dashboard is"
        " stopped."
    )
