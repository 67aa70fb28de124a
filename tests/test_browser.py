"""The whole path in a real browser: empty home, demo run, every page, a screenshot of each in
``artefacts/``.
"""

import os
import re
import shutil
from pathlib import Path

import psutil
import pytest
import yaml
from browsing import settle

import hcache
from hcache.background import extractions as jobs
from hcache.bench.serving import serve
from hcache.cards import OWN_CARDS
from hcache.ui.address import STALE
from hcache.ui.frame import DEMO_MODEL

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "artefacts"
SCATTER = ".st-key-pca-scatter .scatter"
PLACE = "({chart}, k) => chart.place(chart.data.x[k], chart.data.y[k])"
CHROMIUM_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

SAMPLES = 24
"""Of the demo, which has 64 without a card of one's own."""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        message = "no browser: install Debian's chromium, or Google Chrome, to run these tests"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An empty home, and no job left behind in it."""
    folder = tmp_path_factory.mktemp("empty home")
    yield folder
    for job in jobs.list_jobs(folder):
        if job.live:
            psutil.Process(job.pid).kill()


@pytest.fixture(scope="module")
def smaller_demo(tmp_path_factory):
    """A file of cards in which the demo's model has fewer samples."""
    cards = yaml.safe_load((Path(hcache.__file__).parent / "cards.yaml").read_text())
    path = tmp_path_factory.mktemp("cards") / "cards.yaml"
    path.write_text(yaml.safe_dump({DEMO_MODEL: {**cards[DEMO_MODEL], "samples": SAMPLES}}))
    return path


@pytest.fixture(scope="module")
def server(home, smaller_demo):
    """The dashboard's address; started by the README's own line."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(OWN_CARDS, str(smaller_demo))
        with serve(home, without=["OMP_NUM_THREADS"]) as served:  # conftest.py sets it
            yield served.address


@pytest.fixture(scope="module")
def page(browser):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    page = context.new_page()
    page.set_default_timeout(120_000)
    yield page
    context.close()


def shoot(page, name):
    """A screenshot of the whole page: the window grows to the height of what is in it."""
    SCREENSHOTS.mkdir(exist_ok=True)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": 1366, "height": min(max(768, height + 20), 3000)})
    page.wait_for_timeout(500)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    page.set_viewport_size({"width": 1366, "height": 768})


def visit(page, name):
    """Another page by the sidebar, as a user goes there."""
    page.locator("[data-testid=stSidebar]").get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    settle(page)


def test_the_first_visit_an_empty_home_fills_with_the_demo(page, server, home):
    """What happens is said, with the time it takes; what is there already can be clicked
    meanwhile.
    """
    page.goto(server)
    page.get_by_text("This home was empty").wait_for()
    page.get_by_role(
        "heading", name="Anatomy of toyfaces-ddpm-64"
    ).wait_for()  # from its configuration
    main = page.locator("[data-testid=stMain]")
    main.get_by_text(re.compile(rf"of {SAMPLES} samples, .* samples/s, .* left")).first.wait_for()
    main.get_by_role("link", name="What does each skip group carry?").click()
    page.get_by_role("heading", name="Swap", exact=True).wait_for()
    page.get_by_text("Donor (A)").wait_for()  # as soon as two samples are there
    page.go_back()
    page.get_by_role("heading", name="Overview", exact=True).wait_for()
    page.get_by_text(f"{SAMPLES} of {SAMPLES} samples").first.wait_for(timeout=420_000)
    settle(page)
    assert len(list((home / "runs").iterdir())) == 1
    shoot(page, "1-overview")


def test_gallery_a_click_shows_the_sample_and_the_link_carries_it(page, server, browser):
    visit(page, "Gallery")
    page.get_by_role("img", name="sample 9", exact=True).click()
    page.get_by_text("sample 9, seed 9").wait_for()
    settle(page)
    assert "sample=9" in page.url
    shoot(page, "3-gallery")
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    other = context.new_page()
    other.goto(page.url)
    other.get_by_text("sample 9, seed 9").wait_for()
    context.close()


def test_back_and_forward_go_through_pages_and_choices(page):
    """On from the gallery's sample 9."""
    page.get_by_role("img", name="sample 11", exact=True).click()
    page.get_by_text("sample 11, seed 11").wait_for()
    settle(page)
    visit(page, "Overview")
    for go, sample in ((page.go_back, 11), (page.go_back, 9), (page.go_forward, 11)):
        go()
        page.get_by_text(f"sample {sample}, seed {sample}").wait_for()
        settle(page)
        assert f"sample={sample}" in page.url
    page.go_forward()
    page.get_by_role("heading", name="Overview", exact=True).wait_for()
    settle(page)
    assert page.get_by_text("sample 11, seed 11").count() == 0


