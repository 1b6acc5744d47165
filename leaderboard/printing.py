"""A board as text: printed, or as JSON, CSV or Markdown, in any of the orders."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board
from pebench.leaderboard.entries import COSTS, Entry, Overall, Standing
from pebench.leaderboard.reading import BoardError
from pebench.suite.results.metrics import counted

ORDERS = {
    "mean": "the mean of the families' scores",
    "standardised": "scores standardised within each family, so that every family weighs the same",
    "median-rank": "the median over tasks of the rank within a task",
}
COLUMNS = {
    "learns": "the share of runs that pass their gate",
    "at-L": "the score at the training length",
    "beyond": "the score beyond the training length",
    "keeps": "the octaves of L to which half of the score at L holds",
}


class OrderError(BoardError):
    """The name of no order."""


def ordered(board: Board, order: str) -> Board:
    """The board with its ranked rows in another order, and a note that says so. OrderError for an unknown one.

    An order is one of ORDERS, or of a quantity in COLUMNS, the largest first. Tiers and ranks stay as by the mean: only
    its differences are tested in pairs. Rows without a place in the order follow. By a quantity these are the rows
    that lack it in some task: their value is of other tasks.
    """
    every = ORDERS | COLUMNS
    order = next((name for name in every if name.lower() == order.lower()), order)
    if order not in every:
        raise OrderError(f"no order {order!r}; there are: {', '.join(every)}")
    if order == ranking.ORDERS[0]:
        return board
    last = len(board.entries) + 1
    found = board.entries if order in ORDERS else _placed(board.entries, order)
    entries = sorted(found, key=lambda e: (e.rank is None, e.places.get(order, last)))
    note = f"Order of the rows, and P(best): {every[order]}. Tiers and ranks follow the mean score."
    note += "" if order in ORDERS else " A row that lacks it in some task has no place in this order."
    return replace(board, entries=entries, notes=[note, *board.notes], order=order)


def _placed(entries: list[Entry], order: str) -> list[Entry]:
    """The entries with their places by a quantity. Only a ranked entry that is whole has one; equal ones share it."""
    values = {e.name: found.value for e in entries if e.rank is not None and (found := _whole(e, order))}
    above = {name: 1 + sum(other > value for other in values.values()) for name, value in values.items()}
    return [replace(e, places=e.places | {order: above[e.name]}) if e.name in above else e for e in entries]


def _whole(entry: Entry, order: str) -> Standing | None:
    """An entry's value of a quantity; None where it has none, or lacks it in some task."""
    found = _standing(entry, order)
    lacking = found.tasks < found.of if isinstance(found, Overall) else entry.partial
    return None if lacking else found


def _standing(entry: Entry, order: str) -> Standing | None:
    """The value, the interval and P(best) that an order is by."""
    if order in ("learns", "keeps"):
        return {"learns": entry.learns, "keeps": entry.keeps}[order]
    if order in COLUMNS:
        part = {"at-L": entry.at_length, "beyond": entry.beyond}[order]
        return (
            None
            if part is None or part.score is None
            else Standing(part.score, part.low, part.high, part.p_best)
        )
    return entry.standings.get(order)


def to_json(board: Board) -> dict[str, Any]:
    """The board as plain JSON data: profile, seeds, notes and one object per encoding, best first."""
    return {
        "profile": board.profile,
        "profiles": board.profiles,
        "seeds": board.seeds,
        "task_families": board.task_families,
        "notes": board.notes,
        "unreadable": [{"path": str(u.path), "reason": u.reason} for u in board.unreadable],
        "order": board.order,
        "family_influence": _influence(board),
        "task_dependent": [{"better": a, "worse": b} for a, b in board.ranking.task_dependent],
        "encodings": [asdict(entry) | {"own": entry.name in board.own} for entry in board.entries],
    }


def _influence(board: Board) -> dict[str, float | None]:
    """Each family's share of the variance between scores; None where it is unknown."""
    shares = ranking.influence(board.ranking)
    return {str(family): None if pd.isna(share) else float(share) for family, share in shares.items()}


