"""The documentation that comes with the package, for the dashboard's Help page.

In a checkout the texts lie in ``docs/`` beside the package. The wheel has copies of them in
``hcache/app/docs`` (``pyproject.toml`` says so). The texts of single measures and the guide for
packages that extend hcache lie in ``hcache/guide`` in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from posixpath import dirname, normpath

from .errors import UsageError

PACKAGE = Path(__file__).resolve().parent
FOLDERS = ("explanation", "how-to", "reference", "results")
"""Parts of ``docs/`` that are Markdown as it stands; the others are notebooks or made by MkDocs."""

MEASURES, EXTENDING = "explanation/measures", "how-to/extend"

_TITLE = re.compile(r"^# (.+)$", re.M)
_FENCED = re.compile(r"(^```.*?^```$)", re.M | re.S)
_HEADING = re.compile(r"^(#+)(?= )", re.M)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.S)
_PICTURE = re.compile(r"!\[([^]]*)\]\([^)\s]+\)")
_LINK = re.compile(r"\[([^]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text.

    Attributes:
        name: Its path in the site without an ending, such as ``explanation/h-space``.
        title: Its heading.
        path: The Markdown file.
    """

    name: str
    title: str
    path: Path


def documents() -> Mapping[str, Document]:
    """All texts by name, in the order in which they are offered.

    Raises:
        UsageError: the installation has no documentation.
    """
    return _documents(_folder())


def markdown_of(document: Document, link: Callable[[str, str], str | None]) -> str:
    """The text of a document, ready to be shown on a page.

    Args:
        document: One of :func:`documents`.
        link: What a link becomes. It gets the words and the name of the document that is linked to,
            and returns Markdown; None leaves the words alone. Links to the web stay as they are.

    Returns:
        Markdown without comments, its headings two levels lower. A picture is replaced by its
        description.
    """

    def follow(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        name = name_of(document, target)
        shown = None if name is None else link(words, name)
        return words if shown is None else shown

    text = _COMMENT.sub("", document.path.read_text(encoding="utf-8"))
    parts = _FENCED.split(text)  # the odd ones are code, which stays as it is
    parts[::2] = [_HEADING.sub(r"##\1", _PICTURE.sub(r"*\1*", part)) for part in parts[::2]]
    parts[::2] = [_LINK.sub(follow, part) for part in parts[::2]]
    return "".join(parts)


def name_of(document: Document, target: str) -> str | None:
    """The document that a relative link of another one leads to, or None."""
    if not target:
        return document.name
    if "hcache/guide/" in target:
        inside = target.split("hcache/guide/")[1].removesuffix(".md")
        name = EXTENDING if inside == "extending" else f"explanation/{inside}"
    elif document.path.is_relative_to(PACKAGE / "guide") and target.endswith(".md"):
        name = normpath(f"{MEASURES}/{target.removesuffix('.md')}")
    else:
        name = normpath(f"{dirname(document.name)}/{target}").removesuffix(".md")
    return name if name in documents() else None


def part_of(text: str, start: str) -> str:
    """The item of a Markdown list that begins with a text, without its mark; empty if none does."""
    found = re.search(rf"^- ({re.escape(start)}.*?)(?=^\S|\Z|^$)", text, re.M | re.S)
    return "" if found is None else " ".join(found[1].split())


@cache
def _documents(folder: Path) -> Mapping[str, Document]:
    paths = {
        f"{part}/{path.stem}": path
        for part in FOLDERS
        for path in sorted((folder / part).glob("*.md"))
        if path.stem != "index"
    }
    guide = PACKAGE / "guide"
    paths |= {f"{MEASURES}/{path.stem}": path for path in sorted((guide / "measures").glob("*.md"))}
    paths[EXTENDING] = guide / "extending.md"
    found = {}
    for name in sorted(paths, key=lambda name: FOLDERS.index(name.split("/")[0])):
        title = _TITLE.search(paths[name].read_text(encoding="utf-8"))
        found[name] = Document(name=name, title=title[1] if title else name, path=paths[name])
    return found


def _folder() -> Path:
    places = [PACKAGE / "app" / "docs", PACKAGE.parent / "docs"]
    for folder in places:
        if (folder / FOLDERS[0]).is_dir():
            return folder
    raise UsageError(
        f"there is no documentation in {places[0]} or {places[1]}; install hcache again"
    )
