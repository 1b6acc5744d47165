"""Whether records are complete for a profile: its runs, its setup, its certificate, and the board's questions."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pebench.leaderboard.submissions.records import question
from pebench.leaderboard.submissions.report import Check, clip, quote
from pebench.leaderboard.table import label
from pebench.suite.results.record import AGAIN, CERTIFICATE, Record, Row
from pebench.suite.results.setup import Setup

SAME = 1e-6  # relative difference of floors and ceilings between processors


@dataclass(frozen=True)
class Rules:
    """What a profile demands of a submission: the suite's own literals, as plain data."""

    seeds: int  # at least; 0 to this number without a gap
    setups: Mapping[str, Setup]  # by task: what the record must say of model, steps, text and gate
    once: frozenset[str]  # tasks that are run with seed 0 alone


def check_runs(records: list[Record], name: str, profile: str, seeds: object, rule: Rules | None) -> Check:
    """Every task and seed of the profile once, and no other: results cannot be picked."""
    check = Check("complete for the profile: every task and seed, once")
    if rule is None or not isinstance(seeds, int):
        check.problems.append("the card names no profile or number of seeds to be complete for")
        return check
    if seeds < rule.seeds:
        check.problems.append(f"{seeds} seeds; {profile} needs {rule.seeds}")
    needed = {
        (name, task, profile, seed)
        for task in rule.setups
        for seed in (range(1) if task in rule.once else range(seeds))
    }
    found = Counter((r.encoding, r.task, r.profile, r.seed) for r in records)
    check.problems += [
        f"no record of {_run(key)}; `pebench submit` continues" for key in sorted(needed - found.keys())
    ]
    check.problems += [f"{_run(key)} is not asked for" for key in sorted(found.keys() - needed)]
    check.problems += [f"{_run(key)} has {n} records" for key, n in sorted(found.items()) if n > 1]
    again = [r for r in records if r.outcome in AGAIN]
    check.problems += [f"{r.path} has no result ({r.outcome}); `pebench submit --retry`" for r in again]
    return check


def _run(key: tuple[str, str, str, int]) -> str:
    encoding, task, profile, seed = key
    return f"{encoding} {task} {profile} seed {seed}"


def check_setups(records: list[Record], rule: Rules | None) -> Check:
    """Model, steps, learning rate, gate and text are the profile's."""
    check = Check("trained and measured as the profile says, on its text")
    for r in records:
        wanted = dict(rule.setups.get(r.task, {})) if rule else {}
        if r.setup != wanted:
            keys = [k for k in sorted(wanted.keys() | r.setup.keys()) if r.setup.get(k) != wanted.get(k)]
            check.problems.append(f"{r.path} differs in: {clip(', '.join(map(quote, keys)))}")
    return check


def check_certificate(records: list[Record]) -> Check:
    """There is a certificate, and each of its checks passes."""
    check = Check("the certificate holds")
    certificates = [r for r in records if r.task == CERTIFICATE]
    for r in certificates:
        failed = [row.condition.get("check") for row in r.rows if row.metric != "pass" or row.value != 1]
        check.problems += [f"it fails: {quote(name)}; `pebench check` says why" for name in failed]
        if r.outcome != "measured":
            check.problems.append(f"it could not be made: {r.outcome}")
    if not certificates:
        check.problems.append("there is none")
    return check


def check_questions(records: list[Record], board: list[Record], notes: list[str]) -> Check:
    """The same questions, with the same floor and ceiling, as the board's records of the same setup."""
    check = Check("the same questions as on the board")
    for r in records:
        others = [o for o in board if o.task == r.task and o.setup == r.setup and o.rows]
        if r.task == CERTIFICATE or not r.rows:
            continue
        if not others:
            notes.append(f"the board has no run of {r.task} to compare the questions with")
            continue
        known = {question(row): row for o in others for row in o.rows}
        given = {question(row): row for row in r.rows}
        for key, row in given.items():
            if key not in known or not _same_question(row, known[key]):
                check.problems.append(f"{r.path}: {key[0]} ({quote(key[1])}) is another question")
        lengths = {row.condition.get("length") for row in r.rows}
        missing = [row for key, row in known.items() if key not in given]
        for row in missing:
            if row.condition.get("length") in lengths:
                check.problems.append(f"{r.path}: {row.metric} ({label(row.condition)}) is missing")
        beyond = {row.condition.get("length") for row in missing} - lengths
        if beyond:
            notes.append(f"{r.task} is not defined at length {', '.join(sorted(map(str, beyond)))}")
    notes[:] = list(dict.fromkeys(notes))
    return check


def _same_question(a: Row, b: Row) -> bool:
    def close(x: float | None, y: float | None) -> bool:
        return x == y or (x is not None and y is not None and math.isclose(x, y, rel_tol=SAME))

    same = a.condition == b.condition  # a label tells no 8 from "8"
    return same and a.n == b.n and close(a.floor, b.floor) and close(a.ceiling, b.ceiling)
