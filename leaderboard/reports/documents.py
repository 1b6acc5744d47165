"""The parts of the documents that are made of the committed records: what stands between two marks of the same name.

`python -m pebench.leaderboard.reports` writes them. A test compares them, so no text shows other numbers than the
records make. A part `<!-- name -->` ... `<!-- /name -->` lies in the file that PARTS names.
"""

import functools
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from pebench.leaderboard import extension
from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.board import Board, make_board
from pebench.leaderboard.entries import Overall
from pebench.leaderboard.printing import plain, to_markdown
from pebench.leaderboard.ranking import FEWEST
from pebench.leaderboard.reports import (
    agreement,
    atlas,
    claims,
    evaluation,
    expected,
    gates,
    machines,
    notes,
    power,
    published,
    rates,
    recipes,
    rules,
    seeds,
    sentences,
    steps,
    trend,
    validity,
    validity_tables,
    variants,
)
from pebench.leaderboard.reports.method import METHOD
from pebench.leaderboard.reports.quantities import scope
from pebench.leaderboard.reports.submitting import SHOWN, SUBMIT
from pebench.leaderboard.reports.vocabulary import AT, BEYOND
from pebench.suite.results.record import Record, read_all

ROOT = Path(__file__).resolve().parents[2]
PROFILE = SHOWN
FIRST = "STANDARD"  # version 1, with more encodings, on a page of its own
STAR = r"\*"  # in Markdown
TOP = 20  # rows of the README's table


@functools.cache
def doubled() -> pd.DataFrame:
    """The published trials of a profile's steps and of twice as many."""
    return steps.doubled(rules.published_trials(steps.PROFILE))


@functools.cache
def sizes() -> dict[tuple[str, str], trend.Trend]:
    """The published trend of each quantity; empty where there is none."""
    with suppress(trend.TrendError):
        return trend.by_quantity([PUBLISHED], ("STANDARD_2", "LARGE"))
    return {}


@functools.cache
def board(profile: str = PROFILE) -> Board:
    """The board of the committed records."""
    return make_board(PUBLISHED, profile)


@functools.cache
def records() -> list[Record]:
    """The committed records of all profiles."""
    return read_all(PUBLISHED)[0]


