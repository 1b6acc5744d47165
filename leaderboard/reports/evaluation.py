"""How much of a run is no training: building the model, reading its texts, and most of all measuring it."""

from collections.abc import Iterable

import pandas as pd

from pebench.leaderboard.columns import number
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import Record

SHOWN = 0.05  # a task below this share is counted among the others


def shares(records: Iterable[Record]) -> pd.Series:
    """The share of a run's seconds that its training did not take, by task: the median over records."""
    found: dict[str, list[float]] = {}
    for r in records:
        tokens, speed, seconds = (
            number(r.provenance.get(key)) for key in ("tokens", "tokens_per_second", "seconds")
        )
        if tokens and speed and seconds:
            found.setdefault(r.task, []).append(1 - tokens / speed / seconds)
    return pd.Series({task: float(pd.Series(part).median()) for task, part in found.items()}, dtype=float)


def to_markdown(records: Iterable[Record], *profiles: str) -> str:
    """A line for each task of these profiles with more than SHOWN; the others are counted."""
    every = list(records)
    lines = ["| profile | task | share | records |", "|---|---|---|---|"]
    for profile in profiles:
        of_profile = [r for r in every if r.profile == profile]
        found = shares(of_profile).sort_values(ascending=False)
        for task, share in found[found > SHOWN].items():
            count = sum(r.task == task for r in of_profile)
            lines.append(f"| `{profile}` | `{task}` | {share:.0%} | {count} |")
        rest = found[found <= SHOWN]
        if len(rest):
            lines.append(f"| `{profile}` | {counted(len(rest), 'other task')} | at most {rest.max():.0%} | |")
    return "\n".join(lines)
