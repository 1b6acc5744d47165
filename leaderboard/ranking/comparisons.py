"""Differences of pairs of encodings, paired by seed, with Welch's t-test and Holm's correction."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pebench.leaderboard.ranking.scores import Array, Cells, patterns, row_means, weights
from pebench.leaderboard.ranking.variances import KNOWN, LEAST, LEVEL, Spread

FEWEST = 2  # seeds in every task that counts, or there is no p-value, no tier and no rank


@dataclass(frozen=True)
class Pairs:
    """All pairs of encodings, (E, E): row minus column on the cells that both have; NaN where nothing links them."""

    difference: Array
    runs: Array  # its variance, so far as that comes from the runs
    test: Array  # and from the test items
    per_seed: Array  # what `runs` would be with one seed
    df: Array
    p: Array  # two-sided, not corrected; NaN where one has fewer than FEWEST seeds in some task, or nothing links them
    seeds: NDArray[np.int64]  # of the one that has fewer, in the task where that has fewest
    by_task: Array  # (T, E, E) the difference in each task alone

    @property
    def error(self) -> Array:
        """The standard error of the difference."""
        return np.asarray(np.sqrt(self.runs + self.test))


def freed(score: Array, own: Array) -> tuple[Array, Array]:
    """Differences (E, E) of scores (E, S) freed of what seeds do to all, and what that adds to their variance.

    Least squares of score[e, s] = mean[e] + common[s] + own[e, s], each run weighed by the variance `own` (E,) of
    a single one. If two encodings have the same seeds, that is the difference of their means, and nothing is
    added. If one lacks seeds, the effect of a seed on all encodings is learned from the encodings that have it.
    NaN where no chain of shared seeds links two.
    """
    has = np.isfinite(score).astype(float)
    n = has.sum(axis=1)
    share = has / np.maximum(n, 1)[:, None]
    mean = (share * np.nan_to_num(score)).sum(axis=1)
    weighed = has / np.where(n > 0, np.maximum(own, LEAST), 1.0)[:, None]
    # The normal equations of common[s], once the means are eliminated: a graph's Laplacian, whose inverse is pseudo.
    laplacian = np.diag(weighed.sum(axis=0)) - weighed.T @ share
    # Its null vectors come out with eigenvalues of rounding, which the default of pinv does not always cut.
    inverse = np.linalg.pinv(laplacian, rcond=1e-12, hermitian=True)
    common = inverse @ (weighed * (np.nan_to_num(score) - mean[:, None])).sum(axis=0)
    level = mean - share @ common
    doubt = share @ inverse @ share.T
    added = np.diag(doubt)[:, None] + np.diag(doubt) - 2 * doubt
    unseen = share - share @ inverse @ laplacian  # what of an encoding's seeds no other tells of
    apart = np.abs(unseen[:, None] - unseen).max(axis=2, initial=0.0) > 1e-6
    empty = n == 0
    apart |= empty[:, None] | empty
    return np.where(apart, np.nan, level[:, None] - level), added.clip(min=0.0)


def pairs(data: Cells, parts: list[Spread], task: int | None = None) -> Pairs:
    """Differences of the average scores, each on the cells that both encodings have, freed of what their seeds do.

    `parts` come from `within_tasks`; with a task, its scores alone are compared.
    """
    count = len(data.encodings)
    mean, runs, test, per_seed, doubt = np.full((5, count, count), np.nan)
    seeds = np.zeros((count, count), int)
    by_task = np.full((len(parts), count, count), np.nan)
    codes = data.groups["task"].to_numpy()
    chosen = range(len(parts)) if task is None else [task]
    kinds = patterns(data.has_cell & np.isin(codes, chosen))
    for (mask_a, a), (mask_b, b) in itertools.combinations_with_replacement(kinds, 2):
        both = mask_a & mask_b
        if not both.any():
            continue
        weight = weights(data.groups, both)
        sums = np.zeros((5, len(a), len(b)))
        fewest = np.full((len(a), len(b)), len(data.seeds))
        for t in np.unique(codes[both]):
            here = both & (codes == t)
            w, part = weight[here], parts[t]
            score = data.score[:, :, here] @ w
            n = np.isfinite(score).sum(axis=1)
            # Encodings that read one training tell of a seed as one encoding does.
            gap, added = (x[np.ix_(a, b)] for x in freed(score, w.sum() ** 2 * part.own * part.alike))
            by_task[t][np.ix_(b, a)], by_task[t][np.ix_(a, b)] = -gap.T / w.sum(), gap / w.sum()
            linked = np.where(np.isfinite(gap), np.minimum(n[a][:, None], n[b]), 0)
            fewest = np.minimum(fewest, linked)
            test_a, test_b = (row_means(data.noise[members][:, :, here] ** 2 @ w**2) for members in (a, b))
            own, borrowed = (w.sum() ** 2 * x / np.maximum(n, 1) for x in (part.own, part.borrowed))
            single = w.sum() ** 2 * (part.own[a][:, None] + part.own[b])
            unsure = (own**2 / part.df)[a][:, None] + (own**2 / part.df)[b]
            unsure = unsure + 2 * borrowed[a][:, None] * borrowed[b] + added**2 / (part.residual_df or KNOWN)
            sums += (gap, own[a][:, None] + own[b] + added, test_a[:, None] + test_b, single, unsure)
        for whole, part_of, sign in zip(
            (mean, runs, test, per_seed, doubt), sums, (-1, 1, 1, 1, 1), strict=True
        ):
            whole[np.ix_(b, a)] = sign * part_of.T
            whole[np.ix_(a, b)] = part_of
        seeds[np.ix_(b, a)], seeds[np.ix_(a, b)] = fewest.T, fewest
    # Welch and Satterthwaite: the test sampling is known, the runs' own variances are estimates, which are wrong
    # together so far as they are borrowed from the same encodings.
    df = np.divide((runs + test) ** 2, doubt, out=np.full_like(doubt, KNOWN), where=doubt > 0)
    df = np.minimum(df, sum(parts[t].residual_df for t in chosen) or KNOWN)
    error = np.sqrt(runs + test)
    t = np.abs(np.divide(mean, error, out=np.zeros_like(mean), where=error > 0))
    p = np.where(np.isfinite(mean) & (seeds >= FEWEST), 2 * special.stdtr(df, -t), np.nan)
    np.fill_diagonal(p, 1.0)
    return Pairs(mean, runs, test, per_seed, df, p, seeds, by_task)


def one_model(data: Cells, first: str, second: str) -> bool | None:
    """Whether two encodings score alike to the bit at L, in every seed and task of both: one model read in two ways.

    None where they have no such score in common.
    """
    if not {first, second} <= set(data.encodings):
        return None
    at_length = (data.names["phase"] == "at_length").to_numpy()
    a, b = (data.score[data.encodings.index(name)][:, at_length] for name in (first, second))
    shared = np.isfinite(a) & np.isfinite(b)
    return bool((a == b)[shared].all()) if shared.any() else None


def holm(p: Array) -> Array:
    """Holm's corrected p-values of a family of tests (Holm, 1979). NaN is no test: it stays and counts for none.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    tests = int(np.isfinite(p).sum())
    order = np.argsort(p)[:tests]  # NaN is sorted last
    result = np.full_like(p, np.nan)
    result[order] = np.maximum.accumulate(p[order] * (tests - np.arange(tests))).clip(max=1.0)
    return result


def corrected(p: Array) -> Array:
    """Holm's correction of a symmetric table (E, E) over all its pairs.

    Over all, not only those with a tier's leader: which encoding leads is chosen after looking. A pair without a
    p-value is not separated: 1.
    """
    upper = np.triu_indices(len(p), 1)
    result = np.ones_like(p)
    result[upper] = np.nan_to_num(holm(p[upper]), nan=1.0)
    return np.minimum(result, result.T)


def seeds_needed(
    difference: float, per_seed: float, test: float = 0.0, level: float = LEVEL, power: float = 0.8
) -> int | None:
    """Seeds with which a difference this large would be found at this level, with this probability.

    Its variance is `per_seed` over the seeds, plus `test`. None where even 1000 seeds would not do.
    """
    z = special.ndtri(power) - special.ndtri(level / 2)
    room = difference**2 / z**2 - test  # what the runs' part must come down to
    if not np.isfinite(room) or room <= per_seed / 1000:
        return None
    return int(np.ceil(max(2.0, per_seed / room)))
