"""Whether one encoding is better than another, in sentences: overall, in which task families, how sure.

A verdict is symmetric in the two. It rests on the board's own tests: over all tasks with Holm's correction over all
ranked pairs, by family with Holm's correction over the families of this pair. What has no rank gets no verdict.
"""

import numpy as np
from scipy import special

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board
from pebench.leaderboard.ranking import LEVEL, Pairs
from pebench.suite.results.metrics import counted


def verdict(board: Board, first: str, second: str) -> list[str]:
    """The sentences on a pair of encodings of the board."""
    reasons = {entry.name: _unranked(entry.reason) for entry in board.entries}
    if lacking := [f"{name} {reasons[name]}" for name in (first, second) if reasons[name]]:
        return [f"No verdict: {'; '.join(lacking)}."]
    r = board.ranking
    a, b = (r.data.encodings.index(name) for name in (first, second))
    gap = float(r.pairs.difference[a, b])
    if not np.isfinite(gap):
        return [f"No verdict: {first} and {second} share no seed in some task."]
    if gap < 0:
        return verdict(board, second, first)
    return [*_overall(board, a, b), *_families(board, a, b)]


def _unranked(reason: str) -> str:
    """Why an encoding has no place, as the predicate of a sentence; empty where it has one."""
    if reason.startswith(ranking.PREVIEW):
        return f"is a {reason}"
    return f"has no rank ({reason})" if reason else ""


def _overall(board: Board, a: int, b: int) -> list[str]:
    """The sentences over all tasks; `a` is ahead."""
    r = board.ranking
    better, worse = r.data.encodings[a], r.data.encodings[b]
    p, seeds = float(r.p[a, b]), int(r.pairs.seeds[a, b])
    where = f"over {counted(len(r.data.tasks), 'task')} at and beyond L"
    gap = f"{_interval(r.pairs, a, b)}, {counted(seeds, 'seed')}; {chance(p)}, corrected for all ranked pairs"
    if p < LEVEL:
        told = [f"{better} is better than {worse} {where}.", f"Its score is higher by {gap}."]
        if (better, worse) in r.task_dependent:
            told.append(f"This order does not survive another choice of {r.other_tasks}.")
        return told
    every = int(r.ranked.sum())
    level = LEVEL / max(1, every * (every - 1) // 2)  # what Holm asks of the smallest p-value
    difference, per_seed, test = (
        float(x[a, b]) for x in (r.pairs.difference, r.pairs.per_seed, r.pairs.test)
    )
    if difference == 0.0:
        return [f"{better} and {worse} have the same score {where}, {counted(seeds, 'seed')}."]
    needed = ranking.seeds_needed(difference, per_seed, test, level)
    told = [
        f"No test separates {better} from {worse} {where}.",
        f"The score of {better} is higher by {gap}.",
    ]
    if needed is None:
        told.append("Not even 1000 seeds would separate a difference of this size.")
    elif needed > seeds:
        told.append(f"About {needed} seeds would separate a difference of this size.")
    return told


def _families(board: Board, a: int, b: int) -> list[str]:
    """Which families of tasks separate the two, a sentence for each side."""
    r = board.ranking
    names = r.data.encodings
    known = {family: pairs for family, pairs in r.by_family.items() if np.isfinite(pairs.p[a, b])}
    if len(r.by_family) < 2 or not known:
        return []
    p = ranking.holm(np.array([pairs.p[a, b] for pairs in known.values()]))
    told: dict[str, list[str]] = {names[a]: [], names[b]: []}
    same = []
    for (family, pairs), sure in zip(known.items(), p, strict=True):
        ahead, behind = (a, b) if pairs.difference[a, b] > 0 else (b, a)
        if sure < LEVEL:
            told[names[ahead]].append(f"{family} by {_interval(pairs, ahead, behind)}")
        else:
            same.append(family)
    corrected = f"p < {LEVEL:g}, corrected for {counted(len(known), 'test')}"
    sides = [
        f"{name} is better in {', '.join(parts)} ({corrected})." for name, parts in told.items() if parts
    ]
    return [*sides, *([f"No test separates them in {', '.join(same)}."] if same else [])]


def _interval(pairs: Pairs, a: int, b: int) -> str:
    """The difference of two scores with its 95 % interval."""
    gap = float(pairs.difference[a, b])
    half = float(pairs.error[a, b] * special.stdtrit(pairs.df[a, b], 1 - LEVEL / 2))
    return f"{gap:.3f} (95 % interval {gap - half:.3f} to {gap + half:.3f})"


def chance(p: float) -> str:
    """A p-value in words.

    >>> chance(0.0314), chance(1e-9)
    ('p = 0.031', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
