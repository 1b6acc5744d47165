"""The tables of a dataset, with the type and the meaning of each column.

The parquet schema, the dataset card and the Croissant metadata all come from this one list.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pebench.leaderboard import table
from pebench.leaderboard.board import Board, board_of_columns, newest_version, of_profile
from pebench.leaderboard.columns import Columns, columns
from pebench.leaderboard.extension import ALL, KINDS, is_track, pretrained, tracks_of
from pebench.leaderboard.extension import to_frame as to_track_frame
from pebench.leaderboard.printing import ORDERS, to_frame
from pebench.leaderboard.reading import REMEDY
from pebench.leaderboard.reports.published import FILE, read
from pebench.leaderboard.reports.validity import validity
from pebench.suite.results.metrics import EXTENDING
from pebench.suite.results.record import Record, from_json, to_json

EXACT = 2**53  # beyond, a float64 does not hold every integer


class DatasetError(ValueError):
    """A dataset that cannot be made, with the remedy."""


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, metadata={"about": about}) for name, kind, about in columns])


TEXT, INTEGER, NUMBER, BOOLEAN = pa.string(), pa.int64(), pa.float64(), pa.bool_()
KEY = (
    ("profile", TEXT, "the benchmark's size: which models, steps and lengths"),
    ("encoding", TEXT, "name of the positional encoding"),
    ("task", TEXT, "what the model was trained and measured on"),
    ("task_family", TEXT, "the family that the task counts in"),
    ("seed", INTEGER, "of the weights and batches; all encodings share it"),
    (
        "model",
        TEXT,
        "the pretrained model that a method extends, with the beginning of its sha256; else empty",
    ),
)
ENDS = (
    *(("", ""), ("_low", "; lower end of 95 %"), ("_high", "; upper end of 95 %")),
    ("_p_best", "; share of draws in which it is the best"),
)
INTERVALS = tuple(
    (f"{name}{end}", NUMBER, f"{words}{what}")
    for name, words in (
        ("score", "0: without reading the input, 1: an oracle"),
        ("at_length", "the same at the training length"),
        ("beyond", "the same beyond the training length"),
        ("learns", "share of the runs that pass the gate of their task, mean over families"),
        ("keeps", "octaves of the training length with half of the score there, in tasks that it learns"),
        (
            "standardised",
            "scores over their standard deviation between encodings, mean over families, centred",
        ),
        ("median_rank", "median over tasks of the rank within a task"),
    )
    for end, what in ENDS
    if (name, end) != ("score", "_p_best")  # that one is p_best
)
SCHEMAS: dict[str, pa.Schema] = {
    "leaderboard": _schema(
        ("profile", TEXT, "the benchmark's size: which models, steps and lengths"),
        ("rank", INTEGER, "shared within a tier; null without a place"),
        ("tier", INTEGER, "nothing in a tier is separable from its leader"),
        ("encoding", TEXT, "name of the positional encoding"),
        ("title", TEXT, "in words"),
        ("family", TEXT, "how it brings positions into attention"),
        *INTERVALS,
        ("p_best", NUMBER, "share of the draws of seeds and test items in which it is the best"),
        ("p_best_tasks", NUMBER, "the same, with tasks drawn anew too"),
        ("learns_tasks", INTEGER, "tasks that learns is the mean of"),
        ("keeps_tasks", INTEGER, "tasks that keeps is the mean of"),
        (
            "keeps_cut",
            NUMBER,
            "share of runs that keep half to the longest length: keeps is then a lower bound",
        ),
        *(
            (f"place_{order.replace('-', '_')}", INTEGER, f"in the order by {words}; null without a place")
            for order, words in ORDERS.items()
        ),
        ("learned", NUMBER, "share of the runs that pass their gate, the mean over tasks"),
        ("train_ratio", NUMBER, "time of a training step over RoPE's"),
        ("prefill_ratio", NUMBER, "time of a forward pass over RoPE's"),
        ("decode_ratio", NUMBER, "time of one cached token over RoPE's"),
        ("cache_bytes", NUMBER, "bytes that the cache holds for a token"),
        ("coverage", NUMBER, "share of the conditions that were measured"),
        ("seeds", INTEGER, "in the task where it has fewest"),
        ("preview", BOOLEAN, "fewer than two seeds in some task: a score and no place"),
        ("reason", TEXT, "why there is no rank"),
        ("certificate", TEXT, "passed, failed or missing"),
        ("validity_pairs", INTEGER, "published comparisons with it that this board can judge"),
        ("validity_agree", INTEGER, "of these: separated here in the published direction"),
        ("validity_contradict", INTEGER, "of these: separated here in the other direction"),
    ),
    "scores": _schema(
        *KEY,
        ("metric", TEXT, "what was measured"),
        ("condition", TEXT, "under which it was measured, as text"),
        ("length", NUMBER, "in what the task counts: digits of a sum, items to sort, tokens of a text"),
        ("depth", NUMBER, "of the needle: 0 is the beginning, 1 the end"),
        ("position", NUMBER, "first of the positions that the value is of"),
        ("value", NUMBER, "the number itself, in the metric's unit"),
        ("n", INTEGER, "answers, bytes or timings that the value is the mean of"),
        ("floor", NUMBER, "what the best predictor scores that does not read the input"),
        ("ceiling", NUMBER, "what an oracle scores"),
        (
            "score",
            NUMBER,
            "0 at the floor, 1 at the ceiling; null where the row does not count in the ranking",
        ),
        ("fingerprint", TEXT, "hash of the source that the value depends on"),
        ("file", TEXT, "path of the record in the records folder"),
    ),
    "runs": _schema(
        *KEY,
        ("outcome", TEXT, "measured, or how the run ended without a result"),
        ("reason", TEXT, "why there is no result"),
        ("gate", NUMBER, "score on the training distribution"),
        ("threshold", NUMBER, "gate from which the task counts as learned"),
        ("learned", BOOLEAN, "whether the gate was passed"),
        ("train_length", INTEGER, "greatest length in training, in what the task counts"),
        ("started", TEXT, "date and time, ISO 8601"),
        ("seconds", NUMBER, "wall time of the run"),
        ("tokens", INTEGER, "tokens trained on"),
        ("tokens_per_second", NUMBER, "while training"),
        ("peak_memory_bytes", INTEGER, "of the process"),
        ("parameters", INTEGER, "of the whole model"),
        ("parameters_encoding", INTEGER, "of the encoding alone"),
        ("versions", TEXT, "of pebench, torch and Python"),
        ("platform", TEXT, "operating system and architecture"),
        ("cpu", TEXT, "processor"),
        ("device", TEXT, "cpu, or the GPU's name"),
        ("threads", INTEGER, "of torch"),
        ("precision", TEXT, "of the matrix products"),
        ("commit", TEXT, "of the source"),
        ("clean", BOOLEAN, "whether the source was exactly that commit"),
        ("corpus", TEXT, "the text, where the task reads one"),
        ("command", TEXT, "that runs this again"),
        ("fingerprint", TEXT, "hash of the source that the values depend on"),
        ("file", TEXT, "path of the record in the records folder"),
    ),
    "encodings": _schema(
        ("encoding", TEXT, "name of the positional encoding"),
        ("title", TEXT, "in words"),
        ("family", TEXT, "how it brings positions into attention"),
        ("kernel", TEXT, "attention kernel that it needs: fused, masked or own"),
        ("paper", TEXT, "where it comes from"),
        ("formula", TEXT, "LaTeX"),
        ("about", TEXT, "what its source says of it"),
        ("relative", BOOLEAN, "claims that only distances matter"),
        ("norm_preserving", BOOLEAN, "claims to keep the norms of queries and keys"),
        ("source", TEXT, "the source file"),
        ("source_sha256", TEXT, "of the source file"),
    ),
}
SCHEMAS |= {
    "answers": _schema(
        *(column for column in KEY if column[0] != "task_family"),
        ("condition", TEXT, "under which it was asked, as text"),
        ("item", INTEGER, "number of the test item under this condition, from 0"),
        (
            "asked",
            TEXT,
            "what the model reads, `_` for each part of the answer; the middle of a long one is left out",
        ),
        ("answer", TEXT, "the right answer"),
        ("said", TEXT, "what the model answered"),
        ("right", BOOLEAN, "whether that is the right answer"),
        ("file", TEXT, "the record in the folder of records"),
    ),
    "published": _schema(
        ("profile", TEXT, "the board that is held against published tables"),
        ("source", TEXT, "the paper"),
        ("source_id", TEXT, "its arXiv number"),
        ("table", TEXT, "the table in it"),
        ("kind", TEXT, "what the table measures"),
        ("better", TEXT, "the encoding that is ahead there"),
        ("worse", TEXT, "the encoding that is behind there"),
        ("published", NUMBER, "by how much, in the table's unit"),
        ("difference", NUMBER, "better minus worse here, in score"),
        ("p", NUMBER, "of that difference, uncorrected"),
        ("seeds", INTEGER, "of the encoding with fewer"),
        ("verdict", TEXT, "agree, contradict or not separated"),
    ),
}
SCHEMAS |= {
    "extended": _schema(
        ("profile", TEXT, "EXTEND or EXTEND_QUICK"),
        ("model", TEXT, "the pretrained model"),
        ("sha256", TEXT, "of the model"),
        ("corpus", TEXT, "the books that its texts are of"),
        ("method", TEXT, "of context extension; none changes nothing"),
        *(
            (f"{name}_{phase}{part}", kind, f"{words} {where}{about}")
            for name, words in (("loss", "nats a token"), ("retrieval", "share of questions answered"))
            for phase, where in (("at_length", "up to the training length"), ("beyond", "beyond it"))
            for part, kind, about in (
                *(
                    ("", NUMBER, ""),
                    ("_low", NUMBER, "; lower end of 95 %"),
                    ("_high", NUMBER, "; upper end of 95 %"),
                ),
                *(("_texts", INTEGER, "; texts"), ("_n", INTEGER, "; tokens or questions")),
                ("_difference", NUMBER, "; minus that of `none` on the same texts"),
                ("_difference_low", NUMBER, "; lower end of 95 % of the difference"),
                ("_difference_high", NUMBER, "; upper end of 95 % of the difference"),
                ("_difference_texts", INTEGER, "; texts of the difference"),
            )
        ),
        *(
            (f"{kind}_{metric}_{phase}{part}", NUMBER, f"{words}, {kind} questions, {where}{about}")
            for kind in (*KINDS, ALL)
            for metric, words in (
                ("exact", "share of answers with every number right"),
                ("found", "share of the numbers found"),
                ("choice", "share of questions whose right number is likelier than three others"),
            )
            for phase, where in (("at_length", "up to the training length"), ("beyond", "beyond it"))
            for part, about in ENDS[:3]
            # `retrieval` is of all kinds; where several numbers are asked, there is no choice
            if (kind, metric) not in ((ALL, "exact"), ("multi_query", "choice"), ("multi_value", "choice"))
        ),
        ("prefill_ratio", NUMBER, "processor time of reading 512 tokens over the unextended model's"),
        ("decode_ratio", NUMBER, "processor time of a cached token over the unextended model's"),
        ("prefill_speed", NUMBER, "tokens a second of processor time"),
        ("decode_speed", NUMBER, "tokens a second of processor time"),
        ("cache_bytes", NUMBER, "bytes that the cache holds for a token"),
        ("cache_ratio", NUMBER, "the same over the unextended model's"),
    ),
}
DEFAULT = "leaderboard"  # what a viewer shows first


def tables(records: list[Record]) -> dict[str, pa.Table]:
    """The tables of these records, each exactly in its schema. DatasetError where there are no records."""
    if not records:
        raise DatasetError(f"no records to make a dataset of; {REMEDY}")
    records = sorted(map(encodable, records), key=lambda r: r.path)
    told = columns(records)
    profile = np.array(told.texts("profile"), object)
    by_profile = {name: told.where(profile == name) for name in dict.fromkeys(profile)}
    boards = [
        of_profile(board_of_columns(part.newest(), name, {name: len(part)}, [], {}))
        for name, part in sorted(by_profile.items())
        if not is_track(name)
    ]
    most = max(by_profile, key=lambda name: len(by_profile[name]))
    first = newest_version(most, told)  # what a viewer sees first, as on the board
    models = {str(r.path): pretrained(r) for r in records}

    def of_all(make: Callable[[Columns], pd.DataFrame]) -> pd.DataFrame:
        """A table of each profile's records, with the profile and the pretrained model of each row."""
        frames = {profile: make(part) for profile, part in by_profile.items()}
        return pd.concat(f.assign(profile=p, model=f["file"].map(models)) for p, f in frames.items())

    against = {board.profile: validity(board, read(FILE)).pairs for board in boards}
    frames = {
        "leaderboard": joined(
            _ranking(board, against[board.profile])
            for board in sorted(
                boards, key=lambda board: (board.profile != first, -board.profiles[board.profile])
            )
        ),
        "answers": of_all(table.answer_table),
        "published": joined(pairs.assign(profile=name) for name, pairs in against.items()),
        "scores": of_all(table.score_table),
        "runs": of_all(table.run_table),
        "encodings": _cards(told),
        "extended": joined(
            to_track_frame(tracks_of([r for r in records if r.profile == name], name))
            for name in by_profile
            if is_track(name)
        ),
    }
    return {name: _typed(frames[name], schema) for name, schema in SCHEMAS.items()}


