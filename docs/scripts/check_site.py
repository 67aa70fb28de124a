"""Checks a built site: it loads nothing from elsewhere, and its search works from disk.

    python docs/scripts/check_site.py [site]

Ends with exit code 1 and a line for each fault.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.append(str(Path(__file__).parents[2]))
from hcache.bench.hand import browse

LOADED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
"""What a browser fetches by itself when it shows a page: tag -> attribute."""

NOT_FETCHED = {"canonical", "next", "prev", "alternate", "edit"}
IN_STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
SEARCHED = "null"
"""A word that many pages have."""


class _Loads(HTMLParser):
    """Collects the addresses that a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        rel = set((given.get("rel") or "").split())
        if tag in LOADED and not (tag == "link" and rel & NOT_FETCHED):
            self.found.append(given.get(LOADED[tag]) or "")
        self.found += _in_style(given.get("style") or "")


def main(site: Path) -> int:
    """Checks the site in a folder; returns the exit code."""
    faults = [*_static_faults(site), *_faults_in_browser(site)]
    print("\n".join(faults) or f"{site} loads nothing from elsewhere, and its search works")
    return 1 if faults else 0


def _static_faults(site: Path) -> Iterator[str]:
    """What pages and style sheets fetch that is not a file of the site."""
    pages = sorted(set(site.rglob("*.html")) - {site / "404.html"})  # which a server alone shows
    styles = sorted(site.rglob("*.css"))
    if len(pages) < 40:
        yield f"{site} has {len(pages)} pages; expected 40 or more: build it first"
    for path in [*pages, *styles]:
        text = path.read_text("utf-8")
        if path.suffix == ".css":
            loads = _in_style(text)
        else:
            parser = _Loads()
            parser.feed(text)
            blocks = re.findall(r"<style[^>]*>(.*?)</style>", text, re.S)
            loads = [*parser.found, *(each for block in blocks for each in _in_style(block))]
        for load in filter(None, loads):
            parts = urlsplit(load)
            if parts.scheme == "data" or load.startswith("#"):
                continue
            if parts.scheme or parts.netloc:
                yield f"{path}: loads {load}"
            elif not (path.parent / unquote(parts.path)).exists():
                yield f"{path}: {load} is not there"


def _in_style(text: str) -> list[str]:
    return [first or second for first, second in IN_STYLE.findall(text)]


def _faults_in_browser(site: Path) -> Iterator[str]:
    """What a real browser asks for when it opens the site from disk and searches."""
    asked: list[str] = []
    with browse(1366, 768) as page:
        page.on("request", lambda request: asked.append(request.url))
        for name in ("tutorials/first-run.html", "reference/api/cache.html", "index.html"):
            page.goto((site / name).resolve().as_uri())
        page.locator("input.md-search__input").click()
        page.keyboard.type(SEARCHED)
        try:
            page.locator(".md-search-result__link").first.wait_for(timeout=30_000)
        except Exception as error:  # noqa: BLE001 - whatever the reason, the search does not work
            yield f"searching for {SEARCHED!r} from disk fails: {str(error).splitlines()[0]}"
    for url in asked:
        if urlsplit(url).scheme not in ("file", "data", "blob"):
            yield f"the browser asked for {url}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "site")))
