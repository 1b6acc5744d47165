"""How a rank comes about: scores averaged with equal weights, compared in pairs, sorted into tiers.

Letters: E encodings, S seeds, C cells (a cell is one metric of one task under one condition). A score lies
between what one gets without reading the input (0) and what an oracle gets (1). A score that was not measured
is NaN, never zero: two encodings are compared on the cells and the seeds that both have.

The model behind the intervals is that of a paired design,

    score[e, s] = mean[e] + common[s] + own[e, s] + test[e, s],

with a part that a seed (its batches, its weights) shares among all encodings, which cancels in every
comparison; a part of the run alone; and the sampling of the test answers. With three seeds an encoding's own
variance is known badly, so it is moderated: shrunk towards the other encodings' by as much as those agree
(Smyth, 2004, "Linear models and empirical Bayes methods", section 6.2).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from pebench.suite.metrics import METRICS

DRAWS = 4000
LEVEL = 0.05
MIN_COVERAGE = 0.5
WHOLE = 0.9995  # coverage that prints as 100 %
KNOWN = 1e9  # degrees of freedom of a variance that is no estimate
NESTING = ("task_family", "task", "length", "cell")

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """The scores that count: `score` and the standard error of the test sampling `noise`, both (E, S, C)."""

    encodings: list[str]
    seeds: list[int]
    groups: pd.DataFrame  # (C,) one column of codes for each level of NESTING
    names: pd.DataFrame  # (C,) task_family, task, length, metric, condition
    score: Array
    noise: Array

    @property
    def has_cell(self) -> Mask:
        """Which cells an encoding is compared on, (E, C)."""
        return np.asarray(np.isfinite(self.score).any(axis=1))

    @property
    def has_seed(self) -> Mask:
        """Which seeds an encoding is compared on, (E, S)."""
        return np.asarray(np.isfinite(self.score).any(axis=2))

    @property
    def shared_seeds(self) -> NDArray[np.int64]:
        """How many seeds two encodings have in common, (E, E)."""
        has = self.has_seed.astype(int)
        return has @ has.T


def cells(scores: pd.DataFrame) -> Cells:
    """Arrange a score table.

    A cell that only one of several encodings has compares nothing and is left out. A seed counts only where it
    has every cell of the encoding's fullest seed.
    """
    counted = scores[scores["score"].notna()]
    if counted["encoding"].nunique() > 1:
        shared = counted.groupby(["task", "metric", "condition"])["encoding"].transform("nunique") > 1
        counted = counted[shared]
    keys = ["task_family", "task", "length", "metric", "condition"]
    cell, names = _codes(counted[keys])
    encoding, encodings = pd.factorize(counted["encoding"], sort=True)
    seed, seeds = pd.factorize(counted["seed"], sort=True)
    score = np.full((len(encodings), len(seeds), len(names)), np.nan)
    noise = score.copy()
    score[encoding, seed, cell] = counted["score"]
    noise[encoding, seed, cell] = sampling_error(counted)
    has = np.isfinite(score)
    if has.size:
        fullest = has[np.arange(len(encodings)), has.sum(axis=2).argmax(axis=1)]
        complete = (has >= fullest[:, None]).all(axis=2, keepdims=True)
        score[~(complete & fullest[:, None])] = np.nan
    groups = pd.DataFrame(
        {level: _codes(names[list(keys[:n])])[0] for n, level in enumerate(NESTING[:3], 1)}
        | {"cell": np.arange(len(names))}
    )
    return Cells(list(encodings), [int(s) for s in seeds], groups, names, score, noise)


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
    the errors of a pair are alike and cancel in part; they are taken as independent, which is cautious.
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
    """What is known about average scores: all (E,) but `common` (S,), the seeds' shared effect."""

    mean: Array
    own: Array  # moderated variance of a single run
    df: Array  # how well that is known
    test: Array  # variance of a single run's test sampling
    seeds: Array  # how many seeds
    common: Array
    residual_df: float  # of all encodings together


