"""Single trials outside every profile: other sizes and training lengths, one seed, no records.

`leaderboard/trials.csv` holds them: exact match of `copy`, and the normalised score of `language` after 600 steps.
A report that cites one names its size, its length and its single seed.
"""

from functools import cache
from pathlib import Path

import pandas as pd

FILE = Path(__file__).parents[1] / "trials.csv"


@cache
def table() -> pd.DataFrame:
    """All trials: task, encoding, layers, width, rate, trained_at, seed, gate, length, value, source."""
    return pd.read_csv(FILE)


def value(task: str, encoding: str, layers: int, width: int, trained_at: int, length: int) -> float | None:
    """What a trial measured at a length, None where there was no such trial."""
    rows = _rows(task, encoding, layers, width, trained_at)
    found = rows[rows["length"] == length]["value"]
    return float(found.iloc[0]) if len(found) else None


def gate(task: str, encoding: str, layers: int, width: int, trained_at: int) -> float | None:
    """The gate of a trial, None where there was no such trial or it has none."""
    found = _rows(task, encoding, layers, width, trained_at)["gate"].dropna()
    return float(found.iloc[0]) if len(found) else None


def _rows(task: str, encoding: str, layers: int, width: int, trained_at: int) -> pd.DataFrame:
    rows = table()
    here = (rows["task"] == task) & (rows["encoding"] == encoding) & (rows["trained_at"] == trained_at)
    return rows[here & (rows["layers"] == layers) & (rows["width"] == width)]
