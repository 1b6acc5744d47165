"""The first screen: what was measured, the questions that the board answers, and the ranking."""

from dataclasses import replace

import streamlit as st

from pebench.leaderboard import about
from pebench.leaderboard.app import figures, links, rows, views
from pebench.leaderboard.app.widgets import (
    download,
    draw,
    in_short,
    many,
    narrowed,
    open_board,
    page_address,
    searched,
    show_table,
    ways,
)
from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import plain, unranked


def show() -> None:
    st.title("Positional encodings, ranked")
    whole = open_board()
    st.markdown(plain(views.measured_what(whole)))
    short = st.empty()
    ways(views.questions(whole), whole.profile)
    with st.container(horizontal=True, gap="small"):
        tasks = chosen_tasks(whole)
        board = narrowed(whole, tasks)
        filters = chosen_filters(board)
    families = [about.family(task) for task in tasks] or None
    if tasks:
        st.info(plain(f"Ranked on {', '.join(map(about.title, tasks))} alone. {views.first_tier(board)}"))
    show_table(rows.board_table(board, page_address("encoding", board.profile), filters, families), "board")
    with short.expander("In short: what these records say"):  # after the table, as it takes seconds
        st.markdown("\n".join(f"- {sentence}" for sentence in in_short(whole)))
    table = views.overview(board, replace(filters, search=searched("board")))
    if table.empty:
        st.info("No encoding passes these filters.")
        return
    st.caption(rows.CAPTION)
    download(table, "overview")
    st.subheader("Scores with 95 % intervals")
    draw(figures.scores(table), "overview", measured=views.scale(board))
    for names, reason in unranked(board):
        st.caption(f"No rank: {plain(names)}: {plain(reason)}")
    for note in board.notes:
        st.caption(plain(note))


def chosen_tasks(board: Board) -> list[str]:
    """The tasks that the visitor wants the ranking to be made of; none: all."""
    with st.popover("Rank on some tasks only"):
        return links.pick_many(
            "Tasks that count",
            views.ranked_tasks(board),
            "tasks",
            what="task",
            widget=st.pills,
            selection_mode="multi",
            format_func=about.title,
            help="Without a choice all tasks count, each family with equal weight.",
        )


def chosen_filters(board: Board) -> views.Filter:
    """What the visitor wants to see of the board."""
    families = sorted({entry.family for entry in board.entries})
    kernels = sorted({entry.kernel for entry in board.entries})
    with st.popover("Filters"):
        return views.Filter(
            families=many("Family", families, "family"),
            kernels=many("Kernel", kernels, "kernel"),
            content=many("Positions see the content", ["yes", "no"], "content"),
            parameters=many("Has parameters of its own", ["yes", "no"], "parameters"),
            seeds=links.pick("Seeds, at least", views.seed_numbers(board), "seeds", what="number of seeds"),
            certified=links.switch("Certificate passed", "certified"),
            verified=links.switch("Verified: some record was run again", "verified"),
        )
