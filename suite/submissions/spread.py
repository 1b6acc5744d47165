"""How much another seed moves each number of a task, and so how much another kind of processor may move it.

A processor of another kind rounds differently, and training carries that on until the model is another draw, as
another seed gives one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pebench.suite.results.metrics import METRICS
from pebench.suite.results.names import trained
from pebench.suite.results.record import Record, Row, newest, read_all

Question = tuple[str, str]  # metric, and condition as text
UNKNOWN = 0.05  # standard deviation between seeds where no record tells it, as a share of floor to ceiling
TRAINED = ("share", "score", "bits")  # units of what a trained model is asked


@dataclass(frozen=True)
class SeedSpread:
    """Variances between seeds of one encoding in a task, in squared units of the metric, pooled over encodings."""

    encodings: int = 0  # with two seeds or more
    variances: dict[Question, float] = field(default_factory=dict)

    def variance(self, key: Question, row: Row) -> float:
        """The variance of a number between seeds: of the records, or UNKNOWN squared; 0 where no training moves it."""
        if METRICS[row.metric].unit not in TRAINED:
            return 0.0
        if key in self.variances:
            return self.variances[key]
        whole = row.floor is not None and row.ceiling is not None
        width = abs(row.ceiling - row.floor) if whole else max(1.0, abs(row.value))  # type: ignore[operator]
        return (UNKNOWN * width) ** 2


def seed_spread(records: Iterable[Record], profile: str, task: str) -> SeedSpread:
    """The spread of the newest records of a task; without two seeds of any encoding it is unknown.

    Extensions of an encoding read one training, so of an encoding and its extensions one counts.
    """
    runs: dict[str, list[dict[Question, Row]]] = defaultdict(list)
    for record in newest(list(records)):
        if (record.profile, record.task, record.outcome) == (profile, task, "measured"):
            runs[record.encoding].append(by_question(record))
    found: dict[Question, list[float]] = defaultdict(list)
    several: dict[str, list[dict[Question, Row]]] = {}
    for name in sorted(runs):
        if len(runs[name]) > 1:
            several.setdefault(trained(name), runs[name])
    for of_one in several.values():
        for key in set.intersection(*(set(rows) for rows in of_one)):
            found[key].append(_variance([rows[key].value for rows in of_one]))
    return SeedSpread(len(several), {key: math.fsum(values) / len(values) for key, values in found.items()})


def spread_in(folder: Path, profile: str, task: str) -> SeedSpread:
    """The spread of a task in a records folder; unknown where there is no folder."""
    return seed_spread(read_all(folder)[0] if folder.is_dir() else [], profile, task)


def _variance(values: list[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def by_question(record: Record) -> dict[Question, Row]:
    """The rows of a record by metric and condition."""

    def question(row: Row) -> str:
        # What a check measured is told in its condition, and differs between machines.
        parts = {k: v for k, v in row.condition.items() if row.metric != "pass" or k == "check"}
        return ", ".join(f"{key} {value}" for key, value in sorted(parts.items()))

    return {(row.metric, question(row)): row for row in record.rows}
