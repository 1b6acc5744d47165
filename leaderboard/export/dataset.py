"""Records as a dataset: a Hugging Face folder of parquet files, plain tables, or Every Eval Ever logs."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pebench.leaderboard.board import version_before
from pebench.leaderboard.export.citation import cited
from pebench.leaderboard.export.croissant import ABOUT, croissant
from pebench.leaderboard.export.eee import eee, write_log
from pebench.leaderboard.export.tables import DEFAULT, SCHEMAS, DatasetError, published, tables
from pebench.leaderboard.printing import safe_csv
from pebench.suite.results.metrics import METRICS
from pebench.suite.results.record import Record, write_whole

NAME = "pretty_name: pebench results"  # in the dataset card, by which a folder is known as ours
LICENCE = "apache-2.0"
Format = Literal["csv", "parquet", "eee"]


def build(records: list[Record], folder: Path, version: str) -> dict[str, int]:
    """Write a Hugging Face dataset folder, and return the rows of each table.

    `data/*.parquet`, `README.md` (the dataset card) and `croissant.json`; the same records give the same
    bytes. DatasetError where the folder holds something else.
    """
    made = {
        name: rows for name, rows in tables(records).items() if len(rows)
    }  # no reader takes an empty file
    _demand_ours(folder)
    # First the card: by it a folder is known as ours, after a call that was cut off too.
    write_whole(folder / "README.md", card(made, version).encode())
    for name in SCHEMAS.keys() - made.keys():
        (folder / "data" / f"{name}.parquet").unlink(missing_ok=True)
    for name, rows in made.items():
        write_whole(folder / "data" / f"{name}.parquet", _parquet(rows))
    facts = croissant(folder, version, published(records))
    write_whole(folder / "croissant.json", f"{json.dumps(facts, indent=1)}\n".encode())
    return {name: len(rows) for name, rows in made.items()}


def _parquet(rows: pa.Table) -> bytes:
    data = io.BytesIO()
    pq.write_table(rows, data)
    return data.getvalue()


def _demand_ours(folder: Path) -> None:
    """Refuse a folder with files that we did not write: they would be lost, or published with ours."""
    if not folder.is_dir():
        return
    tables = {Path("data", f"{name}.parquet") for name in SCHEMAS}
    here = {file.relative_to(folder) for inside in (folder, folder / "data") for file in inside.glob("*")}
    others = here - tables - {Path("data"), Path("README.md"), Path("croissant.json")}
    readme = folder / "README.md"
    if here and not others and not (readme.is_file() and NAME.encode() in readme.read_bytes()):
        others = {min(here)}
    if others:
        raise DatasetError(f"{folder} holds something else ({min(others)}); choose a new folder with --out")


def card(made: dict[str, pa.Table], version: str) -> str:
    """The dataset card: YAML that Hugging Face reads, then what a person wants to know."""
    scores = made["scores"]["metric"].to_pylist() if "scores" in made else []
    rows = len(scores)
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
        if name in set(scores)
    )
    versions = [(name, before) for name in sorted(counts) if (before := version_before(name, counts))]
    newer = "".join(
        f" `{name}` is the newer version of `{before}`, which stays as it was." for name, before in versions
    )
    first = DEFAULT if DEFAULT in made else next(iter(made), DEFAULT)
    return f"""---
license: {LICENCE}
{NAME}
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

Profiles: {profiles}. Scores of different profiles are of different benchmarks: never average over them.{newer}

{READING if {"leaderboard", "scores"} <= made.keys() else ""}On the Hub, `load_dataset("OWNER/NAME", "{first}")`
loads a table. pandas and DuckDB read it there when the path begins with `hf://datasets/OWNER/NAME/`.

Rows of `scores` and `runs` join on `file`, the path of the record.
What was not measured has no row: it is not zero. `leaderboard` has the ranking, `published` each published comparison
with the verdict of this board, `answers` what the models said to the first test items, where the records keep it.
`extended` has methods of context extension on a pretrained model.

## Tables
{columns}
## Metrics

| metric | unit | better | meaning |
| --- | --- | --- | --- |
{metrics}
## Licence and citation

Apache License 2.0. Cite the paper of each encoding as well: column `paper` of `encodings`.

```bibtex
{cited(version)}
```
"""


READING = """In this folder, with datasets, pandas and DuckDB:

```python
from datasets import load_dataset
board = load_dataset("parquet", data_files="data/leaderboard.parquet", split="train")
```

```python
import pandas as pd
best = pd.read_parquet("data/leaderboard.parquet").query("tier == 1")
print(best[["profile", "encoding", "score", "score_low", "score_high"]])
```

```python
import duckdb
duckdb.sql("SELECT profile, encoding, task, avg(score) FROM 'data/scores.parquet' GROUP BY ALL").show()
```

"""
SIZES = (("n<1K", 1e3), ("1K<n<10K", 1e4), ("10K<n<100K", 1e5), ("100K<n<1M", 1e6), ("1M<n<10M", 1e7))


def export(records: list[Record], folder: Path, kind: Format) -> list[Path]:
    """Write the records as CSV or parquet tables, or as Every Eval Ever logs; the files, sorted.

    A table of an earlier call that these records do not have is removed. DatasetError where another file has the name
    of one.
    """
    if kind == "eee":
        logs = [write_log(log, folder) for log in eee(records)]
        if not logs:
            raise DatasetError("no record holds a quality score, and Every Eval Ever has no others")
        return sorted(logs)
    made = {name: rows for name, rows in tables(records).items() if len(rows)}
    files = {name: folder / f"{name}.{kind}" for name in SCHEMAS}
    foreign = {name for name, file in files.items() if file.exists() and not _is_table(file, name)}
    if lost := sorted(foreign & made.keys()):
        raise DatasetError(f"{files[lost[0]]} is no table that pebench wrote; choose a new folder with --out")
    for name in files.keys() - made.keys() - foreign:
        files[name].unlink(missing_ok=True)
    for name, rows in made.items():
        data = _parquet(rows) if kind == "parquet" else safe_csv(rows.to_pandas()).encode()
        write_whole(files[name], data)
    return sorted(files[name] for name in made)


def _is_table(file: Path, name: str) -> bool:
    """Whether a file is a table that `export` wrote, of this version or another: it begins with the same columns."""
    try:
        if file.suffix == ".parquet":
            columns = pq.read_schema(file).names
        else:
            with file.open(encoding="utf-8") as lines:
                columns = lines.readline(1000).rstrip("\n").split(",")
    except (OSError, ValueError):  # pyarrow's errors are of both
        return False
    return columns[:2] == SCHEMAS[name].names[:2]
