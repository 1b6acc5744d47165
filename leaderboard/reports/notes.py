"""What the records say of the tasks and of the learning rate, in sentences with their figures."""

from collections.abc import Iterable

from pebench.leaderboard.board import Board
from pebench.leaderboard.ranking import FEWEST
from pebench.leaderboard.reports import rates
from pebench.leaderboard.reports.gates import FOUR
from pebench.leaderboard.reports.quantities import Quantity, measured, trained_at
from pebench.leaderboard.reports.vocabulary import BEYOND
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import Record

SOME = 0.01  # a score beyond L that is more than nothing
CLOSE = 0.03  # of gates that are as good as equal


def on_tasks(board: Board) -> list[str]:
    """Which references learn each task with every seed, and which tasks say nothing beyond L."""
    runs = board.runs[board.runs["gate"].notna()]
    found = []
    learned = runs[runs["encoding"].isin(FOUR)].groupby(["task", "encoding"])["learned"].agg(["all", "size"])
    for task in sorted(set(learned.index.get_level_values("task"))):
        rows = learned.loc[task]
        if (rows["size"] >= FEWEST).all():
            names = [f"`{name}`" for name in FOUR if name in rows.index and rows.loc[name, "all"]]
            found.append(
                f"`{task}` ({trained_at(board, task)}, {counted(int(rows['size'].min()), 'seed')}): learned with every "
                f"seed by {', '.join(names) or 'none'} of the four."
            )
    for task in sorted(set(board.ranking.data.tasks)):
        mean = measured(board, Quantity(task, BEYOND)).mean
        seeds = (
            board.runs[(board.runs["task"] == task) & (board.runs["outcome"] == "measured")]
            .groupby("encoding")
            .size()
        )
        sure = {name: score for name, score in mean.items() if seeds.get(name, 0) >= FEWEST}
        some = sorted((name for name in sure if sure[name] >= SOME), key=lambda name: -sure[name])
        if 0 < len(some) <= len(sure) / 4:
            told = ", ".join(f"`{name}` {sure[name]:.2f}" for name in some)
            found.append(
                f"`{task}` beyond L: of {len(sure)} encodings with two seeds or more only {told} score {SOME} or more."
            )
    return found


def on_rates(records: Iterable[Record]) -> list[str]:
    """Where another learning rate has a better gate than the board's, and what it would change; one seed."""
    frame = rates.sensitivity(records)
    found = []
    for (task, encoding), row in frame.iterrows():
        best = row["chosen", ""]
        if row["gate", best] - row["gate", 1.0] > CLOSE:
            times = "a third" if best < 1 else f"{best:g} times"
            found.append(
                f"`{encoding}` on `{task}`: gate {row['gate', best]:.2f} at {times} of the board's rate, "
                f"{row['gate', 1.0]:.2f} at its own; score {row['score', best]:.2f} and {row['score', 1.0]:.2f} "
                "(one seed)."
            )
    if len(frame) and not found:
        found.append(f"No gate is better by more than {CLOSE} at another rate (one seed).")
    return found
