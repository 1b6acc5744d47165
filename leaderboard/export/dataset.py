"""Records as a dataset: a Hugging Face folder of parquet files, plain tables, or Every Eval Ever logs.

The columns are written down here, with their types and meanings. The parquet schema, the dataset card and the
Croissant metadata all come from this one list.
"""

import hashlib
import io
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pebench.leaderboard import table
from pebench.leaderboard.board import REMEDY, Board, board_of
from pebench.leaderboard.printing import safe_csv, to_frame
from pebench.leaderboard.reports.published import FILE, read
from pebench.leaderboard.reports.validity import validity
from pebench.suite.results.metrics import METRICS
from pebench.suite.results.record import Record, Row, from_json, newest, to_json, write_whole

LICENCE = "apache-2.0"
LICENCE_URL = "https://www.apache.org/licenses/LICENSE-2.0"
CITATION = """@misc{pebench,
  title = {pebench: a benchmark of positional encodings for causal Transformer language models},
  author = {{The pebench contributors}},
  note = {Version VERSION}
}"""
ABOUT = (
    "Results of pebench: positional encodings of causal Transformer language models, each built into the same "
    "small model, trained in the same way and measured on length generalisation, retrieval, language modelling "
    "beyond the training length, and speed."
)
EXACT = 2**53  # beyond, a float64 does not hold every integer
EEE_VERSION = "0.3.0"  # of the schema of https://github.com/evaleval/every_eval_ever
Format = Literal["csv", "parquet", "eee"]


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
)
ENDS = (
    *(("", ""), ("_low", "; lower end of 95 %"), ("_high", "; upper end of 95 %")),
    ("_p_best", "; share of draws in which it has the largest"),
)
INTERVALS = tuple(
    (f"{name}{end}", NUMBER, f"{words}{what}")
    for name, words in (
        ("score", "0: without reading the input, 1: an oracle"),
        ("at_length", "the same at the training length"),
        ("beyond", "the same beyond the training length"),
        ("learns", "share of the runs that pass the gate of their task, mean over families"),
        ("keeps", "octaves of the training length with half of the score there, in tasks that it learns"),
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
        ("p_best", NUMBER, "share of bootstrap draws in which it is the best"),
        ("learned", NUMBER, "share of the tasks learned at the training length"),
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
        ("asked", TEXT, "what the model reads, `_` for each part of the answer"),
        ("answer", TEXT, "the right answer"),
        ("said", TEXT, "what the model answered"),
        ("right", BOOLEAN, "whether that is the right answer"),
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
DEFAULT = "leaderboard"  # what a viewer shows first
CROISSANT_TYPES = {TEXT: "sc:Text", INTEGER: "sc:Integer", NUMBER: "sc:Float", BOOLEAN: "sc:Boolean"}


def tables(records: list[Record]) -> dict[str, pa.Table]:
    """The tables of these records, each exactly in its schema. DatasetError where there are no records."""
    if not records:
        raise DatasetError(f"no records to make a dataset of; {REMEDY}")
    by_profile: dict[str, list[Record]] = defaultdict(list)
    records = sorted(map(_encodable, records), key=lambda r: r.path)
    for record in records:
        by_profile[record.profile].append(record)
    boards = [
        board_of(newest(part), name, {name: len(part)}, []) for name, part in sorted(by_profile.items())
    ]
    against = {board.profile: validity(board, read(FILE)).pairs for board in boards}
    frames = {
        "leaderboard": pd.concat(_ranking(board, against[board.profile]) for board in boards),
        "answers": pd.concat(table.answer_table(part).assign(profile=p) for p, part in by_profile.items()),
        "published": pd.concat(pairs.assign(profile=name) for name, pairs in against.items()),
        "scores": pd.concat(table.score_table(part).assign(profile=p) for p, part in by_profile.items()),
        "runs": pd.concat(table.run_table(part).assign(profile=p) for p, part in by_profile.items()),
        "encodings": _cards(records),
    }
    return {name: _typed(frames[name], schema) for name, schema in SCHEMAS.items()}


def _ranking(board: Board, pairs: pd.DataFrame) -> pd.DataFrame:
    """The ranking with what published tables say of each encoding's place."""
    frame = to_frame(board).rename(columns={"name": "encoding", "low": "score_low", "high": "score_high"})
    frame = frame.astype({"rank": "float64", "tier": "float64"})
    counts = {}
    for name in frame["encoding"]:
        verdicts = (
            pairs.loc[(pairs["better"] == name) | (pairs["worse"] == name), "verdict"] if len(pairs) else []
        )
        counts[name] = Counter(verdicts)
    return frame.assign(
        profile=board.profile,
        validity_pairs=[counts[name].total() for name in frame["encoding"]],
        validity_agree=[counts[name]["agree"] for name in frame["encoding"]],
        validity_contradict=[counts[name]["contradict"] for name in frame["encoding"]],
    )


def _cards(records: list[Record]) -> pd.DataFrame:
    cards = table.card_table(records)
    return pd.DataFrame(
        {
            **card,
            "encoding": name,
            "source_sha256": hashlib.sha256(_text(card.get("source")).encode()).hexdigest(),
        }
        for name, card in sorted(cards.items())
    )


def _typed(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The frame's columns in the schema's order and types; what does not fit a type is null."""
    read = {TEXT: _text, INTEGER: _integer, NUMBER: _number, BOOLEAN: _boolean}
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


def _encodable(record: Record) -> Record:
    """The record with texts that UTF-8 can hold: JSON may smuggle in half of a surrogate pair."""
    text = to_json(record)
    # One half of a pair is an escape of its own; json joins whole pairs when it reads them.
    return from_json(json.dumps(_whole(json.loads(text)))) if "\\ud" in text else record


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole(key): _whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < EXACT
    return int(value) if fits else None  # type: ignore[call-overload]


def _number(value: object) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if fits else None  # type: ignore[arg-type]


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def build(records: list[Record], folder: Path, version: str) -> dict[str, int]:
    """Write a Hugging Face dataset folder, and return the rows of each table.

    `data/*.parquet`, `README.md` (the dataset card) and `croissant.json`; the same records give the same
    bytes. DatasetError where the folder holds something else.
    """
    made = {
        name: rows for name, rows in tables(records).items() if len(rows)
    }  # no reader takes an empty file
    _ours(folder, {"data", "README.md", "croissant.json"})
    for name in SCHEMAS.keys() - made.keys():
        (folder / "data" / f"{name}.parquet").unlink(missing_ok=True)
    for name, rows in made.items():
        write_whole(folder / "data" / f"{name}.parquet", _parquet(rows))
    write_whole(folder / "README.md", card(made, version).encode())
    facts = croissant(folder, version, published(records))
    write_whole(folder / "croissant.json", f"{json.dumps(facts, indent=1)}\n".encode())
    return {name: len(rows) for name, rows in made.items()}


def _parquet(rows: pa.Table) -> bytes:
    data = io.BytesIO()
    pq.write_table(rows, data)
    return data.getvalue()


def _ours(folder: Path, names: set[str]) -> None:
    """Refuse a folder with files that we did not write: they would be published with ours."""
    if folder.is_dir() and (others := sorted({p.name for p in folder.iterdir()} - names)):
        raise DatasetError(f"{folder} holds something else ({others[0]}); choose a new folder with --out")


def published(records: list[Record]) -> str:
    """The day of the newest record, ISO 8601; the epoch where none says."""
    days = [_day(str(r.provenance.get("started", ""))) for r in records]
    return max([day for day in days if day], default="1970-01-01")


def _day(started: str) -> str:
    try:
        return datetime.fromisoformat(started).date().isoformat()
    except ValueError:
        return ""


def card(made: dict[str, pa.Table], version: str) -> str:
    """The dataset card: YAML that Hugging Face reads, then what a person wants to know."""
    rows = len(made["scores"])
    size = next((name for name, most in SIZES if rows < most), "100M<n<1B")
    counts = Counter(made["runs"]["profile"].to_pylist())
    profiles = ", ".join(f"{name} ({count} runs)" for name, count in sorted(counts.items()))
    configs = "".join(
        f"- config_name: {name}\n{'  default: true' + chr(10) if name == DEFAULT else ''}"
        f"  data_files:\n  - split: train\n    path: data/{name}.parquet\n"
        for name in made
    )
    columns = "".join(
        f"\n### `{name}`: {len(made[name])} rows\n\n| column | type | meaning |\n| --- | --- | --- |\n"
        + "".join(f"| `{f.name}` | {f.type} | {f.metadata[b'about'].decode()} |\n" for f in schema)
        for name, schema in SCHEMAS.items()
        if name in made
    )
    metrics = "".join(
        f"| `{name}` | {m.unit} | {m.better} | {m.about} |\n"
        for name, m in METRICS.items()
        if name in set(made["scores"]["metric"].to_pylist())
    )
    return f"""---
license: {LICENCE}
pretty_name: pebench results
language:
- en
tags:
- benchmark
- positional-encoding
- length-generalization
- transformer
size_categories:
- {size}
configs:
{configs}---

# pebench results

{ABOUT}

Profiles: {profiles}. Scores of different profiles are of different benchmarks: never average over them.

In this folder, with datasets, pandas and DuckDB:

```python
from datasets import load_dataset
board = load_dataset("parquet", data_files="data/leaderboard.parquet", split="train")
```

```python
import pandas as pd
print(pd.read_parquet("data/leaderboard.parquet").query("tier == 1")[["encoding", "score", "score_low", "score_high"]])
```

```python
import duckdb
duckdb.sql("SELECT encoding, task, avg(score) FROM 'data/scores.parquet' WHERE score IS NOT NULL GROUP BY ALL").show()
```

Rows of `scores` and `runs` join on `file`, the path of the record, or on `profile`, `encoding`, `task` and `seed`.
What was not measured has no row: it is not zero. `leaderboard` has the ranking, `published` each published comparison
with the verdict of this board, `answers` what the models said to the first test items, where the records keep it.

## Tables
{columns}
## Metrics

| metric | unit | better | meaning |
| --- | --- | --- | --- |
{metrics}
## Licence and citation

Apache License 2.0. Cite the paper of each encoding as well: column `paper` of `encodings`.

```bibtex
{CITATION.replace("VERSION", version)}
```
"""


SIZES = (("n<1K", 1e3), ("1K<n<10K", 1e4), ("10K<n<100K", 1e5), ("100K<n<1M", 1e6), ("1M<n<10M", 1e7))


def croissant(folder: Path, version: str, day: str) -> dict[str, Any]:
    """Croissant 1.0 metadata (https://docs.mlcommons.org/croissant) of the parquet files in a folder."""
    files, sets = [], []
    for name, schema in SCHEMAS.items():
        if not (folder / "data" / f"{name}.parquet").exists():
            continue
        data = (folder / "data" / f"{name}.parquet").read_bytes()
        files.append(
            {
                "@type": "cr:FileObject",
                "@id": f"{name}.parquet",
                "name": f"{name}.parquet",
                "contentUrl": f"data/{name}.parquet",
                "contentSize": f"{len(data)} B",
                "encodingFormat": "application/x-parquet",
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
        fields = [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": f"{name}/{field.name}",
                "description": field.metadata[b"about"].decode(),
                "dataType": CROISSANT_TYPES[field.type],
                "source": {"fileObject": {"@id": f"{name}.parquet"}, "extract": {"column": field.name}},
            }
            for field in schema
        ]
        sets.append({"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields})
    return {
        "@context": CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "name": "pebench_results",
        "description": ABOUT,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": LICENCE_URL,
        "version": version,
        "datePublished": day,
        "creator": {"@type": "sc:Organization", "name": "The pebench contributors"},
        "citeAs": CITATION.replace("VERSION", version),
        "distribution": files,
        "recordSet": sets,
    }


# The standard's own context, whole: readers compare it.
CROISSANT_NAMES = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes "
    "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
CROISSANT_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in CROISSANT_NAMES.split()},
}


def export(records: list[Record], folder: Path, kind: Format) -> list[Path]:
    """Write the records as CSV or parquet tables, or as Every Eval Ever logs; the files, sorted."""
    if kind == "eee":
        logs = [_write_log(log, folder) for log in eee(records)]
        if not logs:
            raise DatasetError("no record holds a quality score, and Every Eval Ever has no others")
        return sorted(logs)
    made = {name: rows for name, rows in tables(records).items() if len(rows)}
    files = []
    for name, rows in made.items():
        files.append(folder / f"{name}.{kind}")
        write_whole(files[-1], _parquet(rows) if kind == "parquet" else safe_csv(rows.to_pandas()).encode())
    return sorted(files)


def _write_log(log: dict[str, Any], folder: Path) -> Path:
    """Write a log where the datastore wants it: data/collection/developer/model/uuid.json."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, log["evaluation_id"])
    path = folder / "data" / "pebench" / Path(log["model_info"]["id"]) / f"{name}.json"
    write_whole(path, f"{json.dumps(log, indent=1, allow_nan=False)}\n".encode())
    return path


def eee(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One Every Eval Ever log for each encoding, profile and seed, with every row that counts in the ranking."""
    runs: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for record in sorted(map(_encodable, records), key=lambda r: r.path):
        runs[record.profile, record.encoding, record.seed].append(record)
    logs = []
    for (profile, encoding, seed), part in runs.items():
        results = [_result(r, row) for r in part for row in r.rows if row.score is not None]
        if not results:
            continue
        first, versions = part[0], part[0].provenance.get("versions")
        pebench = versions.get("pebench", "unknown") if isinstance(versions, dict) else "unknown"
        prints = "".join(r.fingerprint for r in part)
        logs.append(
            {
                "schema_version": EEE_VERSION,
                "evaluation_id": f"pebench/{profile}/{encoding}/{seed}/"
                + hashlib.sha256(prints.encode()).hexdigest()[:16],
                "evaluation_timestamp": _text(max(str(r.provenance.get("started", "")) for r in part)),
                "retrieved_timestamp": str(_epoch(part)),
                "source_metadata": {
                    "source_name": "pebench",
                    "source_type": "documentation",
                    "source_organization_name": "pebench",
                    "evaluator_relationship": "other",
                },
                "eval_library": {"name": "pebench", "version": str(pebench)},
                "model_info": {
                    "name": encoding,
                    "id": f"pebench/{encoding}",
                    "developer": "pebench",
                    "additional_details": {
                        "deployment_type": "self_deployed",
                        "model_availability": "unknown",
                        "title": _text(first.card.get("title")),
                        "paper": _text(first.card.get("paper")),
                        "profile": profile,
                        "seed": str(seed),
                    },
                },
                "evaluation_results": results,
            }
        )
    return logs


def _result(record: Record, row: Row) -> dict[str, Any]:
    metric = METRICS[row.metric]
    assert row.floor is not None
    assert row.ceiling is not None
    label = table.label(row.condition)
    return {
        "evaluation_result_id": f"{record.task}/{row.metric}/{label}",
        "evaluation_name": f"pebench.{record.task}",
        "source_data": {
            "dataset_name": f"pebench-{record.task}",
            "source_type": "other",
            "additional_details": {"corpus": _text(_corpus(record))},
        },
        "metric_config": {
            "evaluation_description": f"{metric.about}; {label}" if label else metric.about,
            "metric_id": f"pebench.{row.metric}",
            "metric_name": metric.title,
            "metric_unit": metric.unit,
            "metric_parameters": dict(row.condition),
            "lower_is_better": metric.better == "lower",
            "score_type": "continuous",
            # Shares are bounded; every other metric may lie beyond its floor or its ceiling.
            "min_score": 0.0 if row.value >= 0 else "-Infinity",
            "max_score": 1.0 if metric.unit == "share" else "Infinity",
        },
        "score_details": {
            "score": row.value,
            "details": {"content_free_floor": repr(row.floor), "oracle": repr(row.ceiling)},
            "uncertainty": {"num_samples": row.n},
        },
    }


def _corpus(record: Record) -> object:
    corpus = record.setup.get("corpus")
    return corpus.get("name") if isinstance(corpus, dict) else ""


def _epoch(records: list[Record]) -> int:
    """Seconds since 1970 of the newest record: the log is made of it, so the same records give the same log."""
    return int(datetime.fromisoformat(f"{published(records)}T00:00:00+00:00").timestamp())
