"""Common questions, each with the page that answers it and the choices to open it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LABEL = "{label}"
"""In a choice: a label of the run."""

RUN, RUNS = "{run}", "{runs}"
"""In a choice: the run, followed by one run of each other model."""

SMILE = "smile"
MOST_RUNS = 6
"""The number of runs that Verdict compares at a time."""


@dataclass(frozen=True, kw_only=True)
class StartingQuestion:
    """``page`` is the script's path.

    ``choices`` are as they stand in an address.
    """

    text: str
    look: str
    page: str
    icon: str
    choices: Mapping[str, str] = field(default_factory=dict)

    def address(
        self, run: str, labels: Sequence[str], others: Sequence[str] = ()
    ) -> dict[str, str]:
        """The address's part after the question mark.

        For a run with these labels; ``others``: of other models.
        """
        known = {
            LABEL: SMILE if SMILE in labels else next(iter(labels), ""),
            RUN: run,
            RUNS: ",".join([run, *others]) if run else "",
        }
        found = {"run": run} if run else {}
        for name, value in self.choices.items():
            if known.get(value, value):
                found[name] = known.get(value, value)
        return found


QUESTIONS = (
    StartingQuestion(
        text="Does this model have a smile direction?",
        look=(
            "Move h along the difference between the most and the least smiling samples. See what"
            " else changes, and at which strength."
        ),
        page="pages/edit.py",
        icon=":material/sentiment_satisfied:",
        choices={
            "direction": "a new one",
            "method": "supervised",
            "source": "a label",
            "label": LABEL,
        },
    ),
    StartingQuestion(
        text="Do positive samples alone suffice?",
        look=(
            "The naive direction: mean h of some positives minus mean h of all samples. No"
            " negatives, no prompts."
        ),
        page="pages/edit.py",
        icon=":material/thumb_up:",
        choices={"direction": "a new one", "method": "naive", "source": "a label", "label": LABEL},
    ),
    StartingQuestion(
        text="Must all positives be dogs of one breed?",
        look=(
            "A shipped model of drawn dogs of four breeds. Extract it, and fit directions to happy"
            " dogs of one breed and of all breeds. Help shows what came out."
        ),
        page="pages/extract.py",
        icon=":material/pets:",
        choices={"model": "toydogs-ddpm-64"},
    ),
    StartingQuestion(
        text="What does each skip group carry?",
        look=(
            "Give one picture the activations of another, at one site at a time, and see how far"
            " each changes it."
        ),
        page="pages/swap.py",
        icon=":material/swap_horiz:",
        choices={"inject": "each site alone"},
    ),
    StartingQuestion(
        text="Where and when is an attribute readable?",
        look="A linear probe at every site and step, compared with shuffled labels.",
        page="pages/probes.py",
        icon=":material/query_stats:",
        choices={"label": LABEL},
    ),
    StartingQuestion(
        text="What varies most in h, and is it more than chance?",
        look=(
            "Principal components at any step, with the picture of each sample, compared with"
            " shuffled data."
        ),
        page="pages/pca.py",
        icon=":material/scatter_plot:",
        choices={"site": "h", "colour": LABEL},
    ),
    StartingQuestion(
        text="Which model is linear and disentangled?",
        look=(
            "One run of each model side by side: what can be decoded, moved and separated, with"
            " intervals."
        ),
        page="pages/verdict.py",
        icon=":material/fact_check:",
        choices={"verdict-runs": RUNS},
    ),
    StartingQuestion(
        text="Is a change visible at all?",
        look=(
            "Two pictures under one zoom, with their signed difference in pixels and in readings."
            " Pin pictures on Swap and Edit."
        ),
        page="pages/compare.py",
        icon=":material/compare:",
        choices={
            "A-run": RUN,
            "B-run": RUN,
            "A-sample": "0",
            "B-sample": "1",
            "view": "side by side",
        },
    ),
    StartingQuestion(
        text="A U-figure for my paper",
        look=(
            "One picture with the activations of another at h and at each skip group, as PDF, SVG"
            " or PNG."
        ),
        page="pages/figures.py",
        icon=":material/image:",
        choices={"figure": "U-figure"},
    ),
    StartingQuestion(
        text="Why has FLUX no h-space?",
        look=(
            "A transformer has the same width at every depth, so it has no bottleneck. See what its"
            " blocks offer."
        ),
        page="pages/extract.py",
        icon=":material/block:",
        choices={"model": "black-forest-labs/FLUX.1-dev"},
    ),
)
