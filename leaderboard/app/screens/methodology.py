"""How a rank comes about, and how sure it is."""

import math

import streamlit as st

from pebench.leaderboard import ranking
from pebench.leaderboard.app import figures, views
from pebench.leaderboard.app.widgets import COLUMNS, NUMBER, download, draw, open_board, show_frame
from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports import seeds
from pebench.leaderboard.reports.method import METHOD

STANDING = {
    column: NUMBER(column, format="%.2f")
    for name in views.STANDINGS.values()
    for column in (name, f"{name} P(best)")
}
SPREAD = {
    "within": NUMBER("between seeds", format="%.3f"),
    "largest": NUMBER("largest", format="%.3f"),
    "between": NUMBER("between encodings", format="%.3f"),
    "agree_low": NUMBER("orders agree, least", format="%.2f"),
    "agree_high": NUMBER("orders agree, most", format="%.2f"),
}


def show() -> None:
    st.title("How a rank comes about")
    board = open_board()
    st.markdown(METHOD)
    sure(board)
    by_seed(board)
    other_ways(board)


def sure(board: Board) -> None:
    """The leader and each other encoding, in words and as a table."""
    st.subheader("How sure is the order?")
    sentences = views.how_sure(board)
    if not sentences:
        st.info("Nothing to compare: fewer than two encodings have a rank.")
        return
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in sentences))
    st.caption(
        "The leader against each other encoding. `p` is corrected for all pairs (Holm). `seeds_needed`: seeds with "
        "which a difference this large is found in 80 % of boards. Empty: separated already, or more than 1000."
    )
    table = ranking.behind_leader(board.ranking)
    holm = NUMBER("p", format="%.2g", help="Two-sided p-value, corrected for all pairs (Holm).")
    show_frame(table, {**COLUMNS, "p": holm}, "auto")
    download(table, "leader")


def by_seed(board: Board) -> None:
    """How much runs of one encoding differ, task by task."""
    frame = seeds.spread(board.ranking)
    if frame.empty:
        return
    st.subheader("What does a seed change?")
    st.caption(
        "Standard deviations over the seeds of one encoding (`whose` has the largest) and over the encodings' means, "
        "and Spearman's rank correlations of two seeds' orders. A task whose seeds differ as much as its encodings "
        "separates only the best from the worst."
    )
    show_frame(frame, COLUMNS | SPREAD)
    download(frame, "seeds")


def other_ways(board: Board) -> None:
    """The order under other aggregations, and what mean ranks alone would say."""
    st.subheader("Does another aggregation change the order?")
    orders = ranking.other_orders(board.ranking)
    if len(orders) < 2:
        st.info("Fewer than two encodings have every condition.")
        return
    st.caption(
        "Places of the encodings with full coverage under other aggregations. Where they differ, the order depends "
        "on the aggregation."
    )
    standings = views.standings(board)
    if len(standings):
        st.caption(
            "The other orders of `pebench board --order`, with 95 % intervals over seeds and test items. P(best): the "
            "share of draws of these in which an encoding comes first."
        )
        ends = {name: (f"{name} low", f"{name} high") for name in views.STANDINGS.values()}
        show_frame(standings, COLUMNS | STANDING, intervals=ends)
        download(standings, "standings")
        st.caption("Places in all orders:")
    agreement = ranking.agreement(orders)
    orders = orders.reset_index()
    show_frame(orders, COLUMNS)
    download(orders, "orders")
    st.caption(
        "`tau` (Kendall): 1 is the order of this board, 0 is unrelated to it. `moves`: the most places that an "
        "encoding rises or falls."
    )
    show_frame(agreement, COLUMNS, "auto")
    download(agreement, "agreement")
    with st.expander("Mean ranks alone: the diagram of critical differences"):
        means = views.mean_ranks(board)
        known = math.isfinite(means.friedman)
        friedman = f"Friedman's test of no difference: p = {means.friedman:.2g}. " if known else ""
        draw(figures.critical_difference(means.ranks, means.distance, means.cliques), "ranks")
        st.caption(
            "Mean rank over tasks, best on the left. A thick bar joins encodings that Nemenyi's test does not separate "
            f"(critical difference {means.distance:.2f}). {friedman}"
            "These tests use the order within each task, not the size of a difference: few tasks separate little."
        )
