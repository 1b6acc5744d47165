"""The rows of a board: what is known of each encoding, from all tables."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pebench.leaderboard import ranking
from pebench.leaderboard.ranking.keeps import ALL
from pebench.suite.results.metrics import RATIOS, YARDSTICK
from pebench.suite.results.record import CERTIFICATE

COSTS = (*RATIOS, "cache_bytes")
NOTHING = "no score yet in a condition that another encoding has"
CONTENT = "reads content"  # the check that says it


@dataclass(frozen=True)
class Interval:
    """A score between the floor (0) and the oracle (1), with its 95 % interval."""

    score: float
    low: float | None  # None where no encoding has two seeds
    high: float | None


@dataclass(frozen=True)
class Quantity(Interval):
    """The score at L, or beyond it, which rows are compared by."""

    p_best: float | None  # None without a rank


@dataclass(frozen=True)
class Standing:
    """A value that encodings are compared by, with its 95 % interval over seeds."""

    value: float
    low: float | None  # None where seeds are too few to tell
    high: float | None
    p_best: float | None  # None, too, without a rank


@dataclass(frozen=True)
class Overall(Standing):
    """A mean over families and tasks; P(best) is None, too, where some task is missing."""

    tasks: int  # that it is the mean of
    of: int  # tasks of the profile
    cut: float  # share of the runs in which half of the score still holds at the longest length

    @property
    def bound(self) -> bool:
        """Whether the value is a lower bound."""
        return self.cut > 0

    @property
    def marks(self) -> str:
        """What stands behind the value: + for a lower bound, * where it lacks tasks."""
        return "+" * self.bound + "*" * (self.tasks < self.of)


@dataclass(frozen=True)
class Entry:
    """One encoding on the board. What was not measured is None or absent."""

    name: str
    title: str
    family: str
    kernel: str
    paper: str
    rank: int | None  # shared by all encodings of a tier
    tier: int | None
    preview: bool  # fewer than two seeds in some task that counts: a score and no place
    reason: str  # why there is no rank
    score: float | None
    low: float | None
    high: float | None
    at_length: Quantity | None  # the score at the training length alone
    beyond: Quantity | None  # the score beyond the training length alone
    learns: Overall | None  # share of the runs that pass their gate
    keeps: Overall | None  # octaves of L to which half of the score at L holds; of tasks that are learned
    p_best: float | None  # by other seeds and test items
    p_best_tasks: float | None  # by other tasks of the same families, or by other families, too
    places: dict[str, int]  # in each of ranking.ORDERS, where every condition is covered
    standings: dict[str, Standing]  # in each other order than the mean's
    coverage: float  # weight of the conditions that were measured
    seeds: int  # in the task where it has fewest
    families: dict[str, Interval]  # by task family
    gates: dict[str, float]  # by task: share of the seeds that learned it
    costs: dict[str, float]  # ratios to RoPE, and bytes of cache per token
    certificate: str  # passed, failed or missing
    failed_checks: list[str]
    failed_runs: list[str]  # "task, seed: outcome"
    parameters: int | None  # of the encoding itself
    reads_content: bool | None  # whether positions enter other than by a matrix and a bias of their own
    verified: float  # share of the records that were run again and reproduced
    verified_as: dict[str, int]  # by verdict: equal on one kind of machine, within seed spread on another
    clean: bool  # every run came from committed code
    no_commit: list[str]  # why the commit of some runs is not known
    stale: bool  # some seeds were run with another version of the code than others
    own_texts: list[str]  # corpora of a user's own that it was trained on

    @property
    def partial(self) -> bool:
        """Some conditions of the board are missing."""
        return 0 < self.coverage < ranking.WHOLE


def placeless(entry: Entry, why: str) -> Entry:
    """The entry without rank, tier and P(best)."""
    parts = {name: getattr(entry, name) for name in ("at_length", "beyond", "learns", "keeps")}
    unsure = {name: part and replace(part, p_best=None) for name, part in parts.items()}
    return replace(
        entry,
        rank=None,
        tier=None,
        p_best=None,
        p_best_tasks=None,
        places={},
        standings={},
        reason=why,
        **unsure,
    )


RUN_FACTS = [  # of a run, that an entry is made of
    *("encoding", "task", "seed", "outcome", "learned", "parameters_encoding"),
    *("verified", "clean", "no_commit", "stale", "corpus"),
]


def by_encoding(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The rows of a table as named tuples, by encoding; a plain loop over few rows is quicker than a query of each."""
    rows = defaultdict(list)
    for row in frame.astype(object).itertuples(index=False):  # Arrow's texts are slow to walk over
        rows[row.encoding].append(row)
    return rows


def quantities(frame: pd.DataFrame) -> dict[str, Quantity]:
    """The known scores of a table (encoding, score, low, high, p_best), by encoding."""
    return {
        row.encoding: Quantity(
            float(row.score), _none(row.low, float), _none(row.high, float), _none(row.p_best, float)
        )
        for row in frame.dropna(subset="score").itertuples()
    }