def to_frame(board: Board) -> pd.DataFrame:
    """One flat row per encoding, best first: what the overview shows and the CSV holds."""
    rows = []
    for e in board.entries:
        row = asdict(e)
        for left_out in (
            "families",
            "gates",
            "costs",
            "failed_checks",
            "failed_runs",
            "no_commit",
            "verified_as",
            "places",
            "standings",
            "at_length",
            "beyond",
            "learns",
            "keeps",
        ):
            del row[left_out]
        for quantity, found in (("at_length", e.at_length), ("beyond", e.beyond)):
            row |= _ended(
                quantity, (found.score, found.low, found.high, found.p_best) if found else (None,) * 4
            )
        others = {order.replace("-", "_"): e.standings.get(order) for order in ranking.ORDERS[1:]}
        for quantity, part in {"learns": e.learns, "keeps": e.keeps, **others}.items():
            row |= _ended(quantity, (part.value, part.low, part.high, part.p_best) if part else (None,) * 4)
        row |= {
            "learns_tasks": e.learns.tasks if e.learns else None,
            "keeps_tasks": e.keeps.tasks if e.keeps else None,
            "keeps_cut": e.keeps.cut if e.keeps else None,
        }
        row |= {f"place_{order.replace('-', '_')}": e.places.get(order) for order in ranking.ORDERS}
        for family in board.task_families:
            row[family] = e.families[family].score if family in e.families else None
        row["learned"] = sum(e.gates.values()) / len(e.gates) if e.gates else None
        row |= {metric: e.costs.get(metric) for metric in COSTS}
        rows.append(row)
    counts = ("rank", "tier", "parameters", "learns_tasks", "keeps_tasks")
    whole = (*counts, *(c for c in rows[0] if c.startswith("place_")))
    known = (
        "score",
        "low",
        "high",
        "p_best",
        "p_best_tasks",
        *(c for c in rows[0] if c.startswith(_QUANTITIES) and c not in counts),
    )
    return pd.DataFrame(rows).astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(known, "float64"))


def _ended(quantity: str, numbers: Sequence[float | None]) -> dict[str, float | None]:
    """A quantity with the ends of its interval and P(best), by column."""
    return dict(
        zip((quantity, *(f"{quantity}_{end}" for end in ("low", "high", "p_best"))), numbers, strict=True)
    )


_QUANTITIES = ("at_length", "beyond", "learns", "keeps", "standardised", "median_rank")


