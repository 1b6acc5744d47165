"""The leaderboard of one profile, made of a folder of records."""

import functools
import gc
import hashlib
import json
import math
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pebench.leaderboard import ranking, table
from pebench.leaderboard.notes import notes_of
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import LARGEST, VERIFIED, Record, Unreadable, folders, newest, read_all

PUBLISHED = Path(__file__).with_name("records")  # what the repository holds; not in an installed package
COSTS = ("train_ratio", "prefill_ratio", "decode_ratio", "cache_bytes")
NOTHING = "no score yet on anything that another encoding has too"
CONTENT = "reads content"  # the check that says it
REPRODUCED = (
    "equal",
    "within tolerance",
    "within seed spread",
)  # verdicts of `pebench reproduce` that verify
REMEDY = "make some with `pebench run --profile QUICK`"


class BoardError(ValueError):
    """A folder or profile that no board can be made of, with the remedy."""


@dataclass(frozen=True)
class Interval:
    """A score between the floor (0) and the oracle (1), with its 95 % interval."""

    score: float
    low: float | None  # None where no encoding has two seeds
    high: float | None


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
    at_length: Interval | None  # the score at the training length alone
    beyond: Interval | None  # the score beyond the training length alone
    p_best: float | None  # by other seeds and test items
    p_best_tasks: float | None  # by other tasks of the same families, too
    places: dict[str, int]  # in each of ranking.ORDERS, where every condition is covered
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


@dataclass(frozen=True)
class Board:
    """Everything a page or a printed table shows of one profile."""

    profile: str
    profiles: dict[str, int]  # all in the folder, with their numbers of records
    entries: list[Entry]  # best first, those without a rank last
    task_families: list[str]
    seeds: list[int]  # that count in some task
    notes: list[str]
    unreadable: list[Unreadable]
    scores: pd.DataFrame  # table.score_table
    runs: pd.DataFrame  # table.run_table
    checks: pd.DataFrame  # table.check_table
    cards: dict[str, dict[str, Any]]
    ranking: ranking.Ranking
    order: str = "mean"  # of the entries: one of ranking.ORDERS

    @property
    def size(self) -> str:
        """How many encodings, and of how many seeds in a task: "1 encoding, 1 seed", "9 encodings, 1 to 3 seeds"."""
        runs = self.ranking.data.runs
        few, many = (int(runs[runs > 0].min()), int(runs.max())) if runs.any() else (0, 0)
        seeds = counted(many, "seed")
        return f"{counted(len(self.entries), 'encoding')}, {seeds if few == many else f'{few} to {seeds}'}"


