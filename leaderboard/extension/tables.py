"""A board as tables: for a terminal, Markdown, CSV and JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from pebench.leaderboard.extension.board import CACHE, CACHE_RATIO, COSTS, Line, Track
from pebench.leaderboard.extension.parts import (
    ALL,
    KINDS,
    MEASURES,
    by_kind,
    levels_by_length,
    losses_by_method,
    retrieval_by_length,
)
from pebench.leaderboard.extension.quantities import PHASES, Quantity
from pebench.leaderboard.extension.records import shown_model
from pebench.leaderboard.extension.remarks import remarks, told
from pebench.leaderboard.printing import objects
from pebench.suite.results.record import Unreadable

Span = tuple[float | None, float | None, float | None]  # a number and the ends of its interval
COLUMNS = (
    *("method", "loss up to L", "loss beyond L", "minus none's, beyond L"),
    *("found up to L", "found beyond L", "found minus none's, beyond L"),
    *("prefill", "decode", "bytes/token", "texts: loss, found"),
)
WHERE = dict(zip(PHASES, ("up to L", "beyond L"), strict=True))
TIMES = COLUMNS[7:9]
ENDS = {name: (f"{name}, low", f"{name}, high") for name in COLUMNS[1:7]}  # of each interval in `numbers`
STYLES = ("{:.3f}", "{:.3f}", "{:+.3f}", "{:.2f}", "{:.2f}", "{:+.2f}")  # of the same in `cells`
FOUND = "Single needles found, by length in tokens"
LOSS_AXIS, FOUND_AXIS = "loss, nats a token", "share found"
LOSS_CURVES = (
    "Each point is the mean loss of the tokens since the point before. Bars span the texts, and are no intervals. "
    "Books are held out by document. The model may have read them in its training, and all methods share that."
)
FOUND_CURVES = (
    "The share of questions with every number right. Bars are 95 % intervals. A mark without a bar is of one text, or "
    "all its answers are equal."
)
NO_CHOICE = "A question of several numbers has no choice."
BY_KIND = "By kind of question: every number right / numbers found / right number likelier than three others"
LEGEND = (
    "Loss in nats a token, found: questions with every number right; 95 % intervals over texts, and over questions. "
    "Right number likelier: the forced-choice margin is above 0. Prefill (reading 512 tokens at the end of the longest "
    "text) and decode: processor time over the unextended model's. Bytes/token: the cache over the unextended model's, "
    "with a key for each view; a kernel that turns keys as it reads needs 1.0x. Loss beyond L is of the longest text, "
    "with one factor: ntk_dynamic's is ntk's. Ordered by the difference in loss beyond L; methods without one stand "
    "last, by loss."
)


def spans(line: Line) -> list[Span]:
    """The intervals of a method, in the order of the columns."""
    return [
        span
        for part in (line.loss, line.retrieval)
        for span in (*(level(part.get(phase)) for phase in PHASES), difference(part.get("beyond")))
    ]


def level(quantity: Quantity | None) -> Span:
    """A value with its interval."""
    return (quantity.value, quantity.low, quantity.high) if quantity else (None, None, None)


def difference(quantity: Quantity | None) -> Span:
    """A difference from the unextended model with its interval."""
    if quantity is None:
        return None, None, None
    return quantity.difference, quantity.difference_low, quantity.difference_high


def numbers(track: Track) -> pd.DataFrame:
    """The same as `cells` as numbers; the ends of intervals stand in columns of their own (ENDS)."""
    rows = []
    for line in track.lines:
        row: dict[str, Any] = {COLUMNS[0]: line.method}
        for (name, ends), span in zip(ENDS.items(), spans(line), strict=True):
            row |= dict(zip((name, *ends), span, strict=True))
        for name, cost in zip(TIMES, COSTS[:2], strict=True):
            row[name] = line.costs.get(cost)
        row[COLUMNS[9]] = line.costs.get(CACHE_RATIO, line.costs.get(CACHE))
        rows.append(row | {COLUMNS[-1]: cells(line)[-1]})
    numeric = [name for name in rows[0] if name not in (COLUMNS[0], COLUMNS[-1])]
    return pd.DataFrame(rows).astype(dict.fromkeys(numeric, float))


def cells(line: Line) -> tuple[str, ...]:
    """A method as the texts of a table's row."""
    return (
        line.method,
        *(spanned(*span, style) for span, style in zip(spans(line), STYLES, strict=True)),
        *(f"{line.costs[name]:.1f}x" if name in line.costs else "-" for name in COSTS[:2]),
        cache(line.costs),
        ", ".join(counted_texts(part) for part in (line.loss, line.retrieval)),
    )


