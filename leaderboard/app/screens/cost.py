"""Cost against quality, with the Pareto front."""

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import (
    COLUMNS,
    NUMBER,
    download,
    draw,
    open_board,
    records_of,
    show_frame,
    ways,
)
from pebench.suite.results.metrics import METRICS


def show() -> None:
    st.title("Cost and quality")
    board = open_board()
    metrics = views.cost_metrics(board)
    if not metrics:
        st.info("This profile has no measurement of cost.")
        ways(views.costs_question(board), board.profile)
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
    draw(figures.cost_quality(frame, views.better(cost)), "cost", measured=views.scale(board))
    st.caption(
        "On the front: no other encoding has both a better score and a lower cost. Hollow: no rank, or "
        "conditions are missing. Cost is never part of the score."
    )
    titles = {
        "cost": NUMBER(f"{METRICS[cost].title} ({METRICS[cost].unit})", format="%.4g"),
        "comparable": st.column_config.CheckboxColumn("comparable", help="Has a rank, and every condition."),
        "front": st.column_config.CheckboxColumn("on the front"),
    }
    order = ["encoding", "cost", "score", "front", "low", "high", "comparable", "family"]
    show_frame(frame[order], COLUMNS | titles, wide=order[4:])
    download(frame, "cost")
    records_of(frame["encoding"])
