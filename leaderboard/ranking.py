"""How a rank comes about: scores averaged with equal weights, compared in pairs, sorted into tiers.

Letters: E encodings, S seeds, T tasks, C cells (a cell is one metric of one task under one condition). A score
lies between what one gets without reading the input (0) and what an oracle gets (1). A score that was not measured
is NaN, never zero: two encodings are compared on the cells that both have.

Each task trains models of its own, so runs of different tasks are independent, and tasks may have different numbers
of seeds. The model behind the intervals is that of a paired design within each task,

    score[e, s] = mean[e] + common[s] + own[e, s] + test[e],

with a part that a seed (its batches, its weights) shares among all encodings, which least squares take out of every
comparison, also where one has seeds that the other lacks; a part of the run alone; and the sampling of the test
items, which are the same for all seeds. With three seeds an encoding's own variance is known badly, so it is
moderated: shrunk towards the other encodings' by as much as those agree (Smyth, 2004, "Linear models and empirical
Bayes methods", section 6.2).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from pebench.suite.results.metrics import METRICS

DRAWS = 4000
LEVEL = 0.05
MIN_COVERAGE = 0.5
MIN_SHARE = 0.25  # of the encodings must have a cell, or it does not count yet
WHOLE = 0.9995  # coverage that prints as 100 %
LEAST = 1e-8  # of the variance of scores: that of models which all answer nothing is not 0
KNOWN = 1e9  # degrees of freedom of a variance that is no estimate
NESTING = ("task_family", "task", "length", "cell")

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """The scores that count: `score` and the standard error of the test sampling `noise`, both (E, S, C)."""

    encodings: list[str]
    seeds: list[int]
    tasks: list[str]
    groups: (
        pd.DataFrame
    )  # (C,) one column of codes for each level of NESTING; that of a task is its place in tasks
    names: pd.DataFrame  # (C,) task_family, task, length, metric, condition
    score: Array
    noise: Array

    @property
    def has_cell(self) -> Mask:
        """Which cells an encoding is compared on, (E, C)."""
        return np.asarray(np.isfinite(self.score).any(axis=1))

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

    A cell that only one of several encodings has compares nothing and is left out, and so is one that few have yet
    (MIN_SHARE). In each task a seed counts only where it has every cell of the encoding's fullest seed.
    """
    # The digits of a sum are right or wrong together: as many answers are independent as there are examples.
    examples = scores.groupby(["encoding", "task", "seed", "condition"])["n"].transform("min")
    counted = scores.assign(n=examples)[scores["score"].notna()]
    if (every := counted["encoding"].nunique()) > 1:
        have = counted.groupby(["task", "metric", "condition"])["encoding"].transform("nunique")
        counted = counted[have >= max(2, MIN_SHARE * every)]
    keys = ["task_family", "task", "length", "metric", "condition"]
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


def _codes(frame: pd.DataFrame) -> tuple[NDArray[np.int64], pd.DataFrame]:
    grouped = frame.groupby(list(frame.columns), sort=True, dropna=False)
    codes = grouped.ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return codes, frame.iloc[first].reset_index(drop=True)


