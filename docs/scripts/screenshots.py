"""Takes the pictures of the pages: prepares a demo run, serves the dashboard over it, and visits
every page in a browser.

    PYTHONPATH=. python docs/scripts/screenshots.py [--home HOME] [--out FOLDER] [--only PAGE]

In an empty home everything is extracted and measured first, which takes minutes. What a home has is
used again. Beside the pictures, pages.json keeps the digest of each page's source, so that a test
finds pictures that are older than their page.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from page_sources import page_digest
from PIL import Image
from playwright.sync_api import Page

from hcache.bench.hand import browse
from hcache.bench.serving import serve
from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.cli.main import main as hcache
from hcache.edits.swap import SwapEdit
from hcache.recipes.edits import DonorRef
from hcache.recipes.recipe import recipe_of
from hcache.recipes.window import Window

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))
from browsing import settle

DIGESTS = "pages.json"
MODEL = "toyfaces-ddpm-64"
RUN = default_spec(MODEL).name
LABEL, OTHERS = "hair_length", ("smile", "glasses")
PREPARED = (
    ["extract", MODEL],
    ["probe", RUN, "--label", LABEL],
    [
        "measure",
        RUN,
        "--what",
        "decodability",
        "--what",
        "alignment",
        *(part for label in (LABEL, *OTHERS) for part in ("--label", label)),
    ],
)
"""What the pages show, as one would type it; each is done again in an instant once it is there."""

WIDTH, HEIGHT = 1366, 768
QUALITY, STILL = 82, 700
"""Of WebP; and the milliseconds in which nothing on the page may move."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A page as the documentation shows it.

    ``choices`` are those of its address. ``press`` is a button to press, ``until`` a selector of
    what must be there then. The page is scrolled until ``top`` (a selector) is at its upper edge,
    and pictured ``height`` pixels down.
    """

    page: str
    choices: dict[str, object] = field(default_factory=dict)
    press: str = ""
    until: str = "h1"
    top: str = ""
    height: int = HEIGHT


CELEBA = "google/ddpm-ema-celebahq-256"
DONOR, RECIPIENT = 9, 4
SWAPPED = {"donor": DONOR, "recipient": RECIPIENT}
SHOTS = (
    Shot(page="Overview", until="[data-testid=stDataFrame]", height=698),
    Shot(
        page="Extract",
        choices={"model": CELEBA, f"samples-{CELEBA}": 1000},
        until=".st-key-start-extraction",
        height=750,
    ),
    Shot(
        page="Gallery",
        choices={"sort": "smile", "sample": 9, "selection": "1-2,6,8-9,31"},
        until=".st-key-pin-A",
    ),
    Shot(
        page="PCA",
        choices={"step": 12, "colour": "smile", "sample": 9, "selection": "1-2,6,8-9,31"},
        until=".st-key-pca-scatter .scatter",
    ),
    Shot(
        page="Probes",
        choices={"label": LABEL, "probe-site": "h", "step": 12},
        until=".st-key-probe-curves .plot-container",
    ),
    Shot(
        page="Swap",
        choices=SWAPPED,
        press="Swap each site alone",
        until="text=Identity check",
        top=".st-key-u-figure",
        height=640,
    ),
    Shot(
        page="Edit",
        choices={
            "direction": "a new one",
            "method": "supervised",
            "source": "a label",
            "label": LABEL,
            "sample": RECIPIENT,
        },
        press="Render the strip",
        until="table.strip",
        top="table.strip",
    ),
    Shot(
        page="Verdict",
        choices={"verdict-labels": ",".join((LABEL, *OTHERS))},
        until="table.verdict",
    ),
    Shot(page="Compare", until="text=from sample 9"),
    Shot(
        page="Figures",
        choices={
            "figure": "strip",
            "figure-label": LABEL,
            "figure-sample": RECIPIENT,
            "strip-ways": "naive,supervised",  # quick to fit
            "strengths": "-2, -1, 0, 1, 2",
        },
        press="Make the figure",
        until="text=in print, shown at",
        top="[data-testid=stImage]",
    ),
)


def main() -> None:
    """Prepares the home, visits the pages, writes a picture of each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--home", type=Path, help="where the demo run is, or is put; else a temporary folder"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "pictures", help="where the pictures go"
    )
    parser.add_argument(
        "--only", action="append", choices=[shot.page for shot in SHOTS], help="this page; repeat"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hcache-screenshots-") as folder:
        home = (given.home or Path(folder)).resolve()
        prepare(home)
        with serve(home) as server, browse(WIDTH, HEIGHT) as page:
            for shot in SHOTS:
                if given.only is None or shot.page in given.only:
                    picture = take(page, server.address, shot, home)
                    path = given.out / f"page-{shot.page.lower()}.webp"
                    path.write_bytes(picture)
                    _note(given.out / DIGESTS, shot.page)
                    print(f"{path}  {len(picture) / 1000:.0f} kB", flush=True)


def _note(path: Path, page: str) -> None:
    """Keeps the digest of a page whose picture was taken now."""
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    known[page] = page_digest(page)
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


def prepare(home: Path) -> None:
    """Brings a home to what the pictures show."""
    (home / "runs").mkdir(parents=True, exist_ok=True)
    for command in PREPARED:
        if code := hcache([*command, "--home", str(home)]):
            sys.exit(code)


def take(page: Page, address: str, shot: Shot, home: Path) -> bytes:
    """The picture of a page, as WebP: all of the window for the first, of the others without the
    navigation.
    """
    choices = {"run": RUN, **(pinned(home) if shot.page == "Compare" else shot.choices)}
    path = "" if shot.page == "Overview" else shot.page.lower()
    page.goto(f"{address}/{path}?{urlencode(choices)}")
    page.get_by_role("heading", name=shot.page, exact=True).wait_for()
    settle(page)
    if shot.press:
        page.get_by_role("button", name=re.compile(f"^{shot.press}")).click()
    page.locator(shot.until).first.wait_for(timeout=600_000)
    settle(page)
    if shot.top:
        page.locator(shot.top).first.evaluate("(there) => there.scrollIntoView({block: 'start'})")
    left = (
        0
        if shot.page == "Overview"
        else page.locator("[data-testid=stMain]").bounding_box()["x"] + 1
    )
    clip = {"x": left, "y": 0, "width": WIDTH - left, "height": shot.height}
    out = io.BytesIO()
    Image.open(io.BytesIO(still(page, clip))).convert("RGB").save(
        out, "WEBP", quality=QUALITY, method=6
    )
    return out.getvalue()


def still(page: Page, clip: dict[str, float]) -> bytes:
    """A screenshot, once the page looks the same twice."""
    page.mouse.move(WIDTH - 1, HEIGHT - 1)
    before, now = None, page.screenshot(clip=clip, caret="hide")
    while now != before:
        page.wait_for_timeout(STILL)
        before, now = now, page.screenshot(clip=clip, caret="hide")
    return now


def pinned(home: Path) -> dict[str, object]:
    """The address of Compare: a sample, and what the Swap page has made of it at the first skip
    group.
    """
    run = open_run(RUN, home)
    window = Window(first=0, last=run.spec.steps - 1)
    swap = SwapEdit(
        sites=("skip.1",), donor=DonorRef(run=RUN, sample=DONOR), alpha=1.0, window=window
    )
    return {
        "A-sample": RECIPIENT,
        "B-sample": RECIPIENT,
        "B-render": recipe_of(run, RECIPIENT, [swap]).digest,
    }


if __name__ == "__main__":
    main()
