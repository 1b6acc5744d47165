"""Heat maps of length and depth, and of several needles at once."""

import streamlit as st

from pebench.leaderboard.app import figures, views
from pebench.leaderboard.app.widgets import (
    MAP_WIDTH,
    chosen_encodings,
    chosen_metric,
    download,
    draw,
    open_board,
    records_of,
    ways,
)


def show() -> None:
    st.title("Needle: length and depth")
    board = open_board()
    pair = chosen_metric(board, "depth", "map")
    names = chosen_encodings(board, "encodings") if pair else []
    if pair is None:
        ways(views.needle_maps(board), board.profile)
    if pair is None or not names:
        return
    frame = views.by_depth(board, *pair, names)
    with st.container(horizontal=True):
        for name, rows in frame.groupby("encoding", sort=False):
            draw(figures.heat_map(rows, name), f"map-{name}", width=MAP_WIDTH)
    st.caption(
        "Depth 0 is the beginning of the text. Of several needles, `multi_key` asks for one, `multi_query` for all, "
        "`multi_value` for all values of one key. Empty fields were not measured."
    )
    download(frame, "maps")
    records_of(names)