def spread(score: Array, noise: Array) -> Spread:
    """Split scores (E, S), NaN where missing, into the parts of the model above."""
    seeds = np.isfinite(score).sum(axis=1).astype(float)
    mean = _mean(score)
    rest = score - mean[:, None]
    # The common part cannot be told from an encoding's own where only one encoding has the seed.
    common = np.where(np.isfinite(rest).sum(axis=0) > 1, _mean(rest.T), 0.0)
    rest = rest - common
    rest = rest - _mean(rest)[:, None]
    test = np.nan_to_num(_mean(noise))
    some = seeds > 1
    # One (E-1)/E-th of the S-1 degrees of freedom is left after the common part.
    left = (some.sum() - 1) / some.sum() if some.sum() > 1 else 1.0
    df = np.where(some, (seeds - 1) * left, 0.0)
    own = np.full(len(score), np.nan)
    own[some] = np.nansum(rest[some] ** 2, axis=1) / df[some]
    own[some] = np.maximum(own[some], test[some])  # runs differ at least by their test sampling
    variance, posterior_df = moderate(own, df)
    # Never less than the encoding's own seeds show: a bistable one must not borrow the others' calm.
    variance = np.fmax(variance, own)
    return Spread(mean, variance, posterior_df, test, seeds, common, float(df.sum()))


def _mean(x: Array) -> Array:
    """Means of the rows without NaN, NaN where a row has nothing else."""
    has = np.isfinite(x)
    total = np.where(has, x, 0.0).sum(axis=1)
    return np.divide(total, has.sum(axis=1), out=np.full(len(x), np.nan), where=has.any(axis=1))


def moderate(variance: Array, df: Array) -> tuple[Array, Array]:
    """Shrink sample variances towards a common prior by as much as they agree (Smyth, 2004, section 6.2).

    `df` may be zero, where nothing is known but the prior. Returns variances and their degrees of freedom,
    which never exceed those of all samples together; zero variance that is KNOWN where no sample is.
    """
    known = df > 0
    if not known.any():
        return np.zeros_like(df), np.full_like(df, KNOWN)
    s2, d = variance[known], df[known]
    level = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    excess = (level.var(ddof=1) if len(level) > 1 else 0.0) - special.polygamma(1, d / 2).mean()
    if excess > 1e-6:
        prior_df = 2 * inverse_trigamma(excess)
        prior = np.exp(level.mean() + special.digamma(prior_df / 2) - np.log(prior_df / 2))
    else:  # the variances differ no more than those of equal populations
        prior_df, prior = KNOWN, (s2 * d).sum() / d.sum()
    own = np.where(known, variance, 0.0)
    return (prior_df * prior + df * own) / (prior_df + df), np.minimum(prior_df + df, d.sum())


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
    """Draws (E, count) of the average scores: the hierarchical bootstrap, paired by seed.

    Each draw resamples the seeds for all encodings at once, then each encoding's own deviation
    (t-distributed, as its variance is an estimate), then the test sampling. The first is widened by
    S/(S-1), because resampling S things understates their variance by that factor.
    """
    seeds, encodings = len(s.common), len(s.mean)
    picks = rng.integers(seeds, size=(count, seeds))
    common = s.common[picks].sum(axis=1) / max(seeds, 1) * np.sqrt(seeds / max(seeds - 1, 1))
    n = np.maximum(s.seeds, 1)
    own = np.sqrt(s.own / n) * rng.standard_t(np.broadcast_to(s.df, (count, encodings)))
    test = np.sqrt(s.test / n) * rng.standard_normal((count, encodings))
    return s.mean[:, None] + (common[:, None] + own + test).T


@dataclass(frozen=True)
class Pairs:
    """All pairs of encodings, (E, E): row minus column on what both have; NaN where they share nothing."""

    difference: Array
    error: Array  # its standard error
    df: Array
    p: Array  # two-sided, not corrected


def pairs(data: Cells, within: Mask | None = None) -> Pairs:
    """Paired differences of the average scores, each on the cells and seeds that both encodings have.

    `within` (C,) keeps some cells only.
    """
    s = spread(*averages(data, within))
    count = len(data.encodings)
    mean, test = (np.full((count, count), np.nan) for _ in range(2))
    patterns = _patterns(data.has_cell if within is None else data.has_cell & within)
    for (mask_a, a), (mask_b, b) in itertools.combinations_with_replacement(patterns, 2):
        both = mask_a & mask_b
        if both.any():
            w = weights(data.groups, both)[both]
            score_a, score_b = (data.score[members][:, :, both] @ w for members in (a, b))
            gap = score_a[:, None] - score_b
            mean[np.ix_(a, b)] = _mean(gap.reshape(-1, gap.shape[2])).reshape(gap.shape[:2])
            mean[np.ix_(b, a)] = -mean[np.ix_(a, b)].T
            test_a, test_b = (_mean(data.noise[members][:, :, both] ** 2 @ w**2) for members in (a, b))
            test[np.ix_(a, b)] = test_a[:, None] + test_b
            test[np.ix_(b, a)] = test[np.ix_(a, b)].T
    own = s.own[:, None] + s.own
    total = own + test
    error = np.sqrt(total / np.maximum(data.shared_seeds, 1))
    # Welch and Satterthwaite: the test sampling is known, the two runs' own variances are estimates.
    estimated = (s.own**2 / s.df)[:, None] + s.own**2 / s.df
    df = np.divide(total**2, estimated, out=np.full_like(own, KNOWN), where=estimated > 0)
    df = np.minimum(df, s.residual_df or KNOWN)
    t = np.abs(np.divide(mean, error, out=np.zeros_like(mean), where=error > 0))
    p = np.where(np.isfinite(mean), 2 * special.stdtr(df, -t), 1.0)
    np.fill_diagonal(p, 1.0)
    return Pairs(mean, error, df, p)


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


