"""Which tasks are learned at the training length, and how surely: the gates of four encodings with every seed."""

import pandas as pd

from pebench.leaderboard.board import Board

# A profile is to have at least two of these learn each task with each seed.
FOUR = ("rope", "alibi", "t5_bias", "fox")


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


def _gates(runs: pd.DataFrame) -> str:
    """The gates of one encoding in the order of its seeds, and whether one fails."""
    values = " ".join(f"{gate:.2f}" for gate in runs["gate"])
    return values if runs["learned"].all() else f"{values} (fails)"
