"""What the pages share: the board, choices that links carry, tables, figures and downloads.

Text in records is hostile: names and prose are escaped for Markdown, formulas cannot leave their block, and
nothing is ever shown as HTML.
"""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import streamlit as st

from pebench.leaderboard.app import links, views
from pebench.leaderboard.app.figures import Looks
from pebench.leaderboard.app.launch import DEFAULT_FOLDER, FOLDER_VARIABLE
from pebench.leaderboard.app.links import PAGES
from pebench.leaderboard.board import Board, BoardError, cached_board, plain, safe_csv, stamp
from pebench.suite.results.metrics import METRICS

PICTURES = ("svg", "png")
# Seconds: a browser that loads what draws (5 MB) is busy, so the first visit shows text and tables before.
HEAD_START = 1.2
NUMBER = st.column_config.NumberColumn
NAME = st.column_config.TextColumn("encoding", pinned=True, width=130)
COLUMNS: dict[str, Any] = {
    "rank": NUMBER("rank", format="%d", help="Encodings of one tier share it."),
    "tier": NUMBER("tier", format="%d", help="Nothing in a tier is separable from its leader."),
    "name": NAME,
    "encoding": NAME,
    "title": st.column_config.TextColumn("title", width="medium"),
    "score": NUMBER("score", format="%.3f", help="0: without reading the input, 1: an oracle."),
    "low": NUMBER("low", format="%.3f", help="Lower end of the 95 % interval."),
    "high": NUMBER("high", format="%.3f", help="Upper end of the 95 % interval."),
    "p_best": NUMBER("P(best)", format="%.2f", help="Share of bootstrap draws in which it is the best."),
    "coverage": NUMBER("coverage", format="percent", help="Share of the conditions that were measured."),
    "learned": NUMBER(
        "learned",
        format="percent",
        help="Share of the tasks learned at the training length, mean over seeds.",
    ),
    "verified": NUMBER(
        "verified", format="percent", help="Share of the records that came out the same again."
    ),
    "reads_content": st.column_config.CheckboxColumn(
        "sees content", help="Positions enter other than by a matrix and a bias of their own."
    ),
    "parameters": NUMBER("parameters", format="%d", help="Of the encoding itself."),
    "train_ratio": NUMBER("train", format="%.2f x", help="Time of a training step over RoPE's."),
    "prefill_ratio": NUMBER("prefill", format="%.2f x", help="Time of a forward pass over RoPE's."),
    "decode_ratio": NUMBER("decode", format="%.2f x", help="Time of one cached token over RoPE's."),
    "cost": NUMBER("cost", format="%.4g"),
    "difference": NUMBER("difference", format="%.3f"),
    "separated": st.column_config.CheckboxColumn(
        "separated", help="The p-value, corrected for all pairs (Holm), is below 0.05."
    ),
    "seeds_needed": NUMBER("seeds needed", format="%d"),
    "p": NUMBER("p", format="%.2g", help="Two-sided p-value of a paired t-test."),
    "tau": NUMBER("tau", format="%.2f", help="Kendall's: 1 the same order, -1 the opposite."),
    "accuracy": NUMBER("accuracy", format="%.3f", help="Questions whose right answer is the likeliest."),
    "chance": NUMBER("chance", format="%.3f", help="The accuracy of who guesses."),
    "bits_per_byte": NUMBER("bits per byte", format="%.3f", help="Of the right answer."),
    "cache_bytes": NUMBER("cache B/token", format="%.0f"),
}


def open_board() -> Board:
    """The board that the sidebar chooses; ends the page with the remedy where there is none."""
    with st.sidebar:
        folder = links.write("Results folder", "records", os.environ.get(FOLDER_VARIABLE, DEFAULT_FOLDER))
        slot = st.empty()
        links.pick("Pictures are saved as", PICTURES, "picture", widget=st.segmented_control, required=True)
    path = str(Path(folder or ".").expanduser())
    try:
        changed = stamp(Path(path))
        with st.spinner("Reading the records"):
            board = cached_board(path, None, changed)
        profile = links.pick("Profile", list(board.profiles), "profile", widget=slot.selectbox)
        if profile != board.profile:
            board = cached_board(path, profile, changed)
    except (BoardError, OSError) as e:
        st.error(plain(str(e)))
        st.stop()
    for file in board.unreadable:
        st.warning(f"Unreadable and left out: {plain(str(file.path))}: {plain(file.reason)}")
    return board


def looks(board: Board) -> Looks:
    return Looks([entry.name for entry in board.entries])


def download(frame: pd.DataFrame, name: str) -> None:
    """A button that saves what one sees."""
    st.download_button("Download as CSV", safe_csv(frame), f"{name}.csv", "text/csv", key=f"csv-{name}")


def draw(figure: Any, key: str, width: int | Literal["stretch"] = "stretch") -> None:
    """A figure that can be saved as a picture from its own menu, in the browser."""
    if "drawn" not in st.session_state:
        time.sleep(HEAD_START)
        st.session_state["drawn"] = True
    kind = st.session_state.get("picture", PICTURES[0])
    picture = {"toImageButtonOptions": {"format": kind, "filename": f"pebench-{key}"}, "displaylogo": False}
    st.plotly_chart(figure, key=f"figure-{key}", config=picture, width=width)


def chosen_encodings(board: Board, key: str, count: int = 5) -> list[str]:
    """The encodings to draw; starts with the best few."""
    names = [entry.name for entry in board.entries]
    return links.pick_many("Encodings", names, key, what="encoding", default=views.few(board, count))


def records_of(names: Iterable[str]) -> None:
    """A link from each encoding to its page, which has the record of each of its numbers."""
    if not PAGES:  # a page that is shown alone
        return
    st.caption("The records behind these numbers:")
    with st.container(horizontal=True, gap="small"):
        for name in dict.fromkeys(names):
            st.page_link(PAGES["encoding"], label=plain(name), query_params={"encoding": name})


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
