"""The ranking of a score table: the ranked encodings, their order, in which tier, with which intervals."""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard.ranking.comparisons import FEWEST, Pairs, corrected, pairs, seeds_needed
from pebench.leaderboard.ranking.resampling import TaskDraws, task_draws
from pebench.leaderboard.ranking.scores import Array, Cells, Mask, cells, only, row_means, shares, weights
from pebench.leaderboard.ranking.tiering import tiers
from pebench.leaderboard.ranking.variances import DRAWS, LEVEL, Spread, averaged, draws, within_tasks

MIN_COVERAGE = 0.5
WHOLE = 0.9995  # coverage that prints as 100 %
QUANTITIES = ("score", "at_length", "beyond")  # all cells; those at the training length; those beyond it


@dataclass(frozen=True)
class Quantity:
    """One kind of cells by itself: the scores at the training length, or those beyond it."""

    data: Cells
    parts: list[Spread]  # by task
    table: pd.DataFrame  # encoding, score, low, high, p_best; NaN where it lacks some of these cells
    pairs: Pairs

    @cached_property
    def by_task(self) -> list[Pairs]:
        """The pairs in each task alone."""
        return [pairs(self.data, self.parts, t) for t in range(len(self.parts))]


@dataclass(frozen=True)
class Ranking:
    """`table` has one row per encoding, best first; `pairs` and `p` (E, E) are in `data.encodings` order.

    `table` lists ranked encodings, then previews, then what has no rank for another reason. Its columns: encoding,
    rank, tier, preview, score, low, high, p_best, p_best_tasks, advantage, coverage, seeds, reason.
    """

    data: Cells
    parts: list[Spread]  # by task
    table: pd.DataFrame
    families: pd.DataFrame  # encoding, task_family, score, low, high
    pairs: Pairs
    p: Array  # corrected, ranked encodings only; 1 elsewhere
    preview: Mask  # (E,)
    task_draws: TaskDraws | None  # other choices of tasks, or of their families

    @property
    def ranked(self) -> Mask:
        """Which encodings have a rank, (E,) in `data.encodings` order."""
        placed = set(self.table.dropna(subset="rank")["encoding"])
        return np.array([name in placed for name in self.data.encodings], bool)

    @property
    def one_seed(self) -> bool:
        """No encoding has two seeds in any task: nothing is known of how much another training would differ."""
        return not any(part.residual_df for part in self.parts)

    @cached_property
    def by_task(self) -> list[Pairs]:
        """The pairs in each task alone."""
        every = (pairs(self.data, self.parts, t) for t in range(len(self.parts)))
        return [without_p(p, self.preview) for p in every]

    @cached_property
    def by_family(self) -> dict[str, Pairs]:
        """The pairs in each task family alone."""
        kinds = self.data.names["task_family"].to_numpy()
        parts = {kind: only(self.data, kinds == kind) for kind in sorted(set(kinds))}
        return {
            kind: without_p(pairs(part, within_tasks(part)), self.preview) for kind, part in parts.items()
        }

    @cached_property
    def at_length(self) -> Quantity:
        """What was learned: the cells at the training length of their task."""
        return quantity(self, "at_length")

    @cached_property
    def beyond(self) -> Quantity:
        """What extrapolates: the cells beyond the training length of their task."""
        return quantity(self, "beyond")

    @cached_property
    def task_dependent(self) -> list[tuple[str, str]]:
        """The separated pairs, better and worse, that do not survive another choice of tasks.

        In these, 0 lies within the 95 % of the draws of tasks: at least 2.5 % of them have the opposite sign or no
        difference. Empty where there are no such draws.
        """
        a, b = self._better_worse
        if self.task_draws is None or not len(a):
            return []
        survives = self.task_draws.positive(np.nan_to_num(self.pairs.by_task[:, a, b]))
        return [pair for pair, there in zip(self.separated_pairs, survives, strict=True) if not there]

    @property
    def other_tasks(self) -> str:
        """The sample that the draws of tasks take anew, in words."""
        return self.task_draws.of if self.task_draws else "tasks"

    @property
    def separated_pairs(self) -> list[tuple[str, str]]:
        """The separated pairs of ranked encodings, better and worse."""
        names = self.data.encodings
        return [(names[a], names[b]) for a, b in zip(*self._better_worse, strict=True)]

    @cached_property
    def _better_worse(self) -> tuple[np.ndarray, ...]:
        return np.nonzero((self.p < LEVEL) & (self.pairs.difference > 0))

    @property
    def separated(self) -> int:
        """How many pairs of ranked encodings are separated."""
        return int((self.p < LEVEL).sum()) // 2


