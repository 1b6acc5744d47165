"""Whom one learning rate is unfair to: tasks trained at a third and at three times their rate as well.

Of `STANDARD` there are records, of `STANDARD_2` trials on validation (`python -m benchmarks.trial`).
"""

from collections.abc import Iterable

import numpy as np
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
    return _chosen(parts)


def of_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The same of trials (`rules.of_trials`) of the profile's steps; of one seed and rate the last trial counts.

    A score is the mean over the scored lengths, on validation.
    """
    ours = trials[np.isclose(trials["times"], 1.0) & (trials["seed"] == SEED)]
    parts = {}
    for rate in RATES.values():
        at = ours[np.isclose(ours["rate"], rate, rtol=0.1)]
        runs = at.drop_duplicates(["task", "encoding", "length"], keep="last").groupby(["task", "encoding"])
        parts["gate", rate] = runs["gate"].last()
        parts["score", rate] = runs["score"].mean()
    return _chosen(parts)


def _chosen(parts: dict[tuple[str, float], pd.Series]) -> pd.DataFrame:
    frame = pd.DataFrame(parts).dropna()
    frame["chosen", ""] = frame["gate"].idxmax(axis=1) if len(frame) else None
    return frame.sort_index()


def effort(frame: pd.DataFrame) -> pd.DataFrame:
    """What one rate costs each encoding, of `of_trials`; best first at the board's rate.

    Columns: tasks (with all three rates), own (mean score over these at the board's rate), best (at the rate with the
    best gate in each task), gained (their difference). Encodings with fewer tasks than others are left out.
    """
    if frame.empty:
        return pd.DataFrame(columns=["tasks", "own", "best", "gained"])
    best = [row["score", row["chosen", ""]] for _, row in frame.iterrows()]
    means = pd.DataFrame({"own": frame["score", 1.0], "best": best}, index=frame.index)
    each = means.groupby(level="encoding").agg(
        tasks=("own", "size"), own=("own", "mean"), best=("best", "mean")
    )
    each = each[each["tasks"] == each["tasks"].max()]
    return each.assign(gained=each["best"] - each["own"]).sort_values("own", ascending=False)


def effort_to_markdown(frame: pd.DataFrame) -> str:
    """`effort` as a table, with a sentence on the order; behind it the runs, one line for each task and encoding."""
    each = effort(frame)
    if each.empty:
        return "No encoding has trials at all three rates."
    lines = [
        "| encoding | tasks | score at the board's rate | at each task's best rate | difference |",
        "|---" * 5 + "|",
    ]
    lines += [
        f"| {name} | {row['tasks']:.0f} | {row['own']:.2f} | {row['best']:.2f} | {row['gained']:+.2f} |"
        for name, row in each.iterrows()
    ]
    return "\n".join([*lines, "", orders(each, "own", "best"), "", _table(frame)])


def orders(each: pd.DataFrame, one: str, two: str) -> str:
    """Whether two columns of scores order the encodings alike, in a sentence."""
    first, second = (list(each.sort_values(column, ascending=False).index) for column in (one, two))
    if first == second:
        return "The order of the two columns is the same."
    tau = ranking.tau(each[one].to_numpy(), each[two].to_numpy())
    return (
        f"By the second column the order is {', '.join(f'`{name}`' for name in second)}; "
        f"Kendall's tau between the two is {tau:+.2f}."
    )


def to_markdown(records: Iterable[Record]) -> str:
    """The comparison of records as a Markdown table, one line for each task and encoding."""
    return _table(sensitivity(records))


def _table(frame: pd.DataFrame) -> str:
    lines = [
        "| task | encoding | gate at 1/3, 1 and 3 times the rate | best | score at the board's rate | at the best |",
        "|---|---|---|---|---|---|",
    ]
    names = {1.0: "1", 1 / 3: "1/3", 3.0: "3"}
    for (task, encoding), row in frame.iterrows():
        best = row["chosen", ""]
        gates = ", ".join(f"{row['gate', rate]:.2f}" for rate in sorted(names))
        lines.append(
            f"| `{task}` | {encoding} | {gates} | {names[best]} "
            f"| {row['score', 1.0]:.2f} | {row['score', best]:.2f} |"
        )
    return "\n".join(lines)
