"""The records of a submission: each is whole, lies in its place, and holds possible numbers."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pebench.leaderboard.submissions.folder import read_bounded, strict_json
from pebench.leaderboard.submissions.report import Check, clip, quote
from pebench.leaderboard.table import label
from pebench.suite.results.metrics import METRICS
from pebench.suite.results.record import LARGEST_SENT, Record, RecordError, Row, from_json
from pebench.suite.results.source import LARGEST_SOURCE

ROWS = 20_000  # of one record
# By unit, narrower than `Metric.possible`: what a measurement can give, and none has.
RANGES = {
    "score": (0.0, 2.0),
    "decades": (-1.0, 16.0),
    "bits": (0.0, 64.0),
    "x RoPE": (1e-4, 1e4),
}
LARGEST = 1e15  # no metric of another unit comes near it


def read_record(folder: Path, path: str, files: Check, check: Check) -> Record | None:
    """The record in a file; None, and a problem, if it is broken, misplaced or too large."""
    data = read_bounded(folder, path, LARGEST_SENT, files)
    if not data:
        return None
    try:
        strict_json(data)
        record = from_json(data.decode("utf-8"))
        if f"records/{record.path.as_posix()}" != path:
            raise RecordError(f"says that its place is {quote(record.path.as_posix())}")
        if len(record.rows) > ROWS:
            raise RecordError(f"has more than {ROWS} rows")
    except (RecordError, ValueError, OverflowError) as e:
        check.problems.append(f"{path}: {clip(str(e))}")
        return None
    values = {"card": record.card, "provenance": record.provenance, "reason": record.reason}
    if wrong := next(_wrong_values(values), ""):
        check.problems.append(f"{path}: {wrong}")
        return None
    return record


def _wrong_values(value: object, where: str = "", depth: int = 0) -> Iterator[str]:
    """Values in JSON data that are too deep, too long, too large or invisible."""
    if depth > 4:
        yield f"{where} is nested too deeply"
    elif isinstance(value, dict):
        if len(value) > 100:
            yield f"{where} has more than 100 fields"
            return
        for key, part in value.items():
            yield from _wrong_values(key, where, depth + 1)
            yield from _wrong_values(part, f"{where} {quote(key)}".strip(), depth + 1)
    elif isinstance(value, list):
        if len(value) > 100:
            yield f"{where} has more than 100 entries"
            return
        for part in value:
            yield from _wrong_values(part, where, depth + 1)
    elif isinstance(value, str):
        if len(value) > LARGEST_SOURCE:
            yield f"{where} is too long"
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t\f" for c in value):
            yield f"{where} holds invisible characters"
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        yield f"{where} is too large a number"


def check_numbers(records: list[Record]) -> Check:
    """Every value within the range of its metric, and no metric twice in one condition."""
    check = Check("every number is possible")
    for r in records:
        for row in r.rows:
            metric = METRICS[row.metric]
            low, high = RANGES.get(metric.unit, metric.possible)
            parts = (row.value, *(v for v in (row.floor, row.ceiling) if v is not None))
            sizes = [v for v in row.condition.values() if not isinstance(v, str)]
            if not all(low <= v <= high and abs(v) <= LARGEST for v in parts) or row.n > 10**10:
                check.problems.append(f"{r.path}: {row.metric} {row.value:g} of n {row.n} is out of range")
            elif any(abs(v) > 10**9 for v in sizes) or any(
                len(str(part)) > 200 for pair in row.condition.items() for part in pair
            ):
                check.problems.append(f"{r.path}: a condition of {row.metric} is out of range")
        twice = [key for key, n in Counter(map(question, r.rows)).items() if n > 1]
        check.problems += [f"{r.path}: {metric} stands there twice" for metric, _ in twice]
    return check


def question(row: Row) -> tuple[str, str]:
    """The metric and the condition of a row."""
    return row.metric, label(row.condition)
