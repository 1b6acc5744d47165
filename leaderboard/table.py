"""Records as data frames: long, one row a fact, and pure: no file is read here."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pebench.suite.results.record import CERTIFICATE, Condition, Record, normalised

SCORE_COLUMNS = [
    *("encoding", "task", "task_family", "seed", "metric"),
    *("condition", "length", "depth", "position", "kind", "questions", "phase"),
    *("value", "n", "floor", "ceiling", "score", "fingerprint", "file"),
]


def score_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row per measured number; `score` is 0 at the floor, 1 at the ceiling, NaN where it does not count.

    `length`, `depth`, `position`, `kind` (of needles) and `questions` (a set of them) repeat what the condition says;
    `condition` is all of it, as text. `phase` is "at_length" up to the training length of the task, "beyond" above it,
    and empty where either length is unknown.
    """
    measured = [r for r in records if r.task != CERTIFICATE]
    rows = [row for r in measured for row in r.rows]
    run = np.repeat(np.arange(len(measured)), [len(r.rows) for r in measured])
    # The same few conditions and metrics come again and again.
    conditions: dict[tuple[Any, ...], int] = {}
    place = [conditions.setdefault(tuple(row.condition.items()), len(conditions)) for row in rows]
    metrics: dict[str, int] = {}
    metric = [metrics.setdefault(row.metric, len(metrics)) for row in rows]
    runs = pd.DataFrame(
        [
            (
                r.encoding,
                r.task,
                _text(r.setup.get("task_family"), r.task),
                r.seed,
                r.fingerprint,
                str(r.path),
            )
            for r in measured
        ],
        columns=["encoding", "task", "task_family", "seed", "fingerprint", "file"],
    )
    places = pd.DataFrame(
        [
            (
                label(condition),
                *(_number(condition.get(key)) for key in ("length", "depth", "position")),
                *(_text(condition.get(key)) or None for key in ("kind", "task")),
            )
            for condition in map(dict, conditions)
        ],
        columns=["condition", "length", "depth", "position", "kind", "questions"],
    ).astype({"length": float, "depth": float, "position": float, "kind": object, "questions": object})
    named = pd.DataFrame({"metric": list(metrics)})
    parts = [runs.take(run), places.take(np.array(place, int)), named.take(np.array(metric, int))]
    frame = pd.concat([part.reset_index(drop=True) for part in parts], axis=1)
    for column in ("value", "floor", "ceiling"):
        frame[column] = np.array([getattr(row, column) for row in rows], float)
    # A stranger's count may be any whole number.
    frame["n"] = np.array([min(row.n, 2**63 - 1) for row in rows], int)
    with np.errstate(over="ignore"):  # a stranger's number may be as large as floats go
        score = normalised(frame["value"], frame["floor"], frame["ceiling"])
    # The gate is measured on the training distribution: it says who learned the task, and counts no more.
    frame["score"] = score.clip(lower=0.0).where(frame["metric"] != "gate")
    # A task is in the family that most of its rows name: one record cannot move it.
    family = frame.groupby("task")["task_family"].agg(lambda names: names.mode().iloc[0])
    frame["task_family"] = frame["task"].map(family)
    trained = frame["task"].map(_train_lengths(measured)).astype(float)
    reached = frame["length"].notna() & trained.notna()
    frame["phase"] = np.where(reached, np.where(frame["length"] > trained, "beyond", "at_length"), "")
    return frame[SCORE_COLUMNS]


def _train_lengths(records: list[Record]) -> dict[str, float]:
    """The training length of each task, in its unit: of the most records, as one record cannot move it."""
    told: dict[str, Counter[float]] = defaultdict(Counter)
    for r in records:
        if (length := _number(r.setup.get("train_length"))) is not None:
            told[r.task][length] += 1
    return {task: lengths.most_common(1)[0][0] for task, lengths in told.items()}


def run_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row per record: what was run, how it ended, on what, how to repeat it."""
    runs = []
    for r in records:
        p, s = r.provenance, r.setup
        learned = next((row.value for row in r.rows if row.metric == "gate"), None)
        threshold = _number(s.get("gate"))
        runs.append(
            {
                "encoding": r.encoding,
                "task": r.task,
                "task_family": _text(s.get("task_family"), r.task),
                "seed": r.seed,
                "outcome": r.outcome,
                "reason": r.reason,
                "gate": learned,
                "threshold": threshold,
                "learned": None if learned is None or threshold is None else bool(learned >= threshold),
                "train_length": _number(s.get("train_length")),
                "started": _text(p.get("started")),
                "seconds": _number(p.get("seconds")),
                "tokens": _number(p.get("tokens")),
                "tokens_per_second": _number(p.get("tokens_per_second")),
                "peak_memory_bytes": _number(p.get("peak_memory_bytes")),
                "parameters": _number(_part(p, "parameters", "total")),
                "parameters_encoding": _number(_part(p, "parameters", "encoding")),
                "versions": _pairs(p.get("versions")),
                "platform": _text(p.get("platform")),
                "cpu": _text(p.get("cpu")),
                "device": _text(p.get("device")),
                "threads": _number(p.get("threads")),
                "precision": _text(p.get("precision")),
                "commit": _text(p.get("commit")),
                "clean": p.get("dirty") is False,
                "no_commit": "" if p.get("commit") else _text(p.get("no_commit")),
                "corpus": _text(_part(s, "corpus", "name")),
                "command": _text(p.get("command")),
                "fingerprint": r.fingerprint,
                "file": str(r.path),
            }
        )
    frame = pd.DataFrame(runs)
    if runs:
        kinds = frame.groupby(["encoding", "task"])["fingerprint"].transform("nunique")
        frame["stale"] = kinds > 1
    return frame


def check_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row per check of a certificate: encoding, check, passed, detail."""
    rows = [
        (r.encoding, *(str(row.condition.get(key, "")) for key in ("check", "detail")), row.value >= 1)
        for r in records
        for row in r.rows
        if row.metric == "pass"
    ]
    frame = pd.DataFrame(rows, columns=["encoding", "check", "detail", "passed"])
    return frame.astype({"passed": bool})


ANSWERS = ["encoding", "task", "seed", "condition", "item", "asked", "answer", "said", "right"]


def answer_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row per answer that a record keeps: the test item, the right answer, what was said, whether it was right."""
    rows = [
        (
            r.encoding,
            r.task,
            r.seed,
            label(a["condition"]),
            a["item"],
            a["asked"],
            a["answer"],
            a["said"],
            a["right"],
        )
        for r in records
        for a in r.answers
    ]
    return pd.DataFrame(rows, columns=ANSWERS).astype({"right": bool})


def card_table(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """The card of each encoding, from its record that started last."""
    ordered = sorted(records, key=lambda r: _text(r.provenance.get("started")))
    return {r.encoding: r.card for r in ordered}


def label(condition: Condition) -> str:
    """A condition as text, the same for equal conditions: 'depth 0.5, length 256'."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in sorted(condition.items()))


def _plain(value: int | float | str) -> int | float | str:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    return None


def _text(value: object, default: str = "") -> str:
    return value if isinstance(value, str) and value else default


def _part(data: Mapping[str, object], name: str, key: str) -> object:
    part = data.get(name)
    return part.get(key) if isinstance(part, dict) else None


def _pairs(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else ""
