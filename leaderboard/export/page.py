"""One page of the static site: prose, tables and figures put together part by part."""

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import pandas as pd

from pebench.leaderboard.app import rows
from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import objects, to_frame

MISSING = "404.html"


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


def slug(name: str) -> str:
    """The file name of an encoding's page; a plus in an address may become a space.

    >>> slug("rope+fox"), slug("rope@yarn")
    ('rope-plus-fox', 'rope-at-yarn')
    """
    return name.replace("+", "-plus-").replace("@", "-at-")


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