def cache(costs: Mapping[str, float]) -> str:
    """Bytes a token over the unextended model's; as they are where that was not measured.

    >>> cache({"cache_bytes": 46080, "cache_ratio": 2.0}), cache({"cache_bytes": 46080}), cache({})
    ('2.0x', '46,080', '-')
    """
    if CACHE_RATIO in costs:
        return f"{costs[CACHE_RATIO]:.1f}x"
    return f"{costs[CACHE]:,.0f}" if CACHE in costs else "-"


def counted_texts(part: dict[str, Quantity]) -> str:
    """The texts of a method, and of its differences where these are fewer: "2 (1 paired)"."""
    texts, paired = (
        max((getattr(q, name) for q in part.values()), default=0) for name in ("texts", "difference_texts")
    )
    return f"{texts} ({paired} paired)" if 0 < paired < texts else str(texts)


def known(value: float, low: float, high: float) -> Span:
    """A number and the ends of its interval, None where they are NaN."""
    return value, None if np.isnan(low) else low, None if np.isnan(high) else high


def spanned(value: float | None, low: float | None, high: float | None, style: str) -> str:
    """A number and its interval, where there is one.

    >>> spanned(0.5, 0.4, 0.6, "{:.1f}"), spanned(0.5, None, None, "{:.1f}"), spanned(None, None, None, "{:.1f}")
    ('0.5 (0.4 to 0.6)', '0.5', '-')
    """
    if value is None:
        return "-"
    both = "" if low is None or high is None else f" ({style.format(low)} to {style.format(high)})"
    return f"{style.format(value)}{both}"


def label(track: Track) -> str:
    """A name of the board that no other board of its profile has."""
    corpus = f", {track.corpus}" if track.named else ""
    return f"{shown_model(track.model, track.sha256)}{corpus}"


def title(track: Track) -> str:
    """The model of a board; its sha256 where several have its name, and its corpus where it was read on several."""
    model = shown_model(track.model, track.sha256) if track.alike else track.model
    return f"{model} on {track.corpus}" if track.named else model


def heading(track: Track) -> str:
    """What a table shows."""
    return f"{track.profile}: {title(track)}, trained on texts of L = {track.trained:,} tokens"


def found_by_length(track: Track, kind: str = "single") -> pd.DataFrame:
    """The same in words: lengths by methods."""
    rows = levels_by_length(track, kind)
    words = {
        (row.method, row.length): spanned(*known(row.value, row.low, row.high), "{:.2f}")
        for row in rows.itertuples()
    }
    lengths = sorted(rows["length"].unique())
    table = [
        (line.method, *(words.get((line.method, length), "-") for length in lengths)) for line in track.lines
    ]
    return pd.DataFrame(table, columns=["method", *(f"{length:,}" for length in lengths)])


