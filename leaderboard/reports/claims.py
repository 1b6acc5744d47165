"""The order of encodings in the GRAPE paper's tables, and what the records say of the same quantity."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board
from pebench.leaderboard.reports import published
from pebench.leaderboard.reports.quantities import (
    ALL,
    Quantity,
    measured,
    on_other_processors,
    raw_means,
    size,
    train_lengths,
    trained_at,
)
from pebench.leaderboard.reports.vocabulary import AT, BEYOND, task_of

PREVIEW = "preview"
OTHER = "not the same quantity"


class Pair(NamedTuple):
    """Two encodings to compare: `first` minus `second`."""

    about: str
    first: str
    second: str


# Orders chosen here from the sections and tables of arXiv:2512.07805; its figures need not carry them.
CLAIMS = (
    Pair("GRAPE-A above GRAPE-M: additive above multiplicative", "grape_a_qk", "grape_m_nonctx"),
    Pair("ALiBi above RoPE: additive above multiplicative", "alibi", "rope"),
    Pair("FoX above ALiBi: gates above fixed slopes", "fox", "alibi"),
    Pair("GRAPE-AP above FoX: path sums above gates", "grape_ap", "fox"),
    Pair("GRAPE-AP above ALiBi", "grape_ap", "alibi"),
    Pair("GRAPE-AP above RoPE", "grape_ap", "rope"),
    Pair("GRAPE-A above ALiBi", "grape_a_qk", "alibi"),
    Pair("GRAPE-A on q and k above GRAPE-A on k alone", "grape_a_qk", "grape_a_k"),
    Pair("GRAPE-M above RoPE: learned above fixed frequencies", "grape_m_nonctx", "rope"),
    Pair("GRAPE-M with context above GRAPE-M without", "grape_m_ctx", "grape_m_nonctx"),
)
SOURCE, KIND = "2512.07805", "downstream at L"
TABLES = {"353M": "Medium", "770M": "Large"}  # column of the paper's figures -> its table
PAPER = "downstream accuracy at L = 4,096 tokens"
BESIDE = Quantity(ALL, BEYOND)  # shown beside, never judged against them


def ours(board: Board) -> Quantity:
    """The quantity that the paper's tables are compared with: the board's language task at L."""
    return Quantity(task_of("downstream", train_lengths(board)), AT)


def judged(board: Board) -> pd.DataFrame:
    """Two rows for each claim on two encodings with results: the paper's quantity here, and another one.

    Columns: claim, first, second, paper_quantity, paper_353M, paper_770M (points by which first leads there), quantity,
    models (training length and parameters here), same_quantity, difference, low, high, p (Holm), seeds, verdict. Where
    the quantities differ there is no p-value, and the verdict is "not the same quantity".
    """
    own = ours(board)
    same, other = (
        compared(board, CLAIMS, of).assign(
            quantity=of.title, models=models(board, of), same_quantity=of == own
        )
        for of in (own, BESIDE)
    )
    other = other.assign(verdict=OTHER, p=np.nan)
    frame = pd.concat([same, other], ignore_index=True).rename(columns={"about": "claim"})
    frame = frame.assign(paper_quantity=PAPER)
    for scale in TABLES:
        frame[f"paper_{scale}"] = [_paper(row.first, row.second, scale) for row in frame.itertuples()]
    order = {pair.about: n for n, pair in enumerate(CLAIMS)}
    frame = frame.sort_values("claim", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    columns = ["claim", "first", "second", "paper_quantity", *(f"paper_{scale}" for scale in TABLES)]
    return frame[
        [
            *columns,
            "quantity",
            "models",
            "same_quantity",
            "difference",
            "low",
            "high",
            "p",
            "seeds",
            "verdict",
        ]
    ]


def models(board: Board, quantity: Quantity) -> str:
    """The training length and the size of the models that a quantity is measured on; empty where there are none."""
    if quantity.task not in (ALL, *train_lengths(board)):
        return ""
    return f"{trained_at(board, quantity.task)}, {size(board, quantity.task)}"


@cache
def _figures() -> dict[tuple[str, str], float]:
    """The paper's averages by table and encoding, from the published tables."""
    rows = published.read().rows
    rows = rows[(rows["arxiv"] == SOURCE) & (rows["kind"] == KIND)]
    return {(row.table, row.encoding): row.value for row in rows.itertuples()}


def _paper(first: str, second: str, scale: str) -> float:
    """Points by which `first` leads in the paper, NaN where its table lacks one of them."""
    known = _figures()
    a, b = (known.get((TABLES[scale], name), np.nan) for name in (first, second))
    return round(a - b, 2)


