"""What the language models answer where answers are given, beside chance."""

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import COLUMNS, download, draw, open_board, records_of, show_frame


def show() -> None:
    st.title("Forced choice")
    board = open_board()
    frame = views.forced_choice(board)
    if frame.empty:
        st.info(
            "These records have no answers to questions of lm-eval. The tasks `harness` and its like ask them."
        )
        return
    st.caption(
        "lm-eval asks a trained language model which of several answers is the likeliest. `length` is the most that it "
        "reads, in bytes, or in tokens where it was trained on tokens. Small models are often at chance. Bits per byte "
        "of the right answer separate them earlier."
    )
    kinds = list(dict.fromkeys(frame["questions"]))
    kind = links.pick("Questions", kinds, "questions", what="question set")
    shown = frame[frame["questions"] == kind]
    reaches = sorted(set(shown["length"]))
    reach = links.pick(
        "Longest text, in bytes or tokens",
        reaches,
        "reach",
        slug="{:g}".format,
        widget=st.segmented_control,
        required=True,
        format_func="{:g}".format,
    )
    shown = shown[shown["length"] == reach]
    draw(figures.answers(shown, figures.Looks(shown["encoding"])), "harness", measured=views.scale(board))
    show_frame(shown, COLUMNS)
    download(shown, "forced-choice")
    records_of(shown["encoding"])
