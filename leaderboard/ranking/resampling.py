"""Tasks as a sample: what another choice of tasks, or of their families, would give."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pebench.leaderboard.ranking.scores import Array, Cells, Mask
from pebench.leaderboard.ranking.variances import DRAWS, LEVEL

FEWEST = 5  # families that draws of families need
BLOCK = 1024


@dataclass(frozen=True)
class TaskDraws:
    """Weights (DRAWS, T): each draw gives another choice of tasks as a weighted sum over the tasks that there are."""

    weights: Array
    of: Literal["tasks of the same families", "task families"]  # each draw takes others of these

    def positive(self, by_task: Array) -> Mask:
        """Whether more than 97.5 % of the draws of quantities given by task, (T, N), are above 0: (N,).

        Counting needs no sorting, and blocks of BLOCK quantities need little memory.
        """
        blocks = [by_task[:, n : n + BLOCK] for n in range(0, by_task.shape[1], BLOCK)]
        above = [(self.weights @ block > 0).mean(axis=0) for block in blocks]
        return np.concatenate([np.zeros(0), *above]) > 1 - LEVEL / 2


def task_draws(data: Cells, seed: int = 0) -> TaskDraws | None:
    """Draw tasks anew within families; where fewer than two families have two tasks, draw whole families.

    Within families: these stay, with equal weights. A family of n tasks becomes its mean plus the mean of n deviations
    of tasks from it, drawn from its own with replacement. They are stretched by sqrt(n / (n - 1)), because n deviations
    from their own mean are too small. A family of one task has no deviation: it draws from all other families' tasks,
    stretched likewise. Whole families are drawn with replacement and stretched in the same way. None with fewer
    than FEWEST families.
    """
    by_task = np.arange(len(data.tasks))
    code = data.groups.groupby("task")["task_family"].first().reindex(by_task).to_numpy()
    families = [by_task[code == family] for family in np.unique(code)]
    rng = np.random.default_rng(seed)
    if sum(len(tasks) > 1 for tasks in families) > 1:
        return TaskDraws(_within(families, rng), "tasks of the same families")
    return TaskDraws(_whole(families, rng), "task families") if len(families) >= FEWEST else None


def _within(families: list[NDArray[np.int64]], rng: np.random.Generator) -> Array:
    """Weights (DRAWS, T) of tasks drawn within families."""
    count = sum(map(len, families))
    deviations = np.zeros((count, count))  # row t: task t minus the mean of its family, stretched
    for tasks in families:
        n = len(tasks)
        if n > 1:
            deviations[np.ix_(tasks, tasks)] = _stretch(n) * (np.eye(n) - 1 / n)
    donors = np.concatenate([tasks for tasks in families if len(tasks) > 1])
    weights = np.zeros((DRAWS, count))
    for tasks in families:
        weights[:, tasks] += 1 / len(tasks)
        drawn = rng.choice(tasks if len(tasks) > 1 else donors, (DRAWS, len(tasks)))
        weights += deviations[drawn].mean(axis=1)
    return weights / len(families)


def _whole(families: list[NDArray[np.int64]], rng: np.random.Generator) -> Array:
    """Weights (DRAWS, T) of families drawn with replacement; tasks of a family weigh the same."""
    n = len(families)
    times = rng.multinomial(n, np.full(n, 1 / n), DRAWS)
    each = 1 / n + _stretch(n) * (times / n - 1 / n)
    weights = np.zeros((DRAWS, sum(map(len, families))))
    for tasks, share in zip(families, each.T, strict=True):
        weights[:, tasks] = share[:, None] / len(tasks)
    return weights


def _stretch(n: int) -> float:
    """By how much n deviations from their own mean are too small."""
    return float(np.sqrt(n / (n - 1)))
