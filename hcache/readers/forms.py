"""What a command or a page asks for when a reader is made, as data.

A kind of reader lists the words that it takes, and the fields of its form. The command generates
its help from the words, and ``hcache.ui`` draws the fields. This module does not use Streamlit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SOURCE = "source"
OPTIONAL = ("attributes", "encoder", "revision", "probability")
"""The words of a background task that a kind may take, besides the source."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A reader that somebody asks for, in the words of the command.

    ``source`` is what stands after the kind: a model, a label, a function. ``attributes`` are typed
    texts, one for each attribute, and ``attribute_set`` names a set of them. ``encoder`` is a
    folder or hub id, ``revision`` that of a hub id. ``probability`` asks for probabilities.
    """

    source: str
    attributes: tuple[str, ...] = ()
    attribute_set: str = ""
    encoder: str = ""
    revision: str = ""
    probability: bool = False
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class FormField:
    """A field of a form. It fills the word ``name`` of :class:`Asked`.

    ``key`` names its widget on the page.
    """

    name: str
    key: str
    label: str
    placeholder: str = ""
    help: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextField(FormField):
    """A line of text."""


@dataclass(frozen=True, kw_only=True)
class LabelField(FormField):
    """A label of the run."""


@dataclass(frozen=True, kw_only=True)
class LinesField(FormField):
    """Several lines of text."""

    height: int = 100


@dataclass(frozen=True, kw_only=True)
class SetField(LinesField):
    """Several lines of text, with sets of lines to begin with.

    ``sets`` returns name -> lines. ``set_key`` and ``set_label`` are those of the choice of a set.
    """

    sets: Callable[[], Mapping[str, Sequence[str]]]
    set_key: str
    set_label: str


@dataclass(frozen=True, kw_only=True)
class FlagField(FormField):
    """A yes or no."""


@dataclass(frozen=True, kw_only=True)
class RevisionField(FormField):
    """The revision of a hub id. It is asked if the field ``of`` has a hub id."""

    of: str


def model_field(kind: str) -> TextField:
    """Returns the field of a model, which is the source."""
    return TextField(
        name=SOURCE,
        key=f"reader-model-{kind}",
        label="Model folder or hub id",
        placeholder="/data/my-model or owner/name",
    )


def revision_field(kind: str, of: str) -> RevisionField:
    """Returns the field of the revision of a hub id.

    The hub id is in the field ``of``.
    """
    return RevisionField(
        name="revision",
        key=f"reader-revision-{kind}",
        label="Revision",
        placeholder="main",
        help="Branch, tag or commit of a hub id. Empty: the default branch.",
        of=of,
    )
