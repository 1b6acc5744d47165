"""Tasks as a sample: what another choice of tasks of the same families would give."""

from dataclasses import dataclass

import numpy as np

from pebench.leaderboard.ranking.scores import Array, Cells, Mask
from pebench.leaderboard.ranking.variances import DRAWS, LEVEL

BLOCK = 1024


@dataclass(frozen=True)
class TaskDraws:
    """Weights (DRAWS, T): each draw gives another choice of tasks as a weighted sum over the tasks that there are."""

    weights: Array
    donors: tuple[str, ...]  # the tasks of families of two and more, from whose differences all draws come

    def positive(self, by_task: Array) -> Mask:
        """Whether more than 97.5 % of the draws of quantities given by task, (T, N), are above 0: (N,).

        Counting needs no sorting, and blocks of BLOCK quantities need little memory.
        """
        blocks = [by_task[:, n : n + BLOCK] for n in range(0, by_task.shape[1], BLOCK)]
        above = [(self.weights @ block > 0).mean(axis=0) for block in blocks]
        return np.concatenate([np.zeros(0), *above]) > 1 - LEVEL / 2


def task_draws(data: Cells, seed: int = 0) -> TaskDraws | None:
    """Draw tasks anew within families, with replacement; None where no family has two tasks.

    Families stay, with equal weights. A family of n tasks becomes its mean plus the mean of n deviations of tasks
    from it, drawn from its own. They are stretched by sqrt(n / (n - 1)), because n deviations from their own mean
    are too small. A family of one task has no deviation: it draws from all other families' tasks, stretched
    likewise.
    """
    by_task = np.arange(len(data.tasks))
    code = data.groups.groupby("task")["task_family"].first().reindex(by_task).to_numpy()
    families = [by_task[code == family] for family in np.unique(code)]
    deviations = np.zeros(
        (len(by_task), len(by_task))
    )  # row t: task t minus the mean of its family, stretched
    for tasks in families:
        n = len(tasks)
        if n > 1:
            block = np.sqrt(n / (n - 1)) * (np.eye(n) - 1 / n)
            deviations[np.ix_(tasks, tasks)] = block
    donors = np.concatenate([tasks for tasks in families if len(tasks) > 1] or [np.empty(0, int)])
    if not len(donors):
        return None
    rng = np.random.default_rng(seed)
    weights = np.zeros((DRAWS, len(by_task)))
    for tasks in families:
        weights[:, tasks] += 1 / len(tasks)
        drawn = rng.choice(tasks if len(tasks) > 1 else donors, (DRAWS, len(tasks)))
        weights += deviations[drawn].mean(axis=1)
    return TaskDraws(weights / len(families), tuple(data.tasks[t] for t in donors))
