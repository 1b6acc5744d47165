"""Records as columns: everything that a board needs of many records, in little memory.

Three Arrow tables. `runs` has a line for each record and `rows` one for each measured number. `answers` has one for
each kept answer. The latter two name the line of their run in `run`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pebench.suite.results.record import Condition, Record

TEXT, NUMBER, WORD = pa.string(), pa.float64(), pa.dictionary(pa.int32(), pa.string())
MOST = 2**63 - 1  # a stranger's count or seed may be any whole number
RUNS = pa.schema(
    [
        *((name, WORD) for name in ("encoding", "task", "task_family")),
        ("seed", pa.int64()),
        *((name, WORD) for name in ("outcome", "reason")),
        *((name, NUMBER) for name in ("gate", "threshold")),
        ("learned", pa.bool_()),
        ("train_length", NUMBER),
        ("started", TEXT),
        *((name, NUMBER) for name in ("seconds", "tokens", "tokens_per_second", "peak_memory_bytes")),
        *((name, NUMBER) for name in ("parameters", "parameters_encoding")),
        *((name, WORD) for name in ("versions", "platform", "cpu", "device")),
        ("threads", NUMBER),
        *((name, WORD) for name in ("precision", "commit")),
        ("clean", pa.bool_()),
        *((name, WORD) for name in ("no_commit", "corpus")),
        *((name, TEXT) for name in ("command", "fingerprint", "file")),
        # What no page shows:
        ("profile", WORD),
        ("latest", TEXT),  # by which the newest of several records of one run is found
        ("measured", pa.bool_()),  # it has rows
        ("encoding_code", WORD),
        ("shared_code", WORD),  # of task and training; null where the record does not tell
        ("setup", WORD),  # JSON without the corpus
        ("card", WORD),  # JSON
    ]
)
SHOWN = RUNS.names[: RUNS.names.index("profile")]
ROWS = pa.schema(
    [
        ("run", pa.int32()),
        ("metric", WORD),
        ("condition", WORD),  # JSON
        ("value", NUMBER),
        ("n", pa.int64()),
        *((name, NUMBER) for name in ("floor", "ceiling")),
    ]
)
ANSWERS = pa.schema(
    [
        ("run", pa.int32()),
        ("condition", WORD),
        ("item", pa.int64()),
        *((name, TEXT) for name in ("asked", "answer", "said")),
        ("right", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Columns:
    """Records as columns; the tables have the schemas RUNS, ROWS and ANSWERS."""

    runs: pa.Table
    rows: pa.Table
    answers: pa.Table

    def __len__(self) -> int:
        return len(self.runs)

    def take(self, runs: "Sequence[int] | NDArray[np.int64]") -> "Columns":
        """These runs, in this order, each once."""
        chosen = np.asarray(runs, dtype=np.int64)
        if len(chosen) == len(self) and (chosen == np.arange(len(self))).all():
            return self
        place = np.full(len(self), -1, np.int32)
        place[chosen] = np.arange(len(chosen), dtype=np.int32)
        return Columns(self.runs.take(chosen), _moved(self.rows, place), _moved(self.answers, place))

    def where(self, keep: "pd.Series[bool] | NDArray[np.bool_]") -> "Columns":
        """The runs that a mask keeps, in their order."""
        return self.take(np.flatnonzero(np.asarray(keep, bool)))

    def column(self, name: str) -> pd.Series:
        """A column of the runs."""
        return self.runs[name].to_pandas()

    def texts(self, name: str) -> list[Any]:
        """A column of the runs as Python values."""
        column = self.runs[name]
        if column.type != WORD:
            return list(column.to_pylist())
        words = column.combine_chunks()
        every = np.array([*words.dictionary.to_pylist(), None], object)  # the last one stands for null
        return list(every[words.indices.fill_null(len(every) - 1).to_numpy()])

    def newest(self) -> "Columns":
        """The record that started last, for each (encoding, task, profile, seed)."""
        best: dict[tuple[Any, ...], tuple[str, int]] = {}
        keys = zip(*map(self.texts, ("encoding", "task", "profile", "seed")), strict=True)
        for run, (key, started) in enumerate(zip(keys, self.texts("latest"), strict=True)):
            if key not in best or started >= best[key][0]:
                best[key] = started, run
        return self.take([run for _, run in best.values()])

    @cached_property
    def cards(self) -> dict[str, dict[str, Any]]:
        """The card of each encoding, from its record that started last."""
        told = zip(*map(self.texts, ("started", "encoding", "card")), strict=True)
        last = {name: card for _, name, card in sorted(told, key=lambda run: run[0])}
        return {name: json.loads(card) for name, card in last.items()}


def spelled(table: pa.Table) -> pa.Table:
    """The table with texts in place of dictionaries."""
    texts = [pa.field(f.name, pa.string() if f.type == WORD else f.type) for f in table.schema]
    return table.cast(pa.schema(texts))


def _moved(table: pa.Table, place: "NDArray[np.int32]") -> pa.Table:
    """The lines of the runs that have a new place (-1: none), in the order of the places."""
    run = place[table["run"].to_numpy()]
    kept = np.flatnonzero(run >= 0)
    kept = kept[np.argsort(run[kept], kind="stable")]
    return table.take(kept).set_column(0, "run", pa.array(run[kept]))


def joined(parts: Sequence[Columns]) -> Columns:
    """The runs of all parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    rows, answers = (
        pa.concat_tables(
            [
                table.set_column(0, "run", pa.array(table["run"].to_numpy() + np.int32(start)))
                for start, table in zip(starts, tables, strict=False)
            ]
        ).unify_dictionaries()
        for tables in ([part.rows for part in parts], [part.answers for part in parts])
    )
    return Columns(pa.concat_tables([part.runs for part in parts]).unify_dictionaries(), rows, answers)


