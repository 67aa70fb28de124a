"""How fast the dashboard responds in a real browser.

Measured are the ways from page to page, a step slider, and a one-step preview.

Two runs are written into a new home by the cache's own writers: a large run of drawn faces with
made-up activations, and a small extraction of the shipped model for the preview. The README's own
command serves them, and Chromium clicks and presses keys. A time counts from the key or the click to
the first moment at which the page is idle and shows the expected result.

    python -m hcache.bench.hand --samples 2000 --repeats 5

The command needs playwright and a Chromium (or Google Chrome) on the PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.files import write_json
from ..cache.layout import RUN_JSON, SCHEMA
from ..cache.provenance import environment
from ..cache.reading import Run, open_run
from ..cache.shards import ShardWriter
from ..cards import default_spec
from ..errors import HcacheError, UsageError
from .serving import serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

MODEL = "toyfaces-ddpm-64"
STEPS, BATCH, PREVIEWED = 20, 50, 16
STORE = {
    "h": "full",
    "skip.1": "pooled",
    "skip.2": "pooled",
    "skip.3": "pooled",
    "skip.4": "pooled",
}
MADE_UP = 2**31
"""The first seed of the large run. No other run begins with it by chance."""

WITH_MODEL = ("Swap", "Edit")
"""Pages that continue trajectories with the model. Made-up activations have none."""

FIRST = 4
"""The factor of the limit for a page that is opened or seen for the first time."""

SETTLE = 1000
"""Milliseconds to wait after a page is drawn, before the first measurement."""

CHROMIUM_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

_WATCH = """
([expected, before, limit]) => new Promise((done, fail) => {
  let since = null;
  const end = performance.now() + limit;
  let there = false;
  const read = () => eval(window.hcacheRead) ?? '';
  const look = () => {
    const app = document.querySelector('[data-testid=stApp]');
    const idle = app?.dataset.testScriptState === 'notRunning'
      && !document.querySelector(
        '[data-testid=stSpinner], [data-testid=stSkeleton], [data-testid=stProgress], [data-stale=true]');
    const now = read();
    there = expected === null ? now !== before : now === expected;
    since = window.hcacheBegun && idle && there ? since ?? performance.now() : null;
    if (since !== null && performance.now() - since > 200) done(since - window.hcacheBegun);
    else if (performance.now() > end) {
      const why = !window.hcacheBegun ? 'no click or key has come'
        : !there ? 'it does not show what it must' : 'it is not idle';
      fail(new Error(`${why} after ${limit / 1000} s; ${document.querySelector('h1')?.textContent}: `
        + (document.querySelector('[data-testid=stException], [data-testid=stAlert]')?.textContent ?? 'no message')));
    } else setTimeout(look, 8);
  };
  look();
})
"""
"""JavaScript that resolves to the milliseconds from the last click or key until the page is idle and
shows the expected result. The page must be idle for 200 ms, which do not count. After ``limit``
milliseconds it fails and says what it waited for."""

_LISTEN = """
for (const kind of ['pointerdown', 'keydown'])
  document.addEventListener(kind, () => { window.hcacheBegun ??= performance.now(); }, true);
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, measures, prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.bench.hand", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--samples", type=int, default=2000, help="of the large run")
    parser.add_argument("--repeats", type=int, default=5, help="how often every page is visited")
    parser.add_argument(
        "--home", type=Path, help="folder for the runs, which is kept (default: a temporary folder)"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=30,
        help="seconds after which a move has failed (default: 30)",
    )
    parser.add_argument("--json", action="store_true", help="every time in milliseconds, as JSON")
    given = parser.parse_args(arguments)
    found = Found()
    try:
        with contextlib.ExitStack() as stack:
            home = given.home or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="hcache-hand-"))
            )
            tell(f"extracting {PREVIEWED} samples of {MODEL}")
            small = small_run(home)
            tell(f"writing a run of {given.samples} drawn faces")
            large = large_run(home, given.samples, small.timesteps)
            measure(found, home, large.name, small.name, given.repeats, given.limit)
    except HcacheError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(
        json.dumps({"milliseconds": found.times, "failed": found.failed})
        if given.json
        else in_words(found.times, len(large))
    )
    for line in found.failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if found.failed else 0


def tell(what: str) -> None:
    """Prints what is being done."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


class Found:
    """The ``times`` in milliseconds by action, and what ``failed``."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.failed: list[str] = []

    def take(self, name: str, move: Callable[[], float | None], kept: bool = True) -> bool:
        """Does something in the browser and keeps the time.

        Returns False if it failed.
        """
        from playwright.sync_api import Error

        try:
            took = move()
        except Error as error:
            self.failed.append(f"{name}: {error.message.splitlines()[0]}")
            tell(f"failed: {self.failed[-1]}")
            return False
        if took is not None:
            tell(f"{name}: {took:.0f} ms")
            if kept:
                self.times.setdefault(name, []).append(took)
        return True


