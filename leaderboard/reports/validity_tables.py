"""The comparison with published tables as JSON, Markdown, frames and terminal tables."""

from dataclasses import asdict
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports.validity import (
    Agreement,
    Contradiction,
    Kind,
    Validity,
    _agreement,
    _distinct,
    _listed,
)
from pebench.suite.results.metrics import counted, listed


def to_json(v: Validity) -> dict[str, Any]:
    """Plain JSON data; unknown values are null."""

    def counts(found: dict[str, int]) -> list[dict[str, Any]]:
        return [{"encoding": name, "rows": n} for name, n in found.items()]

    def flat(kind: Kind) -> dict[str, Any]:
        about = {k: x for k, x in asdict(kind).items() if k not in ("all", "within_class")}
        return {**about, **asdict(kind.all), "within_class": asdict(kind.within_class)}

    return {
        "profile": v.profile,
        "models": v.models,
        "sources": v.sources,
        "tables": v.tables,
        "total": asdict(v.total),
        "within_class": asdict(v.within_class),
        "kinds": [flat(kind) for kind in v.kinds],
        "columns": [asdict(column) for column in v.columns],
        "contradictions": [asdict(one) for one in v.contradictions],
        "unmatched": counts(v.unmatched),
        "absent": counts(v.absent),
        "notes": v.notes,
        "left_out": [{"line": one.line, "reason": one.reason} for one in v.left_out],
    }


KIND_HEADER = (
    *("published quantity", "compared with", "sources", "tables", "agree", "contradict", "not separated"),
    *("without a test", "tau", "95 % over sources", "smallest difference"),
)


def kind_rows(v: Validity) -> list[list[str]]:
    """The table of kinds as text, the total last."""
    rows = [
        [
            kind.kind,
            kind.ours,
            str(kind.all.sources),
            str(kind.tables),
            *_cells(kind.all),
            _number(kind.smallest_difference),
        ]
        for kind in v.kinds
    ]
    total = ["all", "", str(v.total.sources), str(v.tables), *_cells(v.total), ""]
    inside = ["all, inside one class", "", str(v.within_class.sources), "", *_cells(v.within_class), ""]
    return [*rows, total, inside]


def beside(before: Validity, after: Validity) -> str:
    """Two boards against the same tables, a line for each kind of quantity that either can be held against.

    The last lines are of the pairs that both compare, table by table.
    """
    sides = [before, after]
    heads = ["published quantity"]
    for v in sides:
        heads += [f"`{v.profile}`: column", "pairs with seeds", "tau (95 % over sources)"]
    kinds = [{kind.kind: kind for kind in v.kinds} for v in sides]
    names = [
        name for name in kinds[0] if any(found[name].all.tau is not None for found in kinds if name in found)
    ]
    rows = []
    for name in names:
        cells = [name]
        for found in kinds:
            kind = found.get(name)
            cells += [kind.ours, *_tau_cells(kind.all)] if kind and kind.all.tau is not None else ["-"] * 3
        rows.append(cells)
    rows.append(["all", *(cell for v in sides for cell in ("", *_tau_cells(v.total)))])
    rows.append(
        ["all, inside one class", *(cell for v in sides for cell in ("", *_tau_cells(v.within_class)))]
    )
    shared = _shared(before, after)
    for title, inside in (("of both", False), ("of both, inside one class", True)):
        parts = [_agreement(pairs[pairs["same_class"] | (not inside)]) for pairs in shared]
        rows.append([title, *(cell for part in parts for cell in ("", *_tau_cells(part)))])
    return "\n".join([*_markdown(tuple(heads), rows), "", nearer(*(_agreement(pairs) for pairs in shared))])


def nearer(before: Agreement, after: Agreement) -> str:
    """Whether one of two boards agrees better with the pairs that both compare."""
    ends = (before.low, before.high, after.low, after.high)
    if None in ends:
        return (
            "With one source there is no interval, so neither is known to agree better with published tables."
        )
    overlap = max(before.low or 0, after.low or 0) <= min(before.high or 0, after.high or 0)
    both = f"tau {_signed(before.tau)} and {_signed(after.tau)} on the pairs of both"
    if overlap:
        return f"The intervals overlap ({both}), so neither is known to agree better with published tables."
    better = "newer" if (after.tau or 0) > (before.tau or 0) else "older"
    return f"The {better} one agrees better with published tables ({both})."


def _shared(*sides: Validity) -> list[pd.DataFrame]:
    """Each side's pairs with seeds, of the encodings and tables that every side compares."""
    sure = [v.pairs[v.pairs["p"].notna()] for v in sides]
    keys = [list(zip(pairs["number"], pairs["better"], pairs["worse"], strict=True)) for pairs in sure]
    both = set.intersection(*map(set, keys))
    return [pairs[[key in both for key in of_side]] for pairs, of_side in zip(sure, keys, strict=True)]


def _tau_cells(a: Agreement) -> list[str]:
    known = "" if a.low is None else f" ({interval(a.low, a.high)})"
    return [str(a.pairs - a.preview), f"{_signed(a.tau)}{known}"]