def make_board(records_folder: Path, profile: str | None = None) -> Board:
    """The board of a records folder; without a profile, of that with the most records.

    BoardError where there is nothing to show.
    """
    if not records_folder.is_dir():
        raise BoardError(f"there is no records folder {records_folder}; {REMEDY}")
    with uncollected():
        every, unreadable = read_all(records_folder)
    if not every:
        broken = f" ({len(unreadable)} unreadable, first: {unreadable[0].reason})" if unreadable else ""
        raise BoardError(f"no records in {records_folder}{broken}; {REMEDY}")
    profiles = dict(Counter(r.profile for r in every).most_common())
    profile = profile or next(iter(profiles))
    if profile not in profiles:
        raise BoardError(f"no records of profile {profile!r}; there are: {', '.join(profiles)}; {REMEDY}")
    chosen = [r for r in newest(every) if r.profile == profile]
    marks = verified(records_folder, {r.path.as_posix() for r in chosen}, unreadable)
    return board_of(chosen, profile, profiles, unreadable, marks)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: going over a hundred thousand rows that live on takes as long as reading them."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def verified(folder: Path, paths: set[str], unreadable: list[Unreadable]) -> dict[str, str]:
    """What `pebench reproduce --mark` states of these records: one of REPRODUCED, by path.

    A mark is of the bytes that were run again: a record that was changed since has none.
    """
    file = folder / VERIFIED
    if not file.exists():
        return {}
    if not file.is_file() or file.stat().st_size > LARGEST:
        unreadable.append(Unreadable(file, "no file of marks (no regular file, or too large)"))
        return {}
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))["verified"]
        marks = {path: (stated[path]["sha256"], stated[path]["verdict"]) for path in paths & stated.keys()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        unreadable.append(Unreadable(file, f"no file of marks ({type(e).__name__}: {e})"))
        return {}
    return {
        path: verdict
        for path, (digest, verdict) in marks.items()
        if verdict in REPRODUCED and hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest
    }


def stamp(records_folder: Path) -> int:
    """A number that changes when a record is added or removed: cheap, as it looks at the folders only."""
    found = (os.fspath(folder) for folder, _, problem in folders(records_folder) if not problem)
    return hash(tuple((folder, os.stat(folder).st_mtime_ns) for folder in found))


def cached_board(folder: str, profile: str | None, changed: int) -> Board:
    """A board that is made once for each state of the folder (stamp) and only read afterwards."""
    with _ONE_AT_A_TIME:  # who asks for a board that is being made waits for it
        return _cached_board(folder, profile, changed)


_ONE_AT_A_TIME = threading.Lock()


@functools.lru_cache(maxsize=4)
def _cached_board(folder: str, profile: str | None, changed: int) -> Board:
    return make_board(Path(folder), profile)


def board_of(
    records: list[Record],
    profile: str,
    profiles: dict[str, int],
    unreadable: list[Unreadable],
    marks: dict[str, str] | None = None,
) -> Board:
    """The board of these records, which are of one profile and hold no two of the same run.

    `marks` says of a record, by its path, how it came out when it was run again.
    """
    with uncollected():
        scores, checks = table.score_table(records), table.check_table(records)
    runs, cards = table.run_table(records), table.card_table(records)
    runs["verified"] = [(marks or {}).get(file, "") for file in runs["file"]]
    blocked = _blocked(runs, checks)
    result = ranking.rank(scores, blocked)
    families = sorted(set(result.data.names["task_family"]))
    ranked = list(result.table["encoding"])
    order = ranked + sorted(set(cards) - set(ranked))
    facts = _Facts(
        ranked=_by_encoding(result.table),
        families=_by_encoding(result.families),
        runs=_by_encoding(runs),
        checks=_by_encoding(checks),
        at_length=_intervals(result.at_length.table),
        beyond=_intervals(result.beyond.table),
        places=ranking.places(result),
        blocked=blocked,
        costs=_costs(scores),
        cards=cards,
    )
    entries = [facts.entry(name) for name in order]
    notes = notes_of(entries, records, result, scores, profile, profiles, unreadable)
    seeds = result.data.seeds
    return Board(
        profile, profiles, entries, families, seeds, notes, unreadable, scores, runs, checks, cards, result
    )


def _by_encoding(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The rows of a table as named tuples, by encoding; a plain loop over few rows is quicker than a query of each."""
    rows = defaultdict(list)
    for row in frame.itertuples(index=False):
        rows[row.encoding].append(row)
    return rows


def _intervals(frame: pd.DataFrame) -> dict[str, Interval]:
    """The known scores of a table (encoding, score, low, high), by encoding."""
    rows = frame.dropna(subset="score").itertuples()
    return {row.encoding: _interval(row.score, row.low, row.high) for row in rows}


def _interval(score: float, low: float, high: float) -> Interval:
    return Interval(float(score), _none(low, float), _none(high, float))


def _blocked(runs: pd.DataFrame, checks: pd.DataFrame) -> dict[str, str]:
    """Encodings whose certificate forbids a rank, with the reason."""
    failed = checks[~checks["passed"]].groupby("encoding")["check"].unique()
    reasons = {name: f"certificate failed: {', '.join(sorted(names))}" for name, names in failed.items()}
    broken = runs[(runs["task"] == "certificate") & (runs["outcome"] != "measured")]
    return reasons | {run.encoding: f"certificate {run.outcome}: {run.reason}" for run in broken.itertuples()}


@dataclass(frozen=True)
class _Facts:
    """What is known of each encoding, from all tables."""

    ranked: dict[str, list[Any]]
    families: dict[str, list[Any]]
    runs: dict[str, list[Any]]
    checks: dict[str, list[Any]]
    at_length: dict[str, Interval]
    beyond: dict[str, Interval]
    places: pd.DataFrame
    blocked: dict[str, str]
    costs: dict[str, dict[str, float]]
    cards: dict[str, dict[str, Any]]

    def entry(self, name: str) -> Entry:
        row = self.ranked[name][0]._asdict() if self.ranked[name] else {}
        runs, checks, card = self.runs[name], self.checks[name], self.cards[name]
        bad = [r for r in runs if r.outcome not in ("measured", "undefined")]
        failed = sorted(c.check for c in checks if not c.passed)
        broken = any(r.task == "certificate" for r in bad)
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
            p_best=_none(row.get("p_best"), float),
            p_best_tasks=_none(row.get("p_best_tasks"), float),
            places=self.places.loc[name].astype(int).to_dict() if name in self.places.index else {},
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


def _costs(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Geometric means over lengths and seeds, as ratios are, by encoding and metric."""
    rows = scores[scores["metric"].isin(COSTS) & (scores["value"] > 0)]
    costs: dict[str, dict[str, float]] = {}
    for (name, metric), values in rows.groupby(["encoding", "metric"])["value"]:
        costs.setdefault(name, {})[metric] = math.exp(values.map(math.log).mean())
    return costs


def _text(card: dict[str, Any], key: str) -> str:
    value = card.get(key)
    return value if isinstance(value, str) else ""


def _none(value: Any, kind: type) -> Any:
    return None if value is None or pd.isna(value) else kind(value)
