"""Whether differences between encodings hold at another size of the model."""

import pandas as pd
import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import (
    COLUMNS,
    NUMBER,
    download,
    draw,
    open_board,
    records_of,
    show_raw,
    trend,
)
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports.trend import VERDICTS, TrendError, legend
from pebench.suite.results.metrics import counted

EVERY = "all"  # tasks
QUANTITIES = {"score": "all lengths", "at_length": "at L", "beyond": "beyond L"}


def show() -> None:
    st.title("Does it hold at another size?")
    open_board()
    quantity = links.pick(
        "Score of", list(QUANTITIES), "quantity", widget=st.segmented_control, required=True,
        format_func=QUANTITIES.__getitem__,
    )  # fmt: skip
    try:
        found = trend(quantity)
        if len(found.tasks) > 1:
            task = links.pick("Task", [EVERY, *found.tasks], "of_task")
            found = found if task == EVERY else trend(quantity, task)
    except TrendError as e:
        st.info(plain(f"{e}."))
        return
    st.markdown(plain(views.sizes_compared(found)))
    if found.doubt:
        st.markdown(plain(found.doubt))
    st.caption(f"{legend('*{}*')} Ends of intervals are columns, *low* and *high*; each size has such ends.")
    frame = views.trend_lines(found)
    chosen = links.pick_many("Verdicts", VERDICTS, "verdict", widget=st.pills, selection_mode="multi")
    encodings = links.pick_many("Encodings", views.compared(found), "pairs", what="encoding")
    frame = views.chosen_lines(frame, chosen, encodings)
    if frame.empty:
        st.info("No pair passes these choices.")
        return
    drawn = views.largest_gaps(frame, found.profiles)
    if len(drawn):
        draw(figures.trend(drawn, found), "trend")
    if len(drawn) < len(frame):
        st.caption(
            f"The figure has {len(drawn)} of {counted(len(frame), 'pair')}: the largest differences, known at every "
            "size."
        )
    shown = [name for name in frame if pd.api.types.is_float_dtype(frame[name])]
    numbers = {name: NUMBER(name, format="%+.3f") for name in shown}
    show_raw(frame, COLUMNS | numbers)
    download(frame, "trend")
    records_of(views.pair_names(frame))
