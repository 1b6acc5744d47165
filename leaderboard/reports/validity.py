"""External validity: does the board order encodings as published tables do?

Each published table is compared with our nearest column: the same task, or a related one, at L or beyond L. Pairs of
encodings count that a table separates by more than a margin. A pair *agrees* or *contradicts* if our difference is
separated (p < 0.05, uncorrected), else it is *not separated*. A pair with a preview has no test: it is not
separated. tau is the share of the other pairs in the published direction minus the share in the opposite one. Its 95 %
interval resamples sources, because tables of one paper share models and baselines; of one source there is none.

A task that the board tests beyond L alone is judged at L by its gate: the score on validation examples of length L.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard.board import Board
from pebench.leaderboard.ranking import LEVEL
from pebench.leaderboard.reports import causes
from pebench.leaderboard.reports.published import NAMED, LeftOut, Published, read
from pebench.leaderboard.reports.quantities import (
    ALL,
    Gap,
    Measured,
    Quantity,
    measured,
    quantities,
    size,
    train_lengths,
)
from pebench.leaderboard.reports.vocabulary import AMBIGUOUS, AT, BEYOND, margin, named, task_of
from pebench.suite.results.metrics import METRICS, counted

AGREE, CONTRADICT, NOT_SEPARATED = "agree", "contradict", "not separated"
BY_GATE = f"{AT} by the gate"  # a phase of a task that is scored beyond L alone
_PLACE = ["source_id", "source", "table", "kind", "trained_at", "read_at", "size"]
_TABLE = [*_PLACE, "unit", "better"]  # what makes one table
_PAIR = [
    *("number", "source_id", "source", "table", "kind", "better", "worse", "published", "same_class"),
    *("learned", "difference", "p", "seeds", "visible", "verdict"),
]


@dataclass(frozen=True)
class Agreement:
    """How pairs of one kind come out. `tau`, `low`, `high` are None where there is nothing to compute them of."""

    pairs: int
    agree: int
    contradict: int
    not_separated: int
    preview: (
        int  # of the not separated: without a test, as one of the two is a preview or failed its certificate
    )
    sources: int
    tau: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Kind:
    """One kind of published quantity against our column."""

    kind: str
    ours: str
    tables: int
    within_margin: int  # published pairs too close to have an order
    all: Agreement
    within_class: (
        Agreement  # of these, pairs of encodings of one class (two additive biases, two rotations ...)
    )
    smallest_difference: (
        float | None
    )  # median over pairs: what would be found at 5 % with a power of 80 %, in score


@dataclass(frozen=True)
class Column:
    """One of our columns as a predictor of all published pairs, whatever their kind."""

    column: str
    pairs: int  # comparisons: a pair of encodings counts in each table that separates it
    distinct: int  # pairs of encodings among them
    tau: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Contradiction:
    """What the board contradicts in one source, the likeliest cause, and whether that was tested."""

    kind: str
    source: str
    pairs: int  # published comparisons, the same pair at several lengths counted each time
    not_learned: int  # of these: beyond L, by an encoding that did not learn our task at L with most seeds
    examples: list[str]
    cause: str
    tested: str  # yes, in part, no


@dataclass(frozen=True)
class Validity:
    """The whole comparison of a board with published tables."""

    profile: str
    models: str
    sources: int
    tables: int
    kinds: list[Kind]
    total: Agreement
    within_class: Agreement
    columns: list[Column]
    contradictions: list[Contradiction]
    unmatched: dict[str, int]  # published names without a counterpart in the registry -> rows
    absent: dict[str, int]  # encodings of the registry that are not on this board -> rows
    notes: list[str]
    left_out: list[LeftOut]  # rows that cannot be read
    pairs: pd.DataFrame = field(repr=False)

    @property
    def compared(self) -> int:
        """The tables that have a pair of encodings with two seeds here."""
        return int(self.pairs.loc[self.pairs["p"].notna(), "number"].nunique())


def validity(board: Board, published: Published, registered: Iterable[str] = ()) -> Validity:
    """Compare a board with published tables.

    `registered` names further encodings than the board and our transcription: they are absent, not unmatched.
    """
    rows, notes = published.rows, list(published.notes)
    known = board.ranking.data.encodings
    every = {*known, *_transcribed(), *registered}
    rows = rows.assign(
        ours=rows["encoding"].map({name: named(name, every) for name in set(rows["encoding"])}),
        number=rows.groupby(_TABLE, dropna=False).ngroup(),
    )
    unmatched = _counts(rows[rows["ours"] == ""]["encoding"])
    notes += [
        f"{name!r} is ambiguous; write {what}"
        for name, what in AMBIGUOUS.items()
        if name in _lower(unmatched)
    ]
    rows = rows[rows["ours"] != ""]
    absent = _counts(rows[~rows["ours"].isin(known)]["ours"])
    rows, noticed = _once(rows[rows["ours"].isin(known)])
    notes += noticed
    pairs, ties, unmeasured = _pairs(board, rows)
    tables = published.rows.groupby(_TABLE, dropna=False, as_index=False)["encoding"].nunique()
    if alone := int((tables["encoding"] < 2).sum()):
        notes.append(f"{counted(alone, 'table')} of one encoding, in which nothing can be compared")
    if unmeasured:
        notes.append(f"not measured on this board, in pairs: {_listed(unmeasured)}")
    if ties:
        notes.append(f"too close to have an order, in pairs: {_listed(ties)}")
    kinds = [
        _kind(kind, board, pairs[pairs["kind"] == kind], ties, int((tables["kind"] == kind).sum()))
        for kind in _order(published.rows, pairs)
    ]
    return Validity(
        profile=board.profile,
        models=size(board),
        sources=published.rows["source_id"].nunique(),
        tables=len(tables),
        kinds=kinds,
        total=_agreement(pairs),
        within_class=_agreement(pairs[pairs["same_class"]]),
        columns=_columns(board, pairs),
        contradictions=_contradictions(board, pairs),
        unmatched=unmatched,
        absent=absent,
        notes=notes,
        left_out=published.left_out,
        pairs=pairs,
    )


def _lower(counts: dict[str, int]) -> set[str]:
    return {name.lower() for name in counts}


def _counts(names: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in names.value_counts().sort_index().items()}


def _once(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row of an encoding in a table, and notes on the others.

    Rows that repeat another are read once. An encoding with several values is left out of that table: under two
    names of one encoding, a paper may have two methods.
    """
    notes = []
    kinds = rows.groupby(_PLACE, dropna=False)[["unit", "better"]].nunique()
    if mixed := int(kinds.gt(1).any(axis=1).sum()):
        notes.append(
            f"{counted(mixed, 'table')} with more than one unit or direction: rows are compared where both are equal"
        )
    same = rows.groupby(["number", "ours"])
    unlike = (same[["low", "high"]].transform("nunique") > 1).any(axis=1).astype(bool)
    if unlike.any():
        said = [
            f"{name} in {part['source'].iloc[0]}, {part['table'].iloc[0]} (lines "
            + ", ".join(
                f"{line}: {found}" for line, found in zip(part["line"], part["encoding"], strict=True)
            )
            + ")"
            for (_, name), part in rows[unlike].groupby(["number", "ours"])
        ]
        more = f"; and {len(said) - NAMED} more" if len(said) > NAMED else ""
        notes.append(
            f"several values of one encoding in one table, left out there: {'; '.join(said[:NAMED])}{more}. Tell them "
            "apart by table, size or length"
        )
    alike = rows[~unlike]
    kept = alike.drop_duplicates(["number", "ours"])
    if repeated := len(alike) - len(kept):
        notes.append(f"{counted(repeated, 'row')} said twice, read once")
    return kept, notes


