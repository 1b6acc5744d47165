"""The scores that count, arranged by encoding, seed and cell, and the weights of their average."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pebench.suite.results.metrics import METRICS
from pebench.suite.results.names import trained

MIN_SHARE = 0.25  # of the encodings that carry the board must have a cell, or it does not count yet
CARRYING = 0.5  # of the tasks of the fullest encoding, in two seeds each: less does not carry the board
NESTING = ("task_family", "task", "length", "cell")
_SHARES, _DECADES = ({m for m in METRICS if METRICS[m].unit == unit} for unit in ("share", "decades"))

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """The scores that count: `score` and the standard error of the test sampling `noise`, both (E, S, C)."""

    encodings: list[str]
    seeds: list[int]
    tasks: list[str]
    groups: pd.DataFrame  # (C,) codes of each level of NESTING; a task's code is its place in `tasks`
    names: pd.DataFrame  # (C,) task_family, task, length, metric, condition, phase
    score: Array
    noise: Array

    @property
    def has_cell(self) -> Mask:
        """Which cells an encoding is compared on, (E, C)."""
        return np.asarray(np.isfinite(self.score).any(axis=1))

    @property
    def trained(self) -> list[str]:
        """What each encoding trained: itself, but for an extension, which reads another's training. (E,)."""
        return [trained(name) for name in self.encodings]

    def tasks_with(self, phase: str) -> list[str]:
        """The tasks that have a cell "at_length" or "beyond", in the order of `tasks`."""
        found = set(self.names.loc[self.names["phase"] == phase, "task"])
        return [task for task in self.tasks if task in found]

    def of_task(self, task: int) -> Mask:
        """The cells of a task, (C,)."""
        return self.groups["task"].to_numpy() == task

    @cached_property
    def runs(self) -> NDArray[np.int64]:
        """How many seeds of each task an encoding is compared on, (E, T)."""
        has = np.isfinite(self.score)
        runs = [has[:, :, self.of_task(t)].any(axis=2).sum(axis=1) for t in range(len(self.tasks))]
        return np.array(runs, int).reshape(len(self.tasks), len(self.encodings)).T

    @property
    def most_runs(self) -> NDArray[np.int64]:
        """How many seeds of each task the encoding with most has, (T)."""
        return np.asarray(self.runs.max(axis=0, initial=0))

    @property
    def behind(self) -> list[str]:
        """The encodings that have fewer seeds than others in some task that they have."""
        fewer = (self.runs > 0) & (self.runs < self.most_runs)
        return [self.encodings[e] for e in np.flatnonzero(fewer.any(axis=1))]


def cells(scores: pd.DataFrame) -> Cells:
    """Arrange a score table.

    A cell that only one of several encodings has compares nothing and is left out. So is a cell that few of the
    encodings have yet that carry the board (MIN_SHARE). In each task a seed counts only where it has every cell of the
    encoding's fullest seed.
    """
    # The digits of a sum are right or wrong together: as many answers are independent as there are examples.
    answers = scores["metric"].isin(_SHARES)
    least = scores["n"].where(answers).groupby([scores[k] for k in ("encoding", "task", "seed", "condition")])
    counted = scores.assign(n=scores["n"].where(~answers, least.transform("min")))[scores["score"].notna()]
    if counted["encoding"].nunique() > 1:
        cell_names = ["task", "metric", "condition"]
        counted = counted[counted.groupby(cell_names)["encoding"].transform("nunique") > 1]
        several = carrying(counted)
        sure = counted["encoding"].where(counted["encoding"].isin(several))
        have = sure.groupby([counted[name] for name in cell_names]).transform("nunique")
        counted = counted[have >= MIN_SHARE * len(several)]
    keys = ["task_family", "task", "length", "metric", "condition", "phase"]
    cell, names = _codes(counted[keys])
    encoding, encodings = pd.factorize(counted["encoding"], sort=True)
    seed, seeds = pd.factorize(counted["seed"], sort=True)
    score = np.full((len(encodings), len(seeds), len(names)), np.nan)
    noise = score.copy()
    score[encoding, seed, cell] = counted["score"]
    noise[encoding, seed, cell] = sampling_error(counted)
    groups = pd.DataFrame(
        {level: _codes(names[list(keys[:n])])[0] for n, level in enumerate(NESTING[:3], 1)}
        | {"cell": np.arange(len(names))}
    )
    tasks = names.groupby(groups["task"].to_numpy())["task"].first().tolist()
    data = Cells(list(encodings), [int(s) for s in seeds], tasks, groups, names, score, noise)
    for task in range(len(tasks)):
        part = score[:, :, data.of_task(task)]
        has = np.isfinite(part)
        fullest = has[np.arange(len(encodings)), has.sum(axis=2).argmax(axis=1)][:, None]
        complete = (has >= fullest).all(axis=2, keepdims=True)
        score[:, :, data.of_task(task)] = np.where(complete & fullest, part, np.nan)
    return data