def sampling_error(rows: pd.DataFrame) -> Array:
    """Standard error of each normalised score given its n answers.

    A share is binomial, with half an answer added to each side so that 0 and 1 are not certain (Jeffreys).
    Any other value is a mean of n terms whose deviation is taken to be as large as the mean: so it is for an
    exponential, and nearly so for the surprisal of bytes. All encodings answer the same test items, so
    the errors of a pair are alike and cancel in part; they are taken as independent, which is cautious. All seeds
    do too: more of them make this error no smaller.
    """
    value, n = rows["value"].to_numpy(float), rows["n"].to_numpy(float)
    share = rows["metric"].map({m: METRICS[m].unit == "share" for m in METRICS}).to_numpy(bool)
    p = (value.clip(0, 1) * n + 0.5) / (n + 1)
    deviation = np.where(share, np.sqrt(p * (1 - p)), np.abs(value))
    return deviation / np.sqrt(n) / np.abs(rows["ceiling"] - rows["floor"]).to_numpy(float)


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

    `within` (C,) keeps some cells only: those of one family, or of one task.
    """
    score, noise = (np.full(data.score.shape[:2], np.nan) for _ in range(2))
    for mask, members in _patterns(data.has_cell if within is None else data.has_cell & within):
        if mask.any():
            w = weights(data.groups, mask)[mask]
            score[members] = data.score[members][:, :, mask] @ w
            noise[members] = data.noise[members][:, :, mask] ** 2 @ w**2
    return score, np.where(np.isfinite(score), noise, np.nan)


def _patterns(has_cell: Mask) -> list[tuple[Mask, NDArray[np.int64]]]:
    """Each distinct row of (E, C), with the encodings that have it."""
    patterns, which = np.unique(has_cell, axis=0, return_inverse=True)
    return [(mask, np.flatnonzero(which.ravel() == n)) for n, mask in enumerate(patterns)]


@dataclass(frozen=True)
class Spread:
    """What is known of the average scores of one task, all (E,) but where it says otherwise."""

    mean: Array
    own: Array  # moderated variance of a single run
    df: Array  # how well that is known
    borrowed: Array  # the part of it that is an estimate from all encodings, over the root of that one's df
    test: Array  # variance of the test sampling
    has: Mask  # (E, S)
    common: float  # variance of what a seed does to all encodings alike
    common_df: float
    residual_df: float  # of all encodings' variances together; 0 where none has two seeds


def spread(score: Array, noise: Array) -> Spread:
    """Split scores (E, S) of one task, NaN where missing, into the parts of the model above."""
    has = np.isfinite(score)
    seeds = has.sum(axis=1)
    some = seeds > 1
    mean = _mean(score)
    rest = np.where(some[:, None], score - mean[:, None], np.nan)
    # The common part cannot be told from an encoding's own where only one encoding has the seed.
    shared = np.isfinite(rest).sum(axis=0) > 1
    common = np.where(shared, _mean(rest.T), 0.0)
    common_df = max(int(shared.sum()) - 1, 0)
    rest = rest - common
    rest = rest - _mean(rest)[:, None]
    test = np.nan_to_num(_mean(noise))
    # One (E-1)/E-th of the S-1 degrees of freedom is left after the common part.
    left = (some.sum() - 1) / some.sum() if some.sum() > 1 else 1.0
    df = np.where(some, (seeds - 1) * left, 0.0)
    own = np.full(len(score), np.nan)
    own[some] = np.nansum(rest[some] ** 2, axis=1) / df[some]
    own[some] = np.maximum(own[some], test[some])  # runs differ at least by their answers
    variance, posterior_df, borrowed = moderate(own, df)
    # Never less than the encoding's own seeds show: a bistable one must not borrow the others' calm.
    variance = np.fmax(variance, own)
    between = max(float((common**2).sum() / common_df), LEAST) if common_df else 0.0
    return Spread(mean, variance, posterior_df, borrowed, test, has, between, common_df, float(df.sum()))


def within_tasks(data: Cells) -> list[Spread]:
    """What is known of the scores of each task.

    What a seed does to all encodings is estimated from a few numbers in each task, so these variances are moderated
    over the tasks. A task in which no encoding has two seeds says nothing of how its runs vary: it is taken to vary as
    the others do in the mean. Where no task says it, runs count as if they did not vary, and the board tells so.
    """
    parts = [spread(*averages(data, data.of_task(t))) for t in range(len(data.tasks))]
    known = [part for part in parts if part.residual_df]
    if not known:
        return parts
    own, df = np.mean([part.own for part in known], axis=0), np.min([part.df for part in known], axis=0)
    elsewhere = {"own": own, "df": df, "borrowed": own / np.sqrt(df)}
    parts = [part if part.residual_df else replace(part, **elsewhere) for part in parts]
    common, common_df, _ = moderate(*np.array([(part.common, part.common_df) for part in parts]).T)
    between = zip(common.tolist(), common_df.tolist(), strict=True)
    return [replace(p, common=c, common_df=n) for p, (c, n) in zip(parts, between, strict=True)]


def _mean(x: Array) -> Array:
    """Means of the rows without NaN, NaN where a row has nothing else."""
    has = np.isfinite(x)
    total = np.where(has, x, 0.0).sum(axis=1)
    return np.divide(total, has.sum(axis=1), out=np.full(len(x), np.nan), where=has.any(axis=1))


def moderate(variance: Array, df: Array) -> tuple[Array, Array, Array]:
    """Shrink sample variances towards a common prior by as much as they agree (Smyth, 2004, section 6.2).

    `df` may be zero, where nothing is known but the prior. Returns variances and their degrees of freedom,
    which never exceed those of all samples together; zero variance that is KNOWN where no sample is. The third is
    what each variance has from the prior, over the root of the prior's own degrees of freedom: two variances
    are wrong together by the product of theirs, in the unit in which one alone is by its square over df.
    """
    known = df > 0
    if not known.any():
        return np.zeros_like(df), np.full_like(df, KNOWN), np.zeros_like(df)
    s2, d = variance[known], df[known]
    level = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    excess = (level.var(ddof=1) if len(level) > 1 else 0.0) - special.polygamma(1, d / 2).mean()
    if excess > 1e-6:
        prior_df = 2 * inverse_trigamma(excess)
        prior = np.exp(level.mean() + special.digamma(prior_df / 2) - np.log(prior_df / 2))
    else:  # the variances differ no more than those of equal populations
        prior_df, prior = KNOWN, (s2 * d).sum() / d.sum()
    own, total = np.where(known, variance, 0.0), d.sum()
    shrunk = (prior_df * prior + df * own) / (prior_df + df)
    return shrunk, np.minimum(prior_df + df, total), prior_df * prior / (prior_df + df) / np.sqrt(total)


def inverse_trigamma(y: float) -> float:
    """The x > 0 with trigamma(x) = y, by Newton's method on 1/trigamma, which is nearly linear.

    >>> round(inverse_trigamma(float(special.polygamma(1, 2.5))), 9)
    2.5
    """
    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / y) / special.polygamma(2, x)
        x += step
        if abs(step) < 1e-10 * x:
            break
    return float(x)


def draws(s: Spread, rng: np.random.Generator, count: int = DRAWS) -> Array:
    """Draws (E, count) of the average scores of one task: a parametric bootstrap, paired by seed.

    Each draw takes anew what a seed does to all encodings, what a run has of its own (both t-distributed in the end,
    as their variances are estimates), and the test sampling.
    """
    encodings, seeds = s.has.shape
    n = np.maximum(s.has.sum(axis=1), 1)
    common = np.zeros((encodings, count))
    if s.common:
        deviation = np.sqrt(s.common * s.common_df / rng.chisquare(s.common_df, count))
        common = s.has / n[:, None] @ (deviation * rng.standard_normal((seeds, count)))
    own = np.sqrt(s.own / n) * rng.standard_t(np.broadcast_to(s.df, (count, encodings)))
    test = np.sqrt(s.test) * rng.standard_normal((count, encodings))
    return s.mean[:, None] + common + (own + test).T


def shares(data: Cells, within: Mask) -> Array:
    """The weight of each task (T) in the average of the cells that each encoding has of these (C,): (E, T)."""
    share = np.zeros((len(data.encodings), len(data.tasks)))
    task = data.groups["task"].to_numpy()
    for mask, members in _patterns(data.has_cell & within):
        if mask.any():
            share[members] = np.bincount(task, weights(data.groups, mask), minlength=len(data.tasks))
    return share


@dataclass(frozen=True)
class Pairs:
    """All pairs of encodings, (E, E): row minus column on the cells that both have; NaN where nothing links them."""

    difference: Array
    runs: Array  # its variance, so far as that comes from the runs
    test: Array  # and from the test items
    per_seed: Array  # what `runs` would be with one seed
    df: Array
    p: Array  # two-sided, not corrected
    seeds: NDArray[np.int64]  # of the one that has fewer, in the task where that has fewest

    @property
    def error(self) -> Array:
        """The standard error of the difference."""
        return np.asarray(np.sqrt(self.runs + self.test))


def freed(score: Array, own: Array) -> tuple[Array, Array]:
    """Differences (E, E) of scores (E, S) freed of what seeds do to all, and what that adds to their variance.

    Least squares of score[e, s] = mean[e] + common[s] + own[e, s], each run weighed by the variance `own` (E,) of a
    single one. Where two encodings have the same seeds that is the difference of their means, and nothing is added;
    where one lacks seeds, what those do to all is learned from the encodings that have both. NaN where no chain of
    shared seeds links two.
    """
    has = np.isfinite(score).astype(float)
    n = has.sum(axis=1)
    share = has / np.maximum(n, 1)[:, None]
    mean = (share * np.nan_to_num(score)).sum(axis=1)
    weighed = has / np.where(n > 0, np.maximum(own, LEAST), 1.0)[:, None]
    # The normal equations of common[s], once the means are eliminated: a graph's Laplacian, whose inverse is pseudo.
    laplacian = np.diag(weighed.sum(axis=0)) - weighed.T @ share
    inverse = np.linalg.pinv(laplacian, hermitian=True)
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

    `parts` are those of `within_tasks`; with a task, that of it alone is compared.
    """
    count = len(data.encodings)
    mean, runs, test, per_seed, doubt = np.full((5, count, count), np.nan)
    seeds = np.zeros((count, count), int)
    codes = data.groups["task"].to_numpy()
    chosen = range(len(parts)) if task is None else [task]
    patterns = _patterns(data.has_cell & np.isin(codes, chosen))
    for (mask_a, a), (mask_b, b) in itertools.combinations_with_replacement(patterns, 2):
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
            gap, added = (x[np.ix_(a, b)] for x in freed(score, w.sum() ** 2 * part.own))
            linked = np.where(np.isfinite(gap), np.minimum(n[a][:, None], n[b]), 0)
            fewest = np.minimum(fewest, linked)
            test_a, test_b = (_mean(data.noise[members][:, :, here] ** 2 @ w**2) for members in (a, b))
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
    p = np.where(np.isfinite(mean), 2 * special.stdtr(df, -t), 1.0)
    np.fill_diagonal(p, 1.0)
    return Pairs(mean, runs, test, per_seed, df, p, seeds)


