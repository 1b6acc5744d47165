"""What the language models answer where answers are given, beside chance."""

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import COLUMNS, download, draw, open_board, records_of, show_frame


def show() -> None:
    st.title("Forced choice")
    board = open_board()
    frame = views.forced_choice(board)
    if frame.empty:
        st.info("This profile asks no questions: it has none of the tasks `harness` and `harness_grape`.")
        return
    st.caption(
        "The model that `language` trained is asked through lm-eval which of several answers is the likeliest; "
        "`length` is how many bytes it reads at most. Small models are often at chance, and the table says so; bits "
        "per byte of the right answer tell them apart long before."
    )
    kinds = list(dict.fromkeys(frame["questions"]))
    kind = links.pick("Questions", kinds, "questions", what="question set")
    shown = frame[frame["questions"] == kind]
    reaches = sorted(set(shown["length"]))
    reach = links.pick(
        "Bytes read at most",
        reaches,
        "reach",
        slug="{:g}".format,
        widget=st.segmented_control,
        required=True,
        format_func="{:g}".format,
    )
    shown = shown[shown["length"] == reach]
    draw(figures.answers(shown, figures.Looks(shown["encoding"])), "harness")
    show_frame(shown, COLUMNS)
    download(shown, "forced-choice")
    records_of(shown["encoding"])
