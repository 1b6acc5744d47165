"""The leaderboard of one profile: made of a folder of records; printed, or as JSON, CSV or Markdown."""

import functools
import gc
import hashlib
import json
import math
import os
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pebench.leaderboard import ranking, table
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import LARGEST, VERIFIED, Record, Unreadable, folders, newest, read_all

PUBLISHED = Path(__file__).with_name("records")  # what the repository holds; not in an installed package
COSTS = ("train_ratio", "prefill_ratio", "decode_ratio", "cache_bytes")
NOTHING = "no score yet on anything that another encoding has too"
CONTENT = "reads content"  # the check that says it
REMEDY = "make some with `pebench run --profile QUICK`"


class BoardError(ValueError):
    """A folder or profile that no board can be made of, with the remedy."""


@dataclass(frozen=True)
class Interval:
    """A score between the floor (0) and the oracle (1), with its 95 % interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Entry:
    """One encoding on the board. What was not measured is None or absent."""

    name: str
    title: str
    family: str
    kernel: str
    paper: str
    rank: int | None  # shared by all encodings of a tier
    tier: int | None
    reason: str  # why there is no rank
    score: float | None
    low: float | None
    high: float | None
    p_best: float | None
    coverage: float  # weight of the conditions that were measured
    seeds: int  # in the task where it has fewest
    families: dict[str, Interval]  # by task family
    gates: dict[str, float]  # by task: share of the seeds that learned it
    costs: dict[str, float]  # ratios to RoPE, and bytes of cache per token
    certificate: str  # passed, failed or missing
    failed_checks: list[str]
    failed_runs: list[str]  # "task, seed: outcome"
    parameters: int | None  # of the encoding itself
    reads_content: bool | None  # whether positions enter other than by a matrix and a bias of their own
    verified: float  # share of the records that were run again and came out the same
    clean: bool  # every run came from committed code
    stale: bool  # some seeds were run with another version of the code than others
    own_texts: list[str]  # corpora of a user's own that it was trained on

    @property
    def partial(self) -> bool:
        """Some conditions of the board are missing."""
        return 0 < self.coverage < ranking.WHOLE


@dataclass(frozen=True)
class Board:
    """Everything a page or a printed table shows of one profile."""

    profile: str
    profiles: dict[str, int]  # all in the folder, with their numbers of records
    entries: list[Entry]  # best first, those without a rank last
    task_families: list[str]
    seeds: list[int]  # that count in some task
    notes: list[str]
    unreadable: list[Unreadable]
    scores: pd.DataFrame  # table.score_table
    runs: pd.DataFrame  # table.run_table
    checks: pd.DataFrame  # table.check_table
    cards: dict[str, dict[str, Any]]
    ranking: ranking.Ranking

    @property
    def size(self) -> str:
        """How many encodings, and of how many seeds in a task: "1 encoding, 1 seed", "9 encodings, 1 to 3 seeds"."""
        runs = self.ranking.data.runs
        few, many = (int(runs[runs > 0].min()), int(runs.max())) if runs.any() else (0, 0)
        seeds = counted(many, "seed")
        return f"{counted(len(self.entries), 'encoding')}, {seeds if few == many else f'{few} to {seeds}'}"


def make_board(records_folder: Path, profile: str | None = None) -> Board:
    """The board of a records folder; without a profile, of that with the most records.

    BoardError where there is nothing to show.
    """
    if not records_folder.is_dir():
        raise BoardError(f"there is no records folder {records_folder}; {REMEDY}")
    with uncollected():
        every, unreadable = read_all(records_folder)
    if not every:
        broken = f" ({len(unreadable)} unreadable, first: {unreadable[0].reason})" if unreadable else ""
        raise BoardError(f"no records in {records_folder}{broken}; {REMEDY}")
    profiles = dict(Counter(r.profile for r in every).most_common())
    profile = profile or next(iter(profiles))
    if profile not in profiles:
        raise BoardError(f"no records of profile {profile!r}; there are: {', '.join(profiles)}; {REMEDY}")
    chosen = [r for r in newest(every) if r.profile == profile]
    marks = verified(records_folder, {r.path.as_posix() for r in chosen}, unreadable)
    return board_of(chosen, profile, profiles, unreadable, marks)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: going over a hundred thousand rows that live on takes as long as reading them."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def verified(folder: Path, paths: set[str], unreadable: list[Unreadable]) -> dict[str, str]:
    """What `pebench reproduce --mark` states of these records: "equal" or "within tolerance", by path.

    A mark is of the bytes that were run again: a record that was changed since has none.
    """
    file = folder / VERIFIED
    if not file.exists():
        return {}
    if not file.is_file() or file.stat().st_size > LARGEST:
        unreadable.append(Unreadable(file, "no file of marks (no regular file, or too large)"))
        return {}
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))["verified"]
        marks = {path: (stated[path]["sha256"], stated[path]["verdict"]) for path in paths & stated.keys()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        unreadable.append(Unreadable(file, f"no file of marks ({type(e).__name__}: {e})"))
        return {}
    return {
        path: verdict
        for path, (digest, verdict) in marks.items()
        if verdict in ("equal", "within tolerance")
        and hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest
    }


def stamp(records_folder: Path) -> int:
    """A number that changes when a record is added or removed: cheap, as it looks at the folders only."""
    found = (os.fspath(folder) for folder, _, problem in folders(records_folder) if not problem)
    return hash(tuple((folder, os.stat(folder).st_mtime_ns) for folder in found))


def cached_board(folder: str, profile: str | None, changed: int) -> Board:
    """A board that is made once for each state of the folder (stamp) and only read afterwards."""
    with _ONE_AT_A_TIME:  # who asks for a board that is being made waits for it
        return _cached_board(folder, profile, changed)


_ONE_AT_A_TIME = threading.Lock()


@functools.lru_cache(maxsize=4)
def _cached_board(folder: str, profile: str | None, changed: int) -> Board:
    return make_board(Path(folder), profile)


def board_of(
    records: list[Record],
    profile: str,
    profiles: dict[str, int],
    unreadable: list[Unreadable],
    marks: dict[str, str] | None = None,
) -> Board:
    """The board of these records, which are of one profile and hold no two of the same run.

    `marks` says of a record, by its path, how it came out when it was run again.
    """
    with uncollected():
        scores, checks = table.score_table(records), table.check_table(records)
    runs, cards = table.run_table(records), table.card_table(records)
    runs["verified"] = [(marks or {}).get(file, "") for file in runs["file"]]
    blocked = _blocked(runs, checks)
    result = ranking.rank(scores, blocked)
    families = sorted(set(result.data.names["task_family"]))
    ranked = list(result.table["encoding"])
    order = ranked + sorted(set(cards) - set(ranked))
    facts = _Facts(
        _by_encoding(result.table), _by_encoding(result.families), _by_encoding(runs), _by_encoding(checks),
        blocked, _costs(scores), cards,
    )  # fmt: skip
    entries = [facts.entry(name) for name in order]
    notes = (
        _seed_notes(result, scores) + _mixture_notes(records) + _notes(entries, profile, profiles, unreadable)
    )
    seeds = result.data.seeds
    return Board(
        profile, profiles, entries, families, seeds, notes, unreadable, scores, runs, checks, cards, result
    )


def _by_encoding(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The rows of a table as named tuples, by encoding; a plain loop over few rows is quicker than a query of each."""
    rows = defaultdict(list)
    for row in frame.itertuples(index=False):
        rows[row.encoding].append(row)
    return rows