def overalls(frame: pd.DataFrame, of: int) -> dict[str, Overall]:
    """The lines over all tasks of a table of `learning`, by encoding; `of` tasks count."""
    return {
        row.encoding: Overall(
            float(row.value),
            _none(row.low, float),
            _none(row.high, float),
            _none(row.p_best, float),
            int(row.tasks),
            of,
            float(row.cut),
        )
        for row in frame[frame["task"] == ALL].itertuples()
    }


def _interval(score: float, low: float, high: float) -> Interval:
    return Interval(float(score), _none(low, float), _none(high, float))


@dataclass(frozen=True)
class Facts:
    """The facts on each encoding, from all tables."""

    ranked: dict[str, list[Any]]
    families: dict[str, list[Any]]
    runs: dict[str, list[Any]]
    checks: dict[str, list[Any]]
    at_length: dict[str, Quantity]
    beyond: dict[str, Quantity]
    learns: dict[str, Overall]
    keeps: dict[str, Overall]
    places: pd.DataFrame
    standings: dict[str, pd.DataFrame]
    blocked: dict[str, str]
    costs: dict[str, dict[str, float]]
    cards: dict[str, dict[str, Any]]

    def entry(self, name: str) -> Entry:
        row = self.ranked[name][0]._asdict() if self.ranked[name] else {}
        runs, checks, card = self.runs[name], self.checks[name], self.cards[name]
        bad = [r for r in runs if r.outcome not in ("measured", "undefined")]
        failed = sorted(c.check for c in checks if not c.passed)
        broken = any(r.task == CERTIFICATE for r in bad)
        parameters = [r.parameters_encoding for r in runs if not pd.isna(r.parameters_encoding)]
        return Entry(
            name=name,
            title=_text(card, "title"),
            family=_text(card, "family"),
            kernel=_text(card, "kernel"),
            paper=_text(card, "paper"),
            rank=_none(row.get("rank"), int),
            tier=_none(row.get("tier"), int),
            preview=bool(row.get("preview", False)),
            reason=row.get("reason") or self.blocked.get(name) or ("" if row else NOTHING),
            score=_none(row.get("score"), float),
            low=_none(row.get("low"), float),
            high=_none(row.get("high"), float),
            at_length=self.at_length.get(name),
            beyond=self.beyond.get(name),
            learns=self.learns.get(name),
            keeps=self.keeps.get(name),
            p_best=_none(row.get("p_best"), float),
            p_best_tasks=_none(row.get("p_best_tasks"), float),
            places=self.places.loc[name].astype(int).to_dict() if name in self.places.index else {},
            standings={
                order: Standing(*(_none(frame.at[name, part], float) for part in frame))
                for order, frame in self.standings.items()
                if name in frame.index
            },
            coverage=float(row.get("coverage", 0.0)),
            seeds=int(row.get("seeds", 0)),
            families={p.task_family: _interval(p.score, p.low, p.high) for p in self.families[name]},
            gates=_gates(runs),
            costs=self.costs.get(name, {}),
            certificate="failed" if failed or broken else "passed" if checks else "missing",
            failed_checks=failed,
            failed_runs=[f"{r.task}, seed {r.seed}: {r.outcome}" for r in bad],
            parameters=int(parameters[-1]) if parameters else None,
            reads_content=next((c.detail.startswith("yes") for c in checks if c.check == CONTENT), None),
            verified=sum(r.verified != "" for r in runs) / len(runs),
            verified_as=dict(Counter(r.verified for r in runs if r.verified)),
            clean=all(r.clean for r in runs),
            no_commit=sorted({r.no_commit for r in runs if r.no_commit}),
            stale=any(r.stale for r in runs),
            own_texts=sorted({r.corpus for r in runs if r.corpus.startswith("user:")}),
        )


def _gates(runs: list[Any]) -> dict[str, float]:
    """By task: the share of the runs that learned it."""
    learned = defaultdict(list)
    for run in runs:
        if not pd.isna(run.learned):
            learned[run.task].append(bool(run.learned))
    return {task: sum(passed) / len(passed) for task, passed in sorted(learned.items())}


def costs_by_encoding(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Geometric means over lengths and seeds, as ratios are, by encoding and metric.

    A ratio of RoPE to itself is 1; what was measured of it is the noise of the clock, which a note states.
    """
    rows = scores[scores["metric"].isin(COSTS) & (scores["value"] > 0)]
    costs: dict[str, dict[str, float]] = {}
    for (name, metric), values in rows.groupby(["encoding", "metric"])["value"]:
        itself = name == YARDSTICK and metric in RATIOS
        costs.setdefault(name, {})[metric] = 1.0 if itself else math.exp(values.map(math.log).mean())
    return costs


def _text(card: dict[str, Any], key: str) -> str:
    value = card.get(key)
    return value if isinstance(value, str) else ""


def _none(value: Any, kind: type) -> Any:
    return None if value is None or pd.isna(value) else kind(value)
