"""What twice the steps change in `STANDARD_2`: its references, on validation (`python -m benchmarks.trial`)."""

import numpy as np
import pandas as pd

from pebench.leaderboard.reports import rates, rules
from pebench.suite.results.metrics import counted

LEAST = 2  # tasks that all references have after both numbers of steps


def doubled(trials: pd.DataFrame) -> pd.DataFrame:
    """Scores of `rules.of_trials` after the profile's steps (once) and twice as many, indexed by (task, encoding).

    A score is the mean over seeds at a scored length, then over the lengths that both have. Of one seed the last trial
    counts.
    """
    ours = trials[np.isclose(trials["rate"], 1.0, rtol=0.1) & trials["encoding"].isin(rules.REFERENCES)]
    scores = {}
    for name, times in (("once", 1.0), ("twice", 2.0)):
        at = ours[np.isclose(ours["times"], times)]
        at = at.drop_duplicates(["task", "encoding", "seed", "length"], keep="last")
        scores[name] = at.groupby(["task", "encoding", "length"])["score"].mean()
    return pd.DataFrame(scores).dropna().groupby(level=["task", "encoding"]).mean()


def of_references(frame: pd.DataFrame) -> pd.DataFrame:
    """The means of `doubled` over the tasks that have all references; best first after the profile's steps."""
    whole = frame.groupby(level="task").filter(lambda of_task: len(of_task) == len(rules.REFERENCES))
    each = whole.groupby(level="encoding").agg(
        tasks=("once", "size"), once=("once", "mean"), twice=("twice", "mean")
    )
    return each.sort_values("once", ascending=False)


def in_short(frame: pd.DataFrame, page: str) -> str:
    """How far twice the steps move the references' means and their order, with a link to the page; or nothing."""
    each = of_references(frame)
    if each.empty or each["tasks"].iloc[0] < LEAST:
        return ""
    moved = each["twice"] - each["once"]
    once, twice = (
        ", ".join(f"`{name}`" for name in each.sort_values(column, ascending=False).index)
        for column in ("once", "twice")
    )
    order = (
        f"Their order, {once}, stays."
        if once == twice
        else f"Their order is {once} after the profile's steps, and {twice} after twice as many."
    )
    return (
        f"A score is of a budget. On validation, twice the steps move the {len(each)} references' means over "
        f"{counted(int(each['tasks'].iloc[0]), 'task')} by {moved.min():+.2f} to {moved.max():+.2f} "
        f"([few seeds, no interval]({page}#what-twice-the-steps-change)). {order}"
    )


def to_markdown(frame: pd.DataFrame) -> str:
    """The references' mean scores, a sentence on their order, and a line for each task."""
    each = of_references(frame)
    if each.empty or each["tasks"].iloc[0] < LEAST:
        return f"Fewer than {counted(LEAST, 'task')} have all references after twice the steps."
    lines = [
        "| encoding | tasks | score after the profile's steps | after twice as many | difference |",
        "|---" * 5 + "|",
    ]
    lines += [
        f"| {name} | {row['tasks']:.0f} | {row['once']:.2f} | {row['twice']:.2f} "
        f"| {row['twice'] - row['once']:+.2f} |"
        for name, row in each.iterrows()
    ]
    names = list(each.index)
    lines += ["", rates.orders(each, "once", "twice"), ""]
    lines += ["| task | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for task, of_task in frame.groupby(level="task"):
        rows = of_task.droplevel("task")
        cells = [
            f"{rows.at[name, 'once']:.2f} to {rows.at[name, 'twice']:.2f}" if name in rows.index else "-"
            for name in names
        ]
        lines.append(f"| `{task}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)