def joined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One frame below the other; an empty one of none."""
    there = list(frames)
    return pd.concat(there) if there else pd.DataFrame()


def _ranking(board: Board, pairs: pd.DataFrame) -> pd.DataFrame:
    """The ranking with what published tables say of each encoding's place."""
    frame = to_frame(board).rename(columns={"name": "encoding", "low": "score_low", "high": "score_high"})
    frame = frame.astype({"rank": "float64", "tier": "float64"})
    counts, tested = {}, pairs[pairs["p"].notna()] if len(pairs) else pairs  # a preview is not tested
    for name in frame["encoding"]:
        verdicts = (
            tested.loc[(tested["better"] == name) | (tested["worse"] == name), "verdict"]
            if len(tested)
            else []
        )
        counts[name] = Counter(verdicts)
    return frame.assign(
        profile=board.profile,
        validity_pairs=[counts[name].total() for name in frame["encoding"]],
        validity_agree=[counts[name]["agree"] for name in frame["encoding"]],
        validity_contradict=[counts[name]["contradict"] for name in frame["encoding"]],
    )


def _cards(told: Columns) -> pd.DataFrame:
    """The card of each encoding; a card of the track EXTEND only where no other has its name."""
    trained = told.where(~told.column("task").isin(EXTENDING))
    return pd.DataFrame(
        {
            **card,
            "encoding": name,
            "source_sha256": hashlib.sha256(text(card.get("source")).encode()).hexdigest(),
        }
        for name, card in sorted((told.cards | trained.cards).items())
    )