def without_p(compared: Pairs, preview: Mask) -> Pairs:
    """The same pairs; those with a preview (E,) have no p-value."""
    return replace(compared, p=np.where(preview[:, None] | preview, np.nan, compared.p))


def quantity(whole: Ranking, phase: str, seed: int = 0) -> Quantity:
    """The scores of the cells of one phase, for each encoding that has all of them.

    P(best) is the share of draws of seeds and test items in which a score is the largest, among ranked encodings.
    """
    part = only(whole.data, (whole.data.names["phase"] == phase).to_numpy())
    parts = within_tasks(part)
    share = shares(part, np.ones(len(part.names), bool))
    mean, low, high = averaged(parts, share)
    has = part.has_cell.all(axis=1) & bool(len(part.names))
    frame = pd.DataFrame(
        {"encoding": part.encodings, "score": mean, "low": low, "high": high, "p_best": np.nan}
    )
    frame.loc[~has, ["score", "low", "high"]] = np.nan
    among = has & whole.ranked
    if among.any():
        rng = np.random.default_rng(seed)
        sample = np.repeat(mean[among, None], DRAWS, axis=1)
        for t, spread in enumerate(parts):
            sample += share[among, t, None] * draws(spread, among, rng)
        frame.loc[among, "p_best"] = _firsts(sample)
    if whole.one_seed:
        frame[["low", "high"]] = np.nan
    return Quantity(part, parts, frame, without_p(pairs(part, parts), whole.preview))


def rank(scores: pd.DataFrame, blocked: dict[str, str] | None = None, seed: int = 0) -> Ranking:
    """Rank the encodings of a score table; `blocked` maps an encoding to the reason why it gets no rank."""
    data = cells(scores)
    parts = within_tasks(data)
    rng = np.random.default_rng(seed)
    names, count = data.encodings, len(data.encodings)
    has_cell = data.has_cell
    every = np.ones(len(data.names), bool)
    coverage = (has_cell @ weights(data.groups, every)).clip(max=1.0)
    preview = np.asarray((data.runs < FEWEST).any(axis=1))
    compared = without_p(pairs(data, parts), preview)
    reasons = [
        (blocked or {}).get(name, "")
        or _too_little(data, has_cell[e], coverage[e])
        or _too_few(data, data.runs[e])
        for e, name in enumerate(names)
    ]
    ranked = np.array([not reason for reason in reasons], bool)
    linked = np.isfinite(compared.difference) & ranked
    for e in np.flatnonzero(ranked & (linked.sum(axis=1) < min(2, ranked.sum()))):
        reasons[e], ranked[e] = "shares no seed with any other that has two", False

    # Ranked encodings are compared among themselves: a preview is no rival. Its runs tell of variances (item 7).
    against = ranked if ranked.any() else np.ones(count, bool)

    def ahead(gap: Array) -> Array:
        return np.nan_to_num(row_means(np.where(against[None], gap, np.nan)))

    advantage = ahead(compared.difference)
    share = shares(data, every)
    mean, low, high = averaged(parts, share)
    known = any(part.residual_df for part in parts)
    if not known:
        low, high = np.full((2, count), np.nan)
    # The best is decided among equals: on shared cells, hence by the advantage and not by the score.
    p_best, p_best_tasks = np.full((2, count), np.nan)
    chances = task_draws(data)
    if ranked.any():
        moved = np.array([draws(part, ranked, rng) for part in parts])  # (T, ranked, DRAWS)
        p_best[ranked] = _firsts(np.einsum("et,ted->ed", share[ranked], moved) + advantage[ranked, None])
        if chances is not None:
            moved += np.array([ahead(gap)[ranked] for gap in compared.by_task])[:, :, None]
            p_best_tasks[ranked] = _firsts(np.einsum("dt,ted->ed", chances.weights, moved))

    p = np.ones((count, count))
    chosen = np.flatnonzero(ranked)
    p[np.ix_(chosen, chosen)] = corrected(compared.p[np.ix_(chosen, chosen)])
    fewest = np.where(data.runs > 0, data.runs, len(data.seeds)).min(axis=1, initial=len(data.seeds))
    full = np.array([name not in data.behind for name in names], bool)
    better = np.where(compared.difference > 0, p, 1.0)
    tier = tiers(sorted(chosen, key=lambda e: (-advantage[e], names[e])), better, leads=full)
    place = [1 + sum(t < tier[e] for t in tier.values()) if e in tier else None for e in range(count)]
    table = pd.DataFrame(
        {
            "encoding": names,
            "rank": place,
            "tier": [tier.get(e) for e in range(count)],
            "preview": preview,
            "score": mean,
            "low": low,
            "high": high,
            "p_best": p_best,
            "p_best_tasks": p_best_tasks,
            "advantage": advantage,
            "coverage": coverage,
            "seeds": fewest,
            "reason": reasons,
            "below": np.where(ranked, 0, np.where(_only_few(data, reasons), 1, 2)),
        }
    ).astype({"rank": "Int64", "tier": "Int64"})
    order = ["below", "tier", "advantage", "encoding"]
    table = table.sort_values(
        order, ascending=[True, True, False, True], na_position="last", ignore_index=True
    )
    families = _by_family(data, parts, known)
    return Ranking(data, parts, table.drop(columns="below"), families, compared, p, preview, chances)


