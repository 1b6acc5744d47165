"""The board as a folder of static pages: no server, no request to another host, ready for any web host.

Every page has a permanent address, every table lies beside it as JSON, and all text from records is escaped.
"""

import html
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

from plotly.offline import get_plotlyjs

from pebench.leaderboard import extension
from pebench.leaderboard.app import views
from pebench.leaderboard.board import Board, make_board, version_before
from pebench.leaderboard.export.citation import HOME, cited
from pebench.leaderboard.export.page import MISSING, Page, Site, slug
from pebench.leaderboard.export.pages import (
    agreement,
    answering,
    claim,
    compare,
    cost,
    encoding,
    method,
    methods,
    missing,
    of_sizes,
    overview,
    priced,
    sizes,
    submit,
    task,
    tasks,
    ways,
)
from pebench.leaderboard.export.pictures import badge, social_card
from pebench.leaderboard.export.places import PLACES
from pebench.leaderboard.printing import to_json
from pebench.leaderboard.reading import BoardError
from pebench.leaderboard.reports.published import FILE, read
from pebench.leaderboard.reports.validity import validity
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
