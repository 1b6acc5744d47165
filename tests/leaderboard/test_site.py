"""The static site: whole, safe, and used in a real Chromium from the disk, where no server helps."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pebench.leaderboard.board import BoardError, make_board
from pebench.leaderboard.export import site
from pebench.leaderboard.export.pictures import badge
from tests.leaderboard.test_board import hostile
from tests.leaderboard.test_browser import FLAGS, chromium
from tests.made_records import SKILL, write_sweep
from tests.walks import some


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile(write_sweep(tmp_path_factory.mktemp("records"), {**SKILL, "rope+fox": 6.5}))


@pytest.fixture(scope="module")
def out(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = site.build([records], None, folder, "1.2.3")
    assert made["badges"] == len(SKILL) + 2
    return folder


class Links(HTMLParser):
    """All that a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value) for name, value in attrs if name in ("href", "src") and value]


def test_every_reference_of_every_page_is_there_and_nothing_is_fetched_elsewhere(out: Path) -> None:
    pages = sorted(out.rglob("*.html"))
    assert len(pages) > len(SKILL)
    for page in pages:
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        for tag, value in links.found:
            outside = value.startswith(("http:", "https:", "//"))
            assert not outside or tag == "a", (page, value)
            if not outside and not value.startswith(("data:", "#")):
                assert (page.parent / value.partition("#")[0]).exists(), (page, value)


def test_hostile_text_is_only_text(out: Path) -> None:
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        for script in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
            json.loads(script)


def test_every_table_is_json(out: Path, records: Path) -> None:
    tables = {
        file.stem: json.loads(file.read_text(encoding="utf-8")) for file in (out / "data").glob("*.json")
    }
    assert {"board", "overview", "pairs", "task-needle", "cost-train_ratio", "rope-runs"} <= tables.keys()
    made = make_board(records)
    assert [e["name"] for e in tables["board"]["encodings"]] == [e.name for e in made.entries]
    assert tables["overview"][0]["score"] == made.entries[0].score


def test_the_first_page_asks_the_questions_of_visitors_and_shows_two_families(out: Path) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    for path in (
        "tasks/needle.html",
        "index.html#sort=keeps",
        "tasks/language.html",
        "compare.html",
        "cost.html",
    ):
        assert f'<a href="{path}">' in text, path
    table = json.loads(text.partition('id="table-overview">')[2].partition("</script>")[0])
    keys = [column["key"] for column in table["columns"]]
    assert {"needle", "language"} <= set(keys)
    assert "copying" not in keys  # all families together are wider than a screen


def test_a_badge_says_the_tier(out: Path, records: Path) -> None:
    text = (out / "badges" / "rope-plus-fox.svg").read_text(encoding="utf-8")
    assert "pebench QUICK" in text
    assert "tier 1" in text
    evil = next(e for e in make_board(records).entries if e.name == "evil")
    assert "<script" not in badge(evil, "<script>")


def test_the_card_is_a_picture_and_the_folder_is_ready_for_its_hosts(out: Path) -> None:
    assert (out / "assets" / "card.png").read_bytes().startswith(b"\x89PNG")
    assert (out / ".nojekyll").exists()
    assert "sdk: static" in (out / "README.md").read_text(encoding="utf-8")
    assert "@software{pebench" in (out / "index.html").read_text(encoding="utf-8")


def test_no_records_are_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="pebench run"):
        site.build([tmp_path], None, tmp_path / "out", "1")


@pytest.fixture(scope="module", params=some(["light", "phone"], "light"))
def page(out: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    path, size = chromium(), (390, 844) if request.param == "phone" else (1280, 900)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        opened = browser.new_page(viewport={"width": size[0], "height": size[1]})
        outside: list[str] = []
        opened.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else outside.append(r.url),
        )
        opened.on("pageerror", lambda error: pytest.fail(f"{error}"))
        opened.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        yield opened
        browser.close()
        assert outside == []


@pytest.mark.browser
def test_the_site_works_from_a_disk(page: Page, out: Path) -> None:
    """Tables sort and search, rows lead to their pages, figures are drawn, two encodings are compared."""
    for file in (
        "index.html",
        "tasks/needle.html",
        "encodings/evil.html",
        "cost.html",
        "claims.html",
        "validity.html",
        "submit.html",
    ):
        page.goto((out / file).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, file
        scrolls = (
            "[...document.querySelectorAll('.pebench-table')].some((t) => t.scrollWidth > t.clientWidth)"
        )
        if file != "encodings/evil.html":  # its words have no end
            assert not page.evaluate(scrolls), f"a table of {file} scrolls sideways"
    page.goto((out / "index.html").as_uri())
    page.get_by_role("link", name="Which keeps its score beyond the training length?").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("keeps")
    page.get_by_role("button", name="overall").click()
    page.reload()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("overall")
    rows = page.locator("tr[data-name]")
    expect(rows).to_have_count(len(SKILL) + 2)
    page.get_by_role("searchbox").fill("grape")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="cost").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("cost")
    expect(page.locator(".js-plotly-plot svg").first).to_be_attached()
    page.get_by_role("link", name="grape_ap", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Path-integral GRAPE")
    page.goto((out / "compare.html").as_uri() + "#fox&rope")
    expect(page.locator("[data-pairs] tbody tr")).to_have_count(4)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    page.goto((out / "compare.html").as_uri() + "#nobody&rope")
    expect(page.get_by_role("alert")).to_have_text("There is no encoding nobody on this board.")
