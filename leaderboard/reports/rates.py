"""Whom one learning rate is unfair to: tasks of `STANDARD` trained at a third and at three times their rate as well."""

from collections.abc import Iterable

import pandas as pd

from pebench.leaderboard import ranking, table
from pebench.suite.results.record import Record, newest

# The board's own rate first: of equal gates it is the one to keep.
RATES = {"STANDARD": 1.0, "RATE_THIRD": 1 / 3, "RATE_TRIPLE": 3.0}
SEED = 0  # the other rates have one seed


def sensitivity(records: Iterable[Record]) -> pd.DataFrame:
    """Gate and score of each run that was made at all three rates, indexed by (task, encoding); one seed.

    Columns: ("gate", rate) on validation at the training length, ("score", rate) as on the board, and ("chosen", ""):
    the rate with the best gate. It is chosen in distribution, never by the score.
    """
    kept = [r for r in newest(records) if r.profile in RATES and r.seed == SEED and r.outcome == "measured"]
    at = {profile: [r for r in kept if r.profile == profile] for profile in RATES}
    parts = {}
    for profile, rate in RATES.items():
        runs = table.run_table(at[profile])
        if runs.empty:
            return pd.DataFrame()
        scores = ranking.task_scores(ranking.rank(table.score_table(at[profile])))
        parts["gate", rate] = runs.set_index(["task", "encoding"])["gate"].dropna()
        parts["score", rate] = scores.T.stack()
    frame = pd.DataFrame(parts).dropna()
    frame["chosen", ""] = frame["gate"].idxmax(axis=1) if len(frame) else None
    return frame.sort_index()


def to_markdown(records: Iterable[Record]) -> str:
    """The comparison as a Markdown table, one line for each task and encoding."""
    lines = [
        "| task | encoding | gate at 1/3, 1 and 3 times the rate | best | score at the board's rate | at the best |",
        "|---|---|---|---|---|---|",
    ]
    names = {1.0: "1", 1 / 3: "1/3", 3.0: "3"}
    for (task, encoding), row in sensitivity(records).iterrows():
        best = row["chosen", ""]
        gates = ", ".join(f"{row['gate', rate]:.2f}" for rate in sorted(names))
        lines.append(
            f"| `{task}` | {encoding} | {gates} | {names[best]} "
            f"| {row['score', 1.0]:.2f} | {row['score', best]:.2f} |"
        )
    return "\n".join(lines)