def test_two_tabs_on_the_same_run_do_not_disturb_each_other(page, server, browser):
    visit(page, "Gallery")
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    other = context.new_page()
    other.goto(page.url)
    other.get_by_role("img", name="sample 5", exact=True).click()
    other.get_by_text("sample 5, seed 5").wait_for()
    settle(other)
    page.get_by_role("img", name="sample 7", exact=True).click()
    page.get_by_text("sample 7, seed 7").wait_for()
    settle(page)
    assert other.get_by_text("sample 5, seed 5").count() == 1
    assert ("sample=7" in page.url, "sample=5" in other.url) == (True, True)
    context.close()


def test_a_run_removed_under_an_open_page_is_said_and_others_are_offered(
    page, server, home, browser
):
    (run,) = (home / "runs").iterdir()
    copy = shutil.copytree(run, run.with_name("copy-of-it"))
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    other = context.new_page()
    other.goto(f"{server}/gallery?run={copy.name}")
    other.get_by_text("sample 0, seed 0").wait_for()
    settle(other)
    shutil.rmtree(copy)
    other.get_by_role("img", name="sample 5", exact=True).click()
    other.get_by_text("There is no run 'copy-of-it'").wait_for()
    settle(other)
    other.get_by_role("button", name=run.name).click()
    other.get_by_role("img", name="sample 5", exact=True).wait_for()
    settle(other)
    assert f"run={run.name}" in other.url
    context.close()


def test_pca_a_click_on_a_point_shows_its_picture(page):
    visit(page, "PCA")
    page.locator(SCATTER).wait_for()
    settle(page)
    before = page.url
    for point in range(
        12
    ):  # a click on the sample that is chosen already changes nothing: try others
        _click_point(page, point)
        page.wait_for_timeout(700)
        settle(page)
        if page.url != before:
            break
    assert page.url != before
    (sample,) = re.findall(r"selection=(\d+)", page.url)
    page.get_by_text(re.compile(rf"^sample {sample},")).wait_for()
    x, y = page.locator(SCATTER).evaluate(PLACE, point)
    page.locator(SCATTER).hover(position={"x": x + 1, "y": y})
    tip = page.locator(f"{SCATTER} .tip")
    tip.get_by_text(f"sample {sample} · ").wait_for()
    assert "blob:" in tip.locator(".picture").evaluate("(picture) => picture.style.backgroundImage")
    shoot(page, "4-pca")


def test_the_selection_is_one_in_the_gallery_and_in_pca(page):
    """Pictures picked in the Gallery are the points marked in PCA, and a point clicked there is
    the picture here.
    """
    visit(page, "Gallery")
    settle(page)
    if page.get_by_role("button", name="Clear", exact=True).is_enabled():
        page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_text(f"0 of {SAMPLES} selected").wait_for()
    page.get_by_role("img", name="sample 3", exact=True).click()
    page.get_by_role("img", name="sample 7", exact=True).click(modifiers=["Shift"])
    page.get_by_role("img", name="sample 5", exact=True).click()
    page.get_by_text(f"4 of {SAMPLES} selected").wait_for()
    visit(page, "PCA")
    page.locator(SCATTER).wait_for()
    page.get_by_text(f"4 of {SAMPLES} selected").wait_for()
    settle(page)
    marked = page.locator(SCATTER).evaluate(
        "({chart: {data}}) => [...data.id].filter((_, row) => data.selected[row])"
    )
    assert marked == [3, 4, 6, 7] and "selection=3-4%2C6-7" in page.url
    before = page.url
    assert "sample=5" in before  # what was clicked last is shown here, too
    assert page.get_by_label("Sample", exact=True).input_value() == "5"
    _click_point(page, 20)
    page.get_by_text(f"1 of {SAMPLES} selected").wait_for()
    settle(page)
    page.wait_for_timeout(1000 * STALE + 100)  # sooner than that, Back is taken for a late message
    page.go_back()  # of the selection and the sample that is shown: one entry
    page.get_by_text(f"4 of {SAMPLES} selected").wait_for()
    settle(page)
    assert page.url == before
    page.go_forward()
    page.get_by_text(f"1 of {SAMPLES} selected").wait_for()
    settle(page)
    (chosen,) = re.findall(r"selection=(\d+)", page.url)
    visit(page, "Gallery")
    page.get_by_text(f"1 of {SAMPLES} selected").wait_for()
    settle(page)
    pressed = page.locator("button[aria-pressed=true] img")
    assert [image.get_attribute("alt") for image in pressed.all()] == [f"sample {chosen}"]


