"""Whether the board orders encodings as published tables do."""

import streamlit as st

from pebench.leaderboard import extension
from pebench.leaderboard.app import figures, views
from pebench.leaderboard.app.widgets import (
    NUMBER,
    download,
    draw,
    open_board,
    show_frame,
    shown_folders,
    tracks_of,
    validity,
)
from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reading import BoardError
from pebench.leaderboard.reports import agreement
from pebench.leaderboard.reports.validity_tables import (
    all_notes,
    best_columns,
    column_frame,
    contradiction_frame,
)
from pebench.suite.results.metrics import counted

ABOUT = """
Each published table is held against the nearest column of this board: the same task where the board has it, else a
related one, at the training length L or beyond it. Of each pair of encodings that a table separates by more than a
margin, the board *agrees* or *contradicts* (p < 0.05, uncorrected), or does *not separate* the two. A pair with a
preview has no p-value: it is not separated. *tau* is the share of the other pairs in the published direction minus
the share in the opposite one: +1 is the same order, -1 the opposite. Its interval is Student's over sources; one source
has none. *smallest difference* is what would be found at 5 % with a power of 80 %, the median over pairs.
"""
FIRST = (  # the answer, then its counts
    *("published quantity", "compared with", "tau", "low", "high", "agree", "contradict", "not separated"),
    *("without a test", "sources", "tables", "smallest difference"),
)
TAU = {name: NUMBER(name, format="%+.2f") for name in ("tau", "low", "high")}


def show() -> None:
    st.title("Published orders")
    board = open_board()
    found = validity(board)
    st.markdown(ABOUT)
    if not found.kinds:
        st.info("This board has no pair of encodings that a published table separates.")
        return
    st.caption(
        f"Models of {found.models}. Of {counted(found.tables, 'published table')} {found.compared} have a pair of "
        f"encodings with two seeds here; they are of {counted(found.total.sources, 'source')}."
    )
    kinds = views.kinds(found).rename(columns={"ours": "compared with"})
    show_frame(kinds[list(FIRST)], TAU, intervals={"tau": ("low", "high")})
    download(kinds, "validity")
    st.subheader("Which column predicts published orders?")
    st.markdown(best_columns(found))
    columns = column_frame(found)
    show_frame(columns.assign(column=columns["column"].str.replace("`", "")), TAU)
    st.subheader("What the board contradicts")
    contradicted = contradiction_frame(found)
    if contradicted.empty:
        st.info("Nothing that both separate.")
    else:
        show_frame(contradicted)
        download(contradicted, "contradictions")
    for note in all_notes(found):
        st.caption(plain(note))
    extended(board)


def extended(board: Board) -> None:
    """Methods of context extension here and on a pretrained model."""
    try:
        tracks = [t for name in extension.profiles(shown_folders()) for t in tracks_of(name)[0]]
    except BoardError:  # no records of the track
        return
    st.subheader("Do methods of context extension order alike on a pretrained model?")
    for track in tracks:
        shared = agreement.sides(board, track)
        st.markdown(agreement.told(board, track, shared))
        for side in shared:
            draw(figures.agreement(side), f"agreement-{track.profile}-{extension.label(track)}-{side.task}")
