"""The README's first command, as a person types it: what the server takes of a core, with an
environment in its folder.

Shares are of processor time, which other work on the machine hardly changes.
"""

import re
import shutil
import time
import tomllib
from pathlib import Path

import psutil
import pytest
from checkout import as_the_readme_makes_it
from test_browser import browser  # noqa: F401 - a fixture

from hcache.background import extractions as jobs
from hcache.bench import first_minute, serving
from hcache.bench.serving import ENVIRONMENT, ROOT, serve, typed_command
from hcache.errors import UsageError

INTERVAL = 10
"""Seconds of which a share is taken."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return as_the_readme_makes_it(tmp_path_factory.mktemp("first-minute"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("an empty home")
    yield folder
    for job in jobs.list_jobs(folder):
        if job.live:
            psutil.Process(job.pid).kill()


def share(server):
    """Of a core, over the interval."""
    before, begun = server.processor_time(), time.monotonic()
    time.sleep(INTERVAL)
    return (server.processor_time() - before) / (time.monotonic() - begun)


@pytest.mark.browser
@pytest.mark.slow
def test_an_open_page_costs_the_server_next_to_nothing(checkout, home, browser):  # noqa: F811
    assert sum(1 for _ in (checkout / ENVIRONMENT).rglob("*.py")) > 5000, "an environment to watch"
    with serve(home, checkout, without=["OMP_NUM_THREADS"]) as server:
        page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
        page.set_default_timeout(120_000)
        page.goto(server.address)
        page.get_by_text("This home was empty").wait_for()
        page.get_by_text(re.compile(r"of 64 samples, .* samples/s")).first.wait_for()
        (job,) = jobs.list_jobs(home)
        watching = share(server)
        assert jobs.read_job(home / "runs" / job.run).live, "it was at work all the while"
        jobs.cancel(home / "runs" / job.run)
        page.get_by_text("cancelled").first.wait_for(state="attached")
        page.wait_for_timeout(2000)
        idle = share(server)
        page.context.close()
    assert watching < 0.10 and idle < 0.03, (watching, idle)


def test_the_readmes_own_line_is_what_starts_the_server(tmp_path):
    program, *arguments = typed_command()
    assert arguments == ["run", "dashboard.py"] and Path(program).name == "streamlit"
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / ENVIRONMENT / "bin").mkdir(parents=True)
    (tmp_path / ENVIRONMENT / "bin" / "streamlit").touch()
    assert typed_command(tmp_path) == [".venv/bin/streamlit", "run", "dashboard.py"]
    (tmp_path / "README.md").write_text("no such line")
    with pytest.raises(UsageError, match="checkout"):
        typed_command(tmp_path)


def test_what_is_started_for_tests_and_benchmarks_is_started_by_that_line():
    """Nobody else starts a server, and nobody gives it an option that a reader would not."""
    sources = [*(ROOT / "tests").glob("*.py"), *(ROOT / "hcache").rglob("*.py")]
    others = [path for path in sources if path not in (Path(serving.__file__), Path(__file__))]
    starts = re.compile(r'"streamlit",? "?run|"run", "dashboard\.py"|--server\.|STREAMLIT_')
    found = {path.name for path in others if starts.search(path.read_text(encoding="utf-8"))}
    of_the_command = {
        "dashboard.py",
        "test_dashboard.py",
    }  # `hcache dashboard` and its tests, which start no server
    only_named = {"server.py", "test_readme.py"}
    assert found == of_the_command | only_named
    options = set(re.findall(r"--[a-z]+\.\w+", Path(serving.__file__).read_text(encoding="utf-8")))
    assert options == {"--server.port"}


def test_the_settings_that_make_it_cheap_are_the_projects_own():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert (
        config["server"]["fileWatcherType"] == "none" and config["runner"]["postScriptGC"] is False
    )


def test_a_server_that_does_not_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(
        serving,
        "typed_command",
        lambda _: ["sh", "-c", "echo begun; echo no such thing >&2; exit 3"],
    )
    with pytest.raises(UsageError, match="no such thing"), serve(tmp_path):
        pass


class FakePage:
    """Shows one thing after the other; a look takes a tenth of a second."""

    def __init__(self, clock, shows):
        self.clock, self.shows = clock, list(shows)

    def evaluate(self, _):
        return self.shows.pop(0) if len(self.shows) > 1 else self.shows[0]

    def wait_for_timeout(self, milliseconds):
        self.clock[0] += milliseconds / 1000


def looks(picture="", done=0, total=0):
    return {"drawn": True, "picture": picture, "done": done, "total": total}


@pytest.fixture
def clock(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(first_minute.time, "monotonic", lambda: now[0])
    return now


def test_moments_are_told_in_seconds_since_the_command_was_typed(clock):
    page = FakePage(clock, [looks(), looks(), looks("a"), looks("a"), looks("b", 2, 64)])
    server = serving.Server(address="", process=None, began=49.0)
    watch = first_minute.Moments(server, page, 60, None)
    assert watch.until("a picture", lambda now: now["picture"])["picture"] == "a"
    watch.until("another", lambda now: now["picture"] not in ("", "a"))
    assert watch.seconds == pytest.approx({"a picture": 1.2, "another": 1.3})
    with pytest.raises(UsageError, match="all did not come within 60 s"):
        watch.until("all", lambda now: now["done"] == 64)


def test_what_was_aimed_at_stands_beside_what_was_found():
    seconds = {"the page": 2.0, "a picture that changes": 11.0, "all samples": 71.0}
    text = first_minute.in_words({"seconds": seconds, "server": 0.02, "load": 0.1, "cores": 2})
    assert "11.0  aim 12, met" in text and "71.0  aim 70, not met" in text and "2.0%" in text