def tiers(order: Sequence[int], p: Array, level: float = LEVEL) -> dict[int, int]:
    """Tier of each encoding: the best without one leads a new tier and takes in all not separable from it.

    `order` are indices from the best down, `p` (E, E) corrected p-values.
    """
    tier: dict[int, int] = {}
    for leader in order:
        if leader not in tier:
            number = max(tier.values(), default=0) + 1
            tier |= {e: number for e in order if e not in tier and (e == leader or p[leader, e] >= level)}
    return tier


@dataclass(frozen=True)
class Ranking:
    """`table` has one row per encoding, best first; `pairs` and `p` (E, E) are in `data.encodings` order."""

    data: Cells
    table: pd.DataFrame  # encoding, rank, tier, score, low, high, p_best, advantage, coverage, seeds, reason
    families: pd.DataFrame  # encoding, task_family, score, low, high
    pairs: Pairs
    p: Array  # corrected, ranked encodings only; 1 elsewhere


def rank(scores: pd.DataFrame, blocked: dict[str, str] | None = None, seed: int = 0) -> Ranking:
    """Rank the encodings of a score table; `blocked` maps an encoding to the reason why it gets no rank."""
    data = cells(scores)
    rng = np.random.default_rng(seed)
    names, count = data.encodings, len(data.encodings)
    has_cell = data.has_cell
    full = weights(data.groups, np.ones(len(data.names), bool))
    coverage = (has_cell @ full).clip(max=1.0)
    reasons = [
        (blocked or {}).get(name, "") or _too_little(data, has_cell[e], coverage[e])
        for e, name in enumerate(names)
    ]
    ranked = np.array([not reason for reason in reasons], bool)

    compared = pairs(data)
    gaps = np.where(ranked[None] & ~np.eye(count, dtype=bool), compared.difference, np.nan)
    advantage = np.nan_to_num(_mean(gaps))
    s = spread(*averages(data))
    sample = draws(s, rng)
    low, high = interval(sample)
    # The best is decided among equals: on shared cells, hence by the advantage and not by the score.
    shifted = (sample - s.mean[:, None] + advantage[:, None])[ranked]
    p_best = np.full(count, np.nan)
    if ranked.any():
        p_best[ranked] = np.bincount(shifted.argmax(axis=0), minlength=len(shifted)) / shifted.shape[1]

    p = np.ones((count, count))
    chosen = np.flatnonzero(ranked)
    p[np.ix_(chosen, chosen)] = corrected(compared.p[np.ix_(chosen, chosen)])
    tier = tiers(sorted(chosen, key=lambda e: (-advantage[e], names[e])), p)
    table = pd.DataFrame(
        {
            "encoding": names,
            "rank": [
                1 + sum(t < tier[e] for t in tier.values()) if e in tier else None for e in range(count)
            ],
            "tier": [tier.get(e) for e in range(count)],
            "score": s.mean,
            "low": low,
            "high": high,
            "p_best": p_best,
            "advantage": advantage,
            "coverage": coverage,
            "seeds": s.seeds.astype(int),
            "reason": reasons,
        }
    ).astype({"rank": "Int64", "tier": "Int64"})
    order = ["tier", "advantage", "encoding"]
    table = table.sort_values(order, ascending=[True, False, True], na_position="last", ignore_index=True)
    return Ranking(data, table, _by_family(data, rng), compared, p)


