"""Which tasks are learned at the training length, and how surely; what came out of the two control tasks."""

import pandas as pd

from pebench.leaderboard.board import Board
from pebench.leaderboard.ranking.keeps import of_runs

# A profile is to have at least two of these learn each task with each seed.
FOUR = ("rope", "alibi", "t5_bias", "fox")
CONTROLS = {
    "copy_unique": "to generalise",
    "parity": "not to generalise",
}  # what theory predicts of longer inputs


def to_markdown(board: Board) -> str:
    """A line for each task: gates of the four by seed, and how many encodings pass with each.

    Only encodings with the full number of seeds are counted: fewer are passed more easily.
    """
    lines = [
        f"| task | from | {' | '.join(FOUR)} | pass with every seed |",
        "|---" * (len(FOUR) + 3) + "|",
    ]
    runs = board.runs[board.runs["gate"].notna()].sort_values("seed")
    for task in sorted(set(runs["task"])):
        of_task = runs[runs["task"] == task]
        found = of_task.groupby("encoding")["learned"].agg(["all", "size"])
        always = found["all"][found["size"] == found["size"].max()]
        each = " | ".join(_gates(of_task[of_task["encoding"] == name]) for name in FOUR)
        passed = f"{int(always.sum())} of {len(always)}"
        lines.append(f"| `{task}` | {of_task['threshold'].iloc[0]:g} | {each} | {passed} |")
    return "\n".join(lines)


def controls(board: Board) -> str:
    """A line for each control task: which encodings keep half of the score at L up to the longest scored length."""
    lines = [
        "| task | predicted | longest | all runs keep half | some do | none does | no run passes the gate |",
        "|---" * 7 + "|",
    ]
    runs = of_runs(board.scores, board.runs)
    for task, predicted in CONTROLS.items():
        of_task = runs[runs["task"] == task]
        if of_task.empty:
            continue
        passed = of_task[of_task["learned"]].groupby("encoding")["held"].agg(["any", "all"])
        cells = (
            passed.index[passed["all"]],
            passed.index[passed["any"] & ~passed["all"]],
            passed.index[~passed["any"]],
            sorted(set(of_task["encoding"]) - set(passed.index)),
        )
        longest = board.scores.loc[board.scores["task"] == task, "length"].max()
        trained = board.runs.loc[board.runs["task"] == task, "train_length"].mode().iloc[0]
        named = " | ".join(", ".join(f"`{name}`" for name in part) or "-" for part in cells)
        lines.append(f"| `{task}` | {predicted} | {longest / trained:.2f} L | {named} |")
    return "\n".join(lines)


def _gates(runs: pd.DataFrame) -> str:
    """The gates of one encoding in the order of its seeds, and whether one fails."""
    values = " ".join(f"{gate:.2f}" for gate in runs["gate"])
    return values if runs["learned"].all() else f"{values} (fails)"