def _pairs(board: Board, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int], dict[str, int]]:
    """Every pair that a table separates and that we measured; ties and pairs not measured here, by kind."""
    family = {entry.name: entry.family for entry in board.entries}
    found: list[tuple[Any, ...]] = []
    ties: dict[str, int] = {}
    unmeasured: dict[str, int] = {}
    asked = {kind: matching(kind, board) for kind in set(rows["kind"])}
    at_gate = _with_gates(board)
    compared = {
        kind: measured(at_gate, quantity._replace(phase=AT))
        if quantity.phase == BY_GATE
        else measured(board, quantity)
        for kind, quantity in asked.items()
    }
    learned_here = {
        kind: {e.name: _learned(e.gates, quantity.task) for e in board.entries}
        for kind, quantity in asked.items()
    }
    tables: dict[int, list[Any]] = defaultdict(list)
    for row in rows.itertuples():
        tables[row.number].append(row)
    for number, table in sorted(tables.items()):
        first = table[0]
        kind, ours, gates = first.kind, compared[first.kind], learned_here[first.kind]
        for one, other in itertools.combinations(table, 2):
            a, b, gap = one.ours, other.ours, _least_gap(one, other)
            scale = min(one.value, other.value) if first.unit == "perplexity" else 1.0
            if gap == 0 or abs(gap) / scale <= margin(kind, first.unit):
                ties[kind] = ties.get(kind, 0) + 1
                continue
            better, worse = (a, b) if (gap > 0) == (first.better == "higher") else (b, a)
            mine = ours.gap(better, worse)
            if mine is None:
                unmeasured[kind] = unmeasured.get(kind, 0) + 1
                continue
            same = family.get(a, a) == family.get(b, b)
            learned = first.phase == AT or gates[better]
            facts = (learned, mine.difference, mine.p, mine.seeds, mine.visible, _verdict(mine))
            about = (number, first.source_id, first.source, first.table, kind)
            found.append((*about, better, worse, abs(gap), same, *facts))
    pairs = pd.DataFrame(found, columns=_PAIR).astype(
        {"same_class": bool, "learned": bool, "difference": float, "p": float, "visible": float}
    )
    return pairs, ties, unmeasured