def in_words(times: dict[str, list[float]], samples: int) -> str:
    """Returns one line per kind of action: median, slowest, and number."""
    lines = [
        f"{samples} samples, {os.cpu_count()} cores; milliseconds from the key or click to an idle"
        " page"
    ]
    width = max(map(len, times), default=0)
    for name, found in times.items():
        lines.append(
            f"{name:<{width}}  median {statistics.median(found):6.0f}  slowest {max(found):6.0f}  "
            f"n {len(found)}"
        )
    return "\n".join(lines)


def small_run(home: Path) -> Run:
    """Makes a small extraction of the shipped model unless it exists."""
    from ..extraction.run import extract
    from ..models.loading import load_model

    (home / "runs").mkdir(parents=True, exist_ok=True)
    return extract(load_model(MODEL), default_spec(MODEL, samples=PREVIEWED, steps=STEPS), home)


def large_run(home: Path, samples: int, timesteps: Sequence[float]) -> Run:
    """Writes a large run unless it exists.

    The run has drawn faces with made-up activations.
    """
    from ..models.loading import load_anatomy

    spec = default_spec(
        MODEL, samples=samples, steps=len(timesteps), seed=MADE_UP, store=STORE, batch=BATCH
    )
    folder = home / "runs" / spec.name
    if not (folder / RUN_JSON).is_file():
        anatomy = load_anatomy(MODEL)
        folder.mkdir(parents=True)
        for start in range(0, samples, BATCH):
            _write_shard(folder, start, min(start + BATCH, samples), anatomy, timesteps)
        description = {
            "schema": SCHEMA,
            "name": spec.name,
            "spec": spec.to_json(),
            "anatomy": anatomy.to_json(),
            "timesteps": list(timesteps),
            "provenance": environment(),
        }
        write_json(folder / RUN_JSON, description)
    return open_run(spec.name, home)


def _write_shard(
    folder: Path, start: int, stop: int, anatomy: Any, timesteps: Sequence[float]
) -> None:
    """Writes drawn faces with their factors as labels. Activations are factors and noise."""
    from ..toyfaces.drawing import draw_face
    from ..toyfaces.factors import NAMES, sample_face

    faces = [sample_face(seed) for seed in range(start, stop)]
    factors = np.stack([face.as_array() for face in faces])
    pictures = np.stack([np.asarray(draw_face(face)) for face in faces])
    rng = np.random.default_rng([start, 7])
    mixing = (
        np.random.default_rng(7)
        .normal(size=(len(NAMES), int(np.prod(anatomy.h))))
        .astype(np.float32)
    )
    with ShardWriter(
        folder, start, MADE_UP + np.arange(start, stop), np.asarray(timesteps), "float16"
    ) as writer:
        for step in range(len(timesteps)):
            noise = rng.normal(size=(stop - start, mixing.shape[1])).astype(np.float32)
            h = (factors @ mixing * (step + 1) / len(timesteps) + noise).reshape(-1, *anatomy.h)
            writer.write_activation(step, "h", h)
            for site in anatomy.sites[1:]:
                for member in anatomy.members(site):
                    channels = anatomy.shape(member)[0]
                    writer.write_activation(step, member, noise[:, :channels])
            writer.write_x_0(step, pictures)
        writer.write_images(pictures)
        writer.write_labels("toyfaces", dict(zip(NAMES, factors.T, strict=True)))
        writer.commit()