def kind_table(track: Track) -> tuple[list[str], list[list[str]]]:
    """The same as columns and rows of words, a row for each method; no rows where no answers are."""
    shared = {(r.method, r.kind, r.phase, r.metric): r for r in by_kind(track).itertuples()}
    if not shared:
        return [], []
    places = [(kind, phase) for kind in KINDS for phase in PHASES]
    rows = []
    for line in track.lines:
        parts = [
            [shared.get((line.method, *place, metric)) for metric in MEASURES.values()] for place in places
        ]
        chosen = [shared.get((line.method, ALL, phase, "choice")) for phase in PHASES]
        rows.append(
            [
                line.method,
                *(" / ".join(f"{share.value:.2f}" for share in part if share) or "-" for part in parts),
                *(spanned(*known(c.value, c.low, c.high), "{:.2f}") if c else "-" for c in chosen),
            ]
        )
    columns = [f"{name}, {WHERE[phase]}" for name in (*KINDS, "right number likelier") for phase in PHASES]
    return ["method", *columns], rows


def printed(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for a terminal, with a row for each method."""
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def print_tracks(tracks: Sequence[Track], screen: Console) -> None:
    """Print the boards."""
    for each in tracks:
        screen.print(printed(heading(each), COLUMNS, map(cells, each.lines)))
        found = found_by_length(each)
        if len(found.columns) > 1:
            screen.print(printed(FOUND, found, found.itertuples(index=False)))
        columns, rows = kind_table(each)
        if rows:
            screen.print(printed(BY_KIND, columns, rows))
        for note in [*each.notes, *told(each)]:
            screen.print(note, markup=False, highlight=False)
    screen.print(LEGEND, markup=False, highlight=False)


def to_markdown(tracks: Sequence[Track]) -> str:
    """The boards as Markdown."""
    lines = list[str]()
    for each in tracks:
        lines += [f"**{heading(each)}**", "", *as_rows(COLUMNS, [cells(line) for line in each.lines])]
        found = found_by_length(each)
        if len(found.columns) > 1:
            lines += ["", f"**{FOUND}**", "", *as_rows(list(found), found.itertuples(index=False))]
        columns, rows = kind_table(each)
        if rows:
            lines += ["", f"**{BY_KIND}**", "", *as_rows(columns, rows)]
        lines += ["", *(f"{note}\n" for note in [*each.notes, *told(each)])]
    return "\n".join([*lines, LEGEND])


def as_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    body = [f"| {' | '.join(cell.replace('_', chr(92) + '_') for cell in row)} |" for row in rows]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *body]


def to_frame(tracks: Sequence[Track]) -> pd.DataFrame:
    """One flat row a method and model, for CSV."""
    rows = [
        {
            "profile": each.profile,
            "model": each.model,
            "sha256": each.sha256,
            "corpus": each.corpus,
            "method": line.method,
            **{
                f"{name}_{phase}{'' if part == 'value' else '_' + part}": value
                for name, quantities in (("loss", line.loss), ("retrieval", line.retrieval))
                for phase in PHASES
                for part, value in (asdict(quantities[phase]) if phase in quantities else {}).items()
            },
            **{
                f"{row.kind}_{row.metric}_{row.phase}{part}": value
                for row in kinds[kinds["method"] == line.method].itertuples()
                for part, value in zip(("", "_low", "_high"), (row.value, row.low, row.high), strict=True)
                if (row.kind, row.metric) != (ALL, "exact")  # retrieval_...
            },
            **line.costs,
        }
        for each, kinds in zip(tracks, map(by_kind, tracks), strict=True)
        for line in each.lines
    ]
    return pd.DataFrame(rows)


def to_json(tracks: Sequence[Track], unreadable: Sequence[Unreadable]) -> dict[str, Any]:
    """The boards as plain JSON data."""
    return {
        "profile": tracks[0].profile,
        "models": [
            {
                "model": t.model,
                "sha256": t.sha256,
                "corpus": t.corpus,
                "train_length": t.trained,
                "notes": t.notes,
                "methods": [asdict(line) for line in t.lines],
                "losses": objects(losses_by_method(t)),
                "retrieval": objects(retrieval_by_length(t)),
                "kinds": objects(by_kind(t)),
                "remarks": remarks(t),
            }
            for t in tracks
        ],
        "unreadable": [{"path": str(u.path), "reason": u.reason} for u in unreadable],
    }
