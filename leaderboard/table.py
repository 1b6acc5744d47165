"""Records as data frames: long, one row a fact, and pure: no file is read here."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from pebench.leaderboard.columns import SHOWN, Columns, columns, number, spelled, text
from pebench.suite.results.record import CERTIFICATE, Condition, Record, normalised

SCORE_COLUMNS = [
    *("encoding", "task", "task_family", "seed", "metric"),
    *("condition", "length", "depth", "position", "kind", "questions", "phase"),
    *("value", "n", "floor", "ceiling", "score", "fingerprint", "file"),
]


def score_table(records: Columns | Iterable[Record]) -> pd.DataFrame:
    """One row per measured number; `score` is 0 at the floor, 1 at the ceiling, NaN where it does not count.

    `length`, `depth`, `position`, `kind` (of needles) and `questions` (a set of them) repeat what the condition says;
    `condition` is all of it, as text. `phase` is "at_length" up to the training length of the task, "beyond" above it,
    and empty where either length is unknown. Texts are categories in the order of the alphabet.
    """
    told = records if isinstance(records, Columns) else columns(records)
    told = told.where(told.column("task") != CERTIFICATE)
    run = told.rows["run"].to_numpy()
    # The same few conditions come again and again.
    condition, every = _coded(told.rows["condition"].to_pandas())
    conditions = [json.loads(c) for c in every]
    frame = pd.DataFrame(index=pd.RangeIndex(len(run)))
    for name in ("encoding", "task", "task_family"):
        frame[name] = _spread(told.texts(name), run)
    frame["seed"] = told.runs["seed"].to_numpy()[run]
    frame["metric"] = _spread(*_coded(told.rows["metric"].to_pandas())[::-1])
    frame["condition"] = _spread([label(c) for c in conditions], condition)
    for name in ("length", "depth", "position"):
        frame[name] = np.array([number(c.get(name)) for c in conditions], float)[condition]
    for name, key in (("kind", "kind"), ("questions", "task")):
        frame[name] = _spread([text(c.get(key)) or None for c in conditions], condition)
    for name in ("value", "n", "floor", "ceiling"):
        frame[name] = told.rows[name].to_numpy()
    with np.errstate(over="ignore"):  # a stranger's number may be as large as floats go
        score = normalised(frame["value"], frame["floor"], frame["ceiling"])
    # The gate is measured on the training distribution: it says who learned the task, and counts no more.
    frame["score"] = score.clip(lower=0.0).where(frame["metric"] != "gate")
    # A task is in the family that most of its rows name: one record cannot move it.
    family = frame.groupby("task")["task_family"].agg(lambda names: names.mode().iloc[0]).to_dict()
    frame["task_family"] = _spread([family.get(task, "") for task in told.texts("task")], run)
    lengths = _train_lengths(told)
    trained = np.array([lengths.get(task) for task in told.texts("task")], float)[run]
    phase = np.where(frame["length"] > trained, 1, 0)
    phase[frame["length"].isna() | np.isnan(trained)] = 2
    frame["phase"] = _spread(["at_length", "beyond", ""], phase)
    for name in ("fingerprint", "file"):
        frame[name] = _spread(told.texts(name), run)
    return frame[SCORE_COLUMNS]


def _spread(texts: Sequence[str | None], codes: "NDArray[Any]") -> pd.Categorical:
    """The texts that the codes name, as categories in the order of the alphabet."""
    places, names = pd.factorize(np.array(texts, object), sort=True)
    return pd.Categorical.from_codes(places[codes], names)


def _coded(words: "pd.Series[Any]") -> "tuple[NDArray[Any], list[str]]":
    """Codes of a categorical column, and the texts among its categories that it has."""
    used, codes = np.unique(words.cat.codes.to_numpy(), return_inverse=True)
    return codes, list(words.cat.categories[used])


def _train_lengths(told: Columns) -> dict[str, float]:
    """The training length of each task, in its unit: of the most records, as one record cannot move it."""
    counts: dict[str, Counter[float]] = defaultdict(Counter)
    for task, length in zip(told.texts("task"), told.texts("train_length"), strict=True):
        if length is not None:
            counts[task][length] += 1
    return {task: lengths.most_common(1)[0][0] for task, lengths in counts.items()}


def run_table(records: Columns | Iterable[Record]) -> pd.DataFrame:
    """One row per record: what was run, how it ended, on what, how to repeat it."""
    told = records if isinstance(records, Columns) else columns(records)
    if not len(told):
        return pd.DataFrame()
    frame = spelled(told.runs.select(SHOWN)).to_pandas()
    kinds = frame.groupby(["encoding", "task"])["fingerprint"].transform("nunique")
    return frame.assign(stale=kinds > 1)


def check_table(records: Columns | Iterable[Record]) -> pd.DataFrame:
    """One row per check of a certificate: encoding, check, passed, detail."""
    told = records if isinstance(records, Columns) else columns(records)
    rows = told.rows.filter(pc.equal(told.rows["metric"], "pass"))
    codes, texts = _coded(rows["condition"].to_pandas())
    said = [json.loads(condition) for condition in texts]
    encodings = np.array(told.texts("encoding"), object)
    parts = {
        "encoding": encodings[rows["run"].to_numpy()],
        **{key: np.array([str(c.get(key, "")) for c in said], object)[codes] for key in ("check", "detail")},
        "passed": rows["value"].to_numpy() >= 1,
    }
    return pd.DataFrame(parts)


ANSWERS = ["encoding", "task", "seed", "condition", "item", "asked", "answer", "said", "right", "file"]


def answer_table(records: Columns | Iterable[Record]) -> pd.DataFrame:
    """One row per answer that a record keeps: the test item, the right answer, what was said, whether it was right."""
    told = records if isinstance(records, Columns) else columns(records)
    runs = spelled(
        told.runs.select(["encoding", "task", "seed", "file"]).take(told.answers["run"])
    ).to_pandas()
    answers = spelled(told.answers).to_pandas()
    labels = {text: label(json.loads(text)) for text in answers["condition"].unique()}
    return runs.join(answers.assign(condition=answers["condition"].map(labels)))[ANSWERS]


def answering(told: Columns) -> list[tuple[str, str]]:
    """The profile and task of each run that keeps answers."""
    runs = told.runs.take(pc.unique(told.answers["run"]))
    return list(zip(runs["profile"].to_pylist(), runs["task"].to_pylist(), strict=True))


def label(condition: Condition) -> str:
    """A condition as text, the same for equal conditions: 'depth 0.5, length 256'."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in sorted(condition.items()))


def _plain(value: int | float | str) -> int | float | str:
    return int(value) if isinstance(value, float) and value.is_integer() else value
