"""The Overview page: the runs of this home, and the anatomy of the chosen run's model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from ...background import extractions as jobs
from ...background.kinds import REPAIR, Repairing
from ...cache.labels import label_names
from ...cache.layout import run_names
from ...cache.plan import format_bytes, site_bytes
from ...cache.provenance import changes_in_words, schedule_in_words
from ...cache.reading import Run, open_run
from ...cache.verify import last_report, verify
from ...cards import find_card, load_cards
from ...errors import HcacheError
from ...figures.palette import in_dark
from ...figures.unet import draw_anatomy
from ...specs import FULL, POOLED, Anatomy
from .. import loaders, state
from ..address import RUN
from ..consent import agreed
from ..downloads import may_read_configuration
from ..frame import DEMO_MODEL, errors_shown
from ..questions import MOST_RUNS, QUESTIONS
from ..tasks import start, task_list
from ..text import literal
from ..work import run_button

INTRODUCTION = """
hcache cuts a diffusion **U-Net** in two at its bottleneck. The activation there is **h**; its space is the *h-space*,
in which directions such as *smile* have been found. All other information about the picture reaches the decoder through
the **skip groups**: the encoder's activations, one group for each resolution. hcache stores both for every sample and
step of a run. These pages show what can be decoded from them, what changes the picture, and what does not.
"""

SOURCE = (
    "h-space: Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh 2022). Skips:"
    " Training-Free Style and Content Transfer by Leveraging U-Net Skip Connections in Stable"
    " Diffusion (Schaerf et al. 2025)."
)


A_ROW = 3
"""The number of questions side by side."""


def introduction_panel() -> None:
    """Explains hcache in three sentences."""
    st.markdown(INTRODUCTION, help=SOURCE)


def questions_panel(run: Run | None) -> None:
    """Draws the questions to begin with.

    Each is a link to the page that answers it, set up for the run.
    """
    labels, others = [], []
    with errors_shown():  # the questions are shown all the same
        labels = label_names(run) if run else []
        others = of_other_models(run) if run else []
    columns = [column for _ in range(0, len(QUESTIONS), A_ROW) for column in st.columns(A_ROW)]
    for column, question in zip(columns, QUESTIONS, strict=False):
        with column, st.container(border=True, height="stretch"):
            choices = question.address(run.name if run else state.recall(RUN, ""), labels, others)
            st.page_link(
                question.page,
                label=f"**{question.text}**",
                icon=question.icon,
                query_params=choices,
            )
            st.caption(question.look)


def of_other_models(run: Run) -> list[str]:
    """Returns the newest readable run of each other model.

    Their number is the one that can be compared with this run.
    """
    found: dict[str, str] = {}
    for name in run_names(run.home):
        try:
            other = open_run(run.folder.parent / name)
        except HcacheError:
            continue  # the table of runs shows what is wrong with it
        if other.spec.model != run.spec.model and len(other):
            found.setdefault(other.spec.model, name)
    return list(found.values())[: MOST_RUNS - 1]


def runs_panel(home: Path) -> None:
    """Draws one row per run.

    An unreadable run is shown with the reason.
    """
    names, rows, broken = run_names(home), [], []
    if not names:
        return
    for name in names:
        try:
            rows.append(_row(home, name))
        except (HcacheError, OSError) as error:
            broken.append(f"{name}: {error}")
    st.subheader("Runs")
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    for line in broken:
        st.error(literal(line))
    st.caption(f"Home: {literal(home)}")


def _row(home: Path, name: str) -> dict[str, object]:
    """Returns the row of a run."""
    run = open_run(home / "runs" / name)
    return {
        "run": name,
        "model": run.spec.model,
        "samples": f"{len(run)} of {run.spec.samples}",
        "steps": run.spec.steps,
        "on disk": format_bytes(run.bytes),
        "state": jobs.run_state(run.folder, run.complete),
        "created": _date(str(run.provenance.get("created", ""))),
    }


def anatomy_panel(run: Run | None) -> None:
    """Draws the U of a model.

    It is the run's model, with the storage of each site, or that of any card.
    """
    first = run.spec.model if run else DEMO_MODEL
    heading = st.empty()
    with st.columns(3)[0]:
        names = [first, *(name for name in load_cards() if name != first)]
        name = state.select(
            "Model", "anatomy", names, help="Drawn from the configuration. No weights are needed."
        )
    own = run is not None and name == run.spec.model
    if not own and not may_read_configuration(name):
        return
    anatomy = run.anatomy if own else loaders.anatomy(name)
    heading.subheader(f"Anatomy of {literal(name)}")
    if anatomy.without:
        st.info(f"No h-space: {literal(anatomy.without)}.", icon=":material/block:")
        _blocks_table(anatomy)
        return
    store = {site: run.policy(site) for site in anatomy.sites} if own else None
    drawing = draw_anatomy(anatomy, store)
    if st.context.theme.type == "dark":
        drawing = in_dark(drawing)
    sites = ", ".join(_in_words(anatomy, site) for site in anatomy.sites)
    st.image(drawing, width=DRAWING, alt=f"The U-Net of {name}: {sites}")
    st.caption(_anatomy_caption(name, anatomy, run if own else None))


DRAWING = 900
"""The drawing's width in pixels. It is drawn at this size, so its letters are as large as the
page's.
"""


def _in_words(anatomy: Anatomy, site: str) -> str:
    """Describes a site's shapes in words."""
    return (
        f"{site} of"
        f" {' and '.join('×'.join(map(str, anatomy.shape(member))) for member in anatomy.members(site))}"
    )