def _by_family(data: Cells, rng: np.random.Generator) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=["encoding", "task_family", "score", "low", "high"])]
    codes = data.groups["task_family"].to_numpy()
    for code in np.unique(codes):
        s = spread(*averages(data, codes == code))
        low, high = interval(draws(s, rng))
        name = data.names["task_family"][codes == code].iloc[0]
        columns = {"task_family": name, "score": s.mean, "low": low, "high": high}
        parts.append(pd.DataFrame({"encoding": data.encodings, **columns}).dropna())
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _too_little(data: Cells, has_cell: Mask, coverage: float) -> str:
    absent = set(data.names["task_family"]) - set(data.names["task_family"][has_cell])
    if absent:
        return f"no result yet in {', '.join(sorted(absent))}"
    if coverage < MIN_COVERAGE - 1e-9:
        return f"covers {coverage:.0%} of the conditions; a rank needs {MIN_COVERAGE:.0%}"
    return ""


def interval(sample: Array) -> tuple[Array, Array]:
    """Equal-tailed 95 % intervals of draws (E, count); scores are never below 0."""
    low, high = np.quantile(sample, [LEVEL / 2, 1 - LEVEL / 2], axis=1)
    return low.clip(min=0.0), high


def differences(data: Cells, first: str, second: str) -> pd.DataFrame:
    """`first` minus `second` overall ("all") and for each task, on what both have, with 95 % intervals.

    Columns: task, difference, low, high, p (not corrected), conditions, seeds.
    """
    a, b = data.encodings.index(first), data.encodings.index(second)
    tasks = data.names["task"].to_numpy()
    shared = data.has_cell[a] & data.has_cell[b]
    rows = []
    for task in ["all", *sorted(set(tasks[shared]))]:
        within = shared & ((tasks == task) | (task == "all"))
        r = pairs(data, within)
        gap, half = r.difference[a, b], r.error[a, b] * special.stdtrit(r.df[a, b], 1 - LEVEL / 2)
        rows.append(
            (task, gap, gap - half, gap + half, r.p[a, b], int(within.sum()), data.shared_seeds[a, b])
        )
    return pd.DataFrame(rows, columns=["task", "difference", "low", "high", "p", "conditions", "seeds"])


def seeds_needed(difference: float, variance: float, level: float = LEVEL, power: float = 0.8) -> int | None:
    """Seeds with which a difference this large would be found at this level, with this probability.

    `variance` is that of one seed's difference. None where even 1000 seeds would not do.
    """
    if difference == 0 or not np.isfinite(difference):
        return None
    z = special.ndtri(power) - special.ndtri(level / 2)
    needed = int(np.ceil(max(2.0, z**2 * variance / difference**2)))
    return needed if needed <= 1000 else None


def neighbours(r: Ranking) -> pd.DataFrame:
    """Each ranked encoding against the next: how far apart, how sure, and the seeds that would separate them.

    Columns: better, worse, difference, p (Holm), separated, seeds, seeds_needed.
    """
    order = r.table.dropna(subset="rank").sort_values("advantage", ascending=False)["encoding"].tolist()
    level = LEVEL / max(1, len(order) * (len(order) - 1) // 2)  # what Holm asks of the smallest p-value
    shared = r.data.shared_seeds
    rows = []
    for better, worse in itertools.pairwise(order):
        a, b = r.data.encodings.index(better), r.data.encodings.index(worse)
        gap = float(r.pairs.difference[a, b])
        variance = float(r.pairs.error[a, b] ** 2 * max(shared[a, b], 1))
        separated = bool(r.p[a, b] < LEVEL)
        # With one seed each, how much another training would differ is not known at all.
        unknown = separated or r.data.has_seed.sum(axis=1).max() < 2
        needed = None if unknown else seeds_needed(gap, variance, level)
        rows.append((better, worse, gap, r.p[a, b], separated, shared[a, b], needed))
    columns = ["better", "worse", "difference", "p", "separated", "seeds", "seeds_needed"]
    return pd.DataFrame(rows, columns=columns).astype({"seeds_needed": "Int64"})


def task_scores(data: Cells) -> pd.DataFrame:
    """Average score of each encoding (index) in each task (columns), NaN where it has none."""
    tasks = data.names["task"].to_numpy()
    columns = {task: _mean(averages(data, tasks == task)[0]) for task in sorted(set(tasks))}
    return pd.DataFrame(columns, index=pd.Index(data.encodings, name="encoding"))


def whole(r: Ranking) -> pd.DataFrame:
    """The ranked encodings that have every condition: only their plain averages are comparable."""
    return r.table[r.table["rank"].notna() & (r.table["coverage"] >= WHOLE)]


def other_orders(r: Ranking) -> pd.DataFrame:
    """The place of each wholly covered encoding (index) under other ways to aggregate (columns).

    Mean rank over tasks, mean reciprocal rank, Borda count (encodings beaten), ours without one family.
    """
    order = whole(r).set_index("encoding")
    by_task = task_scores(r.data).loc[order.index]
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
