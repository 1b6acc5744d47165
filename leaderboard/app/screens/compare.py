"""One encoding against others, task by task."""

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import COLUMNS, download, draw, open_board, records_of, show_frame
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports.verdicts import verdict


def show() -> None:
    st.title("Compare")
    board = open_board()
    names = board.ranking.data.encodings
    best = [entry.name for entry in board.entries if entry.name in names]
    if len(best) < 2:
        st.info("A comparison needs two encodings with results.")
        return
    first = links.pick("Is this encoding", best, "first", what="encoding")
    rest = [name for name in best if name != first]
    others = links.pick_many("better than", rest, "others", what="encoding", default=rest[:1])
    frame = views.compare(board, first, others)
    if frame.empty:
        st.info("Choose at least one encoding to compare with.")
        return
    for other in others:
        answer, *reasons = map(plain, verdict(board, first, other))
        st.markdown("\n".join([f"**{answer}**", "", *(f"- {sentence}" for sentence in reasons)]))
    draw(
        figures.differences(frame, first, figures.Looks([first, *others])),
        "compare",
        measured=views.scale(board),
    )
    st.caption(
        "Paired by seed, on the conditions that both have, with 95 % intervals. The p-values are of "
        "single comparisons; tiers correct for all pairs."
    )
    show_frame(frame, COLUMNS)
    download(frame, "compare")
    records_of([first, *others])
