"""Two quantities of runs: *learns*, whether the gate is passed, and *keeps*, how far half of the score at L holds."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from pebench.leaderboard.ranking.scores import Array, Mask
from pebench.leaderboard.ranking.variances import DRAWS, LEVEL

ALL = "all"  # in the place of a task: the mean over families, then tasks
COLUMNS = ["encoding", "task", "value", "low", "high", "p_best", "tasks", "cut"]
RUNS = ["encoding", "task", "task_family", "seed", "learned", "keeps", "held"]


Count = NDArray[np.int64]


class Learning(NamedTuple):
    """Tables with COLUMNS: a line for each encoding and task, and one for ALL.

    low and high are NaN with fewer than two seeds in some task. `tasks` counts those that the value is the mean of.
    `cut`: the share of the runs in which half of the score still holds at the longest length. Above 0 the value is a
    lower bound.
    """

    learns: pd.DataFrame  # share of the runs that pass the gate
    keeps: pd.DataFrame  # octaves of L, the mean of the runs that pass; no line where none does


def learning(
    scores: pd.DataFrame, runs: pd.DataFrame, ranked: Collection[str] | None = None, seed: int = 0
) -> Learning:
    """Both quantities of a board, of `table.score_table` and `table.run_table`.

    The share of passing runs is a binomial with Jeffreys' prior, octaves are t-distributed over seeds. An interval
    reaches to its value, where all runs pass or none does (Brown, Cai and DasGupta, 2001). P(best) is the share of
    draws with the largest value, among the ranked encodings (None: all) that have a value with an interval in every
    task. Of passing runs there is none where these have unlike numbers of seeds: the prior alone would favour those
    with more.
    """
    found, most = of_runs(scores, runs), longest(scores, runs)
    rng = np.random.default_rng(seed)
    return Learning(
        _over_seeds(found.assign(held=False), "learned", ranked, {}, rng),
        _over_seeds(found.dropna(subset="keeps"), "keeps", ranked, most, rng),
    )


def of_runs(scores: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """A line with RUNS for each run that has a gate; `keeps` is NaN where the gate fails or nothing is beyond L.
    `held`: half of the score at L holds at the longest length of the run.

    The gate is the score at L where a plan measures longer strings alone.
    """
    needed = ["encoding", "task", "task_family", "seed", "learned", "train_length", "gate"]
    have = runs.reindex(columns=needed).dropna(subset="learned")
    curves = _curves(scores)
    lines = []
    for r in have.astype(object).itertuples():  # Arrow's texts are slow to walk over
        kept, held, curve = math.nan, False, curves.get((r.encoding, r.task, r.seed))
        if r.learned and curve and r.train_length > 0:
            kept = octaves({r.train_length: r.gate, **curve}, r.train_length)
            held = math.isclose(kept, math.log2(max(curve) / r.train_length))
        lines.append((r.encoding, r.task, r.task_family, r.seed, bool(r.learned), kept, held))
    return pd.DataFrame(lines, columns=RUNS)


def longest(scores: pd.DataFrame, runs: pd.DataFrame) -> dict[str, float]:
    """The octaves of L up to the longest scored length, by task. L is the length that most runs trained at."""
    lengths = scores.dropna(subset="score").groupby("task", observed=True)["length"].max()
    trained = (
        runs.dropna(subset="train_length").groupby("task")["train_length"].agg(lambda x: x.mode().iloc[0])
    )
    both = pd.DataFrame({"length": lengths, "trained": trained}).dropna()
    both = both[(both["trained"] > 0) & (both["length"] > both["trained"])]
    return {str(r.Index): math.log2(r.length / r.trained) for r in both.itertuples()}


def _curves(scores: pd.DataFrame) -> dict[tuple[str, str, int], dict[float, float]]:
    """Mean score by length, of each (encoding, task, seed)."""
    key = ["encoding", "task", "seed", "length"]
    means = scores[[*key, "score"]].dropna().groupby(key)["score"].mean().reset_index()
    found: dict[tuple[str, str, int], dict[float, float]] = defaultdict(dict)
    columns = (means[name].astype(object).tolist() for name in means)
    for encoding, task, seed, length, score in zip(*columns, strict=True):
        found[encoding, task, seed][length] = score
    return found


def octaves(curve: Mapping[float, float], trained: float) -> float:
    """log2 of the length, in training lengths, up to which at least half of the score at the training length holds.

    `curve` are scores by length. Between two lengths the score is linear in log2 of the length. Where half holds at
    all lengths it is the longest: a lower bound. NaN without a positive score at the training length, or without any
    longer length.

    >>> octaves({8.0: 0.8, 16.0: 0.6, 32.0: 0.2}, 8)
    1.5
    """
    half = curve.get(trained, 0.0) / 2
    at, score, longer = 0.0, 2 * half, sorted(length for length in curve if length > trained)
    if not longer or not half > 0:
        return math.nan
    for length in longer:
        there = math.log2(length / trained)
        if curve[length] < half:
            return at + (score - half) / (score - curve[length]) * (there - at)
        at, score = there, curve[length]
    return at


def _over_seeds(
    runs: pd.DataFrame,
    column: str,
    ranked: Collection[str] | None,
    most: Mapping[str, float],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Mean and interval of each encoding in each task, and over all; no draw exceeds the most of its task."""
    names, tasks = sorted(set(runs["encoding"])), sorted(set(runs["task"]))
    if not names:
        return pd.DataFrame(columns=COLUMNS)
    family = runs.groupby("task")["task_family"].first()
    size = family.groupby(family).transform("size")
    weight = (1 / size / family.nunique()).reindex(tasks).to_numpy()
    runs = runs.astype({column: float})
    grouped = runs.groupby(["encoding", "task"])[column].agg(["mean", "std", "size", "sum"])
    mean, deviation, count, total = (
        grouped[part].unstack("task").reindex(index=names, columns=tasks).to_numpy() for part in grouped
    )
    share = np.where(np.isfinite(mean), weight, 0.0)
    share = share / share.sum(axis=1, keepdims=True)
    held = (
        runs.groupby(["encoding", "task"])["held"].sum().unstack("task").reindex(index=names, columns=tasks)
    )
    held = held.fillna(0).to_numpy(float)
    placed = np.array([ranked is None or name in ranked for name in names], bool)
    if column == "learned" and len(np.unique(count[placed][np.isfinite(count[placed])])) > 1:
        placed &= False
    drawn = np.zeros((len(names), DRAWS))  # NaN where a task that counts has no interval
    parts = []
    for t, task in enumerate(tasks):
        has = np.isfinite(mean[:, t])
        part = _draws(column, mean[has, t], deviation[has, t], count[has, t], total[has, t], rng)
        part = part.clip(0.0, most.get(task))
        drawn[has] += share[has, t, None] * part
        ones = np.ones(has.sum(), int)
        present = [names[e] for e in np.flatnonzero(has)]
        parts.append(
            _lines(present, task, mean[has, t], part, ones, held[has, t] / count[has, t], placed[has])
        )
    tasks_of = np.isfinite(mean).sum(axis=1)
    whole = (share * np.nan_to_num(mean)).sum(axis=1).clip(0.0, 1.0 if column == "learned" else None)
    cut = held.sum(axis=1) / np.nansum(count, axis=1)
    return pd.concat(
        [
            _lines(names, ALL, whole, drawn, tasks_of, cut, placed & (tasks_of == len(tasks))),
            *parts,
        ],
        ignore_index=True,
    )


