"""The loss of each position in a text."""

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import (
    chosen_encodings,
    chosen_metric,
    download,
    draw,
    open_board,
    records_of,
)


def show() -> None:
    st.title("Loss by position")
    board = open_board()
    pair = chosen_metric(board, "position", "loss")
    if pair is None:
        return
    task, metric = pair
    lengths = views.position_lengths(board, task, metric)
    length = links.pick("Text length", lengths, "length")
    names = chosen_encodings(board, "encodings")
    frame = views.by_position(board, task, metric, length, names)
    if frame.empty:
        st.info("Not measured for these encodings at this length.")
        return
    trained_to = views.train_length(board, task)
    draw(
        figures.curves(frame, "position", "tokens", views.better(metric), figures.Looks(names), trained_to),
        "loss",
        measured=views.scale(board, task),
    )
    st.caption(
        "A model that only forgets has a good mean on long texts, because few tokens are early. The loss by position "
        "shows whether late tokens gain from distant ones."
    )
    download(frame, "positions")
    records_of(frame["encoding"])
