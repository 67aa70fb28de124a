"""What the site shows that is not a page in docs/: MkDocs calls these functions while it builds.

Texts of the package and of the repository become pages here, so that nothing is copied by hand.
Pages link to files of the repository as GitHub would resolve them; ``on_page_markdown`` turns
those links into links between pages of the site.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from latex2mathml.converter import convert as mathml
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import options

ROOT = Path(__file__).parents[2]
MEASURES = "hcache/guide/measures"
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
PICTURE = re.compile(r"!\[[^]]*\]\(([\w.-]+\.(?:png|webp))\)")
FENCED = re.compile(r"(^```.*?^```$)", re.S | re.M)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)

TEXTS = {
    "CONTRIBUTING.md": "contributing/index.md",
    "CHANGELOG.md": "contributing/changes.md",
    "hcache/guide/extending.md": "how-to/extend.md",
    "README.md": "index.md",  # what links to the README gets the front page
}
"""A file of the repository -> the page that it is on the site."""

_origins: dict[str, str] = {}
"""A page of the site -> the file that its text comes from, relative to the repository."""


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made of other things than Markdown in docs/."""
    texts = TEXTS | {
        f"{MEASURES}/{path.name}": f"explanation/measures/{path.name}"
        for path in sorted((ROOT / MEASURES).glob("*.md"))
    }
    _origins.clear()
    for page in files.documentation_pages():
        _origins[page.src_uri] = f"docs/{page.src_uri}"
    for origin, uri in texts.items():
        if uri not in _origins:
            files.append(File.generated(config, uri, content=(ROOT / origin).read_text("utf-8")))
            _origins[uri] = origin
    files.append(File.generated(config, "reference/options.md", content=options.as_markdown()))
    files.append(File.generated(config, "contributing/layers.md", content=_layers()))
    for uri, content in _notebooks():
        files.append(File.generated(config, uri, content=content))
        _origins[uri] = f"docs/{uri}"
    for path in sorted(_linked(files)):
        content = _source(ROOT / path)
        files.append(File.generated(config, f"source/{path}.md", content=content))
        for name in PICTURE.findall(content if path.endswith(".md") else ""):
            beside = PurePosixPath(path).parent / name
            picture = (ROOT / beside).read_bytes()
            files.append(File.generated(config, f"source/{beside}", content=picture))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Links to files of the repository become links to pages."""
    del config
    origin = _origins.get(page.file.src_uri)
    if origin is None:
        return markdown
    known = {source: uri for uri, source in _origins.items()} | {"README.md": "index.md"}

    def target(found: re.Match[str]) -> str:
        path = _resolved(origin, found[1])
        if path is None:
            return found[0]
        uri = known.get(path.replace(".ipynb", ".md")) or path.removeprefix("docs/")
        if files.get_file_from_path(f"source/{path}.md"):
            uri = f"source/{path}.md"
        return relpath(uri, PurePosixPath(page.file.src_uri).parent) + (found[2] or "")

    parts = FENCED.split(markdown)
    parts[::2] = [LINK.sub(target, part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, page: Page, config: Any, files: Files) -> str:
    """Formulas become MathML, which browsers draw by themselves."""
    del page, config, files

    def drawn(found: re.Match[str]) -> str:
        display = "inline" if found[2] == "(" else "block"
        formula = found[3].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        return mathml(formula.strip(), display=display)

    return FORMULA.sub(drawn, html)


def _resolved(origin: str, link: str) -> str | None:
    """The file of the repository that a page's link means; None for an address."""
    if re.match(r"[a-z]+:", link):
        return None
    return normpath(str(PurePosixPath(origin).parent / link))


def _linked(files: Files) -> Iterator[str]:
    """The files and folders of the repository that pages link to and that are no pages."""
    pages = set(_origins.values()) | {"README.md"}
    found = set()
    for file in files.documentation_pages():
        origin = _origins.get(file.src_uri)
        for match in LINK.finditer(FENCED.sub("", file.content_string)) if origin else ():
            path = _resolved(origin, match[1])
            if path and path not in pages and not path.startswith("docs/"):
                found.add(path)
    yield from found


def _source(path: Path) -> str:
    """A page that shows a file, or the modules of a folder."""
    front = f"---\nsearch:\n  exclude: true\n---\n\n# `{path.relative_to(ROOT)}`\n\n"
    if path.is_dir():
        lines = [f"- `{each.name}`: {_about(each)}" for each in sorted(path.glob("[a-z]*.py"))]
        return front + "\n".join(lines) + "\n"
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return front + re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    language = {".py": "python", ".yaml": "yaml", ".cff": "yaml", ".json": "json"}
    return f"{front}```{language.get(path.suffix, 'text')}\n{text}\n```\n"


def _about(module: Path) -> str:
    """The first sentence of a module's docstring."""
    said = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return " ".join(said.split("\n\n")[0].split())


def _layers() -> str:
    """The layers of the package, drawn from the list that the tests hold every import to."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text("utf-8"))
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LAYERS"
    ]
    rows = ["| layer | modules |", "|---|---|"]
    for number, entries in reversed(list(enumerate(ast.literal_eval(value)))):
        rows.append(f"| {number} | {', '.join(f'`{entry}`' for entry in entries)} |")
    return (
        "# Layers\n\nA module imports from its own layer or from those below it, never from above."
        " `tests/test_architecture.py` has this list and holds every module to it.\n\n"
        + "\n".join(rows)
        + "\n"
    )


def _notebooks() -> Iterator[tuple[str, str | bytes]]:
    """Every notebook as a page, with its pictures; nothing is executed here."""
    from nbconvert import MarkdownExporter

    for path in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        resources = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
        body, made = MarkdownExporter().from_filename(str(path), resources=resources)
        head, rest = body.split("\n", 1)
        note = f"[This page as a notebook]({path.name}){{ .md-button download }}"
        yield f"tutorials/{path.stem}.md", f"{head}\n\n{note}\n{rest}"
        for name, content in made.get("outputs", {}).items():
            yield f"tutorials/{name}", content