@contextlib.contextmanager
def browse(width: int = 1366, height: int = 768) -> Iterator[Page]:
    """Opens a page of a real browser.

    Raises:
        UsageError: playwright or a browser is missing; the message says what to install.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise UsageError("this benchmark drives a browser: pip install playwright") from error
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        raise UsageError(
            "no browser on the PATH: apt-get install chromium, or install Google Chrome"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.add_init_script(_LISTEN)
        yield page
        chromium.close()


class Watch:
    """Times the effect of one click or key.

    ``limit``: seconds after which it has failed.
    """

    def __init__(self, page: Page, limit: float) -> None:
        self.page, self.limit = page, limit

    def click(self, link: str, patience: float = 1) -> float:
        """Measures milliseconds from a click on a sidebar link to its page.

        ``patience`` multiplies the limit.
        """
        self._begin("document.querySelector('h1')?.textContent")
        self.page.locator("[data-testid=stSidebar]").get_by_role(
            "link", name=link, exact=True
        ).click()
        return self._watch(link, None, patience)

    def links(self) -> list[str]:
        """Returns the pages that the sidebar links to."""
        found = self.page.locator(
            "[data-testid=stSidebar] [data-testid=stPageLink] a"
        ).all_inner_texts()
        return [text.strip().split("\n")[-1] for text in found]

    def press(self, key: str, shows: str) -> float:
        """Measures milliseconds from a key to a change on the page.

        A change is a new value of the JavaScript expression ``shows``.
        """
        before = self._begin(shows)
        self.page.keyboard.press(key)
        return self._watch(None, before)

    def open(self, address: str, heading: str) -> None:
        """Opens a page and waits until it is drawn."""
        self.page.goto(address)
        self._begin("document.querySelector('h1')?.textContent")
        self.page.evaluate("window.hcacheBegun = performance.now()")
        self._watch(heading, None, FIRST)

    def focus_slider(self, name: str) -> None:
        """Focuses a slider, by the name of its choice."""
        self.page.locator(f".st-key-choose-{name} input[type=range]").first.focus()

    def _begin(self, shows: str) -> str:
        return self.page.evaluate(
            "(shows) => { window.hcacheBegun = null; window.hcacheRead = shows; return eval(shows)"
            " ?? ''; }",
            shows,
        )

    def _watch(self, expected: str | None, before: str | None, patience: float = 1) -> float:
        return self.page.evaluate(_WATCH, [expected, before, 1000 * self.limit * patience])


def measure(found: Found, home: Path, large: str, small: str, repeats: int, limit: float) -> None:
    """Measures all times into ``found``. Later steps leave out what failed."""
    with serve(home) as server, browse() as page:
        address = server.address
        page.set_default_timeout(1000 * limit * FIRST)
        watch = Watch(page, limit)
        if not found.take(
            "Overview, opened", lambda: watch.open(f"{address}/?run={large}", "Overview")
        ):
            return
        look_at_pages(found, watch, f"{address}/?run={large}", repeats)
        _step_slider(found, watch, address, large)
        _preview(found, watch, address, small)


def look_at_pages(found: Found, watch: Watch, overview: str, repeats: int) -> None:
    """Times the way from page to page.

    Work that is done only at the first visit is not counted.
    """
    fine = []
    for name in (name for name in watch.links() if name not in WITH_MODEL):
        if found.take(
            f"first visit to {name}", lambda name=name: watch.click(name, FIRST), kept=False
        ):
            fine.append(name)
        else:
            found.take("Overview, opened again", lambda: watch.open(overview, "Overview"))
    watch.page.wait_for_timeout(SETTLE)
    for _ in range(repeats):
        for name in fine:
            found.take(f"to {name}", lambda name=name: watch.click(name))
    every = [t for name in fine for t in found.times.get(f"to {name}", [])]
    found.times = {**({"page to page": every} if every else {}), **found.times}


def _step_slider(found: Found, watch: Watch, address: str, run: str) -> None:
    """Times the PCA page's step slider, to steps that were not shown before and back over those that
    were.
    """
    shows = (
        "[...document.querySelectorAll('[data-testid=stCaptionContainer]')].map((c) =>"
        " c.textContent).join()"
    )
    moves = [
        ("PCA step slider, a step not seen yet", "ArrowRight", 4),
        ("PCA step slider, a step seen before", "ArrowLeft", 4),
    ]
    if found.take("PCA, opened", lambda: watch.open(f"{address}/pca?run={run}&step=4", "PCA")):
        _along(found, watch, "step", shows, moves)


def _preview(found: Found, watch: Watch, address: str, run: str) -> None:
    """Times the Edit page's one-step preview, along γ at one step and over steps."""
    images = "[...document.querySelectorAll('[data-testid=stImage] img')].slice(-1)[0]?.src"
    if found.take("Edit, opened", lambda: watch.open(f"{address}/edit?run={run}", "Edit")):
        _along(
            found,
            watch,
            "strength",
            images,
            [("one-step preview, along the strength", "ArrowRight", 6)],
        )
        _along(
            found, watch, "step", images, [("one-step preview, to another step", "ArrowRight", 6)]
        )


def _along(
    found: Found, watch: Watch, slider: str, shows: str, moves: Sequence[tuple[str, str, int]]
) -> None:
    """Times keys on a slider, (name, key, how often) each. The first key is not counted."""

    def first() -> float:
        watch.focus_slider(slider)
        took = watch.press("ArrowRight", shows)
        watch.focus_slider(slider)
        return took

    if found.take(f"{moves[0][0]}, the first", first, kept=False):
        for name, key, times in moves:
            for _ in range(times):
                if not found.take(name, lambda key=key: watch.press(key, shows)):
                    return


if __name__ == "__main__":
    sys.exit(main())
