"""All encodings, ranked: search, filters, choice of columns."""

from collections.abc import Sequence

import streamlit as st

from pebench.leaderboard.app import figures, links, views
from pebench.leaderboard.app.widgets import COLUMNS, NUMBER, PAGES, download, draw, many, open_board
from pebench.leaderboard.board import plain

SHOWN = ["tier", "name", "score", "low", "high", "seeds"]
SHOWN_LAST = ["coverage", "learned", "train_ratio", "certificate", "verified"]


def show() -> None:
    st.title("Positional encodings, ranked")
    board = open_board()
    st.caption(
        f"Profile {board.profile}, {board.size}. Nothing in a tier is "
        "separable from its leader; scores run from 0 (without reading the input) to 1 (an oracle)."
    )
    with st.expander("Search, filters and columns"):
        search = links.write("Search", "search", type="search", live=True)
        families = sorted({entry.family for entry in board.entries})
        kernels = sorted({entry.kernel for entry in board.entries})
        chosen = views.Filter(
            search=search,
            families=many("Family", families, "family"),
            kernels=many("Kernel", kernels, "kernel"),
            content=many("Positions see the content", ["yes", "no"], "content"),
            parameters=many("Has parameters of its own", ["yes", "no"], "parameters"),
            seeds=links.pick("Seeds, at least", range(len(board.seeds) + 1), "seeds", what="number of seeds"),
            certified=links.switch("Certificate passed", "certified"),
            verified=links.switch("Verified: some record was run again", "verified"),
        )
        frame = views.overview(board, chosen)
        known = {**dict.fromkeys(frame.columns), **COLUMNS}
        best = [] if board.ranking.one_seed else ["p_best"]
        start = [*SHOWN, *best, *board.task_families, *SHOWN_LAST]
        columns = links.pick_many(
            "Columns",
            list(frame.columns),
            "columns",
            what="column",
            default=[c for c in start if c in frame],
        )
    if frame.empty:
        st.info("No encoding passes these filters.")
        return
    configuration = {c: known[c] or NUMBER(c, format="%.3f") for c in [*COLUMNS, *board.task_families]}
    state = st.dataframe(
        frame, column_order=columns, column_config=configuration, hide_index=True, height="content",
        on_select="rerun", selection_mode="multi-row", key="table",
    )  # fmt: skip
    follow([frame["name"].iloc[row] for row in state["selection"]["rows"] if row < len(frame)])
    download(frame[columns], "overview")
    draw(figures.scores(frame), "overview")
    for entry in board.entries:
        if entry.reason:
            st.caption(f"No rank: {plain(entry.name)}: {plain(entry.reason)}")
    for note in board.notes:
        st.caption(plain(note))


def follow(names: Sequence[str]) -> None:
    """Links from the chosen rows to their pages."""
    if not names:
        st.caption("Tick rows to open an encoding or to compare several.")
        return
    with st.container(horizontal=True):
        for name in names[:4]:
            st.page_link(PAGES["encoding"], label=f"Open {plain(name)}", query_params={"encoding": name})
        if len(names) > 1:
            query = {"first": names[0], "others": list(names[1:])}
            st.page_link(PAGES["compare"], label="Compare these", query_params=query)
