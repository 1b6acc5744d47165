"""The leaderboard of one profile, made of a folder of records."""

import functools
import gc
import hashlib
import json
import math
import os
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pebench.leaderboard import about, ranking, table
from pebench.leaderboard.about import PUBLISHED, USUAL
from pebench.leaderboard.columns import Columns, columns, joined
from pebench.leaderboard.folders import columns_of
from pebench.leaderboard.notes import notes_of
from pebench.leaderboard.ranking.comparisons import FEWEST
from pebench.leaderboard.ranking.keeps import ALL, learning, longest
from pebench.suite.results.metrics import EXTEND_PROFILES, EXTENDING, RATIOS, YARDSTICK, counted
from pebench.suite.results.names import hint
from pebench.suite.results.record import (
    CERTIFICATE,
    LARGEST,
    VERIFIED,
    Record,
    Unreadable,
    folders,
    read_all,
)

COSTS = (*RATIOS, "cache_bytes")
ALWAYS = (CERTIFICATE, "throughput")  # on a board of any tasks
ENOUGH = 10  # encodings in two seeds of each task, from which on a newer version of a profile is shown first
NOTHING = "no score yet in a condition that another encoding has"
CONTENT = "reads content"  # the check that says it
REPRODUCED = (
    "equal",
    "within tolerance",
    "within seed spread",
)  # verdicts of `pebench reproduce` that verify
REMEDY = f"make some with `pebench run --profile {USUAL}`"


class BoardError(ValueError):
    """A folder or profile that no board can be made of, with the remedy."""


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
    answers: pd.DataFrame = field(default_factory=lambda: table.answer_table([]))  # table.answer_table
    own: frozenset[str] = frozenset()  # encodings that the user has and the published records have not

    @property
    def size(self) -> str:
        """How many encodings, and of how many seeds in a task: "1 encoding, 1 seed", "9 encodings, 1 to 3 seeds"."""
        runs = self.ranking.data.runs
        few, many = (int(runs[runs > 0].min()), int(runs.max())) if runs.any() else (0, 0)
        seeds = counted(many, "seed")
        return f"{counted(len(self.entries), 'encoding')}, {seeds if few == many else f'{few} to {seeds}'}"


def make_board(
    records: Path | Sequence[Path], profile: str | None = None, tasks: Sequence[str] = ()
) -> Board:
    """The board of one or more records folders. Without a profile: of the profile with the most records, or of
    a newer version of it (`newest_version`).

    Of several folders the first one decides which profile that is, and `PUBLISHED` which records an encoding has that
    is in both. `tasks`: these alone count. BoardError where there is nothing to show.
    """
    places = [records] if isinstance(records, Path) else list(records)
    if profile in EXTEND_PROFILES:
        raise BoardError(
            f"{profile} has methods on a pretrained model, and no encodings to rank; "
            f"`pebench board --profile {profile}` shows it, with --csv or --json for programs"
        )
    read = [told_of(folder) for folder in places]
    unreadable = [file for part in read for file in part.unreadable]
    parts = [part.told.where(~part.told.column("task").isin(EXTENDING)) for part in read]
    every = joined(parts)
    if not len(every):
        tracks = sorted({profile for part in read for profile in part.told.texts("profile")})
        if tracks:
            commands = " or ".join(f"`pebench board --profile {profile}`" for profile in tracks)
            raise BoardError(
                f"no records of encodings in {', '.join(map(str, places))}, only of methods on a pretrained model; "
                f"{commands} shows them"
            )
        broken = f" ({len(unreadable)} unreadable, first: {unreadable[0].reason})" if unreadable else ""
        named = ", ".join(map(str, places))
        raise BoardError(f"no records in {named}{broken}; {REMEDY}")
    counts = (Counter(part.texts("profile")).most_common() for part in parts)
    profiles = dict(Counter(every.texts("profile")).most_common())
    profile = profile or newest_version(next(name for count in counts for name, _ in count), every)
    if profile not in profiles:
        known = profile in about.document()["profiles"]
        remedy = f"; make some with `pebench run --profile {profile}`" if known else ""
        raise BoardError(f"no records of profile {profile!r}; {hint(profile, profiles)}{remedy}")
    parts = [part.where(part.column("profile") == profile) for part in parts]
    _refuse_unknown(tasks, {task for part in parts for task in part.column("task")}, profile)
    mine, both = own_encodings(places, parts)
    chosen: list[Columns] = []
    marks: dict[str, str] = {}
    for folder, part in zip(places, parts, strict=True):
        kept = part.newest()
        keep = np.full(len(kept), True)
        if tasks:
            keep &= kept.column("task").isin([*tasks, *ALWAYS])
        if folder != PUBLISHED:
            keep &= ~kept.column("encoding").isin(both)
        kept = kept.where(keep)
        marks |= verified(folder, {file.replace(os.sep, "/") for file in kept.texts("file")}, unreadable)
        chosen.append(kept)
    # A mark is of one folder's bytes: where two folders have a path, the record that is shown may be the other one.
    paths = Counter(file.replace(os.sep, "/") for kept in chosen for file in kept.texts("file"))
    marks = {path: verdict for path, verdict in marks.items() if paths[path] == 1}
    told = joined(chosen).newest()
    made = of_profile(board_of_columns(told, profile, profiles, unreadable, marks), tasks)
    notes = [*made.notes]
    if both:
        notes.append(
            f"In your folder too, and shown as published: {', '.join(sorted(both))}; without the published "
            "records beside it your folder's are shown."
        )
    if mine and not len(parts[places.index(PUBLISHED)]):
        notes.append(f"There are no published records of {profile}: nothing stands beside your own.")
    if tasks:
        notes.append(f"Ranked on {', '.join(tasks)} alone.")
    return replace(made, notes=notes, own=frozenset(mine))


