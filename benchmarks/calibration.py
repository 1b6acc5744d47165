"""Whether the board's standard errors are right: python -m benchmarks.calibration

Two trials on the committed STANDARD records. *Hold-out*: one seed's score of each encoding with three seeds, minus the
score of its other two. Of calibrated standard errors 5 % of these differences are beyond 1.96 and 1 % beyond 2.58.
*Null boards*: encodings of equal mean, whose runs have variances drawn from the records. At most 5 % of the boards may
have a separated pair.
"""

from dataclasses import replace

import numpy as np

from pebench.leaderboard import ranking
from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.ranking import Cells
from pebench.leaderboard.table import score_table
from pebench.suite.results.record import newest, read_all

PROFILE = "STANDARD"
SEEDS = 3
MIX = {3: 24, 1: 30}  # encodings by their number of seeds, as on the board of November 2026
COMMON = 0.03  # what a seed does to all encodings alike; least squares take it out
BOARDS = 300


def published() -> Cells:
    """The cells of the encodings with three seeds in every task."""
    records = [r for r in newest(read_all(PUBLISHED)[0]) if r.profile == PROFILE]
    data = ranking.cells(score_table(records))
    full = np.flatnonzero((data.runs == SEEDS).all(axis=1))
    return replace(
        data, encodings=[data.encodings[e] for e in full], score=data.score[full], noise=data.noise[full]
    )


def hold_out(data: Cells) -> np.ndarray:
    """For each encoding and seed: the score of that seed minus that of the others, in standard errors.

    The test items are the same, so only the runs' part of the standard error counts.
    """
    found = []
    for e in range(len(data.encodings)):
        for seed in range(SEEDS):
            score = np.concatenate([data.score, data.score[e : e + 1]])
            score[e, np.arange(SEEDS) != seed] = np.nan
            score[-1, seed] = np.nan
            noise = np.where(np.isnan(score), np.nan, np.concatenate([data.noise, data.noise[e : e + 1]]))
            split = replace(data, encodings=[*data.encodings, "others"], score=score, noise=noise)
            compared = ranking.pairs(split, ranking.within_tasks(split))
            found.append(compared.difference[e, -1] / np.sqrt(compared.runs[e, -1]))
    return np.array(found)


def variances(data: Cells) -> np.ndarray:
    """Sample variances (T, E) of an encoding's runs, without what a seed does to all."""
    found = []
    for task in range(len(data.tasks)):
        score, _ = ranking.averages(data, data.of_task(task))
        rest = score - score.mean(axis=1, keepdims=True)
        rest = rest - rest.mean(axis=0)
        count, seeds = rest.shape
        found.append((rest**2).sum(axis=1) / ((seeds - 1) * (count - 1) / count))
    return np.array(found)


def null_board(data: Cells, variance: np.ndarray, mix: dict[int, int], rng: np.random.Generator) -> Cells:
    """Encodings of equal mean, in the cells of `data`; each has the variances of a drawn one in all tasks."""
    seeds = np.repeat(list(mix), list(mix.values()))
    drawn = np.sqrt(variance[:, rng.integers(variance.shape[1], size=len(seeds))])  # (T, E)
    runs = 0.5 + COMMON * rng.normal(size=(1, SEEDS, len(data.tasks)))
    runs = runs + (drawn[:, :, None] * rng.normal(size=(*drawn.shape, SEEDS))).transpose(1, 2, 0)
    score = runs[:, :, data.groups["task"].to_numpy()]
    score[np.arange(SEEDS) >= seeds[:, None]] = np.nan
    noise = np.where(np.isnan(score), np.nan, np.nanmean(data.noise))
    return replace(data, encodings=[f"e{n}" for n in range(len(seeds))], score=score, noise=noise)


def split(data: Cells) -> bool:
    """Whether some pair of encodings is separated."""
    compared = ranking.pairs(data, ranking.within_tasks(data))
    return bool((ranking.corrected(compared.p) < ranking.LEVEL).any())


def null_boards(data: Cells, mix: dict[int, int], boards: int = BOARDS, seed: int = 0) -> float:
    """The share of null boards with a separated pair."""
    rng, variance = np.random.default_rng(seed), variances(data)
    return sum(split(null_board(data, variance, mix, rng)) for _ in range(boards)) / boards


def main() -> None:
    data = published()
    z = np.abs(hold_out(data))
    print(f"hold-out, {len(data.encodings)} encodings, {len(z)} cases:")
    for limit, nominal in ((1.96, 0.05), (2.58, 0.01), (3.29, 0.001)):
        print(f"  beyond {limit} standard errors: {(z > limit).mean():.1%} (nominal {nominal:.1%})")
    print(f"null boards with a separated pair, of {BOARDS} (at most 5 %):")
    for mix in (MIX, {3: 24, 2: 30}, {2: 54}, {3: 23, 2: 1}, {1: 54}):
        told = " and ".join(f"{count} with {seeds}" for seeds, count in mix.items())
        print(f"  {told} seed{'s' * (max(mix) > 1)}: {null_boards(data, mix):.1%}")


if __name__ == "__main__":
    main()