def compared(board: Board, pairs: Sequence[Pair], quantity: Quantity) -> pd.DataFrame:
    """The frame of `gaps` with p corrected for the number of pairs with two seeds (Holm), and the verdict."""
    frame = gaps(board, pairs, quantity)
    frame["p"] = ranking.holm(frame["p"].to_numpy(float))
    frame["verdict"] = [verdict(row.difference, row.p) for row in frame.itertuples()]
    return frame


def gaps(board: Board, pairs: Sequence[Pair], quantity: Quantity) -> pd.DataFrame:
    """Each pair with results of this quantity: the difference with the 95 % interval of that pair alone.

    Columns: about, first, second, difference, low, high, p (not corrected), seeds; a preview has neither
    interval nor p (NaN).
    """
    ours, rows = measured(board, quantity), []
    for about, first, second in pairs:
        if gap := ours.gap(first, second):
            known = (np.nan,) * 3 if gap.p is None else (gap.low, gap.high, gap.p)
            rows.append((about, first, second, gap.difference, *known, gap.seeds))
    return pd.DataFrame(rows, columns=["about", "first", "second", "difference", "low", "high", "p", "seeds"])


def verdict(difference: float, p: float) -> str:
    """The verdict on a difference, given its p-value; without one it is a preview.

    >>> [verdict(0.1, 0.01), verdict(-0.1, 0.01), verdict(-0.1, 0.1), verdict(0.1, np.nan)]
    ['higher', 'lower', 'not separated', 'preview']
    """
    if np.isnan(p):
        return PREVIEW
    return "not separated" if p >= ranking.LEVEL else "higher" if difference > 0 else "lower"


def to_markdown(board: Board) -> str:
    """The claims as a Markdown table, a line for each claim; empty where none can be judged."""
    frame, own = judged(board), ours(board)
    if frame.empty or own.task not in train_lengths(board):
        return ""
    length = train_lengths(board)[own.task]
    here = f"here: bits per byte of `{own.task}` at {models(board, own)}, seeds of both"
    beside = f"{BESIDE.title}, {models(board, BESIDE)}: {OTHER}"
    lines = [
        f"| first above second? | paper: {PAPER}, points (353M, 770M) | {here} | score of the first minus the second's "
        f"(95 %) | seeds | at L the first is | {beside} |",
        "|---|---|---|---|---|---|---|",
    ]
    for claim, rows in frame.groupby("claim", sort=False):
        at, beyond = (rows[rows["same_quantity"] == same] for same in (True, False))
        if at.empty:
            continue
        row = next(at.itertuples())
        paper = ", ".join(
            "no figure" if pd.isna(x) else f"{x:+.2f}" for x in (row.paper_353M, row.paper_770M)
        )
        bits = raw_means(board, (row.first, row.second), own.task, "bits_per_byte", length)
        both = " and ".join(f"{x:.3f}" for x in bits) if bits else "-"
        gap = signed(row.difference, row.low, row.high)
        other = "-"
        if not beyond.empty:
            tasks = measured(board, BESIDE).shared(row.first, row.second)
            other = f"{beyond['difference'].iloc[0]:+.3f}" + (f" ({tasks})" if tasks else "")
        apart = ", on another processor" if on_other_processors(board.runs, row.first, row.second) else ""
        lines.append(f"| {claim}{apart} | {paper} | {both} | {gap} | {row.seeds} | {row.verdict} | {other} |")
    return "\n".join(lines)


def signed(difference: float, low: float, high: float) -> str:
    """A difference with its interval, where it has one.

    >>> signed(0.1234, 0.05, 0.2), signed(0.1, np.nan, np.nan)
    ('+0.123 (+0.050 to +0.200)', '+0.100')
    """
    return f"{difference:+.3f}" if pd.isna(low) else f"{difference:+.3f} ({low:+.3f} to {high:+.3f})"


def carried() -> list[Pair]:
    """The claims whose direction the paper's own figures have at each size, where there is a figure."""
    figures = {pair: [x for scale in TABLES if pd.notna(x := _paper(*pair[1:], scale))] for pair in CLAIMS}
    return [pair for pair, known in figures.items() if known and min(known) > 0]


def tally(board: Board) -> dict[str, int]:
    """How many of the claims that the paper carries come out which way, on its quantity; previews are not counted."""
    frame = judged(board)
    kept = frame[frame["same_quantity"] & frame["claim"].isin([pair.about for pair in carried()])]
    return {word: int((kept["verdict"] == word).sum()) for word in ("higher", "lower", "not separated")}
