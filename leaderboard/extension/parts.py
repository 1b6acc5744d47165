"""The numbers of a board in parts: by length, by kind of question, by cost."""

import pandas as pd

from pebench.leaderboard.extension.board import Track
from pebench.leaderboard.extension.quantities import phases, questions
from pebench.leaderboard.extension.shares import Share, shares

KINDS = ("single", "multi_key", "multi_query", "multi_value")
ALL = "all"  # kinds together
MEASURES = {
    "exact": "exact",
    "found": "found",
    "margin": "choice",
}  # metrics, and what by_kind calls their shares


def losses_by_method(track: Track) -> pd.DataFrame:
    """Mean loss of each stretch over texts, with the range of texts: method, start, length, value, low, high, texts."""
    grouped = track.losses.groupby(["method", "start", "length"], sort=False)["value"]
    return grouped.agg(value="mean", low="min", high="max", texts="count").reset_index()


def retrieval_by_length(track: Track) -> pd.DataFrame:
    """Each metric by length, kind and depth: method, length, kind, depth, metric, value, n."""
    keys = ["method", "length", "kind", "depth", "metric"]
    grouped = track.answers.groupby(keys, sort=False, dropna=False)["value"]
    return grouped.agg(value="mean", n="count").reset_index()


def levels_by_length(track: Track, kind: str = "single") -> pd.DataFrame:
    """The share of one kind of questions that is answered: method, length, value, low, high, texts."""
    rows = track.answers[(track.answers["metric"] == "exact") & (track.answers["kind"] == kind)]
    levels = shares(questions(rows, list(rows["length"])))
    columns = ["method", "length", "value", "low", "high", "texts"]
    table = [(method, length, *share[:4]) for (length, method), share in levels.items()]
    return pd.DataFrame(table, columns=columns).astype({"value": float, "low": float, "high": float})


def by_kind(track: Track) -> pd.DataFrame:
    """Shares by kind of question and phase: method, kind, phase, metric, value, low, high, texts, n.

    The metrics: `exact`, answers with every number right; `found`, the numbers found; `choice`, questions whose right
    number is likelier than the three others (a forced-choice margin above 0). The kind ALL has all questions.
    """
    rows = []
    for metric, name in MEASURES.items():
        answers = track.answers[track.answers["metric"] == metric]
        if metric == "margin":
            answers = answers.assign(value=(answers["value"] > 0).astype(float))
        at = phases(answers, track.trained)
        for kinds in (list(answers["kind"]), [ALL] * len(answers)):
            found = shares(questions(answers, list(zip(kinds, at, strict=True))))
            rows += [(method, *part, name, *share) for (part, method), share in found.items()]
    columns = ["method", "kind", "phase", "metric", *Share._fields]
    return pd.DataFrame(rows, columns=columns).astype({"value": float, "low": float, "high": float})


def cost_frame(track: Track) -> pd.DataFrame:
    """Time and memory of the methods whose cost was measured; no rows where none was."""
    return pd.DataFrame([{"method": line.method, **line.costs} for line in track.lines if line.costs])
