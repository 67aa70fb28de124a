"""Which source files a page of the dashboard is made of, and their digest.

A screenshot keeps the digest of its page. If the digest of the page is another one, the screenshot
shows an older page. Comments, docstrings and layout of the code do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOWN = ("hcache.ui", "hcache.figures")
"""What pages and the drawings on them are made of."""


def page_digest(page: str) -> str:
    """The digest of what a page shows: its script, and the modules of ``hcache.ui`` and
    ``hcache.figures`` that it reaches.
    """
    parts = [f"{path.relative_to(ROOT)}\n{_code(path)}" for path in page_files(page)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def page_files(page: str) -> list[Path]:
    """The files of a page, sorted: Python modules, and scripts and styles beside them."""
    script = "dashboard.py" if page == "Overview" else f"pages/{page.lower()}.py"
    found, left = set(), [ROOT / script]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            beside = (path.parent, path.parent / "assets")
            found |= {
                each
                for at in beside
                for end in ("js", "css")
                for each in at.glob(f"{path.stem}.{end}")
            }
            left += _imported(path)
    return sorted(found)


def _imported(path: Path) -> Iterator[Path]:
    """The modules of ``SHOWN`` that a module imports, at its top or later."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            names = [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            module = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith(SHOWN) and module.is_file():
                yield module


def _code(path: Path) -> str:
    """A file's text without docstrings, comments of whole lines, and white space."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return text
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            dropped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = (line for number, line in enumerate(text.splitlines(), 1) if number not in dropped)
    return "".join("".join(line.split()) for line in lines if not line.lstrip().startswith("#"))