def carrying(counted: pd.DataFrame) -> set[str]:
    """The encodings with two seeds in many tasks; all, where none has two seeds.

    Previews and rows just begun do not decide which tasks count.
    """
    seeds = counted.groupby(["encoding", "task"], observed=True)["seed"].nunique()
    tasks = (seeds > 1).groupby("encoding", observed=True).sum()
    return set(tasks.index[tasks >= max(1, CARRYING * tasks.max())]) or set(tasks.index)


def only(data: Cells, keep: Mask) -> Cells:
    """The cells in a mask (C,) of the same encodings; a task without any is left out."""
    task = data.groups["task"].to_numpy()[keep]
    kept, renumbered = np.unique(task, return_inverse=True)
    groups = data.groups[keep].assign(task=renumbered, cell=np.arange(len(task))).reset_index(drop=True)
    return replace(
        data,
        tasks=[data.tasks[t] for t in kept],
        groups=groups,
        names=data.names[keep].reset_index(drop=True),
        score=data.score[:, :, keep],
        noise=data.noise[:, :, keep],
    )


def _codes(frame: pd.DataFrame) -> tuple[NDArray[np.int64], pd.DataFrame]:
    grouped = frame.groupby(list(frame.columns), sort=True, dropna=False, observed=True)
    codes = grouped.ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return codes, frame.iloc[first].reset_index(drop=True)


def sampling_error(rows: pd.DataFrame) -> Array:
    """Standard error of each normalised score given its n answers.

    A share is binomial, with half an answer added to each side so that 0 and 1 are not certain (Jeffreys). The log of
    an error rate varies as its count of wrong reads. One wrong read of each of the n sequences is independent. Any
    other value is a mean of n terms whose deviation is taken to be as large as the mean. That is exact for an
    exponential, and nearly so for the surprisal of bytes. All encodings answer the same test items, so the errors of a
    pair are alike and cancel in part. They are taken as independent, which is cautious. All seeds do too: more of them
    make this error no smaller.
    """
    value, n, ceiling = (rows[name].to_numpy(float) for name in ("value", "n", "ceiling"))
    p = (value.clip(0, 1) * n + 0.5) / (n + 1)
    error = np.where(rows["metric"].isin(_SHARES), np.sqrt(p * (1 - p)), np.abs(value)) / np.sqrt(n)
    if (decades := rows["metric"].isin(_DECADES).to_numpy()).any():
        wrong = (
            10.0 ** (ceiling - value)[decades] / 2
        )  # with half a read; the ceiling is the value of that half alone
        error[decades] = 1 / np.log(10) / np.sqrt(np.minimum(wrong, n[decades] + 0.5))
    return error / np.abs(ceiling - rows["floor"].to_numpy(float))


def weights(groups: pd.DataFrame, mask: Mask) -> Array:
    """Weights (C,) of the cells in a mask: equal for families, then tasks, then lengths, then conditions."""
    weight = mask.astype(float)
    outer = np.zeros(len(mask), int)
    for level in NESTING:
        inner = groups[level].to_numpy()
        parents = np.unique(np.stack([outer[mask], inner[mask]]), axis=1)[0]
        weight[mask] /= np.bincount(parents, minlength=1)[outer[mask]]
        outer = inner
    return weight


def averages(data: Cells, within: Mask | None = None) -> tuple[Array, Array]:
    """Scores (E, S) averaged over the cells that each encoding has, and the variances of their test sampling.

    `within` (C,) keeps some cells only: one family's or one task's.
    """
    score, noise = (np.full(data.score.shape[:2], np.nan) for _ in range(2))
    for mask, members in patterns(data.has_cell if within is None else data.has_cell & within):
        if mask.any():
            w = weights(data.groups, mask)[mask]
            score[members] = data.score[members][:, :, mask] @ w
            noise[members] = data.noise[members][:, :, mask] ** 2 @ w**2
    return score, np.where(np.isfinite(score), noise, np.nan)


def patterns(has_cell: Mask) -> list[tuple[Mask, NDArray[np.int64]]]:
    """Each distinct row of (E, C), with the encodings that have it."""
    kinds, which = np.unique(has_cell, axis=0, return_inverse=True)
    return [(mask, np.flatnonzero(which.ravel() == n)) for n, mask in enumerate(kinds)]


def shares(data: Cells, within: Mask) -> Array:
    """The weight of each task (T) in the average of the cells that each encoding has of these (C,): (E, T)."""
    share = np.zeros((len(data.encodings), len(data.tasks)))
    task = data.groups["task"].to_numpy()
    for mask, members in patterns(data.has_cell & within):
        if mask.any():
            share[members] = np.bincount(task, weights(data.groups, mask), minlength=len(data.tasks))
    return share


def row_means(x: Array) -> Array:
    """Means of the rows without NaN, NaN where a row has nothing else."""
    has = np.isfinite(x)
    total = np.where(has, x, 0.0).sum(axis=1)
    return np.divide(total, has.sum(axis=1), out=np.full(len(x), np.nan), where=has.any(axis=1))
