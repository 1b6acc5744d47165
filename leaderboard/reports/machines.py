"""What another kind of processor changes: single records beside another seed, and the order of a whole profile."""

import json
import math
from itertools import combinations
from pathlib import Path

import pandas as pd

from pebench.leaderboard.about import ELSEWHERE
from pebench.leaderboard.board import Board, make_board
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import VERIFIED


def again(folder: Path) -> pd.DataFrame:
    """A row for each record that was run again on another kind of machine, by `pebench reproduce --mark`.

    Columns: task, encoding, seed, machine, verdict, equal and numbers (bitwise, of all), over_seeds (root mean square
    of the differences, in standard deviations of the difference of two seeds).
    """
    file = folder / VERIFIED
    stated = json.loads(file.read_text(encoding="utf-8"))["verified"] if file.exists() else {}
    rows = []
    for path, mark in sorted(stated.items()):
        if mark.get("over_seeds") is not None:
            _, task, encoding, name = path.split("/")
            equal = mark["numbers"] - mark["unequal"]
            machine = "; ".join(mark["machine"])
            facts = (machine, mark["verdict"], equal, mark["numbers"], mark["over_seeds"])
            rows.append((task, encoding, int(name.split("-")[0]), *facts))
    columns = ["task", "encoding", "seed", "machine", "verdict", "equal", "numbers", "over_seeds"]
    return pd.DataFrame(rows, columns=columns)


def to_markdown(folder: Path) -> str:
    """The rows as a Markdown table, with the summary below; nothing where no record was run again elsewhere."""
    frame = again(folder)
    if frame.empty:
        return ""
    lines = [
        "| task | encoding | seed | verdict | bitwise equal | difference, seeds have 1 |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| `{row.task}` | {row.encoding} | {row.seed} | {row.verdict} | {row.equal} of {row.numbers} "
        f"| {row.over_seeds:.2f} |"
        for row in frame.itertuples()
    ]
    whole = math.sqrt((frame["over_seeds"] ** 2).mean())
    within = int((frame["verdict"] == "within seed spread").sum())
    machines = " and ".join(dict.fromkeys(frame["machine"]))
    below = (
        f"{counted(len(frame), 'record')} run again ({machines}): {within} within seed spread. The root mean square of "
        f"all differences is {whole:.2f} times the difference of two seeds."
    )
    return "\n".join([*lines, "", below])


def orders(first: Board, second: Board) -> str:
    """Two boards of one profile side by side, A and B: tiers and scores, and the pairs that each separates (Holm)."""
    names = [e.name for e in first.entries if e.name in {other.name for other in second.entries}]
    both = [{e.name: e for e in board.entries} for board in (first, second)]
    heads = [f"{side}: {part}" for side in "AB" for part in ("tier", "score, 95 %")]
    lines = [f"| encoding | {' | '.join(heads)} |", "|---" * 5 + "|"]
    for name in names:
        cells = [
            cell
            for e in (entries[name] for entries in both)
            for cell in (str(e.tier or "-"), _scored(e.score, e.low, e.high))
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    better = [
        {frozenset(pair): pair[0] for pair in board.ranking.separated_pairs} for board in (first, second)
    ]
    pairs = [frozenset(pair) for pair in combinations(names, 2)]
    told = [[found.get(pair) for pair in pairs] for found in better]
    agree, opposite = (
        sum(a is not None and b is not None and (a == b) == same for a, b in zip(*told, strict=True))
        for same in (True, False)
    )
    counts = [sum(winner is not None for winner in winners) for winners in told]
    below = (
        f"A: {made_on(first)}; {first.size}. B: {made_on(second)}; {second.size}. `{first.profile}`: "
        f"of {counted(len(pairs), 'pair')} that both have A separates {counts[0]} and B {counts[1]} (Holm, 5 %). "
        f"Of the pairs that both separate, {agree} have the same order and {opposite} the opposite one."
    )
    return "\n".join([*lines, "", below])


def made_on(board: Board) -> str:
    """The processors and precisions that trained a board's models."""
    trained = board.runs[board.runs["tokens"] > 0]
    kinds = dict.fromkeys(zip(trained["cpu"], trained["precision"], strict=True))
    return "; ".join(", ".join(kind) for kind in kinds)


def _scored(score: float | None, low: float | None, high: float | None) -> str:
    if score is None:
        return "-"
    return f"{score:.2f}" if low is None or high is None else f"{score:.2f} ({low:.2f} to {high:.2f})"


def published_orders(profile: str, folder: Path) -> str:
    """The orders of a profile here and elsewhere."""
    return orders(make_board(folder, profile), make_board(ELSEWHERE, profile))
