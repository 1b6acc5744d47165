"""Caveats of a board: lacking texts, mixed machines, mixed code."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pebench.leaderboard.extension.board import Line, Plan
from pebench.leaderboard.extension.quantities import PHASES, texts_of
from pebench.leaderboard.extension.records import BASE, COST, divisors_of, machine_fact, method_of
from pebench.suite.results.metrics import EXTENDING, counted
from pebench.suite.results.record import Record

# Facts of a machine that results depend on, and the tasks where they do.
FACTS = {
    "precision": EXTENDING,
    "kind of kernels": EXTENDING,
    "processor": EXTENDING,
    "torch version": EXTENDING,
    "number of threads": (COST,),
}


def notes(records: Sequence[Record], lines: Sequence[Line], plan: Plan | None) -> list[str]:
    """What a reader must know of these records."""
    found = []
    if alone := sorted(line.method for line in lines if any(q.alone for q in line.quantities)):
        found.append(
            f"One text in some quantity of {', '.join(alone)}: it has no interval, and a difference may be the text's."
        )
    most = max((q.texts for line in lines for q in line.quantities), default=0)
    full = plan.texts if plan else most
    if lacking := sorted(line.method for line in lines if in_part(line, full)):
        found.append(f"Measured in part: {', '.join(lacking)}.")
    there = {line.method for line in lines}
    if absent := [method for method in (plan.methods if plan else ()) if method not in there]:
        found.append(f"Not measured: {', '.join(absent)}.")
    found += machine_notes(records)
    shared = {(r.task, r.shared_code) for r in records}
    if len(shared) > len({task for task, _ in shared}):
        found.append("Records of different versions of the code are mixed; run the older ones again.")
    for what, facts in (
        ("version", {(method_of(r), r.encoding_code) for r in records}),
        ("search", {(method_of(r), divisors_of(r)) for r in records}),
    ):
        kinds = Counter(method for method, _ in facts)
        if mixed := sorted(method for method, n in kinds.items() if n > 1):
            found.append(
                f"Records of more than one {what} of a method: {', '.join(mixed)}; run the older ones again."
            )
    if dirty := sum(bool(r.provenance.get("dirty", True)) for r in records):
        found.append(f"{counted(dirty, 'record')} of uncommitted code.")
    return found


def in_part(line: Line, texts: int) -> bool:
    """Whether a method lacks its cost, or one of these texts in one of the four quantities."""
    counts = [q.texts for q in line.quantities]
    return not line.costs or len(counts) < 2 * len(PHASES) or min(counts) < texts


def machine_notes(records: Sequence[Record]) -> list[str]:
    """What differs between the machines of these records, and the methods that differ from the unextended model's."""
    found = []
    for name, asked in FACTS.items():
        facts = {(method_of(r), r.task, r.seed): machine_fact(r, name) for r in records if r.task in asked}
        if name == "kind of kernels":  # older records do not state it
            facts = {run: fact for run, fact in facts.items() if fact != "None"}
        if len(kinds := sorted(set(facts.values()))) > 1:
            others = {
                method
                for (method, task, text), fact in facts.items()
                if fact != facts.get((BASE, task, text), fact)
            }
            unlike = f"; unlike {BASE}'s: {', '.join(sorted(others))}" if others else ""
            found.append(f"Records of more than one {name}: {', '.join(kinds)}{unlike}.")
    return found


def level_notes(losses: pd.DataFrame, answers: pd.DataFrame) -> list[str]:
    """The methods whose levels are of fewer texts than other methods'."""
    lacking = set[str]()
    for frame in (losses, answers):
        texts = texts_of(frame)
        every = set[int]().union(*texts.values())
        lacking |= {method for method, each in texts.items() if each != every}
    if not lacking:
        return []
    return [
        f"Not comparable in level, as they lack texts that others have: {', '.join(sorted(lacking))}. "
        f"Differences from {BASE} are paired by text."
    ]
