"""The board as a folder of static pages: no server, no request to another host, ready for any web host.

Every page has a permanent address, every table lies beside it as JSON, and all text from records is escaped.
"""

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from plotly.offline import get_plotlyjs

from pebench.leaderboard import about, extension, ranking, table
from pebench.leaderboard.app import figures, rows, views
from pebench.leaderboard.board import Board, BoardError, Entry, make_board, version_before
from pebench.leaderboard.export.citation import HOME, cited
from pebench.leaderboard.export.formulas import mathml
from pebench.leaderboard.export.pictures import badge, social_card
from pebench.leaderboard.export.places import PLACES
from pebench.leaderboard.printing import objects, spanned_days, to_frame, to_json, unranked
from pebench.leaderboard.reports import claims, sentences
from pebench.leaderboard.reports.method import METHOD
from pebench.leaderboard.reports.published import FILE, read
from pebench.leaderboard.reports.submitting import SUBMIT
from pebench.leaderboard.reports.trend import Trend, TrendError, by_quantity, legend
from pebench.leaderboard.reports.validity import Validity, validity
from pebench.leaderboard.reports.verdicts import verdict
from pebench.suite.results.record import Unreadable

MENU = {
    "index.html": "Overview",
    "tasks.html": "Tasks",
    "compare.html": "Compare",
    "trend.html": "Other sizes",
    "cost.html": "Cost",
    "extension.html": "Extended contexts",
    "claims.html": "GRAPE's claims",
    "validity.html": "Validity",
    "method.html": "How ranks work",
    "submit.html": "Submit",
}
MISSING = "404.html"
NAME = "title: pebench leaderboard"
SPACE = f"""---
{NAME}
emoji: 📏
colorFrom: blue
colorTo: gray
sdk: static
pinned: false
license: apache-2.0
---

The leaderboard of pebench as static pages, written by `pebench site`.
"""


class Site(NamedTuple):
    """What every page of a site needs."""

    board: Board
    alone: Callable[[str], Board]  # the board ranked on one task
    version: str
    url: str = ""  # where it will be served, empty where that is not known
    offered: Mapping[str, Set[str]] = {}  # by version: the pages of tasks and costs that it has
    extended: "Page | None" = None  # the page of methods on pretrained models, which belong to no version
    sizes: "Page | None" = None  # the page of models of other sizes, where there are any


class Page:
    """The body of one page, put together part by part. `up` leads to the site's root."""

    def __init__(self, path: str, title: str, what: str = "", dates: str | None = None):
        self.path, self.title, self.what = path, title, what
        self.dates = dates  # the days of the page's records; None: the days of the board's records
        self.up = "../" * path.count("/")
        self.parts: list[str] = []
        self.data: dict[str, object] = {}  # the tables, which are written as JSON too

    def add(self, *parts: str) -> None:
        self.parts += parts

    def table(self, name: str, data: dict[str, Any], plain: object) -> None:
        """A table that sorts and searches; `plain` is what its JSON file says."""
        self.data[name] = plain
        self.add(
            f'<div data-table="table-{name}"><div class="pebench-table"></div></div>',
            script(f"table-{name}", data),
            f'<p class="json"><a href="{self.up}data/{name}.json">This table as JSON</a></p>',
        )

    def figure(self, name: str, figure: Any, words: str) -> None:
        """A plotly figure; `words` describe it to readers that do not see it."""
        spec = json.loads(figure.to_json())
        height = spec["layout"].get("height", 450)
        self.add(
            f'<div class="figure-box" role="img" aria-label="{html.escape(words, quote=True)}" '
            f'style="height:{int(height)}px" data-figure="figure-{name}"></div>',
            script(f"figure-{name}", {"data": spec["data"], "layout": spec["layout"]}),
        )


def script(name: str, data: object) -> str:
    """JSON inside a page: no text of it can end its element."""
    text = json.dumps(data, allow_nan=False, default=str).replace("<", "\\u003c")
    return f'<script type="application/json" id="{html.escape(name, quote=True)}">{text}</script>'