def _blocked(runs: pd.DataFrame, checks: pd.DataFrame) -> dict[str, str]:
    """Encodings whose certificate forbids a rank, with the reason."""
    failed = checks[~checks["passed"]].groupby("encoding")["check"].unique()
    reasons = {name: f"certificate failed: {', '.join(sorted(names))}" for name, names in failed.items()}
    broken = runs[(runs["task"] == "certificate") & (runs["outcome"] != "measured")]
    return reasons | {run.encoding: f"certificate {run.outcome}: {run.reason}" for run in broken.itertuples()}


@dataclass(frozen=True)
class _Facts:
    """What is known of each encoding, from all tables."""

    ranked: dict[str, list[Any]]
    families: dict[str, list[Any]]
    runs: dict[str, list[Any]]
    checks: dict[str, list[Any]]
    blocked: dict[str, str]
    costs: dict[str, dict[str, float]]
    cards: dict[str, dict[str, Any]]

    def entry(self, name: str) -> Entry:
        row = self.ranked[name][0]._asdict() if self.ranked[name] else {}
        runs, checks, card = self.runs[name], self.checks[name], self.cards[name]
        bad = [r for r in runs if r.outcome not in ("measured", "undefined")]
        failed = sorted(c.check for c in checks if not c.passed)
        broken = any(r.task == "certificate" for r in bad)
        parameters = [r.parameters_encoding for r in runs if not pd.isna(r.parameters_encoding)]
        return Entry(
            name=name,
            title=_text(card, "title"),
            family=_text(card, "family"),
            kernel=_text(card, "kernel"),
            paper=_text(card, "paper"),
            rank=_none(row.get("rank"), int),
            tier=_none(row.get("tier"), int),
            reason=row.get("reason") or self.blocked.get(name) or ("" if row else NOTHING),
            score=_none(row.get("score"), float),
            low=_none(row.get("low"), float),
            high=_none(row.get("high"), float),
            p_best=_none(row.get("p_best"), float),
            coverage=float(row.get("coverage", 0.0)),
            seeds=int(row.get("seeds", 0)),
            families={p.task_family: Interval(p.score, p.low, p.high) for p in self.families[name]},
            gates=_gates(runs),
            costs=self.costs.get(name, {}),
            certificate="failed" if failed or broken else "passed" if checks else "missing",
            failed_checks=failed,
            failed_runs=[f"{r.task}, seed {r.seed}: {r.outcome}" for r in bad],
            parameters=int(parameters[-1]) if parameters else None,
            reads_content=next((c.detail.startswith("yes") for c in checks if c.check == CONTENT), None),
            verified=sum(r.verified != "" for r in runs) / len(runs),
            clean=all(r.clean for r in runs),
            stale=any(r.stale for r in runs),
            own_texts=sorted({r.corpus for r in runs if r.corpus.startswith("user:")}),
        )


