"""What the pages share: the board, choices that links carry, tables, figures and downloads.

Text in records is hostile: names and prose are escaped for Markdown, formulas cannot leave their block, and
nothing is ever shown as HTML.
"""

import functools
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from pebench.leaderboard import extension, table
from pebench.leaderboard.app import figures, links, rows, views
from pebench.leaderboard.app.launch import DEFAULT_FOLDER, OPEN_VARIABLE
from pebench.leaderboard.app.links import PAGES
from pebench.leaderboard.board import Board, cached_board
from pebench.leaderboard.printing import plain, safe_csv
from pebench.leaderboard.reading import BoardError, folder_named, folders_named, stamp, told_of
from pebench.leaderboard.reports import sentences
from pebench.leaderboard.reports.published import FILE, read
from pebench.leaderboard.reports.trend import Trend, of_folder
from pebench.leaderboard.reports.validity import Validity
from pebench.leaderboard.reports.validity import validity as make_validity
from pebench.suite.results.cache import RECORDS
from pebench.suite.results.metrics import METRICS
from pebench.suite.results.record import Unreadable

ORDERS = ("ascending", "descending")
HOME = Path(__file__).parent
MAP_WIDTH = 260  # pixels of a heat map; several stand in a line
TABLE = st.components.v2.component(
    "pebench.table",
    html='<div class="pebench-table"></div>',
    css=HOME.joinpath("table.css").read_text(encoding="utf-8"),
    js=HOME.joinpath("table.js").read_text(encoding="utf-8"),
)
LINK = st.components.v2.component(  # its style is the whole page's, for printing
    "pebench.link",
    html='<button type="button" class="copy-link">Copy link</button>',
    css=HOME.joinpath("page.css").read_text(encoding="utf-8"),
    js=HOME.joinpath("link.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)
FOLDERS = f"One or more, with {os.pathsep!r} between them; `published` is the published leaderboard."
PICTURES = ("svg", "png")
# Seconds: a browser that loads what draws (5 MB) is busy, so the first visit shows text and tables before.
HEAD_START = 1.2
NUMBER = st.column_config.NumberColumn
NAME = st.column_config.TextColumn("encoding", pinned=True, width=170)  # the longest name
COLUMNS: dict[str, Any] = {
    "encoding": NAME,
    "score": NUMBER("score", format="%.3f", help="0: without reading the input, 1: an oracle."),
    "low": NUMBER("low", format="%.3f", help="Lower end of the 95 % interval."),
    "high": NUMBER("high", format="%.3f", help="Upper end of the 95 % interval."),
    "p_best": NUMBER(
        "P(best)", format="%.2f", help="Share of the draws of seeds and test items in which it is the best."
    ),
    "cost": NUMBER("cost", format="%.4g"),
    "value": NUMBER("value", format="%.4g"),
    "difference": NUMBER("difference", format="%.3f"),
    "separated": st.column_config.CheckboxColumn(
        "separated", help="The p-value, corrected for all pairs (Holm), is below 0.05."
    ),
    "seeds_needed": NUMBER("seeds needed", format="%d"),
    "p": NUMBER("p", format="%.2g", help="Two-sided p-value of a t-test paired by seed, of single pairs."),
    "tau": NUMBER("tau", format="%.2f", help="Kendall's: 1 the same order, -1 the opposite."),
    "accuracy": NUMBER(
        "accuracy", format="%.3f", help="Share of questions in which the right answer is the likeliest."
    ),
    "chance": NUMBER("chance", format="%.3f", help="The accuracy of guessing."),
    "bits_per_byte": NUMBER("bits per byte", format="%.3f", help="Of the right answer."),
}


def copy_link() -> None:
    """A button that copies the address of the page."""
    LINK(key="copy-link")


def empty_pages() -> set[str]:
    """The pages that have nothing to show of the board that the page before showed; at first, of the usual one.

    They are left out of the menu; a link to them still opens them.
    """
    folders, changed = st.session_state.get(links.SOURCES, (None, 0))
    try:
        if folders is None:
            folders = folders_named(os.environ.get(RECORDS, DEFAULT_FOLDER))
            changed = stamp(*map(folder_named, folders))
        board = cached_board(folders, None, (), changed)
        profile = st.session_state.get("profile", board.profile)
        return set(_empty_pages(folders, profile, changed))
    except (BoardError, OSError):  # the page itself says so
        return set()


@functools.lru_cache(maxsize=8)
def _empty_pages(folders: tuple[str, ...], profile: str, changed: int) -> frozenset[str]:
    """Asked for by every page, and a second's work with 100,000 records."""
    return frozenset(views.empty_pages(cached_board(folders, profile, (), changed)))


def open_board() -> Board:
    """The board that the sidebar chooses. Ends the page with the remedy where there is none."""
    found = board_or_reason()
    if isinstance(found, str):
        st.error(plain(found))
        st.stop()
    return found


def board_or_reason() -> Board | str:
    """The board that the sidebar chooses, or why there is none; its folders are known either way (shown_folders).

    An app that is open to others reads no other folder than its own.
    """
    own = os.environ.get(RECORDS, DEFAULT_FOLDER)
    with st.sidebar:
        slot = st.empty()
        with st.expander("Results and pictures"):
            if os.environ.get(OPEN_VARIABLE):
                folder = own
            else:
                folder = links.write("Results folder", "records", own, help=FOLDERS)
            links.pick(
                "Pictures are saved as", PICTURES, "picture", widget=st.segmented_control, required=True
            )
    folders = folders_named(folder or ".")
    st.session_state[links.SOURCES] = (folders, 0)
    try:
        changed = stamp(*map(folder_named, folders))
        st.session_state[links.SOURCES] = (folders, changed)
        with st.spinner("Reading the records"):
            board = cached_board(folders, None, (), changed)
        profile = links.pick(
            "Profile", list(board.profiles), "profile", default=board.profile, widget=slot.selectbox
        )
        if profile != board.profile:
            board = cached_board(folders, profile, (), changed)
    except (BoardError, OSError) as e:
        return str(e)
    for file in board.unreadable:
        st.warning(f"Unreadable and left out: {plain(str(file.path))}: {plain(file.reason)}")
    return board


def shown_folders() -> list[Path]:
    """The folders of the board."""
    folders, _ = st.session_state[links.SOURCES]
    return [folder_named(folder) for folder in folders]


def narrowed(board: Board, tasks: Sequence[str]) -> Board:
    """The board ranked anew on these tasks alone; on all of them where none is named."""
    if not tasks:
        return board
    folders, changed = st.session_state[links.SOURCES]
    return cached_board(folders, board.profile, tuple(tasks), changed)


def in_short(board: Board) -> list[str]:
    """The sentences that hold on the board, for Markdown; made once for a board that has not changed."""
    folders, changed = st.session_state[links.SOURCES]
    return list(_in_short(folders, board.profile, changed))


@functools.lru_cache(maxsize=8)
def _in_short(folders: tuple[str, ...], profile: str, changed: int) -> tuple[str, ...]:
    return tuple(map(views.quoted, sentences.in_short(cached_board(folders, profile, (), changed))))


def kept_answers() -> list[tuple[str, str]]:
    """The profile and task of each record that keeps answers."""
    parts = [told_of(folder).told for folder in shown_folders()]
    return [kept for part in parts for kept in table.answering(part)]


def ways(asked: Sequence[views.Question], profile: str) -> None:
    """Links that answer a visitor's questions."""
    if not PAGES:  # a page that is shown alone
        return
    with st.container(horizontal=True, gap="small"):
        for one in asked:
            st.page_link(PAGES[one.page], label=one.words, query_params={**here(profile), **one.query})


def validity(board: Board) -> Validity:
    """The board against published tables; made once for a board that has not changed."""
    folders, changed = st.session_state[links.SOURCES]
    return _validity(folders, board.profile, changed)


@functools.lru_cache(maxsize=8)
def _validity(folders: tuple[str, ...], profile: str, changed: int) -> Validity:
    return make_validity(cached_board(folders, profile, (), changed), read(FILE))


def tracks_of(profile: str) -> tuple[list[extension.Track], list[Unreadable]]:
    """The boards of a profile of EXTEND in the folders of the board. BoardError where there is none."""
    folders, _ = st.session_state[links.SOURCES]
    return _tracks_of(folders, profile, stamp(*extension.places(shown_folders())))


@functools.lru_cache(maxsize=8)
def _tracks_of(
    folders: tuple[str, ...], profile: str, changed: int
) -> tuple[list[extension.Track], list[Unreadable]]:
    return extension.make_tracks([folder_named(folder) for folder in folders], profile)


def trend(quantity: str, task: str = "") -> Trend:
    """The trend over the sizes in the folders of the board, of one task or all. TrendError where there is one size."""
    folders, changed = st.session_state[links.SOURCES]
    return _trend(folders, quantity, task, changed)


@functools.lru_cache(maxsize=8)
def _trend(folders: tuple[str, ...], quantity: str, task: str, changed: int) -> Trend:
    return of_folder([folder_named(folder) for folder in folders], (), quantity, [task] if task else ())


def here(profile: str | None = None) -> dict[str, str]:
    """What a link to another page needs to show the same records: the profile, and the folder unless it is usual."""
    usual, state = os.environ.get(RECORDS, DEFAULT_FOLDER), st.session_state
    shown, folder = profile or state.get("profile"), state.get("records") or usual
    return {**({"profile": shown} if shown else {}), **({"records": folder} if folder != usual else {})}


def page_address(page: str, profile: str) -> Callable[[str], str]:
    """The address of a page about an encoding or task, by its name."""
    where = here(profile)
    return lambda name: f"{page}?{urlencode({page: name, **where})}"


def searched(key: str) -> str:
    """What a table (show_table) is searched for."""
    return str(st.session_state.get(f"{key}-view", {}).get("search", ""))


def show_table(data: dict[str, Any], key: str) -> None:
    """A table that sorts and searches in the browser; its view is in the address, and its rows lead to their pages."""
    state = st.session_state
    view = state.setdefault(f"{key}-view", {name: data[name] for name in ("sort", "descending", "search")})
    columns = [column["key"] for column in data["columns"]]
    if view["sort"] not in columns:  # a column of the board before
        view |= {name: data[name] for name in ("sort", "descending")}
    if given := {name: links.asked(name)[-1] for name in ("sort", "order", "search") if links.asked(name)}:
        sort = links.match(given.get("sort", data["sort"]), columns, "column", "sort", str)
        down = links.match(given.get("order", ORDERS[1]), ORDERS, "order", "order", str) == ORDERS[1]
        view |= {"sort": sort, "descending": down, "search": given.get("search", "")}
        state[f"{key}-turn"] = views.following(
            state.get(f"{key}-turn", 0)
        )  # the browser takes the address's view

    def changed() -> None:
        view.update(state[key]["view"])

    turn = state.get(f"{key}-turn", 0)
    chosen = TABLE(
        data={**data, **view, "turn": turn}, key=key, on_view_change=changed, on_open_change=nothing,
        on_compare_change=nothing,
    )  # fmt: skip
    links.noted("sort", view["sort"], [view["sort"]])
    links.noted("order", view["descending"], [ORDERS[view["descending"]]])
    if view["search"]:
        links.noted("search", view["search"], [view["search"]])
    if chosen.get("open") and PAGES:
        st.switch_page(PAGES["encoding"], query_params={"encoding": chosen["open"], **here()})
    if chosen.get("compare") and PAGES:
        first, *others = chosen["compare"]
        st.switch_page(PAGES["compare"], query_params={"first": first, "others": others, **here()})


def show_frame(
    frame: pd.DataFrame,
    columns: dict[str, Any] | None = None,
    height: Literal["content", "auto"] = "content",
    wide: Collection[str] = (),
    intervals: Mapping[str, tuple[str, str]] | None = None,
    key: str | None = None,
) -> None:
    """A frame as a table: all its text is seen, printed too. `wide` columns are hidden on a phone.

    `intervals` as in `rows.frame_table`. A `key` tells it from an equal table of the page.
    """
    show_plain({**rows.frame_table(frame, columns, wide, intervals), "tall": height == "auto"}, key)


def show_plain(data: dict[str, Any], key: str | None = None) -> None:
    """A table of rows.py whose rows lead nowhere."""
    TABLE(data={**data, "turn": 0}, key=key)


def show_raw(frame: pd.DataFrame, columns: dict[str, Any] | None = None) -> None:
    """A frame of many rows or columns, in a box that scrolls."""
    st.dataframe(frame, hide_index=True, height="auto", column_config=columns, placeholder="–")


def nothing() -> None:
    """A click is told by the value of the table, and needs no answer of its own."""


def download(frame: pd.DataFrame, name: str) -> None:
    """A button that saves a table."""
    st.download_button("Download as CSV", safe_csv(frame), f"{name}.csv", "text/csv", key=f"csv-{name}")


def draw(figure: Any, key: str, width: int | Literal["stretch"] = "stretch", *, measured: str = "") -> None:
    """A figure that can be saved as a picture from its own menu, in the browser.

    `measured` says above it what it is of (views.scale).
    """
    if measured:
        figures.titled(figure, measured)
    if "drawn" not in st.session_state:
        time.sleep(HEAD_START)
        st.session_state["drawn"] = True
    words = (
        "#fafafa" if st.context.theme.type == "dark" else "#31333f"
    )  # streamlit's own grey is too pale to read
    figure.update_layout(font_color=words)
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(tickfont_color=words, title_font_color=words)
    kind = st.session_state.get("picture", PICTURES[0])
    picture = {
        "toImageButtonOptions": {"format": kind, "filename": f"pebench-{key}"},
        "displaylogo": False,
        "modeBarButtons": [["toImage"]],  # one button, which covers no title on a phone
    }
    st.plotly_chart(figure, key=f"figure-{key}", config=picture, width=width)


def chosen_encodings(board: Board, key: str) -> list[str]:
    """The encodings to draw; starts with the best few."""
    names = [entry.name for entry in board.entries]
    return links.pick_many("Encodings", names, key, what="encoding", default=views.few(board))


def records_of(names: Iterable[str]) -> None:
    """A link from each encoding to its page, which has the record of each of its numbers."""
    if not PAGES:  # a page that is shown alone
        return
    st.caption("The records behind these numbers:")
    with st.container(horizontal=True, gap="small"):
        for name in dict.fromkeys(names):
            st.page_link(PAGES["encoding"], label=plain(name), query_params={"encoding": name, **here()})


def chosen_metric(board: Board, along: str, key: str) -> tuple[str, str] | None:
    """The task and metric to draw, among those measured along length, depth or position."""
    pairs = views.measured(board, along)
    if not pairs:
        st.info(f"Nothing in this profile was measured at more than one {along}.")
        return None
    return links.pick(
        "Task and metric",
        pairs,
        key,
        what="task and metric",
        slug=".".join,
        format_func=lambda pair: f"{pair[0]}: {METRICS[pair[1]].title}",
    )


def many(label: str, options: Sequence[str], key: str) -> list[str]:
    """A choice of none to all; none means that it does not matter."""
    return links.pick_many(label, options, key, widget=st.pills, selection_mode="multi", format_func=plain)
