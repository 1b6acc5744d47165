"""A metric against the length of the text."""

import streamlit as st

from pebench.leaderboard import figures, views
from pebench.leaderboard.board import plain
from pebench.leaderboard.widgets import (
    BOUND,
    COLUMNS,
    chosen_encodings,
    chosen_metric,
    download,
    draw,
    looks,
    open_board,
    records_of,
)


def show() -> None:
    st.title("Length curves")
    board = open_board()
    pair = chosen_metric(board, "length", "curve")
    if pair is None:
        return
    task, metric = pair
    names = chosen_encodings(board, "encodings")
    everyone = st.toggle("Also runs that did not learn the task", key="unlearned", **BOUND)
    frame = views.by_length(board, task, metric, names, learned_only=not everyone)
    if frame.empty:
        st.info(
            "These encodings have no result in this task."
            if everyone
            else "No run of these encodings learned this task at its training length, or none has a result."
        )
        return
    draw(
        figures.curves(frame, "length", views.better(metric), looks(board), views.train_length(board, task)),
        "curves",
    )
    st.caption(
        "Lines are means over seeds, bars reach from the lowest to the highest seed. No point: not measured."
    )
    if absent := [plain(name) for name in names if name not in set(frame["encoding"])]:
        why = "without a result" if everyone else "no run of theirs learned the task, or none has a result"
        st.caption(f"Not drawn, {why}: {', '.join(absent)}.")
    download(frame, "curves")
    records_of(frame["encoding"])
    st.subheader("Effective length")
    st.caption("The longest length up to which the score stays at least 0.5; 0: not even at the shortest.")
    lengths = views.effective_lengths(board)
    st.dataframe(lengths, hide_index=True, height="content", column_config=COLUMNS)
    download(lengths, "effective-lengths")
