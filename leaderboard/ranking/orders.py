"""Other orders of the same scores: standardised scores, ranks within tasks, and tests on mean ranks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pebench.leaderboard.ranking.ranks import WHOLE, Ranking
from pebench.leaderboard.ranking.scores import shares
from pebench.leaderboard.ranking.variances import LEVEL, draws

MEAN, STANDARDISED, MEDIAN_RANK = ORDERS = ("mean", "standardised", "median-rank")


def task_scores(r: Ranking) -> pd.DataFrame:
    """Average score of each encoding (index) in each task (columns), NaN where it has none."""
    columns = {
        task: part.mean for task, part in sorted(zip(r.data.tasks, r.parts, strict=True), key=lambda x: x[0])
    }
    return pd.DataFrame(columns, index=pd.Index(r.data.encodings, name="encoding"))


def whole(r: Ranking) -> pd.DataFrame:
    """The ranked encodings that have every condition: only their plain averages are comparable."""
    return r.table[r.table["rank"].notna() & (r.table["coverage"] >= WHOLE)]


def places(r: Ranking) -> pd.DataFrame:
    """The place of each wholly covered, ranked encoding (index) in each of ORDERS (columns), 1 for the best.

    mean: the board's own. standardised: the mean over families of the score over its standard deviation between
    encodings, so that no family weighs more by its spread. median-rank: the median over tasks of the rank within a
    task; equal medians are ordered by the mean rank.
    """
    order = whole(r).set_index("encoding")
    ranks = task_scores(r).loc[order.index].rank(ascending=False)
    keys = {
        MEAN: order["advantage"],
        STANDARDISED: standardised(family_scores(r).loc[order.index]),
        MEDIAN_RANK: -(ranks.median(axis=1) + 1e-6 * ranks.mean(axis=1)),
    }
    return _placed(keys)


def tau(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b of two rankings (E,), NaN where one is all ties; importing `scipy.stats` takes a second.

    >>> tau(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0])).__round__(3)
    0.667
    """
    gaps = [np.sign(x[:, None] - x) for x in (a, b)]
    untied = np.sqrt((gaps[0] ** 2).sum() * (gaps[1] ** 2).sum())
    return float((gaps[0] * gaps[1]).sum() / untied) if untied else np.nan


def standardised(families: pd.DataFrame) -> pd.Series:
    """The mean over families (columns) of the score over its standard deviation between encodings (index), centred."""
    return ((families - families.mean()) / _deviations(families)).fillna(0.0).mean(axis=1)


def _deviations(families: pd.DataFrame) -> pd.Series:
    """Standard deviations between encodings (index), by family (columns); NaN where all are equal."""
    return families.std().replace(0.0, np.nan)


