"""Cost against quality, with the Pareto front."""

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import COLUMNS, download, draw, open_board, records_of
from pebench.suite.results.metrics import METRICS


def show() -> None:
    st.title("Cost and quality")
    board = open_board()
    metrics = views.cost_metrics(board)
    if not metrics:
        st.info("This profile has no measurement of cost.")
        return
    cost = links.pick(
        "Cost",
        metrics,
        "cost",
        widget=st.segmented_control,
        required=True,
        format_func=lambda m: METRICS[m].title,
    )
    frame = views.cost_quality(board, cost)
    draw(figures.cost_quality(frame, views.better(cost)), "cost")
    st.caption(
        "No other encoding beats one on the front in both. Hollow: no rank. Cost is never mixed into the score."
    )
    st.dataframe(frame, hide_index=True, height="content", column_config=COLUMNS)
    download(frame, "cost")
    records_of(frame["encoding"])