def _cells(a: Agreement) -> list[str]:
    numbers = (a.agree, a.contradict, a.not_separated, a.preview)
    return [*map(str, numbers), _signed(a.tau), interval(a.low, a.high)]


def _signed(x: float | None) -> str:
    return "-" if x is None else f"{x:+.2f}"


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """An interval in words, a dash where there is none."""
    return "-" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"


def best_columns(v: Validity) -> str:
    """Which of our columns predicts best, and which cannot be told from it, as a sentence."""
    if not v.columns:
        return ""
    best = v.columns[0]
    alike = [column.column for column in v.columns if column.tau == best.tau]
    verb, subject = ("predict", "The first has") if alike[1:] else ("predicts", "It has")
    said = f"Of our {len(v.columns)} columns {listed(alike)} {verb} the published order best: tau {_signed(best.tau)}. "
    said += f"{subject} {counted(best.pairs, 'comparison')} of {counted(best.distinct, 'pair')} of encodings"
    if best.low is None:
        return f"{said}. One source, so no interval."
    near = [c.column for c in v.columns[1:] if c.high is not None and c.high >= best.low]
    rest = (
        f"The intervals of {counted(len(near), 'column')} overlap it, so none is known to be the best."
        if near
        else "No other interval overlaps it."
    )
    sources = counted(v.total.sources, "source")
    return f"{said}, and the interval {interval(best.low, best.high)} over {sources}. {rest}"


def to_markdown(v: Validity) -> str:
    """The page as Markdown, without a title."""
    lines = [
        f"Profile `{v.profile}` ({v.models}) against {counted(v.tables, 'published table')} of "
        f"{counted(v.sources, 'source')}: {counted(v.total.pairs, 'comparison')} of "
        f"{counted(_distinct(v.pairs), 'pair')} of encodings that a table separates. A pair "
        f"with two seeds here is in {counted(v.compared, 'table')} of {counted(v.total.sources, 'source')}.",
        "",
        *_markdown(KIND_HEADER, kind_rows(v)),
        "",
        "## Which of our columns predicts published orders",
        "",
        best_columns(v),
        "",
        *_markdown(
            ("our column", "pairs", "tau", "95 % over sources"),
            [[c.column, str(c.pairs), _signed(c.tau), interval(c.low, c.high)] for c in v.columns],
        ),
        "",
        "## What the board contradicts",
        "",
    ]
    if v.contradictions:
        lines += _markdown(CONTRADICTION_HEADER, [contradiction_cells(c) for c in v.contradictions])
    else:
        lines.append("Nothing that both separate.")
    return "\n".join([*lines, "", *(f"- {plain(note)}" for note in all_notes(v))]).rstrip() + "\n"


CONTRADICTION_HEADER = (
    *("published quantity", "source", "pairs", "not learned here"),
    *("published order (times; difference here)", "likeliest cause", "tested"),
)


def contradiction_cells(c: Contradiction) -> list[str]:
    """A row of the table of contradictions in Markdown."""
    return [
        *map(plain, (c.kind, c.source)),
        *map(str, (c.pairs, c.not_learned)),
        plain("; ".join(c.examples)),
        *_why(c),
    ]


def _why(c: Contradiction) -> tuple[str, str]:
    return c.cause or "not looked for", c.tested


def contradiction_frame(v: Validity) -> pd.DataFrame:
    """The table of contradictions for a page and a download."""
    rows = [
        (c.kind, c.source, c.pairs, c.not_learned, "; ".join(c.examples), *_why(c)) for c in v.contradictions
    ]
    return pd.DataFrame(rows, columns=CONTRADICTION_HEADER)


def column_frame(v: Validity) -> pd.DataFrame:
    """Our columns as predictors, the best first: column, pairs, tau, low, high."""
    return pd.DataFrame(
        [asdict(column) for column in v.columns], columns=["column", "pairs", "tau", "low", "high"]
    )


def _markdown(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in ([*header], ["---"] * len(header), *rows)]


def all_notes(v: Validity) -> list[str]:
    """What was left out and why."""
    notes = list(v.notes)
    if v.unmatched:
        notes.append(f"without a counterpart here (rows): {_listed(v.unmatched)}")
    if v.absent:
        notes.append(f"not on this board (rows): {_listed(v.absent)}")
    return notes


def print_validity(v: Validity, console: Console) -> None:
    """Print the comparison to a terminal or a pipe."""
    console.print(
        f"{v.profile} ({v.models}) against {counted(v.tables, 'published table')} of {counted(v.sources, 'source')}",
        highlight=False,
    )
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in KIND_HEADER:
        shown.add_column(name, justify="left" if name in KIND_HEADER[:2] else "right", overflow="fold")
    for row in kind_rows(v):
        shown.add_row(*(cell.replace("`", "") for cell in row))
    console.print(shown)
    said = [best_columns(v).replace("`", "")]
    for c in v.contradictions:
        where = f"contradicts {c.source}, {c.kind}, {counted(c.pairs, 'pair')}: {'; '.join(c.examples)}."
        said.append(f"{where} Cause: {c.cause or 'not looked for.'} Tested: {c.tested}.")
    for text in [*said, *(f"note: {note}" for note in all_notes(v))]:
        if text:
            console.print(text, markup=False, highlight=False)
