"""Two quantities of runs: *learns*, whether the gate is passed, and *keeps*, how far half of the score at L holds."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pebench.leaderboard.ranking.scores import Array, Mask
from pebench.leaderboard.ranking.variances import DRAWS, LEVEL

ALL = "all"  # in the place of a task: the mean over families, then tasks
COLUMNS = ["encoding", "task", "value", "low", "high", "p_best", "tasks"]
RUNS = ["encoding", "task", "task_family", "seed", "learned", "keeps"]


Count = NDArray[np.int64]


class Learning(NamedTuple):
    """Tables with COLUMNS: a line for each encoding and task, and one for ALL.

    low and high are NaN with fewer than two seeds in some task. `tasks` counts those that the value is the mean of.
    """

    learns: pd.DataFrame  # share of the runs that pass the gate
    keeps: pd.DataFrame  # octaves of L, the mean of the runs that pass; no line where none does


def learning(scores: pd.DataFrame, runs: pd.DataFrame, seed: int = 0) -> Learning:
    """Both quantities of a board, of `table.score_table` and `table.run_table`.

    The share of passing runs is a binomial with Jeffreys' prior, octaves are t-distributed over seeds. P(best) is the
    share of draws with the largest value; it is given to encodings that have a value with an interval in every task.
    """
    found = of_runs(scores, runs)
    rng = np.random.default_rng(seed)
    return Learning(
        _over_seeds(found, "learned", rng), _over_seeds(found.dropna(subset="keeps"), "keeps", rng)
    )


def of_runs(scores: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """A line with RUNS for each run that has a gate; `keeps` is NaN where the gate fails or nothing is beyond L.

    The gate is the score at L where a plan measures longer strings alone.
    """
    have = (
        runs[runs["learned"].notna()] if "learned" in runs else pd.DataFrame(columns=[*RUNS, "train_length"])
    )
    key = ["encoding", "task", "seed"]
    curves = scores.dropna(subset="score").groupby([*key, "length"])["score"].mean()
    by_run = {run: curve.droplevel(key) for run, curve in curves.groupby(level=key)}
    lines = [
        (
            *(r.encoding, r.task, r.task_family, r.seed, bool(r.learned)),
            octaves(by_run[run].combine_first(pd.Series({r.train_length: r.gate})), r.train_length)
            if r.learned and (run := (r.encoding, r.task, r.seed)) in by_run
            else np.nan,
        )
        for r in have.itertuples()
    ]
    return pd.DataFrame(lines, columns=RUNS)


def octaves(curve: pd.Series, trained: float) -> float:
    """log2 of the length, in training lengths, up to which at least half of the score at the training length holds.

    `curve` are scores by length. Between two lengths the score is linear in log2 of the length. Where half holds at
    all lengths it is the longest: a lower bound. NaN without a positive score at the training length, or without any
    longer length.

    >>> octaves(pd.Series({8.0: 0.8, 16.0: 0.6, 32.0: 0.2}), 8)
    1.5
    """
    curve = curve[curve.index >= trained].sort_index()
    if len(curve) < 2 or curve.index[0] != trained or not curve.iloc[0] > 0:
        return float("nan")
    at, score, half = np.log2(curve.index.to_numpy() / trained), curve.to_numpy(), curve.iloc[0] / 2
    lost = np.flatnonzero(score < half)
    if not len(lost):
        return float(at[-1])
    n = lost[0]
    step = (score[n - 1] - half) / (score[n - 1] - score[n])
    return float(at[n - 1] + step * (at[n] - at[n - 1]))


def _over_seeds(runs: pd.DataFrame, column: str, rng: np.random.Generator) -> pd.DataFrame:
    """Mean and interval of each encoding in each task, and over all."""
    names, tasks = sorted(set(runs["encoding"])), sorted(set(runs["task"]))
    if not names:
        return pd.DataFrame(columns=COLUMNS)
    family = runs.groupby("task")["task_family"].first()
    size = family.groupby(family).transform("size")
    weight = (1 / size / family.nunique()).reindex(tasks).to_numpy()
    value = np.full((len(names), len(tasks)), np.nan)
    sample = np.full((len(names), len(tasks), DRAWS), np.nan)
    for (name, task), rows in runs.groupby(["encoding", "task"]):
        e, t, x = names.index(name), tasks.index(task), rows[column].to_numpy(float)
        value[e, t] = x.mean()
        if len(x) > 1 and column == "learned":
            sample[e, t] = rng.beta(x.sum() + 0.5, len(x) - x.sum() + 0.5, DRAWS)
        elif len(x) > 1:
            sample[e, t] = x.mean() + x.std(ddof=1) / np.sqrt(len(x)) * rng.standard_t(len(x) - 1, DRAWS)
    share = np.where(np.isfinite(value), weight, 0.0)
    share = share / share.sum(axis=1, keepdims=True)
    whole = np.einsum("et,et->e", share, np.nan_to_num(value))
    # NaN where a task that counts has no interval.
    drawn = np.where((share > 0)[:, :, None], share[:, :, None] * sample, 0.0).sum(axis=1)
    count = np.isfinite(value).sum(axis=1)
    parts = [_lines(names, ALL, whole, drawn, count, count == len(tasks))]
    for t, task in enumerate(tasks):
        has = np.isfinite(value[:, t])
        kept = [name for name, here in zip(names, has, strict=True) if here]
        ones = np.ones(len(kept), int)
        parts.append(_lines(kept, task, value[has, t], sample[has, t], ones, ones > 0))
    return pd.concat(parts, ignore_index=True)


def _lines(
    names: list[str], task: str, value: Array, sample: Array, tasks: Count, whole: Mask
) -> pd.DataFrame:
    """The lines of one task; P(best) among those that are whole and have draws."""
    known = np.isfinite(sample).all(axis=1)
    low, high = np.full((2, len(names)), np.nan)
    if known.any():
        low[known], high[known] = np.quantile(sample[known], [LEVEL / 2, 1 - LEVEL / 2], axis=1)
    p_best = np.full(len(names), np.nan)
    among = np.flatnonzero(known & whole)
    if len(among):
        firsts = sample[among].argmax(axis=0)
        p_best[among] = np.bincount(firsts, minlength=len(among)) / sample.shape[1]
    return pd.DataFrame(
        {
            "encoding": names,
            "task": task,
            "value": value,
            "low": low,
            "high": high,
            "p_best": p_best,
            "tasks": tasks,
        }
    )
