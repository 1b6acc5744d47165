"""Records of the track: the model and the corpus that each one reads, its method, and its tables."""

import json
from collections.abc import Iterable

import pandas as pd

from pebench.suite.results.metrics import EXTENDING
from pebench.suite.results.record import Record, newest

LOSS, RETRIEVAL, COST = EXTENDING
QUICK = "EXTEND_QUICK"
FULL = "EXTEND"
PREFIX = "EXTEND"  # of the names of its profiles
BASE = "none"
# What a condition holds, by task and name; `depth` may be absent.
CONDITIONS: dict[str, dict[str, type]] = {
    LOSS: {"start": float, "length": float},
    RETRIEVAL: {"length": float, "kind": str, "depth": float},
    COST: {},
}


def is_track(profile: str | None) -> bool:
    """Whether a profile belongs to this track."""
    return profile is not None and profile.upper().startswith(PREFIX)


def latest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each run. A run of the track is of one model and one corpus, too."""
    groups = dict[tuple[str, str], list[Record]]()
    for r in records:
        groups.setdefault(subject_of(r) if is_pretrained(r) else ("", ""), []).append(r)
    return [r for group in groups.values() for r in newest(group)]


def pretrained(record: Record) -> str:
    """The pretrained model of a record, with the beginning of its sha256; empty where it has none."""
    about = model_of(record) if is_pretrained(record) else None
    return shown_model(about["name"], about["sha256"]) if about else ""


def is_pretrained(record: Record) -> bool:
    """Whether a record is of the track and names its model."""
    model = record.setup.get("model")
    return record.task in EXTENDING and isinstance(model, dict) and {"name", "sha256"} <= model.keys()


def fault_of(record: Record) -> str:
    """What a record of the track does not say, and must; empty where it says all."""
    trained = record.setup.get("train_length")
    if record.rows and (type(trained) is not int or trained < 1):
        return f"its train_length is {trained!r}, no number of tokens"
    for row in record.rows:
        for name, kind in CONDITIONS[record.task].items():
            value = row.condition.get(name, 0.0 if name == "depth" else None)
            if not isinstance(value, str if kind is str else int | float):
                return f"a condition of {row.metric} has {name} {value!r}, no {'text' if kind is str else 'number'}"
    return ""


def subject_of(record: Record) -> tuple[str, str]:
    """The sha256 of the model and of the corpus."""
    return model_of(record)["sha256"], corpus_of(record)["sha256"]


def shown_model(name: str, sha256: str) -> str:
    """A model by its name and the beginning of its sha256."""
    return f"{name} {sha256[:8]}"


def model_of(record: Record) -> dict[str, str]:
    """The name and the sha256 of the model that was read."""
    return {part: str(record.setup["model"][part]) for part in ("name", "sha256")}


def corpus_of(record: Record) -> dict[str, str]:
    """The name and the sha256 of the corpus that its texts are of."""
    about = record.setup.get("corpus")
    known = about if isinstance(about, dict) else {}
    return {part: str(known.get(part, "")) for part in ("name", "sha256")}


def shown_corpus(record: Record) -> str:
    """The corpus by its name; a user's own by its sha256 too, as two of them may have one name."""
    about = corpus_of(record)
    return f"{about['name']} {about['sha256'][:8]}" if about["name"].startswith("user:") else about["name"]


def method_of(record: Record) -> str:
    """The method of a record."""
    return record.encoding.partition("@")[2] or BASE


def divisors_of(record: Record) -> str:
    """The divisors that a search found for a record's method; empty where it needs none."""
    searched = record.card.get("searched")
    return json.dumps(searched.get("divisors")) if isinstance(searched, dict) else ""


def machine_fact(record: Record, name: str) -> str:
    """One of FACTS, as a record tells it."""
    if name == "torch version":
        versions = record.provenance.get("versions")
        return str(versions.get("torch")) if isinstance(versions, dict) else "None"
    key = {"processor": "cpu", "number of threads": "threads", "kind of kernels": "kernels"}.get(name, name)
    return str(record.provenance.get(key))


def loss_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each stretch of a text: mean loss in nats a token."""
    rows = [
        (method_of(r), r.seed, row.condition["start"], row.condition["length"], row.value, row.n)
        for r in records
        if r.task == LOSS
        for row in r.rows
    ]
    return pd.DataFrame(rows, columns=["method", "text", "start", "length", "value", "n"])


def answer_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each question and metric."""
    rows = [
        (
            *(method_of(r), r.seed, row.condition["length"], row.condition["kind"]),
            *(row.condition.get("depth"), row.metric, row.value, row.n),
        )
        for r in records
        if r.task == RETRIEVAL
        for row in r.rows
    ]
    columns = ["method", "text", "length", "kind", "depth", "metric", "value", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"depth": float})