def top(board: Board, rows: int = TOP) -> str:
    """The first encodings that have a place, with what they score at L and beyond it in columns of their own."""
    every = [entry for entry in board.entries if entry.rank and entry.seeds >= FEWEST]
    placed = every[:rows]
    timed = any("train_ratio" in entry.costs for entry in placed)
    shown = [f"{scope(board, phase)} {phase}" for phase in (AT, BEYOND)]
    heads = ["tier", "encoding", *shown, "score", "95 %", "keeps", "learns", "seeds"]
    heads += ["train"] if timed else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for entry in placed:
        scores = (f"{part.score:.2f}" if part else "-" for part in (entry.at_length, entry.beyond))
        train = entry.costs.get("train_ratio")
        cells = (
            *(
                entry.tier,
                plain(entry.name),
                *scores,
                f"{entry.score:.2f}{STAR * entry.partial}",
                f"{entry.low:.2f} to {entry.high:.2f}",
            ),
            kept(entry.keeps),
            *(f"{entry.learns.value:.0%}" if entry.learns else "-", entry.seeds),
            *(["-" if train is None else f"{train:.2f}x"] if timed else []),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    below = (
        [f"{STAR}: over fewer conditions than others have."] if any(entry.partial for entry in placed) else []
    )
    below += (
        [f"The first {len(placed)} of {len(every)} ranked encodings."] if len(placed) < len(every) else []
    )
    return "\n".join([*lines, *(["", " ".join(below)] if below else [])])


def kept(keeps: Overall | None) -> str:
    """Octaves with their interval; + for a lower bound, * where tasks are missing."""
    if keeps is None:
        return "-"
    ends = "" if keeps.low is None or keeps.high is None else f" ({keeps.low:.1f} to {keeps.high:.1f})"
    return f"{keeps.value:.1f}{keeps.marks.replace('*', STAR)}{ends}"


@functools.cache
def held(profile: str) -> validity.Validity:
    """The board of a profile against published tables."""
    return validity.validity(board(profile), published.read())


def bullets(lines: list[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "in-short": ("docs/leaderboard.md", lambda: bullets(sentences.in_short(board()))),
    "top": ("README.md", lambda: top(board())),
    "board": ("docs/leaderboard.md", lambda: to_markdown(board())),
    "claims": ("docs/leaderboard.md", lambda: claims.to_markdown(board())),
    "changes": ("docs/leaderboard.md", lambda: variants.to_markdown(board())),
    "spread": ("docs/leaderboard.md", lambda: seeds.to_markdown(board().ranking)),
    "first-in-short": ("docs/version1.md", lambda: bullets(sentences.in_short(board(FIRST)))),
    "first-board": ("docs/version1.md", lambda: to_markdown(board(FIRST))),
    "first-claims": ("docs/version1.md", lambda: claims.to_markdown(board(FIRST))),
    "power": ("docs/validity.md", lambda: power.to_markdown([board(FIRST), board()], records())),
    "validity": ("docs/validity.md", lambda: validity_tables.to_markdown(held(PROFILE))),
    "first-validity": (
        "docs/version1.md",
        lambda: validity_tables.to_markdown(held(FIRST)).replace("\n## ", "\n### "),
    ),
    "versions": ("docs/validity.md", lambda: validity_tables.beside(held(FIRST), held(PROFILE))),
    "agreement": ("docs/validity.md", lambda: agreement.published([board(), board(FIRST)])),
    "extend": ("docs/extend.md", extension.published),
    "extend-short": ("README.md", extension.in_short),
    "agreement-short": ("README.md", lambda: agreement.in_short(board())),
    "expected": ("docs/extend.md", expected.published),
    "method": ("docs/ranks.md", lambda: METHOD),
    "submit": ("docs/submit.md", lambda: SUBMIT),
    "map": ("docs/map.md", lambda: atlas.to_markdown(board(), board(FIRST))),
    "variants": ("docs/variants.md", lambda: variants.to_markdown(board(FIRST))),
    "gates": ("docs/standard.md", lambda: gates.to_markdown(board(FIRST))),
    "seeds": ("docs/standard.md", lambda: seeds.to_markdown(board(FIRST).ranking)),
    "machines": ("docs/standard.md", lambda: machines.to_markdown(PUBLISHED)),
    "orders": ("docs/standard.md", lambda: machines.published_orders("QUICK_2", PUBLISHED)),
    "rates": ("docs/standard.md", lambda: rates.to_markdown(records())),
    "rules": ("docs/standard2.md", lambda: rules.published("STANDARD_2")),
    "rules-large": ("docs/standard2.md", lambda: rules.published("LARGE")),
    "effort": (
        "docs/standard2.md",
        lambda: rates.effort_to_markdown(rates.of_trials(rules.published_trials("STANDARD_2"))),
    ),
    "steps": ("docs/standard2.md", lambda: steps.to_markdown(doubled())),
    "steps-short": ("README.md", lambda: steps.in_short(doubled(), "docs/standard2.md")),
    "steps-in-short": ("docs/leaderboard.md", lambda: steps.in_short(doubled(), "standard2.md")),
    "controls": ("docs/standard2.md", lambda: gates.controls(board())),
    "trials": ("docs/standard2.md", rules.trial_table),
    "trend": ("docs/standard2.md", lambda: trend.published(sizes())),
    "trend-short": ("README.md", lambda: trend.in_short(sizes(), "docs/standard2.md")),
    "trend-in-short": ("docs/leaderboard.md", lambda: trend.in_short(sizes(), "standard2.md")),
    "sizes": ("docs/standard2.md", lambda: trend.gates("STANDARD_2", "LARGE")),
    "evaluation": ("docs/speed.md", lambda: evaluation.to_markdown(records(), FIRST, PROFILE)),
    "recipes": ("docs/standard.md", recipes.to_markdown),
    "notes": ("docs/standard.md", lambda: bullets(notes.on_tasks(board(FIRST)))),
    "rate-notes": ("docs/standard.md", lambda: bullets(notes.on_rates(records()))),
}


def made(name: str) -> str:
    """What belongs between the marks of a part."""
    return f"\n{PARTS[name][1]().strip()}\n\n"


def marked(name: str) -> re.Pattern[str]:
    """What stands between the marks of this part."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


def write() -> list[str]:
    """Write every part into its file; return the files that changed.

    OSError where there is no checkout.
    """
    changed: list[str] = []
    for name, (file, _) in PARTS.items():
        path = ROOT / file
        text = path.read_text(encoding="utf-8")
        new = marked(name).sub(lambda _, name=name: made(name), text)  # type: ignore[misc]
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(file)
    return list(dict.fromkeys(changed))
