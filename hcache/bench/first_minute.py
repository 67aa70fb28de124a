"""The first minute: from the README's command in an empty home to the whole demo run.

    python -m hcache.bench.first_minute

A real browser opens the address as soon as something answers there, and stays on the first page. The
result is the time from typing the command to several moments: the page is drawn, a picture of
samples in work appears, it changes, the first samples are reported as finished, and all are. It also
gives the share of a core that the server took meanwhile. The command needs playwright and a Chromium
(or Google Chrome) on the PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import HcacheError, UsageError
from .hand import browse, tell
from .serving import ROOT, Server, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

AIMS = {"a picture that changes": 12.0, "the first finished samples": 20.0, "all samples": 70.0}
"""The aims in seconds since the command was typed, on two idle cores."""

_LOOK = """
() => {
  const said = [...document.querySelectorAll('[data-testid=stSidebar] [data-testid=stCaptionContainer]')]
    .map((caption) => caption.textContent.match(/^(\\d+) of (\\d+) samples/)).find(Boolean);
  return {
    drawn: document.querySelector('h1')?.textContent === 'Overview',
    picture: document.querySelector('[class*=st-key-in-work] img')?.src ?? '',
    done: said ? Number(said[1]) : 0,
    total: said ? Number(said[2]) : 0,
  };
}
"""
"""JavaScript that returns what the page shows at this moment."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, measures, prints the moments."""
    parser = argparse.ArgumentParser(
        prog="python -m hcache.bench.first_minute", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="the checkout to start in (default: this one)"
    )
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds to wait for all samples (default: 600)"
    )
    parser.add_argument("--pictures", type=Path, help="a folder for a screenshot of every moment")
    parser.add_argument("--json", action="store_true", help="as JSON")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(
            prefix="hcache-first-minute-", ignore_cleanup_errors=True
        ) as folder:
            found = measure(
                Path(folder) / "home", given.root.resolve(), given.limit, given.pictures
            )
    except HcacheError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found) if given.json else in_words(found))
    return 0


def measure(home: Path, root: Path, limit: float, pictures: Path | None = None) -> dict[str, Any]:
    """Measures the seconds to every moment, and the server's processor share.

    The share is that of a core, from the first picture to the last sample.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with browse() as page, serve(home, root) as server:
        page.goto(server.address)
        watch = Moments(server, page, limit, pictures)
        watch.until("the page", lambda now: now["drawn"])
        first = watch.until("a picture of samples in work", lambda now: now["picture"])
        before, begun = server.processor_time(), time.monotonic()
        watch.until(
            "a picture that changes", lambda now: now["picture"] not in ("", first["picture"])
        )
        watch.until("the first finished samples", lambda now: now["done"])
        watch.until("all samples", lambda now: now["total"] and now["done"] == now["total"])
        share = (server.processor_time() - before) / (time.monotonic() - begun)
        return {"seconds": watch.seconds, "server": share, "load": load, "cores": os.cpu_count()}


class Moments:
    """Keeps when something was first seen on the page.

    It looks at the page several times a second.
    """

    def __init__(self, server: Server, page: Page, limit: float, pictures: Path | None) -> None:
        self.server, self.page, self.limit, self.pictures = server, page, limit, pictures
        self.seconds: dict[str, float] = {}

    def until(self, name: str, there: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Waits for a moment.

        Raises:
            UsageError: the moment did not come within the limit.
        """
        while not there(now := self.page.evaluate(_LOOK)):
            if time.monotonic() - self.server.began > self.limit:
                raise UsageError(
                    f"{name} did not come within {self.limit:.0f} s; the page said {now}"
                )
            self.page.wait_for_timeout(100)
        self.seconds[name] = time.monotonic() - self.server.began
        tell(f"{name}: {self.seconds[name]:.1f} s")
        if self.pictures:
            self.pictures.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=self.pictures / f"{len(self.seconds)} {name}.png")
        return now


def in_words(found: dict[str, Any]) -> str:
    """Returns one line per moment."""
    lines = [
        f"{found['cores']} cores, load when it began {found['load']}; seconds since the command was"
        " typed"
    ]
    for name, seconds in found["seconds"].items():
        aim = (
            f"  aim {AIMS[name]:.0f}, {'met' if seconds <= AIMS[name] else 'not met'}"
            if name in AIMS
            else ""
        )
        lines.append(f"{name:<30}{seconds:6.1f}{aim}")
    return "\n".join([*lines, f"{'the server, of a core':<30}{found['server']:6.1%}"])


if __name__ == "__main__":
    sys.exit(main())
