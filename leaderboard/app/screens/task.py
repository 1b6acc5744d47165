"""One task: its rule, real test items and the answers, its own ranking, agreement with published tables."""

import streamlit as st

from pebench.leaderboard import about, table
from pebench.leaderboard.app import figures, links, rows, views
from pebench.leaderboard.app.widgets import (
    download,
    draw,
    kept_answers,
    narrowed,
    open_board,
    page_address,
    searched,
    show_frame,
    show_table,
    validity,
    ways,
)
from pebench.leaderboard.board import Board
from pebench.leaderboard.printing import plain
from pebench.suite.results.metrics import METRICS


def show() -> None:
    board = open_board()
    names = views.ranked_tasks(board)
    if not names:
        st.title("Tasks")
        st.info("No task of this board has a score yet.")
        return
    name = links.pick("Task", names, "task", format_func=about.title)
    st.title(plain(about.title(name)))
    facts = about.task(board.profile, name)
    if facts is None:
        st.info(f"This pebench does not know the task {plain(name)} in the profile {plain(board.profile)}.")
    else:
        st.caption(views.sizes(facts))
        for paragraph in facts.rule.split("\n\n"):
            st.markdown(views.quoted(paragraph))
        items(board, name, facts.trained)
    ranking(board, name)
    curve(board, name)
    predicts(board, name)


def items(board: Board, name: str, trained: int) -> None:
    """A test item at each of a few lengths with the right answer, and what each encoding answered."""
    st.subheader("What is asked")
    found = about.items(board.profile, name)
    if not found:
        st.caption("pebench keeps no test item of this task.")
        return
    tabs = st.tabs([views.multiple(item, trained) for item in found])
    for tab, item in zip(tabs, found, strict=True):
        with tab:
            st.code(views.question(item), language=None, wrap_lines=True)
            if item.right:
                st.markdown(f"Right answer: **{plain(item.right)}**")
            else:
                st.markdown("The model predicts each byte from the bytes before it.")
            said = views.answered(board, name, table.label(item.condition))
            if said.empty:
                st.caption(f"The records of {plain(board.profile)} keep no answers to this item.")
            else:
                show_frame(said, key=f"answers-{item.multiple}")
                download(said, f"{name}-answers-{item.multiple}")
    other_items(board, name)
    if board.answers.empty and (others := views.answering(board, name, kept_answers())):
        st.caption("What encodings answered in tasks of the same family:")
        ways(others, board.profile)


def other_items(board: Board, name: str) -> None:
    """Any item that the records keep answers to: three for each condition."""
    kept = views.kept_items(board, name)
    if not kept:
        return
    st.markdown("Every item that the records keep answers to:")
    condition = links.pick("Condition", list(dict.fromkeys(of for of, _ in kept)), "condition")
    numbers = [number for of, number in kept if of == condition]
    number = links.pick("Item", numbers, "item", widget=st.segmented_control, required=True)
    asked, right = views.kept_item(board, name, condition, number)
    st.code(asked, language=None, wrap_lines=True)
    st.markdown(f"Right answer: **{plain(right)}**")
    said = views.answered(board, name, condition, number)
    show_frame(said, key="answers-kept")
    download(said, f"{name}-answers-kept")


def ranking(board: Board, name: str) -> None:
    """The encodings by this task alone."""
    st.subheader("Ranked on this task alone")
    alone = narrowed(board, [name])
    st.markdown(plain(views.first_tier(alone)))
    show_table(
        rows.board_table(alone, page_address("encoding", board.profile)),
        "task-board",
    )
    download(views.overview(alone, views.Filter(search=searched("task-board"))), f"{name}-ranking")


def curve(board: Board, name: str) -> None:
    """The task's scored metric along the length, of a few encodings."""
    metrics = [metric for task, metric in views.measured(board, "length") if task == name]
    if not metrics:
        return
    st.subheader("Along the length")
    facts = about.task(board.profile, name)
    frame = views.by_length(board, name, metrics[0], views.few(board))
    if frame.empty:
        st.info("No run of the best encodings learned this task.")
        return
    unit = facts.unit if facts else "tokens"
    draw(
        figures.curves(
            frame,
            "length",
            unit,
            views.better(metrics[0]),
            figures.Looks(views.few(board)),
            views.train_length(board, name),
        ),
        f"task-{name}",
        measured=views.scale(board, name, frame["seeds"]),
    )
    st.caption(
        f"{METRICS[metrics[0]].title}: means over the seeds that learned the task; bars reach to the extremes."
    )


def predicts(board: Board, name: str) -> None:
    """How the order on this task compares with published tables."""
    st.subheader("Agreement with published tables")
    frame = views.task_validity(validity(board), name)
    if frame.empty:
        st.caption("No published table measures the same for encodings of this board.")
        return
    st.caption(
        "Pairs of encodings that published tables separate, and whether this board separates them in the same "
        "direction. tau: +1 the same order, -1 the opposite; its interval is over sources."
    )
    show_frame(frame)
    download(frame, f"{name}-validity")