def _gates(runs: list[Any]) -> dict[str, float]:
    """By task: the share of the runs that learned it."""
    learned = defaultdict(list)
    for run in runs:
        if not pd.isna(run.learned):
            learned[run.task].append(bool(run.learned))
    return {task: sum(passed) / len(passed) for task, passed in sorted(learned.items())}


def _costs(scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Geometric means over lengths and seeds, as ratios are, by encoding and metric."""
    rows = scores[scores["metric"].isin(COSTS) & (scores["value"] > 0)]
    costs: dict[str, dict[str, float]] = {}
    for (name, metric), values in rows.groupby(["encoding", "metric"])["value"]:
        costs.setdefault(name, {})[metric] = math.exp(values.map(math.log).mean())
    return costs


def _text(card: dict[str, Any], key: str) -> str:
    value = card.get(key)
    return value if isinstance(value, str) else ""


def _none(value: Any, kind: type) -> Any:
    return None if value is None or pd.isna(value) else kind(value)


def _seed_notes(result: ranking.Ranking, scores: pd.DataFrame) -> list[str]:
    """Which tasks and encodings have fewer seeds than others, and which tasks do not count yet."""
    notes, data = [], result.data
    if result.one_seed and data.tasks:
        notes.append(
            "One seed only: tiers and intervals cover the sampling of the test answers, "
            "not what another training would give."
        )
    elif single := sorted(task for task, n in zip(data.tasks, data.most_runs, strict=True) if n == 1):
        notes.append(
            f"One seed only yet in {', '.join(single)}: its runs are taken to vary as those of the other tasks do."
        )
    if data.behind:
        notes.append(f"With fewer seeds than others in some task: {', '.join(data.behind)}.")
    found = scores.dropna(subset="score").groupby("task")["encoding"].nunique()
    if uncounted := [f"{task} ({found[task]})" for task in sorted(set(found.index) - set(data.tasks))]:
        notes.append(f"Not counted until more encodings have a result there: {', '.join(uncounted)}.")
    return notes


def _mixture_notes(records: list[Record]) -> list[str]:
    """Tasks in which encodings are compared that were not run alike."""
    versions: dict[str, set[str]] = defaultdict(set)
    setups: dict[str, set[str]] = defaultdict(set)
    precisions: dict[str, set[str]] = defaultdict(set)
    for r in records:
        if r.rows and r.task != "certificate":
            told = r.provenance.get("task_fingerprint")
            versions[r.task] |= {told} if isinstance(told, str) else set()  # older records do not tell
            about = {key: value for key, value in r.setup.items() if key != "corpus"}
            setups[r.task].add(json.dumps(about, sort_keys=True))
            precisions[r.task] |= {str(r.provenance.get("precision"))} & {"float32", "bfloat16"}
    notes = []
    if mixed := sorted(task for task in setups if len(versions[task]) > 1 or len(setups[task]) > 1):
        notes.append(
            f"Run with different versions of the task or the training: {', '.join(mixed)}; "
            "`pebench status` says which runs are stale."
        )
    if mixed := sorted(task for task, found in precisions.items() if len(found) > 1):
        notes.append(f"Some of its runs multiplied in bfloat16, others in float32: {', '.join(mixed)}.")
    return notes


def _notes(
    entries: list[Entry],
    profile: str,
    profiles: dict[str, int],
    unreadable: list[Unreadable],
) -> list[str]:
    def names(kept: list[Entry]) -> str:
        return ", ".join(e.name for e in kept)

    notes = []
    if partial := [e for e in entries if e.partial]:
        notes.append(
            "*: some conditions are missing; a place, where there is one, comes from those shared with others, "
            f"and the score itself is of other conditions than theirs: {names(partial)}."
        )
    if untested := [e for e in entries if e.certificate == "missing"]:
        notes.append(f"No certificate yet: {names(untested)}.")
    if stale := [e for e in entries if e.stale]:
        notes.append(
            f"Stale, because the seeds were run with different versions of the code: {names(stale)}."
        )
    if dirty := [e for e in entries if not e.clean]:
        notes.append(f"Run from code that was not committed: {names(dirty)}.")
    if own := [f"{e.name} ({', '.join(e.own_texts)})" for e in entries if e.own_texts]:
        notes.append(f"On a text of the user's own, not to be compared with books-v1: {', '.join(own)}.")
    if failed := [f"{e.name} ({'; '.join(e.failed_runs)})" for e in entries if e.failed_runs]:
        notes.append(f"Runs without a result: {', '.join(failed)}.")
    if others := [f"{name} ({count})" for name, count in profiles.items() if name != profile]:
        notes.append(f"Other profiles in this folder, never mixed in: {', '.join(others)}.")
    notes += [f"Unreadable and left out: {file.path}: {file.reason}" for file in unreadable]
    return notes


def to_json(board: Board) -> dict[str, Any]:
    """The board as plain JSON data: profile, seeds, notes and one object per encoding, best first."""
    return {
        "profile": board.profile,
        "profiles": board.profiles,
        "seeds": board.seeds,
        "task_families": board.task_families,
        "notes": board.notes,
        "unreadable": [{"path": str(u.path), "reason": u.reason} for u in board.unreadable],
        "encodings": [asdict(entry) for entry in board.entries],
    }


def to_frame(board: Board) -> pd.DataFrame:
    """One flat row per encoding, best first: what the overview shows and the CSV holds."""
    rows = []
    for e in board.entries:
        row = asdict(e)
        for part in ("families", "gates", "costs", "failed_checks", "failed_runs"):
            del row[part]
        for family in board.task_families:
            found = e.families.get(family)
            row[family] = found.score if found else None
        row["learned"] = sum(e.gates.values()) / len(e.gates) if e.gates else None
        row |= {metric: e.costs.get(metric) for metric in COSTS}
        rows.append(row)
    return pd.DataFrame(rows).astype({"rank": "Int64", "tier": "Int64", "parameters": "Int64"})


def to_csv(board: Board) -> str:
    """The board as CSV; text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    return safe_csv(to_frame(board))


def safe_csv(frame: pd.DataFrame) -> str:
    """CSV of a frame in which no text is taken for a formula by a spreadsheet."""
    text = frame.select_dtypes(include=["object", "str"]).columns
    safe = {
        c: frame[c].map(lambda v: f"'{v}" if isinstance(v, str) and v[:1] in _FORMULA else v) for c in text
    }
    return frame.assign(**safe).to_csv(index=False)


_FORMULA = tuple("=+-@\t\r")


def to_markdown(board: Board) -> str:
    """The board as a Markdown table, with the notes below."""
    header, rows = _printed(board)
    lines = [f"| {' | '.join(map(plain, header))} |", f"|{'|'.join(' --- ' for _ in header)}|"]
    lines += [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    below = [f"No rank: {e.name}: {e.reason}." for e in board.entries if e.reason] + board.notes
    return "\n".join([*lines, "", *(f"- {plain(note)}" for note in below)]) + "\n"


def plain(text: str) -> str:
    """Text from a record, escaped so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|$~:^&-])", r"\\\1", " ".join(text.split()))


def _printed(board: Board) -> tuple[list[str], list[list[str]]]:
    """The header and the cells of the printed table; of one seed no interval of trainings and no P(best) is told.

    How many seeds an encoding has is told where that is not the same for all.
    """
    one_seed = board.ranking.one_seed
    unequal = len({e.seeds for e in board.entries if e.seeds}) > 1
    header = [
        *("tier", "encoding", "score", "95 % of answers" if one_seed else "95 %"),
        *(["seeds"] if unequal else []),
        *([] if one_seed else ["P(best)"]),
        *(*board.task_families, "cover", "learned", "train"),
    ]
    rows = []
    for e in board.entries:
        parts = (e.families.get(family) for family in board.task_families)
        rows.append(
            [
                str(e.tier) if e.tier else "-",
                e.name,
                _share(e.score) + "*" * e.partial,
                f"{e.low:.2f}-{e.high:.2f}" if e.low is not None and e.high is not None else "-",
                *([str(e.seeds)] if unequal else []),
                *([] if one_seed else [_share(e.p_best)]),
                *(_share(part.score) + "*" * e.partial if part else "-" for part in parts),
                f"{e.coverage:.0%}",
                f"{sum(e.gates.values()) / len(e.gates):.0%}" if e.gates else "-",
                f"{e.costs['train_ratio']:.2f}x" if "train_ratio" in e.costs else "-",
            ]
        )
    return header, rows


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def print_board(board: Board, console: Console) -> None:
    """Print the ranking; it fits 80 columns by leaving out what matters least, and says so."""
    header, rows = _printed(board)
    # Least important first: each goes only if the table would not fit.
    spare = ["train", "learned", "P(best)", *reversed(board.task_families), "cover", "seeds"]
    spare = [name for name in spare if name in header]
    widths = {h: max(len(h), *(len(row[n]) for row in rows)) + 2 for n, h in enumerate(header)}
    left_out = []
    while sum(widths.values()) > console.width and spare:
        left_out.append(spare.pop(0))
        del widths[left_out[-1]]
    title = f"{board.profile}: {board.size}"
    shown = Table(title=title, box=None, pad_edge=False)
    for name in widths:
        shown.add_column(escape(name), justify="left" if name == "encoding" else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(escape(cell) for h, cell in zip(header, row, strict=True) if h in widths))
    console.print(shown)
    console.print(
        "Nothing in a tier is separable from its leader. Scores: 0 is what one gets without reading the input, 1 an "
        "oracle; train: time of a training step over RoPE's.",
        style="dim",
    )
    if left_out:
        console.print(f"Not shown at this width: {escape(', '.join(left_out))} (see --json).", style="dim")
    for e in board.entries:
        if e.reason:
            console.print(f"no rank: {escape(e.name)}: {escape(e.reason)}")
    for note in board.notes:
        console.print(f"note: {escape(note)}")