def _anatomy_caption(name: str, anatomy: Anatomy, run: Run | None) -> str:
    total = sum(site_bytes(anatomy, site, FULL, 2) for site in anatomy.sites)
    steps = run.spec.steps if run else find_card(name).steps
    colours = (
        "Green: stored in full. Orange: mean over space. Dashed: not stored, computed again when"
        " needed."
    )
    return (
        f"{anatomy.parameters / 1e6:.2f} M parameters. Sizes are for one sample at one step in"
        f" float16. All sites in full take {format_bytes(total)}, or {format_bytes(total * steps)}"
        f" per sample over {steps} steps. "
        + (colours if run else f"How to get it: {literal(find_card(name).get)}.")
    )


def _blocks_table(anatomy: Anatomy) -> None:
    """Lists the outputs of a transformer's blocks, with their bytes."""
    rows = [
        {
            "site": f"block.{k}",
            "width": shape[0],
            "image tokens": f"{shape[1]} × {shape[2]}",
            "full": format_bytes(site_bytes(anatomy, f"block.{k}", FULL, 2)),
            "pooled over tokens": format_bytes(site_bytes(anatomy, f"block.{k}", POOLED, 2)),
        }
        for k, shape in enumerate(anatomy.blocks)
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=250)
    st.caption(
        f"{anatomy.parameters / 1e6:.2f} M parameters. Sizes are for one sample at one step in"
        " float16."
    )


def verification_panel(run: Run) -> None:
    """Shows the date and verdict of the last verification.

    It has buttons to verify, and to repair damage.
    """
    st.subheader("Integrity")
    report = last_report(run.folder)
    if report is None:
        st.caption(
            "Not verified yet. Verifying reads every shard and compares it with its checksum."
        )
    elif report.fine:
        st.success(
            f"{literal(report.in_words())}. Verified {literal(_date(report.when))}.",
            icon=":material/verified:",
        )
    else:
        st.error(
            f"{literal(report.in_words())}. Verified {literal(_date(report.when))}.",
            icon=":material/error:",
        )
    run_button(
        "Verify integrity",
        "verify",
        (run.name, len(run), report and report.when),
        lambda: verify(run.folder),
    )
    if report is not None and not report.fine:
        _repair_button(run)
    task_list(run, REPAIR)


def _repair_button(run: Run) -> None:
    """Draws a button that repairs the run in the background, for a received run after the user
    agrees.
    """
    work = Repairing(run=run.name, spec=run.spec)
    if agreed(
        "Repair",
        "repair",
        jobs.is_from_here(run.folder, run.spec),
        lambda: work,
        help="Moves damaged files aside and extracts their samples again in the background.",
    ):
        start(run.folder, work)


def _date(when: str) -> str:
    return when.replace("T", " ")[:16]


def provenance_panel(run: Run) -> None:
    """Shows the provenance of the run, and the libraries that changed since."""
    if changed := changes_in_words(run.provenance):
        st.warning(
            f"Libraries have changed since this run was extracted: {literal(changed)}. Values"
            " computed now may differ from the stored ones. `python -m hcache verify --rerun`"
            " measures by how much."
        )
    with st.expander("Provenance"):
        st.caption(
            literal(
                schedule_in_words(run.spec.schedule, run.timesteps, run.provenance).capitalize()
            )
            + "."
        )
        st.json(
            {"spec": run.spec.to_json(), "timesteps": run.timesteps, **run.provenance}, expanded=1
        )
