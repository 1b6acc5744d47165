"""The static site: whole, safe, and used in a real Chromium from the disk, where no server helps."""

import html
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from pebench.leaderboard.app import views
from pebench.leaderboard.board import board_of, make_board
from pebench.leaderboard.export import site
from pebench.leaderboard.export.pictures import badge
from pebench.leaderboard.reading import BoardError
from pebench.suite.results.record import Row, write
from tests.edited_tracks import COST, LOSS, RETRIEVAL, edited, of_another
from tests.leaderboard.test_board import hostile
from tests.leaderboard.test_browser import FLAGS, chromium, copy_link
from tests.leaderboard.test_trend import LARGE, SMALL
from tests.made_records import SKILL, Sweep, write_sweep
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


@pytest.mark.parametrize("folder", some(["out", "versions", "tracks"], "tracks"))
def test_every_reference_of_every_page_is_there_and_nothing_is_fetched_elsewhere(
    folder: str, request: pytest.FixtureRequest
) -> None:
    out: Path = request.getfixturevalue(folder)
    pages = sorted(out.rglob("*.html"))
    assert pages
    for page in pages:
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        for tag, value in links.found:
            outside = value.startswith(("http:", "https:", "//"))
            kept = tag in ("link", "script") and value.startswith("https://example.org/board/")
            assert not outside or tag == "a" or kept, (
                page,
                value,
            )  # kept: the address that the site was told
            if not outside and not value.startswith(("data:", "#")):
                assert (page.parent / value.partition("#")[0]).exists(), (page, value)


def test_hostile_text_is_only_text(out: Path) -> None:
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        for script in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
            json.loads(script)


def strict(file: Path) -> Any:
    """JSON as browsers read it: without NaN."""

    def never(name: str) -> None:
        raise ValueError(f"{file}: {name}")

    return json.loads(file.read_text(encoding="utf-8"), parse_constant=never)


