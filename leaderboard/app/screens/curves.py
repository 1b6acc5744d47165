"""A metric against the length of the text."""

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import (
    COLUMNS,
    NUMBER,
    chosen_encodings,
    chosen_metric,
    download,
    draw,
    open_board,
    records_of,
    show_frame,
)
from pebench.leaderboard.printing import plain
from pebench.suite.results.metrics import length_unit


def show() -> None:
    st.title("Length curves")
    board = open_board()
    pair = chosen_metric(board, "length", "curve")
    if pair is None:
        return
    task, metric = pair
    names = chosen_encodings(board, "encodings")
    everyone = links.switch("Also runs that did not learn the task", "unlearned")
    frame = views.by_length(board, task, metric, names, learned_only=not everyone)
    if frame.empty:
        st.info(
            "These encodings have no result in this task."
            if everyone
            else "No run of these encodings learned this task at its training length, or none has a result."
        )
        return
    trained_to = views.train_length(board, task)
    draw(
        figures.curves(
            frame, "length", length_unit(task), views.better(metric), figures.Looks(names), trained_to
        ),
        "curves",
        measured=views.scale(board, task, frame["seeds"]),
    )
    st.caption(
        "Lines are means over seeds, bars reach from the lowest to the highest seed. No point: not measured."
    )
    if absent := [plain(name) for name in names if name not in set(frame["encoding"])]:
        why = "without a result" if everyone else "without a result, or without a run that learned the task"
        st.caption(f"Not drawn, {why}: {', '.join(absent)}.")
    download(frame, "curves")
    records_of(frame["encoding"])
    st.subheader("Effective length")
    st.caption(
        "The longest length up to which the score stays at least 0.5; 0: not even at the shortest. Each task counts "
        "its own: digits of a sum, items to sort, tokens of a text. The longest that was measured is a lower bound."
    )
    lengths = views.effective_lengths(board)
    units = {name: NUMBER(name, help=f"In {length_unit(name)}.") for name in lengths.columns[1:]}
    show_frame(lengths, COLUMNS | units)
    download(lengths, "effective-lengths")
