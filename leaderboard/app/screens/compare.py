"""One encoding against others, task by task."""

from collections.abc import Collection

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.links import PAGES
from pebench.leaderboard.app.widgets import COLUMNS, download, draw, here, open_board, records_of, show_frame
from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports.verdicts import verdict


def without_score(board: Board, names: Collection[str]) -> None:
    """End the page where the address asks for encodings without a score, as there is nothing to compare."""
    asked = {name for key in ("first", "others") for name in links.asked(key)}
    found = [e for e in board.entries if e.name in asked and e.name not in names]
    if not found:
        return
    for entry in found:
        st.info(plain(f"{entry.name} has no score yet: {entry.reason}."))
    if PAGES:
        st.page_link(PAGES["compare"], label="Compare others", query_params=here(board.profile))
    st.stop()


def show() -> None:
    st.title("Compare")
    board = open_board()
    names = board.ranking.data.encodings
    best = [entry.name for entry in board.entries if entry.name in names]
    if len(best) < 2:
        st.info("A comparison needs two encodings with results.")
        return
    without_score(board, names)
    first = links.pick("Is this encoding", best, "first", what="encoding")
    usual = [name for name in best if name != first][:1]
    chosen = links.pick_many("better than", best, "others", what="encoding", default=usual)
    others = [name for name in chosen if name != first]
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
