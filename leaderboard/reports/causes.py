"""Likely causes of what the board contradicts in published tables, and whether they were tested."""

from collections.abc import Iterable
from functools import cache

import numpy as np

from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.board import Board
from pebench.leaderboard.reading import reading
from pebench.leaderboard.reports import rules, trend, trials
from pebench.leaderboard.reports.quantities import size, trained_at
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import Record, newest

# What differs where nothing was tested.
_DIFFERENT = {
    ("2512.12167", "needle beyond L", "needle"): (
        "they train on needles alone, there on text, with needles in the test only"
    ),
    (
        "2305.19466",
        "parity beyond L",
        "flipflop",
    ): "the nearest task remembers a bit, parity counts all of them",
    ("2405.18719", "counting at L", "flipflop"): "the nearest task remembers a bit and counts nothing",
    ("2305.19466", "sort beyond L", "sort"): "there the items are numbers of several digits",
}


def cause(
    board: Board, task: str, source_id: str, kind: str, orders: set[tuple[str, str]]
) -> tuple[str, str]:
    """The likeliest cause of a contradiction, and whether it was tested: yes, in part, no.

    `task` is the one that `kind` is compared with. `orders` are the published ones, the better encoding first.
    """
    here = f"Models here have {size(board, task)}" + (
        f" and train at {trained_at(board, task)}" if task else ""
    )
    if source_id == "2305.19466" and kind in ("copy beyond L", "reverse beyond L"):
        return _not_learned(board, task)
    language = kind in ("perplexity at L", "bits at L", "downstream at L")
    if language and ("alibi", "rope") in orders and (sizes := _sizes_of_rope_and_alibi()):
        others = " Of the other orders: not looked for." if len(orders) > 1 else ""
        return f"{here}. {sizes}{others}", "in part"
    rest = _DIFFERENT.get((source_id, kind, task))
    return (f"{here}; {rest}." if rest else ""), "no"


@cache
def _sizes_of_rope_and_alibi() -> str:
    """How RoPE's lead on ALiBi in language at L changes between the published sizes; empty where they do not tell."""
    task, every = "language_ends", newest(reading(PUBLISHED).records)
    sizes = {name: [r for r in every if (r.profile, r.task) == (name, task)] for name in rules.SIZES}
    try:
        found = trend.trend(sizes, "at_length")
    except trend.TrendError:
        return ""
    pairs = found.pairs
    pair = ("rope", "alibi")
    row = pairs[(pairs["better"] == pair[0]) & (pairs["worse"] == pair[1]) & np.isfinite(pairs["slope"])]
    if row.empty:
        return ""
    line = next(row.itertuples())
    gaps = ", ".join(
        f"{gap:+.3f} with {n / 1e6:.1f} M parameters ({counted(_fewest_seeds(sizes[profile], pair), 'seed')})"
        for gap, n, profile in zip(line.differences, found.parameters, found.profiles, strict=True)
    )
    return (
        f"`rope` minus `alibi` in `{task}` at L: {gaps}; per doubling of the parameters, with a learning rate "
        f"for each size, {line.slope:+.3f} (95 %: {line.low:+.3f} to {line.high:+.3f})."
    )


def _fewest_seeds(records: Iterable[Record], names: Iterable[str]) -> int:
    """The seeds of the encoding that has fewest."""
    every = list(records)
    return min(len({r.seed for r in every if r.encoding == name}) for name in names)


def _not_learned(board: Board, task: str) -> tuple[str, str]:
    """NoPE and T5 on tasks of copying: what the board and the trials of a larger size say."""
    names = ("nope", "t5_bias")
    gates = {entry.name: entry.gates.get(task) for entry in board.entries}
    learned = [trials.gate("copy", name, 4, 128, 12) for name in names]
    kept = [trials.value("copy", name, 4, 128, 12, 18) for name in names]
    failed = [
        f"`{name}` ({gates[name]:.0%})"
        for name in names
        if (gates.get(name) or 0.0) < 1 and gates.get(name) is not None
    ]
    if not failed or None in (*learned, *kept):
        return "", "no"
    return (
        f"Runs that learn `{task}` at {trained_at(board, task)}: {', '.join(failed)}. With 4 layers of width 128 "
        f"(`copy`, L = 12, another learning rate, one seed) NoPE and T5 reach gates of {learned[0]:.2f} and "
        f"{learned[1]:.2f}, and {kept[0]:.3f} and {kept[1]:.3f} at 18. Size and rate differ at once.",
        "in part",
    )