def holm(p: Array) -> Array:
    """Holm's corrected p-values of a family of tests (Holm, 1979).

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    corrected = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))).clip(max=1.0)
    result = np.empty_like(p)
    result[order] = corrected
    return result


def corrected(p: Array) -> Array:
    """Holm's correction of a symmetric table (E, E) over all its pairs.

    Over all, not only those with a tier's leader: which encoding leads is chosen after looking.
    """
    upper = np.triu_indices(len(p), 1)
    result = np.ones_like(p)
    result[upper] = holm(p[upper])
    return np.minimum(result, result.T)


def tiers(order: Sequence[int], p: Array, leads: Mask | None = None, level: float = LEVEL) -> dict[int, int]:
    """Tier of each encoding: the first that is separable from a tier's leader begins the next.

    `order` are indices from the best down, `p` (E, E) corrected p-values. So no encoding is in a better tier than
    one that is ahead of it, however little is known of it. A tier's leader is its best of those that `leads` (E,)
    marks, if any is marked and not separable from those ahead of it: nothing can be told from a leader of
    whom little is known, and one lucky run would make a single tier of a board.
    """
    tier: dict[int, int] = {}
    leader, number = None, 0
    for n, e in enumerate(order):
        if leader is None or p[leader, e] < level:
            leader, number = _leader(order[n:], p, leads, level), number + 1
        tier[e] = number
    return tier


def _leader(rest: Sequence[int], p: Array, leads: Mask | None, level: float) -> int:
    """Who leads the tier that the first of these begins."""
    known = next((n for n, e in enumerate(rest) if leads is not None and leads[e]), 0)
    return rest[known] if (p[rest[known], list(rest[:known])] >= level).all() else rest[0]


@dataclass(frozen=True)
class Ranking:
    """`table` has one row per encoding, best first; `pairs` and `p` (E, E) are in `data.encodings` order."""

    data: Cells
    parts: list[Spread]  # by task
    table: pd.DataFrame  # encoding, rank, tier, score, low, high, p_best, advantage, coverage, seeds, reason
    families: pd.DataFrame  # encoding, task_family, score, low, high
    pairs: Pairs
    p: Array  # corrected, ranked encodings only; 1 elsewhere

    @property
    def one_seed(self) -> bool:
        """No encoding has two seeds in any task: nothing is known of how much another training would differ."""
        return not any(part.residual_df for part in self.parts)

    @cached_property
    def by_task(self) -> list[Pairs]:
        """The pairs in each task alone."""
        return [pairs(self.data, self.parts, t) for t in range(len(self.parts))]


def rank(scores: pd.DataFrame, blocked: dict[str, str] | None = None, seed: int = 0) -> Ranking:
    """Rank the encodings of a score table; `blocked` maps an encoding to the reason why it gets no rank."""
    data = cells(scores)
    parts = within_tasks(data)
    rng = np.random.default_rng(seed)
    names, count = data.encodings, len(data.encodings)
    has_cell = data.has_cell
    every = np.ones(len(data.names), bool)
    coverage = (has_cell @ weights(data.groups, every)).clip(max=1.0)
    compared = pairs(data, parts)
    alone = np.isfinite(compared.difference).sum(axis=1) < min(2, count)
    reasons = [
        (blocked or {}).get(name, "")
        or _too_little(data, has_cell[e], coverage[e])
        or ("shares no seed with any other" if alone[e] else "")
        for e, name in enumerate(names)
    ]
    ranked = np.array([not reason for reason in reasons], bool)

    advantage = np.nan_to_num(_mean(np.where(ranked[None], compared.difference, np.nan)))
    samples = np.array([draws(part, rng) for part in parts]).reshape(len(parts), count, DRAWS)
    mean, sample = _combined(parts, samples, shares(data, every))
    low, high = interval(sample)
    # The best is decided among equals: on shared cells, hence by the advantage and not by the score.
    shifted = (sample - mean[:, None] + advantage[:, None])[ranked]
    p_best = np.full(count, np.nan)
    if ranked.any():
        p_best[ranked] = np.bincount(shifted.argmax(axis=0), minlength=len(shifted)) / shifted.shape[1]

    p = np.ones((count, count))
    chosen = np.flatnonzero(ranked)
    p[np.ix_(chosen, chosen)] = corrected(compared.p[np.ix_(chosen, chosen)])
    fewest = np.where(data.runs > 0, data.runs, len(data.seeds)).min(axis=1, initial=len(data.seeds))
    tier = tiers(sorted(chosen, key=lambda e: (-advantage[e], names[e])), p, leads=fewest > 1)
    table = pd.DataFrame(
        {
            "encoding": names,
            "rank": [
                1 + sum(t < tier[e] for t in tier.values()) if e in tier else None for e in range(count)
            ],
            "tier": [tier.get(e) for e in range(count)],
            "score": mean,
            "low": low,
            "high": high,
            "p_best": p_best,
            "advantage": advantage,
            "coverage": coverage,
            "seeds": fewest,
            "reason": reasons,
        }
    ).astype({"rank": "Int64", "tier": "Int64"})
    order = ["tier", "advantage", "encoding"]
    table = table.sort_values(order, ascending=[True, False, True], na_position="last", ignore_index=True)
    return Ranking(data, parts, table, _by_family(data, parts, samples), compared, p)


def _combined(parts: list[Spread], samples: Array, share: Array) -> tuple[Array, Array]:
    """Means (E,) and draws (E, count) of an average over tasks with these weights (E, T)."""
    means = np.nan_to_num(np.array([part.mean for part in parts]).reshape(samples.shape[:2]))
    return np.einsum("et,te->e", share, means), np.einsum("et,ted->ed", share, np.nan_to_num(samples))


def _by_family(data: Cells, parts: list[Spread], samples: Array) -> pd.DataFrame:
    frames = [pd.DataFrame(columns=["encoding", "task_family", "score", "low", "high"])]
    codes = data.groups["task_family"].to_numpy()
    for code in np.unique(codes):
        mean, sample = _combined(parts, samples, shares(data, codes == code))
        low, high = interval(sample)
        name = data.names["task_family"][codes == code].iloc[0]
        frame = pd.DataFrame(
            {"encoding": data.encodings, "task_family": name, "score": mean, "low": low, "high": high}
        )
        frames.append(frame[data.has_cell[:, codes == code].any(axis=1)])
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _too_little(data: Cells, has_cell: Mask, coverage: float) -> str:
    absent = set(data.names["task_family"]) - set(data.names["task_family"][has_cell])
    if absent:
        return f"no result yet in {', '.join(sorted(absent))}"
    if coverage < MIN_COVERAGE - 1e-9:
        return f"covers {coverage:.0%} of the conditions; a rank needs {MIN_COVERAGE:.0%}"
    return ""


def interval(sample: Array) -> tuple[Array, Array]:
    """Equal-tailed 95 % intervals of draws (E, count); no score is below the floor or above the oracle's."""
    low, high = np.quantile(sample, [LEVEL / 2, 1 - LEVEL / 2], axis=1)
    return low.clip(0.0, 1.0), high.clip(0.0, 1.0)