def test_every_table_is_json(out: Path, records: Path) -> None:
    tables = {file.stem: strict(file) for file in (out / "data").glob("*.json")}
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
    assert (out / "QUICK" / "card.png").read_bytes().startswith(b"\x89PNG")
    assert (out / ".nojekyll").exists()
    assert "sdk: static" in (out / "README.md").read_text(encoding="utf-8")
    assert "@software{pebench" in (out / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two versions of a profile, of which the newer one hides no needle."""
    records, folder = tmp_path_factory.mktemp("versions"), tmp_path_factory.mktemp("two")
    write_sweep(records, {"rope": 1.0, "fox": 6.0, "alibi": 4.0}, seeds=2, tasks=["copy", "needle"])
    write_sweep(records, {"rope": 1.0, "fox": 6.0}, seeds=2, profile="QUICK_2", tasks=["copy"])
    site.build([records], "QUICK_2", folder, "1.2.3", "https://example.org/board/")
    return folder


def test_every_version_keeps_its_address_and_the_newest_is_at_the_root(versions: Path) -> None:
    root, newer, older = (
        (versions / part / "index.html").read_text(encoding="utf-8") for part in ("", "QUICK_2", "QUICK")
    )
    assert 'href="QUICK/tasks/needle.html">Which finds a needle in a book, in QUICK?' in root
    assert 'href="../QUICK/tasks/needle.html">Which finds a needle in a book, in QUICK?' in newer
    assert 'href="QUICK/index.html">The version before: QUICK' in root
    for page, profile in ((root, "QUICK_2"), (newer, "QUICK_2"), (older, "QUICK")):
        assert f'<link rel="canonical" href="https://example.org/board/{profile}/index.html">' in page
        assert f'<meta property="og:image" content="https://example.org/board/{profile}/card.png">' in page
    assert "QUICK_2" not in re.sub(r"<ul class=facts>.*?</ul>", "", older, flags=re.DOTALL)
    assert (versions / "QUICK" / "encodings" / "alibi.html").exists()
    assert not (versions / "encodings" / "alibi.html").exists()
    assert 'href="https://example.org/board/assets/site.css"' in (versions / "404.html").read_text()


EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two encodings, and of two methods on a pretrained model whose name is hostile."""
    records, folder = tmp_path_factory.mktemp("tracks"), tmp_path_factory.mktemp("extended")
    write_sweep(records, {"rope": 1.0, "fox": 6.0}, seeds=2, tasks=["copy"])
    lower = defaultdict[tuple[str, str], Callable[[Row], float]](lambda: lambda row: row.value)
    lower[LOSS, "yarn"] = lambda row: row.value - 0.5
    for method in ("none", "yarn"):
        for task, texts in ((LOSS, 2), (RETRIEVAL, 2), (COST, 1)):
            for text in range(texts):
                made = edited(
                    method, text, task, lower[task, method], started=f"2026-10-{text + 10}T12:00:00"
                )
                write(of_another(made, "model", EVIL, "0" * 64), records)
    (records / "EXTEND_QUICK" / "extend_loss" / f"{'broken' * 20}.json").write_text("{")
    site.build([records], None, folder, "1.2.3")
    return folder


def test_methods_of_context_extension_have_a_page(tracks: Path, out: Path) -> None:
    text = (tracks / "extension.html").read_text(encoding="utf-8")
    assert 'href="extension.html"' in (tracks / "index.html").read_text(encoding="utf-8")
    assert f"EXTEND_QUICK: {html.escape(EVIL)}, trained on texts of L = 8,192 tokens" in text
    assert "<img src=x" not in text
    assert "records of 2026-10-10 to 2026-10-11" in text
    assert "brokenbroken" in text
    table = strict(tracks / "data" / "extension-0.json")
    assert [row["method"] for row in table] == ["yarn", "none"]
    assert table[0]["loss_beyond_difference"] < 0
    assert {"extension-0-kinds.json", "extension-0-cost.json"} <= {
        f.name for f in (tracks / "data").iterdir()
    }
    assert not (out / "extension.html").exists()
    assert "extension.html" not in (out / "index.html").read_text(encoding="utf-8")


@pytest.mark.browser
def test_curves_of_methods_are_drawn_from_a_disk(page: Page, tracks: Path) -> None:
    page.goto((tracks / "extension.html").as_uri())
    expect(page.locator(".js-plotly-plot svg.main-svg").first).to_be_attached()
    expect(page.locator("[data-table] tbody tr")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_what_is_new_is_told_of_every_release() -> None:
    def told(*releases: str) -> str:
        sweep = Sweep({name: 1.0 + n for n, name in enumerate(("rope", "fox"))}, tasks=["copy"]).records()
        made = [
            replace(r, provenance=r.provenance | {"versions": {"pebench": releases[r.encoding == "fox"]}})
            for r in sweep
        ]
        return views.news(board_of(made, "QUICK", {"QUICK": len(made)}, []), "0.10.0")

    assert told("0.10.0", "0.10.0") == "New in 0.10.0: all of QUICK."
    assert told("0.9.0", "0.10.0") == "New in 0.10.0, after release 0.9.0: 5 runs; encodings: fox."
    assert told("0.2.0", "0.9.0") == "Nothing of QUICK is newer than release 0.9.0."


def test_how_ranks_work_is_typeset(out: Path) -> None:
    text = (out / "method.html").read_text(encoding="utf-8")
    assert "<li><strong>One scale.</strong>" in text
    assert "<em>without reading the input</em>" in text
    assert "**" not in text


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
    expect(page.locator("math")).to_be_visible()
    page.goto((out / "compare.html").as_uri() + "#fox&rope")
    expect(page.locator("[data-pairs] tbody tr")).to_have_count(4)
    verdict = page.locator(".verdict li")
    expect(verdict.first).to_have_text("fox is better than rope over 3 tasks at and beyond L.")
    page.locator("select").nth(1).select_option("grape_ap")
    expect(verdict.first).to_contain_text("from")
    page.locator("select").nth(1).select_option("rope")
    copy_link(page)
    assert page.evaluate("document.querySelector('link[rel=canonical]').href").endswith("/QUICK/compare.html")
    page.goto((out / "compare.html").as_uri() + "#nobody&rope")
    expect(page.get_by_role("alert")).to_have_text("There is no encoding nobody on this board.")


def test_a_site_links_to_no_page_of_a_version_that_lacks_it(tmp_path: Path) -> None:
    for profile in ("QUICK", "QUICK_2"):
        for record in Sweep({"rope": 1.0, "fox": 6.0}, seeds=2, profile=profile, tasks=["copy"]).records():
            if record.task == "copy":
                write(record, tmp_path / "records")
    site.build([tmp_path / "records"], "QUICK_2", tmp_path / "out", "1.2.3")
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    for link in re.findall(r'<a href="(QUICK/[^"#]+)', text):
        assert (tmp_path / "out" / link).exists(), link
    assert "QUICK/tasks/needle.html" not in text


def test_a_folder_of_something_else_stays_and_a_page_of_the_past_goes(tmp_path: Path) -> None:
    records, out = write_sweep(tmp_path / "records", {"rope": 1.0, "fox": 6.0}, seeds=2), tmp_path / "out"
    site.build([records], None, out, "1.2.3")
    gone = [out / "encodings/fox.html", out / "QUICK/badges/fox.svg", out / "data/fox-runs.json"]
    assert all(file.exists() for file in gone)
    (out / "mine.txt").write_text("stays")
    for file in records.rglob("fox"):
        shutil.rmtree(file)
    site.build([records], None, out, "1.2.4")
    assert not any(file.exists() for file in gone)
    assert (out / "encodings/rope.html").exists()
    assert (out / "mine.txt").exists()
    (out / "README.md").write_text("# Mine")
    with pytest.raises(BoardError, match="something else"):
        site.build([records], None, out, "1.2.4")
    assert (out / "README.md").read_text() == "# Mine"


@pytest.mark.walks
def test_models_of_two_sizes_have_a_page(tmp_path: Path) -> None:
    for record in (*SMALL, *LARGE):
        write(record, tmp_path / "records")
    for made, there in ((["records"], True), ([], False)):
        folder = tmp_path / f"site-{there}"
        one = write_sweep(tmp_path / "one", {"rope": 1.0, "fox": 2.0})
        site.build([tmp_path / name for name in made] or [one], None, folder, "1")
        assert (folder / "trend.html").exists() is there
        assert ("Other sizes" in (folder / "index.html").read_text()) is there
    rows = json.loads((tmp_path / "site-True/data/trend-2.json").read_text())
    assert {row["verdict"] for row in rows} == {"stands", "does not carry over"}
    assert all(row["LARGE_low"] < row["LARGE"] < row["LARGE_high"] for row in rows)
    assert "does not carry over 1" in (tmp_path / "site-True/trend.html").read_text()