def build(
    records: Sequence[Path],
    profile: str | None,
    out: Path,
    version: str,
    url: str = "",
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Write the whole site of a profile into a folder, and count its pages, tables and badges.

    Each version of the profile lies in a folder of its name, where a link means the same for good. The newest one is
    at the root as well. `url` is where the site will be served: previews of links need it. `tell` hears of each step.
    What an earlier call wrote and this one does not is removed. BoardError where there is nothing to show, or the
    folder holds something else; OSError where it cannot be written.
    """
    tell("reading the records")
    newest = make_board(records, profile)
    boards = [newest]
    while before := version_before(boards[-1].profile, newest.profiles):
        boards.append(make_board(records, before))
    tracks, unreadable = extended(records)
    methods_page = methods(tracks, unreadable) if tracks else None
    trends = of_sizes(records)
    clear(out)
    put(out / "README.md", SPACE.encode())  # first: a call that is cut off is known by it
    counts = Counter[str]()
    for n, board in enumerate(boards):
        tell(f"writing the pages of {board.profile}")
        offered = {
            each.profile: answering(each) for each in boards[n:]
        }  # an address for good tells of no later version
        site = Site(
            board,
            partial(_alone, records, board.profile),
            version,
            url.rstrip("/"),
            offered,
            methods_page,
            sizes(trends) if any(board.profile in found.profiles for found in trends.values()) else None,
        )
        pages = all_pages(site)
        counts.update(write(site, pages, out / board.profile, "../"))
        if board is newest:
            first = pages[0]
            first.parts = [ways(site, "") if part == ways(site, "../") else part for part in first.parts]
            write(site, pages, out, "")
            put(out / MISSING, document(site, missing(site), "").encode())
    for name, content in assets().items():
        put(out / "assets" / name, content)
    put(out / ".nojekyll", b"")  # GitHub Pages serves the files as they are
    return dict(counts)


def clear(folder: Path) -> None:
    """Remove the pages, tables and pictures of an earlier site. BoardError where the folder holds something else."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    readme = folder / "README.md"
    if not readme.is_file() or NAME.encode() not in readme.read_bytes():
        raise BoardError(f"{folder} holds something else than a site; name a new folder")
    for place in PLACES:
        for path in [*folder.glob(place), *folder.glob(f"*/{place}")]:
            path.unlink(missing_ok=True)


def extended(records: Sequence[Path]) -> tuple[list[extension.Track], list[Unreadable]]:
    """The boards of methods of context extension, and the files that are no records; none without such records."""
    try:
        found = [extension.make_tracks(records, profile) for profile in extension.profiles(records)]
    except BoardError:
        return [], []
    return [track for tracks, _ in found for track in tracks], found[0][1]


def _alone(records: Sequence[Path], profile: str, task: str) -> Board:
    """The board of one task."""
    return make_board(records, profile, [task])


def all_pages(site: Site) -> list["Page"]:
    """The pages of one board, the first page first."""
    board, against = site.board, validity(site.board, read(FILE))
    return [
        overview(site),
        tasks(site),
        *(task(site, name, against) for name in views.ranked_tasks(board)),
        *(encoding(site, entry) for entry in board.entries),
        compare(site),
        *([site.sizes] if site.sizes else []),
        *([cost(site)] if priced(board) else []),
        *([site.extended] if site.extended else []),
        claim(site),
        agreement(site, against),
        method(),
        submit(),
    ]


def write(site: Site, pages: Sequence["Page"], folder: Path, root: str) -> dict[str, int]:
    """Write the pages of one board with their tables and badges; `root` leads from the folder to the site's root."""
    tables: dict[str, object] = {"board": to_json(site.board)}
    for page in pages:
        put(folder / page.path, document(site, page, root).encode())
        tables |= page.data
    for name, of_page in tables.items():
        text = json.dumps(of_page, indent=1, default=str, allow_nan=False) + "\n"
        put(folder / "data" / f"{name}.json", text.encode())
    for entry in site.board.entries:
        put(folder / "badges" / f"{slug(entry.name)}.svg", badge(entry, site.board.profile).encode())
    put(folder / "card.png", social_card(site.board))
    return {"pages": len(pages), "tables": len(tables), "badges": len(site.board.entries)}


def put(path: Path, content: bytes) -> None:
    """Write a file of the site. A site that was interrupted is written anew, so nothing waits for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def assets() -> dict[str, bytes]:
    """Scripts and styles: ours as classic scripts, so that the pages open from a disk too, and plotly."""
    app, own = files("pebench.leaderboard.app"), files("pebench.leaderboard.export") / "assets"

    def classic(file: str, name: str) -> bytes:
        text = (app / file).read_text(encoding="utf-8")
        return text.replace("export default function show", f"window.{name} = function show").encode()

    return {
        "table.js": classic("table.js", "pebenchTable"),
        "link.js": classic("link.js", "pebenchLink"),
        "table.css": (app / "table.css").read_bytes(),
        "site.js": (own / "site.js").read_bytes(),
        "site.css": (own / "site.css").read_bytes(),
        "plotly.min.js": get_plotlyjs().encode(),
    }


def slug(name: str) -> str:
    """The file name of an encoding's page; a plus in an address may become a space.

    >>> slug("rope+fox"), slug("rope@yarn")
    ('rope-plus-fox', 'rope-at-yarn')
    """
    return name.replace("+", "-plus-").replace("@", "-at-")


def document(site: Site, page: Page, root: str) -> str:
    """A whole page; `root` leads from the folder of its board to the site's root."""
    up, title = page.up, html.escape(page.title)
    top = f"{up}{root}"
    about_it = html.escape(page.what or views.measured_what(site.board), quote=True)
    own = html.escape(f"{f'{site.url}/' if site.url else top}{site.board.profile}/", quote=True)
    permanent = f"{own}{page.path}" if page.path != MISSING else f"{own}index.html"
    menu = " ".join(
        f'<a href="{up}{path}"{" aria-current=page" if path == page.path else ""}>{name}</a>'
        for path, name in MENU.items()
        if path not in left_out(site)
    )
    drawn = any("data-figure" in part for part in page.parts)
    plotly = f'<script src="{top}assets/plotly.min.js"></script>' if drawn else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · pebench</title>
<meta name="description" content="{about_it}">
<meta property="og:title" content="{title}">
<meta property="og:description" content="{about_it}">
<meta property="og:image" content="{own}card.png">
<link rel="canonical" href="{permanent}">
<meta name="twitter:card" content="summary_large_image">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{top}assets/site.css">
<link rel="stylesheet" href="{top}assets/table.css">
</head>
<body>
<header><nav aria-label="Pages">{menu}
<span class="link"><button type="button" class="copy-link">Copy link</button></span></nav></header>
<main>
<h1>{title}</h1>
{chr(10).join(page.parts)}
</main>
<footer>pebench {html.escape(site.version)}, {html.escape(dated(site, page))}. Apache-2.0.
<a href="{HOME}">Source</a>. Every table: <a href="{up}data/board.json">data/board.json</a> and its neighbours.
<a href="{permanent}">Permanent address of this page</a>.
<details><summary>Cite</summary><pre>{html.escape(cited(site.version))}</pre></details></footer>
{plotly}
<script src="{top}assets/table.js"></script>
<script src="{top}assets/link.js"></script>
<script src="{top}assets/site.js"></script>
</body>
</html>
"""


def left_out(site: Site) -> set[str]:
    """The pages of the menu that would be empty."""
    filled = {
        "cost.html": priced(site.board),
        "extension.html": site.extended is not None,
        "trend.html": site.sizes is not None,
    }
    return {path for path, full in filled.items() if not full}


def dated(site: Site, page: Page) -> str:
    """When the records of a page were made."""
    days = views.dates(site.board) if page.dates is None else page.dates
    return f"records of {days}" if days else "records without dates"


def paragraphs(text: str) -> str:
    """Prose, escaped; what stands in backticks is code."""
    return "".join(f"<p>{coded(part)}</p>" for part in text.split("\n\n"))


def coded(text: str) -> str:
    """A stretch of prose, escaped; what stands in backticks is code."""
    parts = (html.escape(part) for part in text.split("`"))
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def opened(text: str) -> str:
    """A text with a capital letter at its start, all else as it is.

    >>> opened("training step (x RoPE)")
    'Training step (x RoPE)'
    """
    return text[:1].upper() + text[1:]


def to_page(up: str) -> Callable[[str], str]:
    """The address of an encoding's page."""
    return lambda name: f"{up}encodings/{slug(name)}.html"


def ranking_table(page: Page, name: str, board: Board, families: Sequence[str] | None = None) -> None:
    """The ranking on a page."""
    data = rows.board_table(board, to_page(page.up), families=families, compare=f"{page.up}compare.html#")
    page.table(name, data, objects(to_frame(board)))


def plain_table(page: Page, name: str, frame: pd.DataFrame, shown: rows.Data | None = None) -> None:
    """Any table on a page; its JSON has the whole frame."""
    page.table(name, shown or rows.frame_table(frame), json.loads(frame.to_json(orient="records")))


def overview(site: Site) -> Page:
    """The first page, of the folder of its version."""
    page, board = Page("index.html", "Positional encodings, ranked"), site.board
    page.add(f"<p>{html.escape(views.measured_what(board))}</p>")
    page.add("<details><summary>In short: what these records say</summary><ul>")
    page.add(*(f"<li>{coded(sentence)}</li>" for sentence in sentences.in_short(board)), "</ul></details>")
    page.add(
        ways(site, "../"),
        f"<p class=facts>{html.escape(views.news(board, site.version))}</p>",
    )
    ranking_table(page, "overview", board)
    page.add(f"<p class=facts>{rows.CAPTION}</p>")
    page.add("<h2>Scores with 95 % intervals</h2>")
    page.figure(
        "scores",
        figures.titled(figures.scores(to_frame(board)), views.scale(board)),
        "The score of each encoding with its 95 % interval.",
    )
    notes = [f"No rank: {names}: {reason}." for names, reason in unranked(board)] + board.notes
    page.add("<ul class=facts>", *(f"<li>{html.escape(note)}</li>" for note in notes), "</ul>")
    return page


def ways(site: Site, root: str) -> str:
    """The questions as links; `root` leads to the site's root, where other versions lie."""
    links = (f'<a href="{path}">{html.escape(text)}</a>' for text, path in questions(site, root))
    return f'<div class="questions">{"".join(links)}</div>'


def answering(board: Board) -> set[str]:
    """The pages of tasks and of costs that a board has."""
    return {f"tasks/{name}.html" for name in views.ranked_tasks(board)} | (
        {"cost.html"} if priced(board) else set()
    )


def questions(site: Site, root: str) -> list[tuple[str, str]]:
    """What visitors ask, and the page of this site that answers it. A question that no page answers is left out."""
    board = site.board

    def where(asked: views.Question) -> str | None:
        profile = asked.query.get("profile", board.profile)
        pages = site.offered.get(profile)
        if pages is None:  # a version after this one, which a site of this profile has not
            return None
        start = "" if profile == board.profile else f"{root}{profile}/"
        if tasks := asked.query.get("tasks"):
            first = min(tasks, key=lambda task: [*views.RETRIEVAL, "language"].index(about.family(task)))
            return f"{start}tasks/{first}.html" if f"tasks/{first}.html" in pages else None
        if asked.page == "cost" and "cost.html" not in pages:
            return None
        if "sort" in asked.query:
            return f"{start}index.html#sort={asked.query['sort']}"
        return f"{start}{'index' if asked.page == 'overview' else asked.page}.html"

    return [(asked.words, path) for asked in views.questions(board) if (path := where(asked))]


def tasks(site: Site) -> Page:
    """The list of all tasks."""
    page = Page("tasks.html", "Tasks")
    for name in views.ranked_tasks(site.board):
        facts = about.task(site.board.profile, name)
        rule = facts.rule.partition("\n\n")[0] if facts else ""
        page.add(
            f'<h2><a href="tasks/{name}.html">{html.escape(about.title(name))}</a></h2>', paragraphs(rule)
        )
        if facts:
            page.add(f"<p class=facts>{html.escape(views.sizes(facts))}</p>")
    return page


def task(site: Site, name: str, against: Validity) -> Page:
    """One task: rule, items, ranking, curve, validity."""
    board, title = site.board, about.title(name)
    page, facts = Page(f"tasks/{name}.html", title), about.task(site.board.profile, name)
    trained = facts.trained if facts else 0
    if facts:
        page.add(f"<p class=facts>{html.escape(views.sizes(facts))}</p>", paragraphs(facts.rule))
    for item in about.items(board.profile, name) if facts else ():
        page.add(
            f"<h2>{html.escape(opened(views.multiple(item, trained)))}</h2>",
            f"<pre>{html.escape(views.question(item))}</pre>",
        )
        if item.right:
            page.add(f"<p>Right answer: <strong>{html.escape(item.right)}</strong></p>")
        said = views.answered(board, name, table.label(item.condition))
        if not said.empty:
            plain_table(page, f"answers-{name}-{item.multiple}", said)
    alone = site.alone(name)
    page.add("<h2>Ranked by this task</h2>", f"<p>{html.escape(views.first_tier(alone))}</p>")
    ranking_table(page, f"task-{name}", alone)
    metrics = [metric for found, metric in views.measured(board, "length") if found == name]
    if metrics and facts:
        frame = views.by_length(board, name, metrics[0], views.few(board))
        if not frame.empty:
            looks = figures.Looks(views.few(board))
            drawn = figures.curves(
                frame, "length", facts.unit, views.better(metrics[0]), looks, views.train_length(board, name)
            )
            page.add("<h2>Along the length</h2>")
            figures.titled(drawn, views.scale(board, name))
            page.figure(f"curve-{name}", drawn, f"{title}: {metrics[0]} against length.")
    found = views.task_validity(against, name)
    page.add("<h2>Agreement with published tables</h2>")
    if found.empty:
        page.add("<p>No published table measures the same for encodings of this board.</p>")
    else:
        plain_table(page, f"validity-{name}", found)
    return page


def encoding(site: Site, entry: Entry) -> Page:
    """One encoding, down to its runs."""
    board, card = site.board, site.board.cards[entry.name]
    page = Page(f"encodings/{slug(entry.name)}.html", entry.title or entry.name, entry.title)
    parts = views.one(board, entry.name)
    page.add(
        f"<p class=facts>{html.escape(f'{entry.name} · {entry.family} · kernel {entry.kernel} · {entry.paper}')}</p>"
    )
    page.add(f"<p>{html.escape(views.standing(entry))}</p>")
    place = html.escape(views.standing(entry), quote=True)
    page.add(f'<p><img src="{page.up}badges/{slug(entry.name)}.svg" alt="{place}"></p>')
    for key in ("formula", "about"):
        text = card.get(key)
        if isinstance(text, str) and text:
            page.add(mathml(text) if key == "formula" else paragraphs(text))
    for title, name, frame in (
        ("Quantities, each with an order of its own", "quantities", views.quantities(entry)),
        ("Task families", "families", parts["families"]),
        ("Cost, over RoPE's", "costs", views.costs(entry)),
        ("Certificate", "certificate", parts["certificate"]),
        (
            "Runs",
            "runs",
            parts["runs"][["task", "seed", "outcome", "learned", "started", "seconds", "commit", "file"]],
        ),
    ):
        if len(frame):
            page.add(f"<h2>{html.escape(title)}</h2>")
            known = {"value": rows.titled("value", "%.4g")}
            plain_table(page, f"{slug(entry.name)}-{name}", frame, rows.frame_table(shortened(frame), known))
    source = card.get("source")
    if isinstance(source, str) and source:
        page.add(f"<details><summary>Source</summary><pre>{html.escape(source)}</pre></details>")
    return page


def shortened(frame: pd.DataFrame) -> pd.DataFrame:
    """Minutes and the beginning of a commit's hash are enough to read."""
    long = {name: size for name, size in (("started", 16), ("commit", 10)) if name in frame}
    return frame.assign(**{name: frame[name].str[:size] for name, size in long.items()})


def pairs(board: Board) -> dict[str, Any]:
    """All paired differences: by the places of both encodings, rows of task, difference, interval, p, seeds.

    And the verdict on each pair, in sentences.
    """
    names = [entry.name for entry in board.entries if entry.name in board.ranking.data.encodings]
    named: dict[str, int] = {}
    found: dict[str, list[list[Any]]] = {}
    said: dict[str, list[str]] = {}
    for a, first in enumerate(names):
        for b, second in enumerate(names[a + 1 :], a + 1):
            frame = ranking.differences(board.ranking, first, second)
            said[f"{a} {b}"] = verdict(board, first, second)
            found[f"{a} {b}"] = [
                [
                    named.setdefault(row.task, len(named)),
                    *(rows.number(x, 4) for x in (row.difference, row.low, row.high, row.p)),
                    row.seeds,
                ]
                for row in frame.itertuples()
            ]
    return {"names": names, "tasks": list(named), "pairs": found, "verdicts": said}


def compare(site: Site) -> Page:
    """Two encodings against each other, chosen on the page."""
    page, table = Page("compare.html", "Compare"), pairs(site.board)
    page.data["pairs"] = table
    page.add(
        '<div id="compare"><p><label>Is <select></select></label> <label>better than <select></select></label>?</p>'
        '<p class="absent" role="alert"></p><ul class="verdict" role="status"></ul><div data-pairs></div></div>',
        "<p class=facts>Paired by seed, on the conditions that both have, with 95 % intervals. The p-values are of "
        "single comparisons; tiers correct for all pairs.</p>",
        script("pairs", table),
        f'<p class="json"><a href="{page.up}data/pairs.json">All pairs as JSON</a></p>',
    )
    return page


def priced(board: Board) -> bool:
    """Whether some cost was measured; else its page would be empty."""
    return bool(views.cost_metrics(board))


def cost(site: Site) -> Page:
    """Cost against quality."""
    page, board = Page("cost.html", "Cost and quality"), site.board
    for metric in views.cost_metrics(board):
        frame = views.cost_quality(board, metric)
        page.add(f"<h2>{html.escape(opened(views.better(metric)))}</h2>")
        page.figure(
            f"cost-{metric}",
            figures.titled(figures.cost_quality(frame, views.better(metric)), views.scale(board)),
            f"Score against {metric}.",
        )
        plain_table(page, f"cost-{metric}", frame)
    return page


def methods(tracks: Sequence[extension.Track], unreadable: Sequence[Unreadable]) -> Page:
    """Methods of context extension on pretrained models: loss by position, hidden numbers, cost."""
    models = ", ".join(dict.fromkeys(each.model for each in tracks))
    days = spanned_days(day for each in tracks for day in each.dates.split(" to "))
    page = Page("extension.html", "Extended contexts", f"Methods of context extension on {models}.", days)
    for file in unreadable:
        page.add(f"<p class=facts>{html.escape(f'Left out: {file.path}: {file.reason}')}</p>")
    for n, track in enumerate(tracks):
        name = f"extension-{n}"
        page.add(f"<h2>{html.escape(extension.heading(track))}</h2>")
        page.add(*(f"<p>{html.escape(note)}</p>" for note in track.notes))
        shown = rows.frame_table(extension.numbers(track), rows.METHODS, intervals=extension.ENDS)
        plain_table(page, name, extension.to_frame([track]), shown)
        page.add(
            *(
                f"<p class=facts>{html.escape(text)}</p>"
                for text in (extension.LEGEND, *extension.told(track))
            )
        )
        method_curves(page, f"{name}-loss", track)
        columns, kinds = extension.kind_table(track)
        if kinds:
            page.add(f"<h3>{html.escape(extension.BY_KIND)}</h3>")
            plain_table(page, f"{name}-kinds", pd.DataFrame(kinds, columns=columns))
        costs = extension.cost_frame(track)
        if len(costs):
            page.add("<h3>Cost</h3>")
            plain_table(page, f"{name}-cost", costs, rows.frame_table(costs, rows.METHOD_COSTS))
    return page


def method_curves(page: Page, name: str, track: extension.Track) -> None:
    """Loss and single needles found of a track's methods, by length."""
    for title, frame, axis, words in (
        ("Loss by position", extension.losses_by_method(track), extension.LOSS_AXIS, extension.LOSS_CURVES),
        (
            "Single needles found, by length",
            extension.levels_by_length(track),
            extension.FOUND_AXIS,
            extension.FOUND_CURVES,
        ),
    ):
        if len(frame):
            page.add(f"<h3>{title}</h3>")
            page.figure(
                f"{name}-{len(page.parts)}", figures.method_curves(track, frame, axis), f"{title}: {axis}."
            )
            page.add(f"<p class=facts>{html.escape(words)}</p>")


def of_sizes(records: Sequence[Path]) -> dict[str, Trend]:
    """The trend over the sizes of models, by the titles of quantity and task; empty where there is one size."""
    with suppress(TrendError):
        return {f"{title}, {task}": found for (title, task), found in by_quantity(records).items()}
    return {}


def sizes(trends: Mapping[str, Trend]) -> Page:
    """Whether differences of encodings hold at another size of the model."""
    page = Page("trend.html", "Does it hold at another size?")
    page.add(
        "<p>The first minus the second, in score, with 95 % intervals over seeds. "
        f"{legend('<em>{}</em>')}</p>"
    )
    for n, (title, found) in enumerate(trends.items()):
        page.add(f"<h2>{title}</h2>", f"<p class=facts>{html.escape(views.sizes_compared(found))}</p>")
        page.add(*([f"<p class=facts>{html.escape(found.doubt)}</p>"] if found.doubt else []))
        frame = views.trend_lines(found)
        ends = {name: (f"{name}_low", f"{name}_high") for name in found.profiles} | {"slope": ("low", "high")}
        plain_table(page, f"trend-{n}", frame, rows.frame_table(frame, intervals=ends))
    return page


def claim(site: Site) -> Page:
    """The claims of the GRAPE paper."""
    page, frame = Page("claims.html", "Orders in the GRAPE paper's tables"), claims.judged(site.board)
    ours = coded(claims.ours(site.board).title)
    page.add(
        f"<p>The paper (arXiv:2512.07805) measures {html.escape(claims.PAPER)}. A verdict stands only on "
        f"{ours}, corrected for the number of claims (Holm, 5 %). <em>Not separated</em> does not "
        "mean equal.</p>"
    )
    for quantity, models in dict(zip(frame["quantity"], frame["models"], strict=True)).items():
        page.add(f"<p class=facts>{coded(f'{quantity}: {models}.')}</p>")
    plain_table(page, "claims", frame, rows.claims_table(frame))
    return page


def agreement(site: Site, against: Validity) -> Page:
    """The board against published tables."""
    page = Page("validity.html", "Held against published tables")
    page.add(
        "<p>Pairs of encodings that published tables separate, and whether this board separates them in the same "
        "direction. tau: +1 the same order, -1 the opposite; its interval is over sources.</p>"
    )
    plain_table(page, "validity", views.kinds(against))
    for note in against.notes:
        page.add(f"<p class=facts>{coded(note)}</p>")
    return page


def method() -> Page:
    """How a rank comes about."""
    page = Page("method.html", "How a rank comes about")
    page.add(listed(METHOD))
    return page


def submit() -> Page:
    """How to submit an encoding."""
    page = Page("submit.html", "Submit an encoding")
    page.add(listed(SUBMIT))
    return page


def listed(text: str) -> str:
    """A numbered list in Markdown, with its bold and slanted words."""
    items = (re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", coded(item)) for item in numbered(text))
    slanted = (re.sub(r"\*(.+?)\*", r"<em>\1</em>", item) for item in items)
    return f"<ol>{''.join(f'<li>{item}</li>' for item in slanted)}</ol>"


def numbered(text: str) -> list[str]:
    """The items of a numbered list in Markdown."""
    items: list[str] = []
    for line in text.splitlines():
        if line[:1].isdigit():
            items.append(line.partition(". ")[2])
        elif items:
            items[-1] += f" {line.strip()}"
    return items


def missing(site: Site) -> Page:
    """What a web host shows for an address that there is not, at whatever depth."""
    page = Page(MISSING, "There is no such page")
    page.up = f"{site.url}/" if site.url else ""
    page.add(
        f'<p>Perhaps the encoding has left the board. <a href="{page.up}index.html">All encodings</a>.</p>'
    )
    return page
