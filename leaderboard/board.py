"""The leaderboard of one profile, made of a folder of records."""

import functools
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pebench.leaderboard import about, ranking, table
from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.columns import Columns, columns, joined
from pebench.leaderboard.entries import (
    RUN_FACTS,
    Entry,
    Facts,
    by_encoding,
    costs_by_encoding,
    overalls,
    placeless,
    quantities,
)
from pebench.leaderboard.notes import notes_of
from pebench.leaderboard.ranking.comparisons import FEWEST
from pebench.leaderboard.ranking.keeps import ALL, learning, longest
from pebench.leaderboard.reading import REMEDY, BoardError, folder_named, told_of, verified
from pebench.suite.results.metrics import EXTEND_PROFILES, EXTENDING, counted
from pebench.suite.results.names import hint
from pebench.suite.results.record import CERTIFICATE, Record, Unreadable

ALWAYS = (CERTIFICATE, "throughput")  # on a board of any tasks
ENOUGH = 10  # encodings in two seeds of each task, from which on a newer version of a profile is shown first


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


def own_encodings(places: list[Path], parts: list[Columns]) -> tuple[set[str], set[str]]:
    """With the published records beside others: the encodings of the others alone, and those that are in both."""
    if PUBLISHED not in places or len(places) < 2:
        return set(), set()
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for folder, part in zip(places, parts, strict=True):
        names[folder == PUBLISHED] |= set(part.texts("encoding"))
    return names[False] - names[True], names[False] & names[True]


def _refuse_unknown(tasks: Iterable[str] | None, known: Set[str], profile: str) -> None:
    """BoardError for a task that no record of the profile is of."""
    for task in tasks or ():
        if task not in known:
            raise BoardError(
                f"no records of the task {task!r} in {profile}; {hint(task, sorted(known - {*ALWAYS}))}"
            )


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
    facts = Facts(
        ranked=by_encoding(result.table),
        families=by_encoding(result.families),
        runs=by_encoding(runs[RUN_FACTS]),
        checks=by_encoding(checks),
        at_length=quantities(result.at_length.table),
        beyond=quantities(result.beyond.table),
        learns=overalls(learned.learns, gated),
        keeps=overalls(learned.keeps, gated),
        places=ranking.places(result),
        standings=ranking.aggregates(result),
        blocked=blocked,
        costs=costs_by_encoding(scores),
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


def _blocked(runs: pd.DataFrame, checks: pd.DataFrame) -> dict[str, str]:
    """Encodings whose certificate forbids a rank, with the reason."""
    failed = checks[~checks["passed"]].groupby("encoding")["check"].unique()
    reasons = {name: f"certificate failed: {', '.join(sorted(names))}" for name, names in failed.items()}
    broken = runs[(runs["task"] == CERTIFICATE) & (runs["outcome"] != "measured")]
    return reasons | {run.encoding: f"certificate {run.outcome}: {run.reason}" for run in broken.itertuples()}
