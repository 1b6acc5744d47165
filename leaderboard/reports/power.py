"""What a benchmark can tell apart: smallest separable difference, dead weight, effective number of tasks, row time."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.reports.quantities import ALL, WHOLE, Quantity, measured, size, trained_at
from pebench.suite.results.record import Record, newest

DEAD, CEILING = 0.02, 0.98  # of a score, which MOST of the runs do not leave
MOST = 0.9


class Power(NamedTuple):
    """What one profile can tell apart."""

    ranked: int  # encodings with a place
    seeds: int  # the fewest of a ranked encoding
    pairs: int  # of ranked encodings
    separated: int  # after Holm's correction over these pairs
    visible: float  # median over pairs: the difference found at 5 % with a power of 80 %, of one pair alone
    dead: float  # share of the score's weight in conditions where nearly all runs score below DEAD
    ceiling: float  # the same above CEILING
    tasks: int
    effective: float  # number of tasks that their correlations leave


def power(board: Board) -> Power | None:
    """The figures of a board; None with fewer than two ranked encodings.

    Dead weight and ceiling count runs (an encoding with a seed) of ranked encodings. The effective number of tasks is
    the participation ratio (sum of eigenvalues)^2 / sum of their squares of the tasks' correlations over them.
    """
    r = board.ranking
    data, names = r.data, list(ranking.whole(r)["encoding"])
    if len(names) < 2:
        return None
    ours, at = measured(board, Quantity(ALL, WHOLE)), [data.encodings.index(name) for name in names]
    gaps = [ours.gap(a, b) for n, a in enumerate(names) for b in names[:n]]
    visible = [gap.visible for gap in gaps if gap is not None and gap.visible is not None]
    weight = ranking.weights(data.groups, np.ones(len(data.groups), bool))
    runs = data.score[at].reshape(-1, data.score.shape[2])
    made = np.maximum(np.isfinite(runs).sum(axis=0), 1)
    dead, ceiling = (
        float(weight[there.sum(axis=0) >= MOST * made].sum()) for there in (runs < DEAD, runs > CEILING)
    )
    return Power(
        ranked=len(names),
        seeds=min(entry.seeds for entry in board.entries if entry.name in names),
        pairs=len(gaps),
        separated=int(sum(r.p[a, b] < ranking.LEVEL for n, a in enumerate(at) for b in at[:n])),
        visible=float(np.median(visible)) if visible else np.nan,
        dead=dead,
        ceiling=ceiling,
        tasks=len(data.tasks),
        effective=effective(ranking.task_scores(r).loc[names]),
    )


def effective(scores: pd.DataFrame) -> float:
    """The participation ratio of the correlations between tasks (columns) over encodings (rows).

    >>> effective(pd.DataFrame({"a": [0.1, 0.5, 0.9], "b": [0.2, 0.6, 1.0]}))
    1.0
    >>> effective(pd.DataFrame({"a": [0.0, 0.0, 1.0, 1.0], "b": [0.0, 1.0, 0.0, 1.0]}))
    2.0
    """
    varied = scores.loc[:, scores.std() > 0]
    values = np.linalg.eigvalsh(varied.corr().to_numpy())
    return round(float(values.sum() ** 2 / (values**2).sum()), 6)


def alike(boards: Sequence[Board], records: Iterable[Record]) -> list[Board]:
    """Boards of the encodings that have a place on all of these, with the seeds that all of them have there.

    The boards are made of `records`.
    """
    every, names = (
        list(records),
        set.intersection(*(set(ranking.whole(b.ranking)["encoding"]) for b in boards)),
    )
    of = {b.profile: [r for r in every if r.profile == b.profile and r.encoding in names] for b in boards}
    seeds = set.intersection(
        *(
            {r.seed for r in part if r.encoding == name and r.task == task}
            for b, part in zip(boards, of.values(), strict=True)
            for name in names
            for task in b.ranking.data.tasks
        )
    )
    kept = {
        profile: [r for r in part if r.seed in seeds or r.task not in board.ranking.data.tasks]
        for board, (profile, part) in zip(boards, of.items(), strict=True)
    }
    return [board_of(newest(part), profile, {profile: len(part)}, []) for profile, part in kept.items()]


def to_markdown(boards: Sequence[Board], records: Iterable[Record] = ()) -> str:
    """A line for each board that can be judged, and where records are given one on what all boards have alike."""
    text, every = _table(_judged(boards)), list(records)
    both = alike(boards, every) if every else []
    found = _judged(both)
    if not both or len(found) < len(both):
        return text
    return f"{text}\n\nThe encodings that all of them rank, with equal seeds:\n\n{_table(found)}\n\n{_beside(found)}"


def _judged(boards: Sequence[Board]) -> list[tuple[Board, Power]]:
    """The boards that can be judged, with their figures."""
    return [(board, found) for board in boards if (found := power(board))]


def _row_seconds(board: Board) -> str:
    """What training and measuring `rope` in every task took: of one seed, or the range over seeds."""
    made = board.runs[board.runs["encoding"] == "rope"].dropna(subset="gate")
    rows = [row for _, row in made.groupby("seed") if set(board.ranking.data.tasks) <= set(row["task"])]
    took = sorted(row["seconds"].sum() for row in rows)
    return " to ".join(dict.fromkeys(f"{s:.0f}" for s in (took[0], took[-1]))) if took else "-"


def _beside(judged: Sequence[tuple[Board, Power]]) -> str:
    """How many of the pairs that all of the boards have each separates, and its dead weight."""
    named = "; ".join(
        f"`{board.profile}` separates {found.separated} of {found.pairs} pairs, and {found.dead:.0%} of its weight "
        "is dead"
        for board, found in judged
    )
    return f"On these, {named}."


def _table(judged: Sequence[tuple[Board, Power]]) -> str:
    lines = [
        "| profile | models | ranked, seeds | pairs separated | smallest difference | dead | at the ceiling "
        "| effective tasks | row of `rope`, s |",
        "|---" * 9 + "|",
    ]
    for board, found in judged:
        cells = (
            *(f"`{board.profile}`", f"{size(board)}, {trained_at(board)}"),
            *(f"{found.ranked}, {found.seeds}", f"{found.separated} of {found.pairs}"),
            *(f"{found.visible:.2f}", f"{found.dead:.0%}", f"{found.ceiling:.0%}"),
            *(f"{found.effective:.1f} of {found.tasks}", _row_seconds(board)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
