"""Walks the app in a real Chromium: no exception, no request to another host, readable in dark and on a phone."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pebench.leaderboard.app import launch
from pebench.leaderboard.app.app import ENTRIES
from tests.leaderboard.test_app import wait_for
from tests.leaderboard.test_board import hostile
from tests.made_records import SKILL, write_sweep
from tests.ports import unused_port

pytestmark = pytest.mark.browser

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 60_000


def chromium() -> str:
    """The browser's path; without one the tests are skipped, but never where CI counts on them."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail("no Chromium on the PATH, and CI is set")
    pytest.skip("no Chromium on the PATH (apt install chromium)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile(write_sweep(tmp_path_factory.mktemp("records"), {**SKILL, "rope+fox": 6.5}))


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    port = unused_port()
    child = launch.start(folder, port)
    url = f"http://{launch.ADDRESS}:{port}"
    try:
        wait_for(child, port)
        yield url
    finally:
        launch.stop(child)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, site: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A light, dark or phone-sized page that fails the test when it asks another host for anything."""
    kind = getattr(request, "param", "light")
    context = browser.new_context(
        base_url=site,
        color_scheme="dark" if kind == "dark" else "light",
        viewport={"width": 390, "height": 844} if kind == "phone" else {"width": 1280, "height": 900},
    )
    context.set_default_timeout(PATIENCE)
    outside: list[str] = []
    own = (site, site.replace("http:", "ws:"), "data:", "blob:")
    context.on("request", lambda r: None if r.url.startswith(own) else outside.append(r.url))
    yield context.new_page()
    context.close()
    assert outside == []


def shown(page: Page, path: str) -> None:
    """Open a page and wait until its script has run and its tables and figures are drawn."""
    page.goto(path, wait_until="domcontentloaded")
    done = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
    expect(done).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("stHeading").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=PATIENCE)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=PATIENCE)


@pytest.mark.parametrize("page", ["light", "phone"], indirect=True)
@pytest.mark.parametrize("name", ENTRIES)
def test_a_page_shows_in_a_browser(page, name):
    shown(page, "/" if name == "overview" else f"/{name}")
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, "the page scrolls sideways"


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_dark_is_dark_and_light_is_light(page):
    shown(page, "/submit")
    colour = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    brightness = sum(int(part) for part in colour.strip("rgba()").split(",")[:3])
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (brightness < 200) if dark else (brightness > 600)


def test_a_hostile_encoding_is_only_text(page):
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    shown(page, "/encoding?encoding=evil")
    main = page.get_by_test_id("stMain")
    expect(main.get_by_role("heading").first).to_contain_text("<script>alert(1)</script>")
    assert main.locator("script, img[src^='http'], a[href^='javascript']").count() == 0


def test_a_link_opens_the_view_that_it_names(page):
    shown(page, "/encoding?encoding=grape_ap")
    expect(page.get_by_test_id("stMain").get_by_role("heading").first).to_have_text("Path-integral GRAPE")
    assert page.locator(".katex").count() > 0


def test_the_menu_leads_to_each_page(page):
    shown(page, "/")
    for title, _ in ENTRIES.values():
        page.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True).click()
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=PATIENCE)
        expect(page.get_by_test_id("stHeading").first).to_be_visible()
        expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_figure_is_saved_by_the_browser_alone(page, kind):
    shown(page, f"/?picture={kind}")
    page.get_by_test_id("stPlotlyChart").first.hover()
    with page.expect_download() as download:
        page.locator(".modebar-btn[data-title^='Download plot']").first.click()
    assert download.value.suggested_filename == f"pebench-overview.{kind}"
    data = Path(download.value.path()).read_bytes()
    assert data.startswith(b"<svg" if kind == "svg" else b"\x89PNG")
    assert kind == "png" or b"grape_a_qk" in data


LINKS = {
    "/?search=grape&seeds=3": ("overview", 3),
    "/?family=contextual": ("overview", 1),
    "/?content=yes&parameters=yes": ("overview", 2),
    "/?certified=true&verified=true": ("overview", 0),
}


@pytest.mark.parametrize("link", LINKS)
def test_a_link_reproduces_the_filters(page, link):
    shown(page, link)
    name, rows = LINKS[link]
    if not rows:
        expect(page.get_by_text("No encoding passes these filters.")).to_be_visible()
        return
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == f"{name}.csv"
    assert len(Path(download.value.path()).read_text(encoding="utf-8").splitlines()) == 1 + rows


def test_a_choice_becomes_part_of_the_address(page):
    shown(page, "/compare?first=fox&others=rope&others=alibi")
    main = page.get_by_test_id("stMain")
    expect(main.get_by_text("minus rope")).to_be_visible()
    expect(main.get_by_text("minus alibi")).to_be_visible()
    shown(page, "/cost")
    page.get_by_test_id("stMain").get_by_role("radio", name="decode").click()
    expect(page).to_have_url(re.compile("cost=decode"), timeout=PATIENCE)
    shown(page, page.url)
    expect(main.get_by_role("radio", name="decode")).to_be_checked()


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("/compare?first=rope&others=fxo", "There is no encoding “fxo” on this board. Did you mean fox?"),
        ("/claim", "There is no page “claim”"),
    ],
)
def test_a_link_to_what_there_is_not_says_so_and_shows_nothing_else(page, link, words):
    page.goto(link, wait_until="domcontentloaded")
    main = page.get_by_test_id("stMain")
    expect(main.get_by_test_id("stAlertContentError")).to_contain_text(words, timeout=PATIENCE)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=PATIENCE)
    for kind in ("stDataFrame", "stPlotlyChart", "stMetric"):
        assert main.get_by_test_id(kind).count() == 0
    assert page.url.endswith(link)  # a reload says it again


def test_a_suggestion_leads_there(page):
    page.goto("/encoding?encoding=gox", wait_until="domcontentloaded")
    page.get_by_test_id("stMain").get_by_role("link", name="fox", exact=True).click()
    expect(page.get_by_test_id("stHeading").first).to_have_text("Forgetting attention", timeout=PATIENCE)


@pytest.mark.parametrize("spelling", ["rope+fox", "rope%2Bfox"])
def test_a_plus_may_have_become_a_space(page, spelling):
    shown(page, f"/encoding?encoding={spelling}")
    expect(page.get_by_test_id("stMain").get_by_role("heading").first).to_have_text("rope+fox")
    expect(page).to_have_url(re.compile(r"encoding=rope%2Bfox"))


def test_a_link_says_everything_and_a_reload_keeps_it(page):
    shown(page, "/compare")
    expect(page).to_have_url(re.compile("profile=QUICK.*first=grape_a_qk.*others="), timeout=PATIENCE)
    before = page.url
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Cost and quality").click()
    expect(page).to_have_url(re.compile("/cost.*cost=train"), timeout=PATIENCE)
    page.go_back()
    expect(page).to_have_url(before, timeout=PATIENCE)
    shown(page, page.url)
    assert page.url == before


def test_a_parameter_that_no_page_knows_is_named(page):
    shown(page, "/cost?costs=decode")
    expect(page.get_by_text("This page has no choice named costs")).to_be_visible()


@pytest.mark.parametrize("path", ["curves", "needle", "positions", "compare?others=rope", "cost", "claims"])
def test_the_record_of_a_number_is_two_clicks_away(page, path):
    shown(page, f"/{path}")
    main = page.get_by_test_id("stMain")
    main.get_by_role("link", name="rope", exact=True).click()
    expect(main.get_by_role("heading").first).to_have_text("Rotary position embedding")
    main.get_by_text("Every number of this record").click()
    expect(main.get_by_text("The command that reproduces it:")).to_be_visible()
    expect(page).to_have_url(re.compile("encoding=rope"))


def test_what_one_sees_can_be_downloaded(page):
    shown(page, "/")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + len(SKILL) + 2  # and the sum, and the hostile one