def version_after(profile: str) -> str:
    """The name that the next version of a profile has.

    >>> version_after("STANDARD"), version_after("STANDARD_2")
    ('STANDARD_2', 'STANDARD_3')
    """
    name, version = re.fullmatch(r"(.*?)(?:_(\d+))?", profile, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{name}_{int(version or 1) + 1}"


def version_before(profile: str, known: Iterable[str]) -> str | None:
    """The profile among these whose next version this one is."""
    return next((name for name in known if version_after(name) == profile), None)


def newest_version(profile: str, told: Columns) -> str:
    """The newest version of a profile that can answer what visitors ask; the profile itself where no newer one can.

    It can where ENOUGH encodings have two seeds of every task that counts, and some encoding has its costs.
    """
    after = version_after(profile)
    part = told.where((told.column("profile") == after) & told.column("measured"))
    seeds = set(zip(part.texts("encoding"), part.texts("task"), part.texts("seed"), strict=True))
    found = Counter((encoding, task) for encoding, task, _ in seeds)
    tasks = [t.name for t in about.tasks(after) if t.name not in ALWAYS]
    whole = [e for e in {e for e, _ in found} if all(found[e, task] >= FEWEST for task in tasks)]
    costs = any(task == "throughput" for _, task in found)
    answers = bool(tasks) and costs and len(whole) >= ENOUGH
    return newest_version(after, told) if answers else profile


def of_profile(board: Board, tasks: Sequence[str] = ()) -> Board:
    """The board with coverage and ranks as the whole profile asks, not as far as its folder goes.

    A rank needs a result in every family of the profile (of `tasks`, where these alone are asked for).
    """
    counted_tasks = [
        t for t in about.tasks(board.profile) if t.name not in ALWAYS and t.name in (tasks or [t.name])
    ]
    found = set(board.ranking.data.tasks)  # one encoding alone, or a few, do not make a task count
    lacking = [t for t in counted_tasks if t.name not in found]
    if not lacking or not found:
        return board
    families = Counter(t.family for t in counted_tasks)
    share = 1 - sum(1 / families[t.family] for t in lacking) / len(families)
    absent = sorted({t.family for t in lacking} - {t.family for t in counted_tasks if t not in lacking})
    names = ", ".join(t.name for t in lacking)
    why = f"not counted yet of {board.profile}: {names}"
    entries = [
        replace(
            e,
            coverage=share * e.coverage,
            learns=e.learns and replace(e.learns, of=e.learns.of + len(lacking)),
            keeps=e.keeps and replace(e.keeps, of=e.keeps.of + len(lacking)),
        )
        for e in board.entries
    ]
    if absent or share < ranking.MIN_COVERAGE:
        entries = [e if e.reason else placeless(e, why) for e in entries]
    note = (
        f"Not counted yet of {board.profile}, because too few encodings are measured there: {names}; "
        f"`pebench run --profile {board.profile}` continues."
    )
    return replace(board, entries=entries, notes=[note, *board.notes])


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


@dataclass(frozen=True)
class Reading:
    """What a records folder holds."""

    records: list[Record]
    unreadable: list[Unreadable]


@dataclass(frozen=True)
class Told:
    """The same as columns."""

    told: Columns
    unreadable: list[Unreadable]


def reading(folder: Path) -> Reading:
    """All records of a folder; an unchanged folder is read once. BoardError where there is no folder."""
    demand(folder)
    return _reading(folder, stamp(folder))


def told_of(folder: Path) -> Told:
    """All records of a folder as columns; an unchanged folder is read once. BoardError where there is no folder."""
    demand(folder)
    return _told_of(folder, stamp(folder))


def demand(folder: Path) -> None:
    """BoardError where there is no folder of records."""
    if not folder.is_dir():
        if folder == PUBLISHED:
            raise BoardError(
                "the published results cannot be unpacked; set PEBENCH_CACHE to a folder that can be written"
            )
        raise BoardError(f"there is no records folder {folder}; {REMEDY}")


def elsewhere(folders: Iterable[Path], encoding: str) -> list[str]:
    """The profiles in which these folders have results of an encoding, the one with most records first.

    Methods on a pretrained model are left out, as `make_board` does.
    """
    told = joined([told_of(folder).told for folder in folders])
    encodings = ~told.column("task").isin(EXTENDING)
    told = told.where((told.column("encoding") == encoding) & told.column("measured") & encodings)
    return [profile for profile, _ in Counter(told.texts("profile")).most_common()]


@functools.lru_cache(maxsize=4)
def _reading(folder: Path, changed: int) -> Reading:
    with uncollected():
        return Reading(*read_all(folder))


@functools.lru_cache(maxsize=4)
def _told_of(folder: Path, changed: int) -> Told:
    with uncollected():
        return Told(*columns_of(folder))


def own_encodings(places: list[Path], parts: list[Columns]) -> tuple[set[str], set[str]]:
    """With the published records beside others: the encodings of the others alone, and those that are in both."""
    if PUBLISHED not in places or len(places) < 2:
        return set(), set()
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for folder, part in zip(places, parts, strict=True):
        names[folder == PUBLISHED] |= set(part.texts("encoding"))
    return names[False] - names[True], names[False] & names[True]


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


def _refuse_unknown(tasks: Iterable[str] | None, known: Set[str], profile: str) -> None:
    """BoardError for a task that no record of the profile is of."""
    for task in tasks or ():
        if task not in known:
            raise BoardError(
                f"no records of the task {task!r} in {profile}; {hint(task, sorted(known - {*ALWAYS}))}"
            )


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


def stamp(*records: Path) -> int:
    """A number that changes when a record is added or removed: cheap, as it looks at the folders only."""
    found = (os.fspath(inner) for folder in records for inner, _, problem in folders(folder) if not problem)
    return hash(tuple((inner, os.stat(inner).st_mtime_ns) for inner in found))


def folders_named(text: str) -> tuple[str, ...]:
    """The folders that a text names, as PEBENCH_RECORDS does: with os.pathsep between them.

    One that is there may have that sign in its name.
    """

    def is_folder(name: str) -> bool:
        return os.path.isdir(os.path.expanduser(name))

    found, parts = list[str](), text.split(os.pathsep)
    while parts:
        joined_up = (n for n in range(len(parts), 1, -1) if is_folder(os.pathsep.join(parts[:n])))
        n = next(joined_up, 1)
        found.append(os.pathsep.join(parts[:n]))
        del parts[:n]
    return tuple(filter(None, found))


def folder_named(text: str) -> Path:
    """The records folder that a person means: a path, or the word `published`. BoardError where it is no path."""
    if "\0" in text:
        raise BoardError(f"{text!r} is no folder: it holds a null byte")
    try:
        return PUBLISHED if text == "published" else Path(text).expanduser()
    except RuntimeError as e:  # a user that there is not
        raise BoardError(f"{text!r} is no folder: {e}") from e


def cached_board(
    records: tuple[str, ...], profile: str | None, tasks: tuple[str, ...], changed: int
) -> Board:
    """A board that is made once for each state of its folders (stamp) and only read afterwards."""
    with _ONE_AT_A_TIME:  # who asks for a board that is being made waits for it
        return _cached_board(records, profile, tasks, changed)


_ONE_AT_A_TIME = threading.Lock()


@functools.lru_cache(maxsize=8)
def _cached_board(
    records: tuple[str, ...], profile: str | None, tasks: tuple[str, ...], changed: int
) -> Board:
    return make_board([folder_named(folder) for folder in records], profile, tasks)


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
    return board_of_columns(columns(records), profile, profiles, unreadable, marks or {})


def board_of_columns(
    told: Columns,
    profile: str,
    profiles: dict[str, int],
    unreadable: list[Unreadable],
    marks: dict[str, str],
) -> Board:
    """The same of records as columns."""
    scores, checks = table.score_table(told), table.check_table(told)
    runs, cards = table.run_table(told), told.cards
    runs["verified"] = [marks.get(file, "") for file in runs["file"]]
    blocked = _blocked(runs, checks)
    result = ranking.rank(scores, blocked)
    families = sorted(set(result.data.names["task_family"]))
    ranked = list(result.table["encoding"])
    order = ranked + sorted(set(cards) - set(ranked))
    counting = runs[runs["task"].isin(result.data.tasks)]
    cells = scores.merge(result.data.names[["task", "metric", "condition"]].astype(str))
    learned = learning(cells, counting, set(result.table.dropna(subset="rank")["encoding"]))
    gated = len(set(learned.learns["task"]) - {ALL})
    facts = _Facts(
        ranked=_by_encoding(result.table),
        families=_by_encoding(result.families),
        runs=_by_encoding(runs[_FACTS]),
        checks=_by_encoding(checks),
        at_length=_quantities(result.at_length.table),
        beyond=_quantities(result.beyond.table),
        learns=_overall(learned.learns, gated),
        keeps=_overall(learned.keeps, gated),
        places=ranking.places(result),
        standings=ranking.aggregates(result),
        blocked=blocked,
        costs=_costs(scores),
        cards=cards,
    )
    entries = [facts.entry(name) for name in order]
    caps = longest(cells, counting)
    notes = notes_of(entries, told, result, scores, profile, profiles, unreadable, caps)
    seeds = result.data.seeds
    return Board(
        *(
            profile,
            profiles,
            entries,
            families,
            seeds,
            notes,
            unreadable,
            scores,
            runs,
            checks,
            cards,
            result,
        ),
        answers=table.answer_table(told),
    )


_FACTS = [  # of a run, that an entry is made of
    *("encoding", "task", "seed", "outcome", "learned", "parameters_encoding"),
    *("verified", "clean", "no_commit", "stale", "corpus"),
]


def _by_encoding(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The rows of a table as named tuples, by encoding; a plain loop over few rows is quicker than a query of each."""
    rows = defaultdict(list)
    for row in frame.astype(object).itertuples(index=False):  # Arrow's texts are slow to walk over
        rows[row.encoding].append(row)
    return rows


def _quantities(frame: pd.DataFrame) -> dict[str, Quantity]:
    """The known scores of a table (encoding, score, low, high, p_best), by encoding."""
    return {
        row.encoding: Quantity(
            float(row.score), _none(row.low, float), _none(row.high, float), _none(row.p_best, float)
        )
        for row in frame.dropna(subset="score").itertuples()
    }


def _overall(frame: pd.DataFrame, of: int) -> dict[str, Overall]:
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


def _blocked(runs: pd.DataFrame, checks: pd.DataFrame) -> dict[str, str]:
    """Encodings whose certificate forbids a rank, with the reason."""
    failed = checks[~checks["passed"]].groupby("encoding")["check"].unique()
    reasons = {name: f"certificate failed: {', '.join(sorted(names))}" for name, names in failed.items()}
    broken = runs[(runs["task"] == CERTIFICATE) & (runs["outcome"] != "measured")]
    return reasons | {run.encoding: f"certificate {run.outcome}: {run.reason}" for run in broken.itertuples()}


@dataclass(frozen=True)
class _Facts:
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


def _costs(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
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