def test_pca_a_double_click_takes_the_selection_off_and_typed_numbers_select(page):
    visit(page, "PCA")
    page.locator(SCATTER).wait_for()
    page.get_by_role("textbox", name="Select by number").fill("2-4, 9")
    page.keyboard.press("Enter")
    page.get_by_text(f"4 of {SAMPLES} selected").wait_for()
    settle(page)
    page.locator(SCATTER).dblclick(position={"x": 70, "y": 40})
    page.get_by_text(f"0 of {SAMPLES} selected").wait_for()
    settle(page)
    assert "selection=" not in page.url


def test_pca_a_lasso_selects_and_zoom_stays_from_step_to_step(page):
    visit(page, "PCA")
    chart = page.locator(SCATTER)
    chart.wait_for()
    settle(page)
    page.get_by_role("button", name="All points (0)").click()
    page.get_by_text("Lasso", exact=True).click()
    settle(page)
    box = chart.bounding_box()
    ends = chart.evaluate("({chart}) => chart.ends")
    page.mouse.move(box["x"] + 63, box["y"] + 13)
    page.mouse.down()
    for x, y in ((box["width"] / 2, 13), (box["width"] / 2, 400), (63, 400)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    page.mouse.up()
    left = chart.evaluate(
        """({chart, clientWidth}) =>
             [...chart.data.id].filter((_, k) =>
               chart.place(chart.data.x[k], chart.data.y[k])[0] < clientWidth / 2)"""
    )
    assert 0 < len(left) < SAMPLES
    page.get_by_text(f"{len(left)} of {SAMPLES} selected").wait_for()
    settle(page)
    assert (
        chart.evaluate("({chart: {data}}) => [...data.id].filter((_, k) => data.selected[k])")
        == left
    )
    chart.locator("canvas").focus()
    page.keyboard.press("+")
    closer = chart.evaluate("({chart}) => chart.ends")
    assert closer[0][1] - closer[0][0] == pytest.approx(0.8 * (ends[0][1] - ends[0][0]))
    page.locator(".st-key-choose-step input[type=range]").focus()
    (step,) = re.findall(r" at step (\d+)", chart.evaluate("({chart}) => chart.data.alt"))
    page.keyboard.press("ArrowRight")
    page.get_by_role("img", name=f" at step {int(step) + 1}, ").wait_for()
    assert chart.evaluate("({chart}) => chart.ends") == closer
    page.get_by_text("Move", exact=True).click()
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_text(f"0 of {SAMPLES} selected").wait_for()


def _click_point(page, number):
    """Clicks where a point of the scatter was drawn."""
    x, y = page.locator(SCATTER).evaluate(PLACE, number)
    page.locator(SCATTER).click(position={"x": x, "y": y})


def test_probes_start_by_themselves(page):
    visit(page, "Probes")
    page.locator(".st-key-probe-map .plot-container").wait_for(timeout=240_000)
    page.get_by_text("Every cell is stored").wait_for(timeout=240_000)
    settle(page)
    drawn = page.evaluate(
        "document.querySelector('.st-key-probe-map .js-plotly-plot').data.map((t) => t.type)"
    )
    assert "heatmap" in drawn
    shoot(page, "5-probes")


def on_screen(page, *selectors):
    """Where elements are, from the top of a window of 1366 x 768; each of them begins and ends
    within it.
    """
    tops = []
    for selector in selectors:
        box = page.locator(selector).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 768, (selector, box)
        tops.append(box["y"])
    return tops


def test_swap_shows_the_pair_the_button_and_the_empty_figure_on_one_screen(page):
    visit(page, "Swap")
    pair = [".st-key-choose-donor", ".st-key-choose-recipient", ".st-key-choose-inject"]
    *_, button, figure = on_screen(page, *pair, ".st-key-run-swap button", ".st-key-u-figure img")
    assert button < figure < 300


def test_swap_with_its_badge(page):
    page.get_by_role("button", name="Swap each site alone").click()
    page.get_by_text("bit for bit").wait_for(timeout=240_000)
    settle(page)
    assert page.get_by_text("reproduced B bit for bit").count() == 1
    assert page.locator(".st-key-u-figure img").count() == 1
    _, figure = on_screen(page, ".st-key-run-swap button", ".st-key-u-figure img")
    assert figure < 300
    shoot(page, "6-swap")
    page.locator(".st-key-u-figure img").screenshot(path=SCREENSHOTS / "u-figure.png")


def test_edit_strip_with_readings(page):
    visit(page, "Edit")
    page.get_by_role("button", name="Render the strip").click()
    page.locator("table.strip").wait_for(timeout=240_000)
    settle(page)
    choices = [".st-key-choose-direction", ".st-key-choose-strength", ".st-key-run-strip button"]
    rows = [
        "table.strip tr.pictures:nth-child(1)",
        "table.strip tr:last-child",
    ]  # and the last of all readings
    assert on_screen(page, *choices, *rows)[3] < 350
    assert page.locator("table.strip tr.pictures img").count() == 18
    shoot(page, "7-edit")


def test_a_mask_is_painted_on_the_picture(page):
    choice = page.locator(".st-key-choose-edit-mask input")
    choice.scroll_into_view_if_needed()
    settle(page)  # a list that is open closes when the page scrolls
    choice.click()
    page.get_by_role("option", name="Where I paint", exact=True).click()
    chart = page.locator(".st-key-edit-mask-paint-0 .js-plotly-plot")
    chart.wait_for()
    settle(page)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    corners = [(0.1, 0.5), (0.9, 0.5), (0.9, 0.95), (0.1, 0.95), (0.1, 0.52)]
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    told = page.get_by_text(re.compile(r"^\d+% of the picture; of the \d+ x \d+ places of h"))
    told.wait_for()
    assert 30 <= int(told.inner_text().split("%")[0]) <= 42, "0.8 x 0.45 of it"
    settle(page)
    shoot(page, "8-painted")


def test_a_render_can_be_cancelled(page):
    """Of more than is done in an instant; what became of it is said, with its log."""
    slider = page.locator(".st-key-choose-samples input[type=range]")
    slider.focus()
    for _ in range(7):
        slider.press("ArrowRight")
    page.locator(".st-key-choose-samples").get_by_text("8", exact=True).first.wait_for()
    settle(page)
    page.get_by_role("button", name="Render the strip").click()
    # Streamlit draws a button with a help text twice, and hides the one for screens that are
    # touched: a role has one
    page.get_by_role("button", name="Cancel", exact=True).click()  # which fails if there are two
    page.get_by_text(re.compile(r"Cancelled at \d+%")).wait_for()
    settle(page)
    assert page.get_by_role("button", name="Render the strip").is_enabled()


def test_extract_starts_a_job_that_survives_a_reload_and_can_be_cancelled(page, home):
    visit(page, "Extract")
    shoot(page, "2-extract")
    page.get_by_role("spinbutton", name="Samples").fill("4000")
    page.get_by_role("spinbutton", name="Samples").press("Enter")
    page.get_by_text("--samples=4000").wait_for()
    settle(page)
    page.get_by_role("button", name="Start extraction").click()
    page.locator("[data-testid=stMain]").get_by_text("of 4000 samples").first.wait_for()
    page.reload()
    page.locator("[data-testid=stMain]").get_by_text("of 4000 samples").first.wait_for()
    page.locator("[data-testid=stMain]").get_by_role("button", name="Cancel").click()
    page.locator("[data-testid=stMain]").get_by_text("cancelled,").first.wait_for()
    (job,) = jobs.list_jobs(home)
    assert job.state == jobs.CANCELLED and job.done >= SAMPLES