def differences(r: Ranking, first: str, second: str) -> pd.DataFrame:
    """`first` minus `second` overall ("all") and for each task, on what both have, with 95 % intervals.

    Columns: task, difference, low, high, p (not corrected), conditions, seeds (of the one that has fewer).
    """
    a, b = r.data.encodings.index(first), r.data.encodings.index(second)
    shared = r.data.has_cell[a] & r.data.has_cell[b]
    rows = []
    for task, c in [("all", r.pairs), *sorted(zip(r.data.tasks, r.by_task, strict=True), key=lambda x: x[0])]:
        within = shared & ((r.data.names["task"].to_numpy() == task) | (task == "all"))
        if within.any():
            gap, half = c.difference[a, b], c.error[a, b] * special.stdtrit(c.df[a, b], 1 - LEVEL / 2)
            rows.append((task, gap, gap - half, gap + half, c.p[a, b], int(within.sum()), c.seeds[a, b]))
    return pd.DataFrame(rows, columns=["task", "difference", "low", "high", "p", "conditions", "seeds"])


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


def neighbours(r: Ranking) -> pd.DataFrame:
    """Each ranked encoding against the next: how far apart, how sure, and the seeds that would separate them.

    Columns: better, worse, difference, p (Holm), separated, seeds, seeds_needed.
    """
    order = r.table.dropna(subset="rank").sort_values("advantage", ascending=False)["encoding"].tolist()
    level = LEVEL / max(1, len(order) * (len(order) - 1) // 2)  # what Holm asks of the smallest p-value
    rows = []
    for better, worse in itertools.pairwise(order):
        a, b = r.data.encodings.index(better), r.data.encodings.index(worse)
        gap = float(r.pairs.difference[a, b])
        separated = bool(r.p[a, b] < LEVEL)
        unknown = separated or r.one_seed
        needed = None if unknown else seeds_needed(gap, r.pairs.per_seed[a, b], r.pairs.test[a, b], level)
        rows.append((better, worse, gap, r.p[a, b], separated, r.pairs.seeds[a, b], needed))
    columns = ["better", "worse", "difference", "p", "separated", "seeds", "seeds_needed"]
    return pd.DataFrame(rows, columns=columns).astype({"seeds_needed": "Int64"})


def task_scores(r: Ranking) -> pd.DataFrame:
    """Average score of each encoding (index) in each task (columns), NaN where it has none."""
    columns = {
        task: part.mean for task, part in sorted(zip(r.data.tasks, r.parts, strict=True), key=lambda x: x[0])
    }
    return pd.DataFrame(columns, index=pd.Index(r.data.encodings, name="encoding"))


def whole(r: Ranking) -> pd.DataFrame:
    """The ranked encodings that have every condition: only their plain averages are comparable."""
    return r.table[r.table["rank"].notna() & (r.table["coverage"] >= WHOLE)]


def other_orders(r: Ranking) -> pd.DataFrame:
    """The place of each wholly covered encoding (index) under other ways to aggregate (columns).

    Mean rank over tasks, mean reciprocal rank, Borda count (encodings beaten), ours without one family.
    """
    order = whole(r).set_index("encoding")
    by_task = task_scores(r).loc[order.index]
    ranks = by_task.rank(ascending=False)
    beaten = by_task.rank(ascending=True) - 1
    keys = {
        "this board": order["advantage"],
        "mean rank": -ranks.mean(axis=1),
        "reciprocal rank": (1 / ranks).mean(axis=1),
        "Borda": beaten.sum(axis=1),
    }
    families = r.families.pivot(index="encoding", columns="task_family", values="score").reindex(order.index)
    if families.shape[1] > 1:
        keys |= {f"without {f}": families.drop(columns=f).mean(axis=1) for f in families}
    places = {name: key.rank(ascending=False, method="min") for name, key in keys.items()}
    return pd.DataFrame(places).astype("Int64")


def agreement(orders: pd.DataFrame) -> pd.DataFrame:
    """How each other order (columns of `other_orders`) agrees with this board's, its first column.

    Columns: order, tau (Kendall's: 1 the same order, -1 the opposite), leader, moves (the most places that an
    encoding rises or falls).
    """
    from scipy import stats

    ours = orders.iloc[:, 0]
    rows = [
        (
            *(name, float(stats.kendalltau(ours, places).statistic)),
            *(", ".join(places.index[places == places.min()]), int((places - ours).abs().max())),
        )
        for name, places in orders.iloc[:, 1:].items()
    ]
    return pd.DataFrame(rows, columns=["order", "tau", "leader", "moves"])


def friedman(by_task: pd.DataFrame) -> float:
    """The p-value of Friedman's test that all encodings (rows) are alike over these tasks (columns)."""
    from scipy import stats

    enough = len(by_task) > 2 and by_task.shape[1] > 1
    return float(stats.friedmanchisquare(*by_task.to_numpy()).pvalue) if enough else float("nan")


def cliques(ranks: Sequence[float], distance: float) -> list[tuple[int, int]]:
    """The first and last place of each group, as large as can be, whose mean ranks no test separates.

    `ranks` in ascending order; a group is of two at least (Demsar, 2006, section 3.2.4).

    >>> cliques([1.0, 1.5, 2.5, 4.0], 1.5)
    [(0, 2), (2, 3)]
    """
    ends = [max(j for j, other in enumerate(ranks) if other - rank <= distance) for rank in ranks]
    return [(i, j) for i, j in enumerate(ends) if j > i and (i == 0 or j > ends[i - 1])]


def critical_difference(encodings: int, tasks: int, level: float = LEVEL) -> float:
    """Mean ranks that differ by less are not separable by Nemenyi's test (Demsar, 2006, section 3.2.2)."""
    from scipy import stats  # half a second to import, and only one page needs it

    q = stats.studentized_range.isf(level, encodings, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(encodings * (encodings + 1) / (6 * tasks)))
