"""What twice the steps change in `STANDARD_2`: its references, on validation (`python -m benchmarks.trial`)."""

import pandas as pd

from pebench.leaderboard import about
from pebench.leaderboard.reports import rates, rules
from pebench.suite.results.metrics import counted

PROFILE = "STANDARD_2"
LEAST = 2  # tasks that all references have after both numbers of steps


def doubled(trials: pd.DataFrame) -> pd.DataFrame:
    """Scores of `rules.of_trials` after the profile's steps (once) and twice as many, indexed by (task, encoding).

    A score is the mean over seeds at a scored length, then over the lengths that both have. Of one seed the last trial
    counts. Columns: once, twice, and how many seeds each has.
    """
    scores, seeds = {}, {}
    for name, times in (("once", 1.0), ("twice", 2.0)):
        at = rules.of_plan(trials, times=times)
        at = at.drop_duplicates(["task", "encoding", "seed", "length"], keep="last")
        scores[name] = at.groupby(["task", "encoding", "length"])["score"].mean()
        seeds[f"seeds {name}"] = at.groupby(["task", "encoding"])["seed"].nunique()
    means = pd.DataFrame(scores).dropna().groupby(level=["task", "encoding"]).mean()
    return means.join(pd.DataFrame(seeds))


def whole(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `doubled` of tasks that have all references; none where fewer than LEAST tasks have."""
    rows = frame.groupby(level="task").filter(lambda of_task: len(of_task) == len(rules.REFERENCES))
    return rows if len(rows) >= LEAST * len(rules.REFERENCES) else rows[:0]


def of_references(frame: pd.DataFrame) -> pd.DataFrame:
    """The references' means over the tasks of `whole`; best first after the profile's steps."""
    each = whole(frame).groupby(level="encoding")
    means = each.agg(tasks=("once", "size"), once=("once", "mean"), twice=("twice", "mean"))
    return means.sort_values("once", ascending=False)


def setup(frame: pd.DataFrame) -> str:
    """The sizes of the models, and the seeds of each number of steps."""
    rows = whole(frame)
    plans = [about.task(PROFILE, task) for task in rows.index.unique("task")]
    sizes = " or ".join(sorted({f"{plan.layers} layers x {plan.width}" for plan in plans if plan}))
    seeds = [
        " to ".join(dict.fromkeys(f"{n:.0f}" for n in (rows[name].min(), rows[name].max())))
        for name in ("seeds once", "seeds twice")
    ]
    return f"{sizes}; seeds: {seeds[0]} with the profile's steps, {seeds[1]} with twice as many"


def in_short(frame: pd.DataFrame, page: str) -> str:
    """How far twice the steps move each reference's mean, with a link to the page; or nothing."""
    each = of_references(frame)
    if each.empty:
        return ""
    moves = ", ".join(f"`{name}` {row['once']:.2f} to {row['twice']:.2f}" for name, row in each.iterrows())
    return (
        f"A score is of a budget. [Twice the steps]({page}#what-twice-the-steps-change) move the references' mean "
        f"scores on validation: {moves}. They are over {counted(int(each['tasks'].iloc[0]), 'task')} of "
        f"`{PROFILE}`, without an interval ({setup(frame)})."
    )


def to_markdown(frame: pd.DataFrame) -> str:
    """The references' mean scores, a sentence on their order, and a line for each task."""
    each = of_references(frame)
    if each.empty:
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
    lines += ["", f"Mean scores on validation: {setup(frame)}."]
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