def objects(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON objects, without NaN."""

    def known(value: Any) -> Any:
        return None if pd.api.types.is_scalar(value) and pd.isna(value) else value

    return [{name: known(value) for name, value in row.items()} for row in frame.to_dict("records")]


def to_csv(board: Board) -> str:
    """The board as CSV; text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    frame = to_frame(board)
    return safe_csv(frame.assign(own=frame["name"].isin(board.own)) if board.own else frame)


def safe_csv(frame: pd.DataFrame) -> str:
    """CSV of a frame in which no text is taken for a formula by a spreadsheet."""
    text = frame.select_dtypes(include=["object", "str", "category"]).columns

    def quoted(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value

    safe = {c: frame[c].astype(object).map(quoted) for c in text}
    return frame.assign(**safe).to_csv(index=False)


_FORMULA = tuple("=+-@\t\r")


def to_markdown(board: Board) -> str:
    """The board as a Markdown table, with the notes below."""
    header, rows = _printed(board, ends=True)
    lines = [f"| {' | '.join(map(plain, header))} |", f"|{'|'.join(' --- ' for _ in header)}|"]
    for entry, row in zip(board.entries, rows, strict=True):
        cells = map(plain, row)
        lines.append(f"| {' | '.join(f'**{c}**' if entry.name in board.own else c for c in cells)} |")
    below = [f"No rank: {names}: {reason}." for names, reason in unranked(board)] + board.notes
    return "\n".join([*lines, "", *(f"- {plain(note)}" for note in below)]) + "\n"


def plain(text: str) -> str:
    """Text from a record, escaped so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|$~:^&-])", r"\\\1", " ".join(text.split()))


def spanned_days(started: Iterable[str]) -> str:
    """The days of some times: one, or the first and the last; empty where no time is known.

    >>> spanned_days(["2026-11-02T09:00", "2026-10-30T12:00", ""]), spanned_days(["2026-11-02"])
    ('2026-10-30 to 2026-11-02', '2026-11-02')
    """
    days = sorted({day[:10] for day in started if day})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def unranked(board: Board) -> list[tuple[str, str]]:
    """The rows that have no rank for another reason than their seeds, and that reason; a note lists the previews."""
    names = defaultdict[str, list[str]](list)
    for entry in board.entries:
        if entry.reason and not entry.reason.startswith(ranking.PREVIEW):
            names[entry.reason].append(entry.name)
    return [(", ".join(alike), reason) for reason, alike in names.items()]


def _printed(board: Board, ends: bool = False) -> tuple[list[str], list[list[str]]]:
    """The header and the cells of the printed table; with one seed there is no interval and no P(best).

    The number of seeds is shown where it is not the same for all. Another order than the mean's shows its places and
    values, and P(best) is by it. With `ends`, each quantity has its 95 % interval.
    """
    one_seed = board.ranking.one_seed
    unequal = len({e.seeds for e in board.entries if e.seeds}) > 1
    by_tasks = any(e.p_best_tasks is not None for e in board.entries)
    another = board.order != ranking.ORDERS[0]
    header = [
        *(["place", f"by {board.order}"] if another else []),
        *("tier", "encoding", "score", *([] if one_seed else ["95 %"]), "at L", "beyond", "keeps"),
        *(["seeds"] if unequal else []),
        *([] if one_seed else ["P(best)"]),
        *(["by tasks"] if by_tasks else []),
        *(*board.task_families, "cover", "learns", "train"),
    ]
    rows = []
    for e in board.entries:
        parts = (e.families.get(family) for family in board.task_families)
        rows.append(
            [
                *(
                    [str(e.places.get(board.order, "-")), _valued(_standing(e, board.order))]
                    if another
                    else []
                ),
                str(e.tier) if e.tier else "preview" if e.preview else "-",
                f"{e.name} (own)" if e.name in board.own else e.name,
                _share(e.score) + "*" * e.partial,
                *([] if one_seed else [_range(e.low, e.high)]),
                *(_valued(_standing(e, order), ends) for order in ("at-L", "beyond")),
                _valued(e.keeps, ends, "{:.1f}", e.keeps.marks) if e.keeps else "-",
                *([str(e.seeds)] if unequal else []),
                *([] if one_seed else [_share(_p_best(e, board.order))]),
                *([_share(e.p_best_tasks)] if by_tasks else []),
                *(_share(part.score) + "*" * e.partial if part else "-" for part in parts),
                f"{e.coverage:.0%}",
                _valued(e.learns, ends, "{:.0%}", e.learns.marks) if e.learns else "-",
                f"{e.costs['train_ratio']:.2f}x" if "train_ratio" in e.costs else "-",
            ]
        )
    return header, rows


def _valued(found: Standing | None, ends: bool = True, style: str = "{:.2f}", marks: str = "") -> str:
    """A value with its marks, and with its interval where it has one."""
    if found is None:
        return "-"
    value = f"{style.format(found.value)}{marks}"
    if not ends or found.low is None or found.high is None:
        return value
    return f"{value} ({style.format(found.low)} to {style.format(found.high)})"


def _p_best(entry: Entry, order: str) -> float | None:
    if order == ranking.ORDERS[0]:
        return entry.p_best
    found = _standing(entry, order)
    return found.p_best if found else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.2f}-{high:.2f}"


def print_board(board: Board, console: Console) -> None:
    """Print the ranking; it fits 80 columns by leaving out what matters least, and says so."""
    header, rows = _printed(board)
    # Least important first: each goes only if the table would not fit.
    spare = [
        "train",
        "by tasks",
        "P(best)",
        *reversed(board.task_families),
        "cover",
        "seeds",
        "keeps",
        "learns",
    ]
    spare = [name for name in spare if name in header]
    widths = {h: max(len(h), *(len(row[n]) for row in rows)) + 2 for n, h in enumerate(header)}
    left_out = []
    while sum(widths.values()) > console.width and spare:
        left_out.append(spare.pop(0))
        del widths[left_out[-1]]
    data = board.ranking.data
    at = f"{len(data.tasks_with('at_length'))} of {counted(len(data.tasks), 'task')}"
    title = f"{board.profile}: {board.size}"
    shown = Table(title=title, box=None, pad_edge=False)
    for name in widths:
        shown.add_column(escape(name), justify="left" if name == "encoding" else "right", overflow="fold")
    for entry, row in zip(board.entries, rows, strict=True):
        cells = (escape(cell) for h, cell in zip(header, row, strict=True) if h in widths)
        shown.add_row(*cells, style="bold" if entry.name in board.own else None)
    console.print(shown)
    console.print(
        "No test separates a tier's rows from its leader. Scores: 0 without reading the input, 1 for an oracle; at L: "
        f"at the training length, over {at}; beyond: at longer ones; keeps: octaves of L to which half of "
        "the score at L holds (+: at least, as half still holds at the longest length of some task; "
        "*: some tasks are missing or not learned); "
        "learns: share of runs that pass their gate (*: some tasks are missing); "
        "train: time of a training step over RoPE's.",
        style="dim",
    )
    if left_out:
        console.print(f"Not shown at this width: {escape(', '.join(left_out))} (see --json).", style="dim")
    for names, reason in unranked(board):
        console.print(f"no rank: {escape(names)}: {escape(reason)}")
    for note in board.notes:
        console.print(f"note: {escape(note)}")
