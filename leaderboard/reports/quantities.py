"""What the board measures, one quantity at a time: a task or all tasks, at the training length L or beyond it.

Two numbers may be compared only where they are the same quantity, so every report asks here and names what it got.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board
from pebench.leaderboard.ranking.scores import row_means
from pebench.leaderboard.reports.vocabulary import AT, BEYOND
from pebench.suite.results.metrics import length_unit

ALL = ""  # the task of the average of all tasks, weighed as on the board
WHOLE = "at and beyond L"
PHASES = (AT, BEYOND, WHOLE)
POWER = 0.8


class Quantity(NamedTuple):
    """A task ("" is the average of all) and a phase: at L, beyond L, or both as the board's score."""

    task: str
    phase: str

    @property
    def title(self) -> str:
        """Its name in a text: `language` at L.

        >>> Quantity("language", "at L").title, Quantity("", "beyond L").title
        ('`language` at L', 'all tasks beyond L')
        """
        return f"{f'`{self.task}`' if self.task else 'all tasks'} {self.phase}"


class Gap(NamedTuple):
    """`first` minus `second` of one quantity; p is None where one of them is a preview on the board."""

    difference: float
    low: float
    high: float
    p: float | None
    seeds: int
    visible: float | None  # the smallest difference that would be found at 5 % with a power of 80 %


@dataclass(frozen=True)
class Measured:
    """All encodings compared on one quantity."""

    names: list[str]
    mean: dict[str, float]  # score between the floor (0) and the oracle (1)
    pairs: ranking.Pairs | None
    at: dict[str, int]
    tasks: dict[str, frozenset[str]]  # by encoding

    def difference(self, first: str, second: str) -> float:
        """`first` minus `second`, NaN where the two share no condition."""
        if self.pairs is None or not {first, second} <= self.at.keys():
            return np.nan
        return float(self.pairs.difference[self.at[first], self.at[second]])

    def shared(self, first: str, second: str) -> str:
        """How many tasks a difference is over, where the two do not share all: "5 of 7 tasks"."""
        every: frozenset[str] = frozenset().union(*self.tasks.values())
        both = self.tasks.get(first, frozenset()) & self.tasks.get(second, frozenset())
        return "" if both == every else f"{len(both)} of {len(every)} tasks"

    def gap(self, first: str, second: str) -> Gap | None:
        """None where the two share no condition."""
        difference = self.difference(first, second)
        if self.pairs is None or not np.isfinite(difference):
            return None
        a, b = self.at[first], self.at[second]
        error, df = float(self.pairs.error[a, b]), float(self.pairs.df[a, b])
        half = error * float(special.stdtrit(df, 1 - ranking.LEVEL / 2))
        seeds = int(self.pairs.seeds[a, b])
        sure = bool(np.isfinite(self.pairs.p[a, b]))
        visible = half + error * float(special.stdtrit(df, POWER)) if sure else None
        p = float(self.pairs.p[a, b]) if sure else None
        return Gap(difference, difference - half, difference + half, p, seeds, visible)


def quantities(board: Board) -> list[Quantity]:
    """All that this board can be asked for, each quantity once, the averages over tasks first."""
    tasks = {phase: set(_rows(board, phase)["task"]) for phase in PHASES}
    found: list[Quantity] = []
    for task in (ALL, *sorted(tasks[WHOLE])):
        parts = [phase for phase in (AT, BEYOND) if task == ALL or task in tasks[phase]]
        whole = [WHOLE] if len(parts) > 1 else []  # else it is the only part
        found += [Quantity(task, phase) for phase in (*parts, *whole)]
    return found


def measured(board: Board, quantity: Quantity) -> Measured:
    """The encodings of a board on one quantity; computed once for each board."""
    return _measured(_Once(board), quantity)