def _draws(
    column: str, mean: Array, deviation: Array, count: Array, total: Array, rng: np.random.Generator
) -> Array:
    """Draws (E, DRAWS) of the means of one task; NaN with one seed.

    A Latin hypercube (McKay, Beckman and Conover, 1979): each row holds the same quantiles, in an order of its own.
    """
    sample = np.full((len(mean), DRAWS), np.nan)
    for e in np.flatnonzero(count > 1):
        if column == "learned":
            sample[e] = _beta(total[e] + 0.5, count[e] - total[e] + 0.5)
        else:
            sample[e] = mean[e] + deviation[e] / np.sqrt(count[e]) * _student(count[e] - 1)
    return rng.permuted(sample, axis=1)


@lru_cache(maxsize=1024)
def _beta(a: float, b: float) -> Array:
    """The quantiles of a beta distribution in the middle of DRAWS equal shares."""
    return np.asarray(special.betaincinv(a, b, _MIDDLES))


@lru_cache(maxsize=1024)
def _student(df: float) -> Array:
    """The quantiles of Student's t in the middle of DRAWS equal shares."""
    return np.asarray(special.stdtrit(df, _MIDDLES))


_MIDDLES = (np.arange(DRAWS) + 0.5) / DRAWS


def _lines(
    names: list[str], task: str, value: Array, sample: Array, tasks: Count, cut: Array, compared: Mask
) -> pd.DataFrame:
    """The lines of one task; P(best) among the compared encodings with draws."""
    known = np.isfinite(sample).all(axis=1)
    low, high = np.full((2, len(names)), np.nan)
    if known.any():
        low[known], high[known] = np.quantile(sample[known], [LEVEL / 2, 1 - LEVEL / 2], axis=1)
        low, high = (
            np.fmin(low, np.where(known, value, np.nan)),
            np.fmax(high, np.where(known, value, np.nan)),
        )
    p_best = np.full(len(names), np.nan)
    among = np.flatnonzero(known & compared)
    if len(among):
        first = sample[among] == sample[among].max(axis=0)
        p_best[among] = (first / first.sum(axis=0)).mean(axis=1)  # a tie is shared
    return pd.DataFrame(
        {
            "encoding": names,
            "task": task,
            "value": value,
            "low": low,
            "high": high,
            "p_best": p_best,
            "tasks": tasks,
            "cut": cut,
        }
    )