def _typed(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The frame's columns in the schema's order and types; what does not fit a type is null."""
    read = {TEXT: text, INTEGER: _integer, NUMBER: _number, BOOLEAN: _boolean}
    columns = [
        pa.array(
            [
                read[field.type](v)
                for v in (frame[field.name] if field.name in frame else [None] * len(frame))
            ],
            field.type,
        )
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def encodable(record: Record) -> Record:
    """The record with texts that UTF-8 can hold: JSON may smuggle in half of a surrogate pair."""
    if "\\ud" not in json.dumps(record, default=_fields):
        return record
    # One half of a pair is an escape of its own; json joins whole pairs when it reads them.
    return from_json(json.dumps(_whole(json.loads(to_json(record)))))


def _fields(part: Any) -> dict[str, Any]:
    """The fields of a record or of a row, unlike `asdict` without copies of what they hold."""
    return {field.name: getattr(part, field.name) for field in fields(part)}


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole(key): _whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < EXACT
    return int(value) if fits else None  # type: ignore[call-overload]


def _number(value: object) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if fits else None  # type: ignore[arg-type]


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def published(records: list[Record]) -> str:
    """The day of the newest record, ISO 8601; the epoch where none says."""
    days = [_day(str(r.provenance.get("started", ""))) for r in records]
    return max([day for day in days if day], default="1970-01-01")


def _day(started: str) -> str:
    try:
        return datetime.fromisoformat(started).date().isoformat()
    except ValueError:
        return ""
