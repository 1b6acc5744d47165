"""The order of encodings in the GRAPE paper's tables, and what the records say to it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board

_FOUND = ["difference", "low", "high", "p", "seeds"]  # columns of ranking.differences


class Pair(NamedTuple):
    """Two encodings to compare: `first` minus `second`."""

    about: str
    first: str
    second: str


class Claim(NamedTuple):
    """`first` above `second`, by the paper's averages over seven tasks at 355M and 770M parameters.

    Where a figure is negative the paper's own tables say the opposite at that size.
    """

    about: str
    first: str
    second: str
    paper_355M: float  # points by which first leads
    paper_770M: float | None = None


# arXiv:2512.07805, the tables of its experiments: averages over seven zero-shot tasks after 50 billion tokens, one
# seed, with a sampling error of about half a point. RoPE 51.73 and 55.76; GRAPE-M with context 51.78 and 54.73,
# without 51.79 and 54.81; ALiBi 52.87 and 56.44; FoX 52.96 and 56.30; GRAPE-A on q 52.81, on k 52.43, on both 53.00;
# GRAPE-AP 53.25 and 56.91.
CLAIMS = (
    Claim("GRAPE-A above GRAPE-M: additive above multiplicative", "grape_a_qk", "grape_m_nonctx", 1.21),
    Claim("ALiBi above RoPE: additive above multiplicative", "alibi", "rope", 1.14, 0.68),
    Claim("FoX above ALiBi: gates above fixed slopes", "fox", "alibi", 0.09, -0.14),
    Claim("GRAPE-AP above FoX: path sums above gates", "grape_ap", "fox", 0.29, 0.61),
    Claim("GRAPE-AP above ALiBi", "grape_ap", "alibi", 0.38, 0.47),
    Claim("GRAPE-AP above RoPE", "grape_ap", "rope", 1.52, 1.15),
    Claim("GRAPE-A above ALiBi", "grape_a_qk", "alibi", 0.13),
    Claim("GRAPE-A on q and k above GRAPE-A on k alone", "grape_a_qk", "grape_a_k", 0.57),
    Claim("GRAPE-M above RoPE: learned above fixed frequencies", "grape_m_nonctx", "rope", 0.06, -0.95),
    Claim("GRAPE-M with context above GRAPE-M without", "grape_m_ctx", "grape_m_nonctx", -0.01, -0.08),
)


def judged(board: Board) -> pd.DataFrame:
    """The claims of which both encodings have results; columns as in `compared`, claim for about, and the paper's."""
    paper = pd.DataFrame(CLAIMS).drop(columns="about")
    return compared(board, CLAIMS).merge(paper, on=["first", "second"]).rename(columns={"about": "claim"})


def compared(board: Board, pairs: Sequence[Pair | Claim]) -> pd.DataFrame:
    """Each pair of which both have results: our difference with its 95 % interval, and the verdict.

    The interval is that of the pair alone, the verdict is corrected for the number of pairs (Holm).
    Columns: first, second, verdict, difference, low, high, p (Holm), seeds, about.
    """
    known = set(board.ranking.data.encodings)
    rows = []
    for about, first, second, *_ in pairs:
        if {first, second} <= known:
            ours = ranking.differences(board.ranking, first, second).iloc[0]
            if not pd.isna(ours["difference"]):
                rows.append((first, second, "", *ours[_FOUND], about))
    frame = pd.DataFrame(rows, columns=["first", "second", "verdict", *_FOUND, "about"])
    frame["p"] = ranking.holm(frame["p"].to_numpy(float))
    frame["verdict"] = [verdict(row.difference, row.p) for row in frame.itertuples()]
    return frame


def verdict(difference: float, p: float) -> str:
    """What the p-value of a difference says; NaN, of a preview, says nothing.

    >>> [verdict(0.1, 0.01), verdict(-0.1, 0.01), verdict(-0.1, 0.1), verdict(0.1, float("nan"))]
    ['higher', 'lower', 'not separated', 'preview: fewer than two seeds']
    """
    if math.isnan(p):
        return "preview: fewer than two seeds"
    return "not separated" if p >= ranking.LEVEL else "higher" if difference > 0 else "lower"


def to_markdown(board: Board) -> str:
    """The claims as a Markdown table."""
    lines = [
        "| first above second? | paper, points (355M, 770M) | here, score (95 %) | seeds | first is |",
        "|---|---|---|---|---|",
    ]
    for row in judged(board).itertuples():
        paper = ", ".join(
            "no figure" if pd.isna(x) else f"{x:+.2f}" for x in (row.paper_355M, row.paper_770M)
        )
        ours = f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        lines.append(f"| {row.claim} | {paper} | {ours} | {row.seeds} | {row.verdict} |")
    return "\n".join(lines)
