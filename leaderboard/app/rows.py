"""The data of the tables that table.js draws, in the app and in the site: plain JSON."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from pebench.leaderboard import extension
from pebench.leaderboard.app.views import Filter, overview
from pebench.leaderboard.board import Board
from pebench.leaderboard.entries import Entry, Interval, Standing
from pebench.leaderboard.reports import claims

Data = dict[str, Any]
RANKED, PREVIEW, OTHER = "ranked", "preview", "other"
GROUPS = [
    {"key": RANKED, "title": ""},
    {"key": PREVIEW, "title": "Previews: fewer than two seeds in some task, so a score and no place"},
    {"key": OTHER, "title": "Without a rank"},
]
FIRST = ("needle", "recall", "language")  # families that the first screen shows, where they were measured


def first_families(board: Board) -> list[str]:
    """One family of retrieval, and language."""
    found = [family for family in FIRST if family in board.task_families]
    return [family for family in found if family != "recall" or "needle" not in found]


def interval(part: Interval | Entry | None, hollow: bool = False) -> Data | None:
    """A score and its interval; hollow where conditions are missing."""
    if part is None or part.score is None:
        return None
    return {"score": part.score, "low": part.low, "high": part.high, "hollow": hollow}


CAPTION = (
    "Shaded bands are tiers: nothing in a tier is separable from its leader. Scores run from 0 (without reading the "
    "input) to 1 (an oracle). Beside or below them stand 95 % intervals. Cost is the time of a training step over "
    "RoPE's."
)


def ends(part: Interval | Standing | None, form: str) -> str | None:
    """The ends of an interval, as they stand below its value; None where there are none.

    >>> ends(Interval(0.5, 0.412, 0.6), ".2f")
    '0.41–0.60'
    """
    if part is None or part.low is None or part.high is None:
        return None
    return f"{part.low:{form}}–{part.high:{form}}"


def board_columns(board: Board, families: Sequence[str]) -> list[Data]:
    """The columns of the ranking; `families` are shown as numbers."""
    highs = [e.high for e in board.entries if e.high is not None and e.rank is not None]
    ends = [0.0, min(1.0, max(highs, default=1.0))]
    priced = any("train_ratio" in e.costs for e in board.entries)
    columns = [
        {"key": "tier", "title": "tier", "kind": "number", "digits": 0, "better": "lower",
         "help": "Nothing in a tier is separable from its leader."},
        {"key": "name", "title": "encoding", "kind": "name", "better": "lower"},
        {"key": "score", "title": "overall", "kind": "interval", "better": "higher", "range": ends,
         "help": "0: without reading the input, 1: an oracle. The bar: 95 % interval. *: conditions are missing."},
        {"key": "learns", "title": "learns", "kind": "share", "better": "higher", "wide": True,
         "help": "Share of the runs that pass their task's gate at the training length L. *: tasks are missing."},
        {"key": "at_length", "title": "at L", "kind": "number", "digits": 2, "better": "higher", "wide": True,
         "help": "Score at the training length L."},
        {"key": "beyond", "title": "beyond", "kind": "number", "digits": 2, "better": "higher", "wide": True,
         "help": "Score beyond the training length L."},
        {"key": "keeps", "title": "keeps", "kind": "number", "digits": 1, "better": "higher",
         "help": "Octaves of L to which half of the score at L holds, in the tasks that it learns. +: at least, "
                 "as half still holds at the longest length of some task. *: tasks are missing or not learned."},
        *({"key": f, "title": f, "kind": "number", "digits": 2, "better": "higher", "wide": len(families) > 1,
           "help": f"Score of the task family {f}."} for f in families),
        {"key": "train_ratio", "title": "cost", "kind": "number", "digits": 2, "suffix": " ×", "better": "lower",
         "help": "Time of a training step over RoPE's."} if priced else None,
        {"key": "seeds", "title": "seeds", "kind": "number", "digits": 0, "better": "higher", "wide": True,
         "help": "In the task where it has fewest."},
    ]  # fmt: skip
    return [column for column in columns if column]


def board_table(
    board: Board,
    href: Callable[[str], str],
    chosen: Filter | None = None,
    families: Sequence[str] | None = None,
    **state: Any,
) -> Data:
    """The ranking: `href` is the address of an encoding's page, `state` how the table starts (sort, search ...).

    `families` are shown beside the overall score, None: `first_families`. A single family is the overall score, and
    shown once.
    """
    kept = None if chosen is None else set(overview(board, chosen)["name"])
    shown = [f for f in dict.fromkeys(families or first_families(board)) if f in board.task_families]
    shown = shown if len(board.task_families) > 1 else []
    rows, shade, tier = [], False, None
    for e in board.entries:
        if kept is not None and e.name not in kept:
            continue
        if e.tier != tier:
            shade, tier = not shade, e.tier
        rows.append(
            {
                "name": e.name,
                "title": e.title,
                "search": f"{e.name} {e.title} {e.family}".lower(),
                "href": href(e.name),
                "group": RANKED if e.rank is not None else PREVIEW if e.preview else OTHER,
                "shade": e.rank is not None and shade,
                "own": e.name in board.own,
                "tier": e.tier,
                "score": interval(e, e.partial),
                "learns": None if e.learns is None else e.learns.value,
                **(
                    {"learns-text": f"{e.learns.value:.0%}{e.learns.marks}"}
                    if e.learns and e.learns.marks
                    else {}
                ),
                "at_length": None if e.at_length is None else e.at_length.score,
                "beyond": None if e.beyond is None else e.beyond.score,
                "keeps": None if e.keeps is None else e.keeps.value,
                **({} if e.keeps is None else {"keeps-text": f"{e.keeps.value:.1f}{e.keeps.marks}"}),
                **{f: e.families[f].score if f in e.families else None for f in shown},
                "learns-ends": ends(e.learns, ".0%"),
                "at_length-ends": ends(e.at_length, ".2f"),
                "beyond-ends": ends(e.beyond, ".2f"),
                "keeps-ends": ends(e.keeps, ".1f"),
                **{f"{f}-ends": ends(e.families.get(f), ".2f") for f in shown},
                "train_ratio": e.costs.get("train_ratio"),
                "seeds": e.seeds,
            }
        )
    start = {"sort": "score", "descending": True, "search": "", "ticks": True}
    return {"columns": board_columns(board, shown), "rows": rows, "groups": GROUPS, **start, **state}


def number(value: float, digits: int | None = None) -> float | None:
    """A number for JSON, None where there is none.

    >>> number(0.123456, 3), number(float("nan"))
    (0.123, None)
    """
    if pd.isna(value):
        return None
    return float(value) if digits is None else round(float(value), digits)


def frame_table(
    frame: pd.DataFrame,
    known: Mapping[str, Any] | None = None,
    wide: Collection[str] = (),
    intervals: Mapping[str, tuple[str, str]] | None = None,
) -> Data:
    """Any table: its columns in their order, the rows as they come.

    `known` has titles, formats and help of columns, as streamlit's column_config does; other numbers have three digits.
    `wide` are hidden on a phone. `intervals`: columns with the columns of their ends, which stand behind them.
    """
    columns, cells, ends = [], {}, intervals or {}
    for n, name in enumerate(frame.columns.drop([end for pair in ends.values() for end in pair])):
        values, key, about = frame[name], f"c{n}", (known or {}).get(name) or {}
        if name in ends:
            values = pd.to_numeric(values)  # a column of None alone is of objects
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        whole = numeric and (values.dropna() % 1 == 0).all()
        columns.append(
            {
                "key": key,
                "title": about.get("label") or str(name),
                "help": about.get("help") or "",
                "kind": "number" if numeric else "text",
                "wide": name in wide,
            }
        )
        pattern = about.get("type_config", {}).get("format") or ("%d" if whole else "%.3f")
        cells[key] = [number(v) if numeric else _words(v) for v in values]
        if numeric:
            cells[f"{key}-text"] = [None if pd.isna(v) else told(v, pattern) for v in values]
        if name in ends:
            low, high = (frame[end] for end in ends[name])
            cells[f"{key}-text"] = [
                text if pd.isna(a) or pd.isna(b) else f"{text} ({told(a, pattern)} to {told(b, pattern)})"
                for text, a, b in zip(cells[f"{key}-text"], low, high, strict=True)
            ]
    rows = [
        {
            "name": str(n),
            "search": " ".join(str(cell) for cell in row if cell is not None).lower(),
            "group": "",
            **dict(zip(cells, row, strict=True)),
        }
        for n, row in enumerate(zip(*cells.values(), strict=True))
    ]
    start = {"sort": "", "descending": False, "search": "", "ticks": False, "plain": True}
    return {"columns": columns, "rows": rows, "groups": [{"key": "", "title": ""}], **start}


def titled(label: str, pattern: str = "", words: str = "") -> dict[str, Any]:
    """The title, format and help of a column, as `frame_table` takes them."""
    return {"label": label, "help": words, "type_config": {"format": pattern}}


METHODS = {  # of context extension: the columns of reports.extension.numbers
    **{name: titled(name, "%.3f") for name in ("loss up to L", "loss beyond L")},
    **{name: titled(name, "%.2f") for name in ("found up to L", "found beyond L")},
    **{name: titled(name, "%.1f") for name in (*extension.TIMES, "bytes/token")},
    "minus none's, beyond L": titled("minus none's, beyond L", "%+.3f"),
    "found minus none's, beyond L": titled("found minus none's, beyond L", "%+.2f"),
}
METHOD_COSTS = {  # the same of reports.extension.cost_frame
    "prefill_ratio": titled("prefill, x none", "%.1f"),
    "decode_ratio": titled("decode, x none", "%.1f"),
    "prefill_speed": titled("prefill, tokens/s", "%.1f"),
    "decode_speed": titled("decode, tokens/s", "%.1f"),
    "cache_bytes": titled("cache, bytes/token", "%d"),
    "cache_ratio": titled("cache, x none", "%.1f"),
}
CLAIM = {
    "pair": titled("first > second"),
    "quantity": titled("here"),
    "difference": titled("difference (95 %)", "%+.3f", "Score of the first minus the second's."),
    **{
        f"paper_{size}": titled(
            f"paper, {size}", "%+.2f", "Lead of the first in the paper's table, in points."
        )
        for size in claims.TABLES
    },
    "verdict": titled("verdict", words="It stands only where both sides measure the same quantity."),
    "p": titled("p", "%.2g"),
    "seeds": titled("seeds"),
}
VARIANT = {
    "pair": titled("first > second"),
    "change": titled("change"),
    "seeds": titled("seeds"),
    "at_length_difference": titled("at L: difference (95 %)", "%+.3f"),
    "at_length_verdict": titled("at L the variant is"),
    "beyond_difference": titled("beyond L: difference (95 %)", "%+.3f"),
    "beyond_verdict": titled("beyond L the variant is"),
}


def claims_table(frame: pd.DataFrame) -> Data:
    """The paper's claims (claims.judged), both sides of each in a line that fits the page."""
    return _pairs(frame.assign(quantity=frame["quantity"].str.replace("`", "")), CLAIM)


def variants_table(frame: pd.DataFrame) -> Data:
    """Single changes of an encoding (variants.judged)."""
    return _pairs(frame, VARIANT)


def _pairs(frame: pd.DataFrame, known: Mapping[str, Any]) -> Data:
    ends = {
        name: (name.replace("difference", "low"), name.replace("difference", "high"))
        for name in known
        if name.endswith("difference")
    }
    shown = frame.assign(pair=frame["first"].str.cat(frame["second"], sep=" > "))
    return frame_table(shown[[*known, *(end for pair in ends.values() for end in pair)]], known, (), ends)


def told(value: float, pattern: str) -> str:
    """A number as a column's pattern shows it; what rounds to zero has no sign.

    >>> told(0.256, "%+.2f"), told(-0.0001, "%.3f"), told(0.5, "percent"), told(1.25, "%.2f x")
    ('+0.26', '0.000', '50%', '1.25 x')
    """
    named = {"percent": "{:.0%}", "scientific": "{:.1e}"}
    text = named[pattern].format(value) if pattern in named else pattern % value
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None or pd.isna(value) else str(value)