def aggregates(r: Ranking, seed: int = 0) -> dict[str, pd.DataFrame]:
    """By STANDARDISED and MEDIAN_RANK: value, low, high and p_best of each wholly covered, ranked encoding (index).

    The interval holds 95 % of the draws of seeds and test items (`variances.draws`); standard deviations between
    encodings stay as they are. P(best) is the share of draws in which an encoding comes first; a tie is shared. Both
    are NaN where no encoding has two seeds.
    """
    names = whole(r)["encoding"].tolist()
    chosen = np.isin(r.data.encodings, names)
    index = pd.Index(np.array(r.data.encodings, object)[chosen], name="encoding")
    if not len(index):
        return {}
    rng = np.random.default_rng(seed)
    errors = np.array([draws(part, chosen, rng) for part in r.parts])  # (T, E, draws)
    kinds = r.data.names.groupby("task", observed=True)["task_family"].first().astype(str)
    families = family_scores(r).loc[index]
    sd = _deviations(families)[kinds[r.data.tasks]].to_numpy()
    weight = shares(r.data, np.ones(len(r.data.names), bool))[chosen] / sd
    value = standardised(families).to_numpy()
    moved = value[:, None] + np.einsum("et,ted->ed", np.nan_to_num(weight), errors)
    scores = np.array([part.mean[chosen] for part in r.parts])
    drawn = _ranks(scores[:, :, None] + errors)
    medians = np.median(drawn, axis=0)
    by_task = task_scores(r).loc[index].rank(ascending=False)
    found = {
        STANDARDISED: (value, moved, moved),
        MEDIAN_RANK: (by_task.median(axis=1).to_numpy(), medians, -(medians + 1e-6 * drawn.mean(axis=0))),
    }
    return {name: _aggregate(index, *parts, r.one_seed) for name, parts in found.items()}


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 for the best of (T, E, draws) along E."""
    order = (-scores).argsort(axis=1)
    return 1.0 + order.argsort(axis=1)


def _aggregate(
    index: pd.Index, value: np.ndarray, sample: np.ndarray, key: np.ndarray, one_seed: bool
) -> pd.DataFrame:
    """The values with the intervals of their draws (E, draws), and P(best) by the largest key (E, draws)."""
    low, high = np.quantile(sample, [LEVEL / 2, 1 - LEVEL / 2], axis=1)
    first = key == key.max(axis=0)
    p_best = (first / first.sum(axis=0)).mean(axis=1)
    frame = pd.DataFrame({"value": value, "low": low, "high": high, "p_best": p_best}, index=index)
    if one_seed:
        frame[["low", "high", "p_best"]] = np.nan
    return frame


def family_scores(r: Ranking) -> pd.DataFrame:
    """Average score of each encoding (index) in each task family (columns), NaN where it has none."""
    found = r.families.pivot(index="encoding", columns="task_family", values="score")
    return found.reindex(pd.Index(r.data.encodings, name="encoding"))


def influence(r: Ranking) -> pd.Series:
    """Each family's share of the variance between the scores of wholly covered encodings; the shares sum to 1.

    The score is the mean over families, so its variance is the sum of each family's covariance with it over the
    number of families. NaN with fewer than two such encodings, or where all scores are equal.
    """
    families = family_scores(r).loc[whole(r)["encoding"]]
    score = families.mean(axis=1)
    if len(score) < 2 or not score.var() > 0:
        return pd.Series(np.nan, index=families.columns)
    return families.apply(lambda family: family.cov(score)) / (families.shape[1] * score.var())


def _placed(keys: dict[str, pd.Series]) -> pd.DataFrame:
    """Places of each key, the largest first; equal ones share the best place."""
    return pd.DataFrame({name: key.rank(ascending=False, method="min") for name, key in keys.items()}).astype(
        "Int64"
    )


def other_orders(r: Ranking) -> pd.DataFrame:
    """The place of each wholly covered encoding (index) under other ways to aggregate (columns).

    Standardised scores, median rank (`places`), mean rank over tasks, mean reciprocal rank, Borda count (encodings
    beaten), ours without one family.
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
    families = family_scores(r).loc[order.index]
    if families.shape[1] > 1:
        keys |= {f"without {f}": families.drop(columns=f).mean(axis=1) for f in families}
    others = _placed(keys)
    found = (
        places(r)
        .drop(columns=MEAN)
        .rename(columns={STANDARDISED: "standardised", MEDIAN_RANK: "median rank"})
    )
    return pd.concat([others.iloc[:, :1], found, others.iloc[:, 1:]], axis=1)


def agreement(orders: pd.DataFrame) -> pd.DataFrame:
    """How each other order (columns of `other_orders`) agrees with this board's, its first column.

    Columns: order, tau (Kendall's: 1 the same order, -1 the opposite), leader, moves (the most places that an
    encoding rises or falls).
    """
    ours = orders.iloc[:, 0]
    rows = [
        (
            *(name, tau(ours.to_numpy(float), places.to_numpy(float))),
            *(", ".join(places.index[places == places.min()]), int((places - ours).abs().max())),
        )
        for name, places in orders.iloc[:, 1:].items()
    ]
    return pd.DataFrame(rows, columns=["order", "tau", "leader", "moves"])


def friedman(by_task: pd.DataFrame) -> float:
    """The p-value of Friedman's test that all encodings (rows) are alike over these tasks (columns).

    NaN with fewer than three encodings or two tasks, or where all scores of each task are equal.
    """
    from scipy import stats

    enough = len(by_task) > 2 and by_task.shape[1] > 1 and bool((by_task.nunique() > 1).any())
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