def _firsts(sample: Array) -> Array:
    """The share of draws (E, count) in which each row is the largest, (E,)."""
    return np.bincount(sample.argmax(axis=0), minlength=len(sample)) / sample.shape[1]


def _by_family(data: Cells, parts: list[Spread], known: bool) -> pd.DataFrame:
    """Scores of each family; without any known variance (`known`) there are no intervals."""
    frames = [pd.DataFrame(columns=["encoding", "task_family", "score", "low", "high"])]
    codes = data.groups["task_family"].to_numpy()
    for code in np.unique(codes):
        mean, low, high = averaged(parts, shares(data, codes == code))
        if not known:
            low, high = np.full((2, len(mean)), np.nan)
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


def _too_few(data: Cells, runs: Array) -> str:
    """Why an encoding with these numbers of seeds (T,) is a preview; nothing where it has two in every task."""
    few = sorted(task for task, n in zip(data.tasks, runs, strict=True) if n < FEWEST)
    where = "every task" if len(few) == len(data.tasks) else ", ".join(few)
    return f"{PREVIEW} fewer than two seeds in {where}" if few else ""


PREVIEW = "preview:"


def _only_few(data: Cells, reasons: list[str]) -> Mask:
    """Which encodings lack nothing but seeds, (E,)."""
    return np.array([reason.startswith(PREVIEW) for reason in reasons], bool)


def differences(r: Ranking, first: str, second: str, of: str = "score") -> pd.DataFrame:
    """`first` minus `second` overall ("all") and for each task, on what both have, with 95 % intervals.

    `of` is one of QUANTITIES: all cells, those at the training length or those beyond it. Columns: task,
    difference, low, high, p (not corrected; NaN of a preview), conditions, seeds (the smaller number). The
    interval is NaN where no encoding has two seeds.
    """
    chosen = r if of == "score" else r.at_length if of == "at_length" else r.beyond
    data = chosen.data
    a, b = data.encodings.index(first), data.encodings.index(second)
    shared = data.has_cell[a] & data.has_cell[b]
    preview = r.preview[a] or r.preview[b]
    rows = []
    for task, c in [
        ("all", chosen.pairs),
        *sorted(zip(data.tasks, chosen.by_task, strict=True), key=lambda x: x[0]),
    ]:
        within = shared & ((data.names["task"].to_numpy() == task) | (task == "all"))
        if within.any():
            gap, half = c.difference[a, b], c.error[a, b] * special.stdtrit(c.df[a, b], 1 - LEVEL / 2)
            half = np.nan if r.one_seed else half
            p = np.nan if preview else c.p[a, b]
            rows.append((task, gap, gap - half, gap + half, p, int(within.sum()), c.seeds[a, b]))
    return pd.DataFrame(rows, columns=["task", "difference", "low", "high", "p", "conditions", "seeds"])


def behind_leader(r: Ranking) -> pd.DataFrame:
    """The leader against each other ranked encoding: how far apart, how sure, and the seeds that would separate them.

    Columns: better, worse, difference, p (Holm), separated, seeds, seeds_needed.
    """
    order = r.table.dropna(subset="rank").sort_values("advantage", ascending=False)["encoding"].tolist()
    level = LEVEL / max(1, len(order) * (len(order) - 1) // 2)  # what Holm asks of the smallest p-value
    rows = []
    for better, worse in itertools.product(order[:1], order[1:]):
        a, b = r.data.encodings.index(better), r.data.encodings.index(worse)
        gap = float(r.pairs.difference[a, b])
        separated = bool(r.p[a, b] < LEVEL)
        needed = None if separated else seeds_needed(gap, r.pairs.per_seed[a, b], r.pairs.test[a, b], level)
        rows.append((better, worse, gap, r.p[a, b], separated, r.pairs.seeds[a, b], needed))
    columns = ["better", "worse", "difference", "p", "separated", "seeds", "seeds_needed"]
    return pd.DataFrame(rows, columns=columns).astype({"seeds_needed": "Int64"})