class _Once:
    """A board as a key of the cache: boards are never changed, and large to compare."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once) and other.board is self.board

    def __hash__(self) -> int:
        return id(self.board)


@lru_cache(maxsize=128)
def _measured(key: _Once, quantity: Quantity) -> Measured:
    rows = _rows(key.board, quantity.phase)
    if quantity.task != ALL:
        rows = rows[rows["task"] == quantity.task]
    if rows.empty:
        return Measured([], {}, None, {}, {})
    data = ranking.cells(rows)
    if not data.tasks:
        return Measured([], {}, None, {}, {})
    parts = ranking.within_tasks(data)
    scores, _ = ranking.averages(data)
    with np.errstate(invalid="ignore"):
        means = row_means(scores)
    mean = {name: float(x) for name, x in zip(data.encodings, means, strict=True) if np.isfinite(x)}
    at = {name: n for n, name in enumerate(data.encodings)}
    ranked = set(key.board.ranking.data.encodings)
    sure = {
        entry.name
        for entry in key.board.entries
        if entry.name in ranked and not entry.preview and entry.certificate != "failed"
    }
    preview = np.array([name not in sure for name in data.encodings], bool)
    of_cell = data.names["task"].to_numpy()
    tasks = {name: frozenset(of_cell[data.has_cell[n]].tolist()) for name, n in at.items()}
    return Measured(data.encodings, mean, ranking.without_p(ranking.pairs(data, parts), preview), at, tasks)


def _rows(board: Board, phase: str) -> pd.DataFrame:
    """The scored rows of trained tasks at L, beyond it, or both."""
    rows = board.scores[board.scores["score"].notna() & board.scores["length"].notna()]
    trained = rows["task"].map(train_lengths(board)).astype(float)
    keep = {AT: rows["length"] == trained, BEYOND: rows["length"] > trained, WHOLE: trained.notna()}[phase]
    return rows[keep]


def train_lengths(board: Board) -> dict[str, float]:
    """By task: the length that most of its runs are trained at, in the task's own unit."""
    lengths = board.runs.dropna(subset="train_length").groupby("task", observed=True)["train_length"]
    return {str(task): float(of_task.mode().iloc[0]) for task, of_task in lengths}


def scope(board: Board, phase: str) -> str:
    """The tasks that the average at L, or beyond it, is over: "all tasks", "4 of 6 tasks", or the only one's name."""
    data = board.ranking.data
    there = data.tasks_with({AT: "at_length", BEYOND: "beyond"}[phase])
    if len(there) == len(data.tasks):
        return "all tasks"
    return f"`{there[0]}`" if len(there) == 1 else f"{len(there)} of {len(data.tasks)} tasks"


def on_other_processors(runs: pd.DataFrame, first: str, second: str) -> bool:
    """Whether no processor, with its precision of products, made trained runs of both.

    Its effect is in their difference. `runs` is a `table.run_table`, as a board's `runs`.
    """
    trained = runs[runs["gate"].notna() & (runs["cpu"] != "")]
    kinds = [
        set(zip(rows["cpu"], rows["precision"], strict=True))
        for name in (first, second)
        if len(rows := trained[trained["encoding"] == name])
    ]
    return len(kinds) == 2 and not kinds[0] & kinds[1]


def trained_at(board: Board, task: str = ALL) -> str:
    """The training length in words: "L = 128 tokens"; of all tasks "L = 3 to 128 (in units of the task)"."""
    lengths = train_lengths(board)
    if task != ALL:
        return f"L = {lengths[task]:g} {length_unit(task)}"
    spans = sorted(lengths[name] for name in board.ranking.data.tasks if name in lengths)
    if not spans:
        return "unknown L"
    span = f"{spans[0]:g}" if spans[0] == spans[-1] else f"{spans[0]:g} to {spans[-1]:g}"
    return f"L = {span} (in units of the task)"


def size(board: Board, task: str = ALL) -> str:
    """The parameters of the board's models, of a task or of all, in words: "0.11 to 0.18 M parameters"."""
    found = board.runs[board.runs["task"].eq(task) | (task == ALL)]["parameters"].dropna()
    if found.empty:
        return "models of unknown size"
    few, many = (f"{x / 1e6:.2f}" for x in (found.min(), found.max()))
    return f"{few} M parameters" if few == many else f"{few} to {many} M parameters"


def raw_means(
    board: Board, pair: tuple[str, str], task: str, metric: str, length: float
) -> tuple[float, float] | None:
    """The means of a metric as it was measured (exact match, bits per byte), over the seeds that both have.

    None where they share no seed.
    """
    rows = board.scores
    here = rows[(rows["task"] == task) & (rows["metric"] == metric) & (rows["length"] == length)]
    of = here[here["encoding"].isin(pair)].astype({"encoding": str})
    by_seed = of.pivot_table("value", "seed", "encoding").reindex(columns=list(pair)).dropna()
    return (float(by_seed[pair[0]].mean()), float(by_seed[pair[1]].mean())) if len(by_seed) else None