def _least_gap(one: Any, other: Any) -> float:
    """One published value minus another, of bounds the least that they allow; 0 where they leave the order open."""
    if one.low > other.high:
        return float(one.low - other.high)
    return float(one.high - other.low) if one.high < other.low else 0.0


def _learned(gates: dict[str, float], task: str) -> bool:
    """Whether most runs learned a task; of all tasks, each of them."""
    return all(share >= 0.5 for name, share in gates.items() if task in (ALL, name))


def _distinct(pairs: pd.DataFrame) -> int:
    """How many pairs of encodings these comparisons are of."""
    return len({frozenset(pair) for pair in zip(pairs["better"], pairs["worse"], strict=True)})


def _verdict(gap: Gap) -> str:
    if gap.p is None or gap.p >= LEVEL:
        return NOT_SEPARATED
    return AGREE if gap.difference > 0 else CONTRADICT


def _order(rows: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """All kinds of the tables, those with most pairs first."""
    count = pairs["kind"].value_counts()
    return sorted(set(rows["kind"]), key=lambda kind: (-int(count.get(kind, 0)), kind))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({n})" for name, n in counts.items())


@cache
def _transcribed() -> frozenset[str]:
    """The encodings of our own transcription, which has our names."""
    return frozenset(read().rows["encoding"])


def _kind(kind: str, board: Board, pairs: pd.DataFrame, ties: dict[str, int], tables: int) -> Kind:
    visible = pairs["visible"].dropna()
    return Kind(
        kind=kind,
        ours=matching(kind, board).title,
        tables=tables,
        within_margin=ties.get(kind, 0),
        all=_agreement(pairs),
        within_class=_agreement(pairs[pairs["same_class"]]),
        smallest_difference=float(visible.median()) if len(visible) else None,
    )


def matching(kind: str, board: Board) -> Quantity:
    """The quantity of a board that a kind of published quantity is compared with."""
    phase = AT if kind.endswith(AT) else BEYOND
    task = task_of(kind.removesuffix(phase).strip(), train_lengths(board))
    return Quantity(task, BY_GATE if phase == AT and task in _gated(board) else phase)


def _gated(board: Board) -> set[str]:
    """The tasks with a gate and no score at the training length."""
    rows = board.scores
    trained = rows["task"].map(train_lengths(board)).astype(float)
    at = rows["score"].notna() & (rows["length"] == trained)
    return set(rows.loc[rows["metric"] == "gate", "task"]) - set(rows.loc[at, "task"])


def _with_gates(board: Board) -> Board:
    """The board with the gates of these tasks as scores at the training length, and no others.

    A gate is the mean score of the validation examples. Where the task scores shares, its error is a share's too.
    """
    rows, tasks = board.scores, _gated(board)
    shares = {
        task
        for task in tasks
        if {METRICS[m].unit for m in set(rows.loc[(rows["task"] == task) & rows["score"].notna(), "metric"])}
        == {"share"}
    }
    gates = rows[(rows["metric"] == "gate") & rows["task"].isin(tasks)]
    return replace(
        board,
        scores=gates.assign(
            metric=["exact" if task in shares else "gate" for task in gates["task"]],
            length=gates["task"].map(train_lengths(board)).astype(float),
            phase="at_length",
            floor=0.0,
            ceiling=1.0,
            score=gates["value"].clip(lower=0.0),
        ),
    )


def _agreement(pairs: pd.DataFrame) -> Agreement:
    said = pairs["verdict"].value_counts()
    open_ = pairs["verdict"] == NOT_SEPARATED
    sure = pairs[pairs["p"].notna()]
    tau, low, high = tau_over_sources(np.sign(sure["difference"].to_numpy(float)), sure["source_id"])
    return Agreement(
        pairs=len(pairs),
        agree=int(said.get(AGREE, 0)),
        contradict=int(said.get(CONTRADICT, 0)),
        not_separated=int(open_.sum()),
        preview=int(pairs["p"].isna().sum()),
        sources=int(sure["source_id"].nunique()),
        tau=tau,
        low=low,
        high=high,
    )


def tau_over_sources(signs: np.ndarray, source: pd.Series) -> tuple[float | None, float | None, float | None]:
    """The mean sign (+1 the published direction, -1 the other, 0 equal here), with a 95 % interval over sources.

    The pairs of one source are no sample of their own. The interval is one of Student's t over sources, with the
    linearised variance of a ratio of their sums (Cochran, 1977, section 6.4); None where there is only one.
    """
    if not len(signs):
        return None, None, None
    by_source = pd.DataFrame({"sign": signs, "source": source.to_numpy()}).groupby("source")["sign"]
    total, count = by_source.sum().to_numpy(), by_source.size().to_numpy()
    tau = float(total.sum() / count.sum())
    if len(total) < 2:
        return tau, None, None
    sources, rest = len(total), total - tau * count
    error = np.sqrt(sources / (sources - 1) * (rest**2).sum()) / count.sum()
    half = float(special.stdtrit(sources - 1, 1 - LEVEL / 2) * error)
    return tau, max(-1.0, tau - half), min(1.0, tau + half)


def _columns(board: Board, pairs: pd.DataFrame) -> list[Column]:
    """Each of our columns as a predictor of all published pairs without a preview, the best first."""
    found, sure = [], pairs[pairs["p"].notna()]
    for quantity in quantities(board):
        gaps = _gaps(measured(board, quantity), sure)
        judged = sure[np.isfinite(gaps)]
        tau, low, high = tau_over_sources(np.sign(gaps[np.isfinite(gaps)]), judged["source_id"])
        if tau is not None:
            distinct = _distinct(judged)
            found.append(Column(quantity.title, len(judged), distinct, tau, low, high))
    return sorted(found, key=lambda column: -(column.tau or 0.0))


def _gaps(ours: Measured, pairs: pd.DataFrame) -> np.ndarray:
    """Our difference in the published direction for each of these pairs, NaN where it was not measured."""
    named_pairs = list(zip(pairs["better"].tolist(), pairs["worse"].tolist(), strict=True))
    known = {pair: ours.difference(*pair) for pair in set(named_pairs)}
    return np.array([known[pair] for pair in named_pairs], float)


def _contradictions(board: Board, pairs: pd.DataFrame) -> list[Contradiction]:
    against = pairs[pairs["verdict"] == CONTRADICT]
    found = []
    for (kind, source_id, source), rows in against.groupby(["kind", "source_id", "source"]):
        same = (
            rows.groupby(["better", "worse"])["difference"]
            .agg(["size", "mean"])
            .sort_values("size", ascending=False)
        )
        examples = [
            f"{a} above {b} ({int(r['size'])}; here {r['mean']:+.3f})"
            for (a, b), r in same.head(4).iterrows()
        ]
        cause, tested = causes.cause(
            board, matching(str(kind), board).task, str(source_id), str(kind), set(same.index)
        )
        found.append(
            Contradiction(
                str(kind), str(source), len(rows), int((~rows["learned"]).sum()), examples, cause, tested
            )
        )
    return sorted(found, key=lambda c: (-c.pairs, c.kind, c.source))