def columns(records: Iterable[Record]) -> Columns:
    """The columns of these records."""
    listed = list(records)
    runs = [_run(r) for r in listed]
    rows = [row for r in listed for row in r.rows]
    answers = [answer for r in listed for answer in r.answers]
    return Columns(
        _table(RUNS, {name: [run[name] for run in runs] for name in RUNS.names}),
        _table(
            ROWS,
            {
                "run": np.repeat(np.arange(len(listed)), [len(r.rows) for r in listed]),
                "metric": [row.metric for row in rows],
                "condition": _conditions(row.condition for row in rows),
                "value": [float(row.value) for row in rows],
                "n": [min(row.n, MOST) for row in rows],
                "floor": [None if row.floor is None else float(row.floor) for row in rows],
                "ceiling": [None if row.ceiling is None else float(row.ceiling) for row in rows],
            },
        ),
        _table(
            ANSWERS,
            {
                "run": np.repeat(np.arange(len(listed)), [len(r.answers) for r in listed]),
                "condition": _conditions(answer["condition"] for answer in answers),
                "item": [min(answer["item"], MOST) for answer in answers],
                **{name: [answer[name] for answer in answers] for name in ("asked", "answer", "said")},
                "right": [answer["right"] for answer in answers],
            },
        ),
    )


def _table(schema: pa.Schema, values: Mapping[str, Any]) -> pa.Table:
    made = []
    for field in schema:
        given = values[field.name]
        if isinstance(given, pa.DictionaryArray):
            made.append(given)
        elif field.type == WORD:
            made.append(pa.array(given, pa.string()).dictionary_encode())
        else:
            made.append(pa.array(given, field.type))
    return pa.Table.from_arrays(made, schema=schema)


def _conditions(every: Iterable[Condition]) -> pa.DictionaryArray:
    """Conditions as JSON; the same few come again and again."""
    places: dict[tuple[tuple[str, Any], ...], int] = {}
    codes = [places.setdefault(tuple(condition.items()), len(places)) for condition in every]
    texts = [json.dumps(dict(items)) for items in places]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string()))


def _run(r: Record) -> dict[str, Any]:
    """A line of RUNS."""
    p, s = r.provenance, r.setup
    learned = next((row.value for row in r.rows if row.metric == "gate"), None)
    threshold = number(s.get("gate"))
    told = r.shared_code or p.get("task_fingerprint")
    return {
        "encoding": r.encoding,
        "task": r.task,
        "task_family": text(s.get("task_family"), r.task),
        "seed": min(r.seed, MOST),
        "outcome": r.outcome,
        "reason": r.reason,
        "gate": None if learned is None else float(learned),
        "threshold": threshold,
        "learned": None if learned is None or threshold is None else bool(learned >= threshold),
        "train_length": number(s.get("train_length")),
        "started": text(p.get("started")),
        "seconds": number(p.get("seconds")),
        "tokens": number(p.get("tokens")),
        "tokens_per_second": number(p.get("tokens_per_second")),
        "peak_memory_bytes": number(p.get("peak_memory_bytes")),
        "parameters": number(_part(p, "parameters", "total")),
        "parameters_encoding": number(_part(p, "parameters", "encoding")),
        "versions": _pairs(p.get("versions")),
        "platform": text(p.get("platform")),
        "cpu": text(p.get("cpu")),
        "device": text(p.get("device")),
        "threads": number(p.get("threads")),
        "precision": text(p.get("precision")),
        "commit": text(p.get("commit")),
        "clean": p.get("dirty") is False,
        "no_commit": "" if p.get("commit") else text(p.get("no_commit")),
        "corpus": text(_part(s, "corpus", "name")),
        "command": text(p.get("command")),
        "fingerprint": r.fingerprint,
        "file": str(r.path),
        "profile": r.profile,
        "latest": str(p.get("started", "")),
        "measured": bool(r.rows),
        "encoding_code": r.encoding_code,
        "shared_code": told if isinstance(told, str) else None,
        "setup": json.dumps({key: value for key, value in s.items() if key != "corpus"}, sort_keys=True),
        "card": json.dumps(r.card),
    }


def number(value: object) -> float | None:
    """What a record says, where it is a number that a table can hold."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    return None


def text(value: object, default: str = "") -> str:
    """What a record says, where it is a text and not empty."""
    return value if isinstance(value, str) and value else default


def _part(data: Mapping[str, object], name: str, key: str) -> object:
    part = data.get(name)
    return part.get(key) if isinstance(part, dict) else None


def _pairs(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else ""
