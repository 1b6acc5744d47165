"""Checks a submission folder as data: nothing in it is imported or executed, and nothing in it is trusted.

A submission is `card.json`, the encoding's one file, and `records/` with the records of one profile. Every
check says what is wrong and what to do; `compare` puts the records beside those of the board.
"""

import hashlib
import json
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pebench.leaderboard.app import views
from pebench.leaderboard.board import Board, Entry, board_of
from pebench.leaderboard.printing import plain
from pebench.leaderboard.table import label
from pebench.suite.results import card as cards
from pebench.suite.results.metrics import METRICS
from pebench.suite.results.names import name_problem, profile_problem
from pebench.suite.results.record import Record, RecordError, Row, from_json, newest
from pebench.suite.results.source import (
    LARGEST_SOURCE,
    SourceError,
    decode,
    defined_names,
    parse,
    source_problems,
)

KILO, MEGA = 1024, 1024**2
FILES, DEPTH, FOLDER_BYTES = 5000, 6, 200 * MEGA
CARD_BYTES, RECORD_BYTES = 20 * KILO, 4 * MEGA
ROWS, SHOWN = 20_000, 10  # rows of a record; problems told of one check
SOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}\.py")
RECORD = re.compile(r"records/[A-Z0-9_]+/[a-z0-9_]+/[a-z0-9_]+/[0-9]{1,4}-[0-9a-f]{16}\.json")
RANGES = {
    "share": (0.0, 1.0),
    "0 or 1": (0.0, 1.0),
    "score": (0.0, 2.0),
    "bits": (0.0, 64.0),
    "x RoPE": (1e-4, 1e4),
}
LARGEST = 1e15  # no metric of another unit comes near it
SAME = 1e-6  # relative difference of floors and ceilings between processors
COMMIT = re.compile(r"[0-9a-f]{40}")


class SubmissionError(ValueError):
    """A submission that cannot be looked at or made at all."""


@dataclass(frozen=True)
class Rules:
    """What a profile demands of a submission: the suite's own literals, as plain data."""

    seeds: int  # at least; 0 to this number without a gap
    setups: Mapping[
        str, Mapping[str, Any]
    ]  # by task: what the record must say of model, steps, text and gate
    once: frozenset[str]  # tasks that are run with seed 0 alone


@dataclass
class Check:
    """One thing that was looked at, and what is wrong with it."""

    name: str
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass
class Report:
    """What was found in a submission. Its texts come from strangers: escape them."""

    name: str
    profile: str
    checks: list[Check]
    records: list[Record]
    notes: list[str]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def validate(
    folder: Path,
    rules: Mapping[str, Rules],
    taken: Mapping[str, str],
    board: Iterable[Record] = (),
    published: Iterable[Record] = (),
) -> Report:
    """Look at a submission folder.

    `rules` by profile; `taken` maps the names of existing encodings to their source; `board` are the records
    that it is compared with, `published` those among whose names its own must be new: the author's own earlier
    runs are of the first kind alone. SubmissionError where the folder is none.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError(f"{folder} is no folder; `pebench submit` packs one")
    files = Check("only the files of a submission, of bounded size")
    paths = _paths(folder, files)
    card_check, card = Check("the card is filled"), dict[str, Any]()
    if "card.json" in paths:
        card = _card(_read(folder, "card.json", CARD_BYTES, files), card_check)
    else:
        card_check.problems.append("there is no card.json; `pebench submit` writes it")
    sources = [path for path in paths if SOURCE.fullmatch(path)]
    source_check, text = Check("one source file, as the card says"), ""
    if len(sources) == 1:
        data = _read(folder, sources[0], LARGEST_SOURCE, files)
        text = _source(sources[0], data, card, source_check)
    else:
        source_check.problems.append(f"there are {len(sources)} Python files beside card.json, not one")
    readable = Check("every record is whole and lies in its place")
    records = [
        r for path in paths if RECORD.fullmatch(path) and (r := _record(folder, path, files, readable))
    ]
    name, profile = card.get("name", ""), card.get("profile", "")
    rule = rules.get(profile)
    if card and rule is None:
        card_check.problems.append(f"there is no profile {_quote(profile)}; there are: {', '.join(rules)}")
    notes: list[str] = []
    standing = [r for r in board if r.profile == profile]
    checks = [
        files,
        card_check,
        source_check,
        readable,
        _own_name(name, text, taken, published),
        _complete(records, name, profile, card.get("seeds"), rule),
        _setups(records, rule),
        _sources(records, text, sources),
        _committed(records),
        _numbers(records),
        _certificate(records),
        _same_test(records, standing, notes),
    ]
    return Report(name, profile, checks, records, notes)


def _paths(folder: Path, check: Check) -> list[str]:
    """The expected files below a folder, sorted; everything else is a problem. No link is followed."""
    found, total = [], 0
    for count, (path, entry) in enumerate(_walk(folder, PurePosixPath())):
        if count == FILES:
            check.problems.append(f"more than {FILES} files")
            break
        name, kind = str(path), entry.stat(follow_symlinks=False)
        expected = name == "card.json" or SOURCE.fullmatch(name) or RECORD.fullmatch(name)
        if not stat.S_ISREG(kind.st_mode):
            check.problems.append(f"{_quote(name)} is a link or no regular file; remove it")
        elif not expected:
            check.problems.append(f"{_quote(name)} does not belong in a submission; remove it")
        elif kind.st_nlink > 1:
            check.problems.append(f"{_quote(name)} is a hard link; copy the file")
        else:
            total += kind.st_size
            found.append(name)
    if total > FOLDER_BYTES:
        check.problems.append(f"{total / MEGA:.0f} MB in all; at most {FOLDER_BYTES // MEGA}")
    return sorted(found)


def _walk(folder: Path, inside: PurePosixPath) -> Iterator[tuple[PurePosixPath, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            path = inside / entry.name
            if entry.is_dir(follow_symlinks=False) and len(path.parts) < DEPTH:
                yield from _walk(folder / entry.name, path)
            else:
                yield path, entry


def _read(folder: Path, path: str, most: int, check: Check) -> bytes:
    """A file's bytes; nothing, and a problem, where there are more than `most`."""
    flags = sum(
        getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
    )  # not on every system
    handle = os.open(folder / path, os.O_RDONLY | flags)
    with os.fdopen(handle, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        check.problems.append(f"{path} is larger than {most // KILO} kB")
        return b""
    return data


def _json(data: bytes) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN, no number beyond a float. RecordError says what is wrong."""
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_no, parse_int=_int, object_pairs_hook=_no_key_twice
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise RecordError(f"not JSON: {_clip(str(e))}") from e


def _no(name: str) -> float:
    raise RecordError(f"{name} is not a number")


def _int(digits: str) -> int:
    if len(digits) > 20:
        raise RecordError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for key, _ in pairs)
    if twice := [key for key, count in counts.items() if count > 1]:
        raise RecordError(f"key {_quote(twice[0])} stands there twice")
    return dict(pairs)


def _card(data: bytes, check: Check) -> dict[str, Any]:
    """The fields of card.json that are right; what is wrong or missing is named."""
    try:
        card = _json(data)
    except RecordError as e:
        check.problems.append(f"card.json: {e}")
        return {}
    if not isinstance(card, dict):
        check.problems.append("card.json is no object")
        return {}
    if unknown := sorted(card.keys() - cards.KEYS):
        check.problems.append(f"card.json has unknown fields: {_quote(', '.join(unknown))}")
    if card.get("schema") != cards.SCHEMA:
        check.problems.append(f"card.json has schema {_quote(card.get('schema'))}, not {cards.SCHEMA}")
    for key in cards.TEXTS:
        value = card.get(key)
        if not isinstance(value, str) or not value.strip():
            check.problems.append(f"fill `{key}` in card.json")
        elif wrong := cards.text_problem(key, value):
            check.problems.append(f"`{key}` in card.json {wrong}")
    if isinstance(bibtex := card.get("bibtex"), str) and bibtex.strip():
        balanced = bibtex.count("{") == bibtex.count("}")
        if not re.match(r"\s*@[A-Za-z]+\{[^\s,{}]+,", bibtex) or not balanced:
            check.problems.append(
                "`bibtex` in card.json is no BibTeX entry: @article{key, title = {...}, ...}"
            )
    right = {
        "name": lambda v: not name_problem(v),
        "file": lambda v: isinstance(v, str) and SOURCE.fullmatch(v),
        "sha256": lambda v: isinstance(v, str) and re.fullmatch(r"[0-9a-f]{64}", v),
        "profile": lambda v: not profile_problem(v),
        "seeds": lambda v: isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= 1000,
    }
    for key, fits in right.items():
        if not fits(card.get(key)):
            check.problems.append(
                f"`{key}` in card.json is {_quote(card.get(key))}; `pebench submit` fills it"
            )
            card.pop(key, None)
    return card


def _source(path: str, data: bytes, card: dict[str, Any], check: Check) -> str:
    """The text of the encoding's file. It is parsed for a first look, never run."""
    if card.get("file") != path:
        check.problems.append(f"the file is {path}, but card.json says {_quote(card.get('file'))}")
    if card.get("sha256") != hashlib.sha256(data).hexdigest():
        check.problems.append("its sha256 is not that of card.json; run `pebench submit` again")
    try:
        text = decode(data)
        tree = parse(text)
    except SourceError as e:
        check.problems.append(f"{path} {_clip(str(e))}")
        return ""
    check.problems += [f"{path} {problem}" for problem in source_problems(text, tree)]
    if (name := card.get("name", "")) and name not in defined_names(tree):
        check.problems.append(f"{path} defines no encoding {name!r}")
    return text


def taken_names(folder: Path) -> dict[str, str]:
    """The names of the encodings in a folder of Python files, with their source; nothing is imported."""
    names = {}
    for file in sorted(folder.glob("*.py")):
        text = decode(file.read_bytes())
        for name in defined_names(parse(text)):
            names[name] = text
    return names


def _record(folder: Path, path: str, files: Check, check: Check) -> Record | None:
    data = _read(folder, path, RECORD_BYTES, files)
    if not data:
        return None
    try:
        _json(data)
        record = from_json(data.decode("utf-8"))
        if f"records/{record.path.as_posix()}" != path:
            raise RecordError(f"says that its place is {_quote(record.path.as_posix())}")
        if len(record.rows) > ROWS:
            raise RecordError(f"has more than {ROWS} rows")
    except (RecordError, ValueError, OverflowError) as e:
        check.problems.append(f"{path}: {_clip(str(e))}")
        return None
    if wrong := next(_wrong_values({"card": record.card, "provenance": record.provenance}), ""):
        check.problems.append(f"{path}: {wrong}")
        return None
    return record


def _wrong_values(value: object, where: str = "", depth: int = 0) -> Iterator[str]:
    """What is too deep, too long, too large or invisible in JSON data."""
    if depth > 4:
        yield f"{where} is nested too deeply"
    elif isinstance(value, dict):
        if len(value) > 100:
            yield f"{where} has more than 100 fields"
            return
        for key, part in value.items():
            yield from _wrong_values(key, where, depth + 1)
            yield from _wrong_values(part, f"{where} {_quote(key)}".strip(), depth + 1)
    elif isinstance(value, list):
        if len(value) > 100:
            yield f"{where} has more than 100 entries"
            return
        for part in value:
            yield from _wrong_values(part, where, depth + 1)
    elif isinstance(value, str):
        if len(value) > LARGEST_SOURCE:
            yield f"{where} is too long"
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t\f" for c in value):
            yield f"{where} holds invisible characters"
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        yield f"{where} is too large a number"


def _own_name(name: str, text: str, taken: Mapping[str, str], published: Iterable[Record]) -> Check:
    check = Check("the name is nobody else's")
    if not name:
        check.problems.append("card.json names no encoding")
    elif name in taken and taken[name] != text:
        check.problems.append(f"there is an encoding {name!r} already; choose another name")
    elif others := [r for r in published if r.encoding == name and r.card.get("source") != text]:
        check.problems.append(
            f"the board has {name!r} with another source ({others[0].path}); choose another name"
        )
    return check


def _complete(records: list[Record], name: str, profile: str, seeds: object, rule: Rules | None) -> Check:
    """Every task and seed of the profile once, and no other: results cannot be picked."""
    check = Check("complete for the profile: every task and seed, once")
    if rule is None or not isinstance(seeds, int):
        check.problems.append("the card names no profile or number of seeds to be complete for")
        return check
    if seeds < rule.seeds:
        check.problems.append(f"{seeds} seeds; {profile} needs {rule.seeds}")
    needed = {
        (name, task, profile, seed)
        for task in rule.setups
        for seed in (range(1) if task in rule.once else range(seeds))
    }
    found = Counter((r.encoding, r.task, r.profile, r.seed) for r in records)
    check.problems += [
        f"no record of {_run(key)}; `pebench submit` continues" for key in sorted(needed - found.keys())
    ]
    check.problems += [f"{_run(key)} is not asked for" for key in sorted(found.keys() - needed)]
    check.problems += [f"{_run(key)} has {n} records" for key, n in sorted(found.items()) if n > 1]
    again = [r for r in records if r.outcome in ("failed", "timed out", "out of memory")]
    check.problems += [f"{r.path} has no result ({r.outcome}); `pebench submit --retry`" for r in again]
    return check


def _run(key: tuple[str, str, str, int]) -> str:
    encoding, task, profile, seed = key
    return f"{encoding} {task} {profile} seed {seed}"


def _setups(records: list[Record], rule: Rules | None) -> Check:
    """Model, steps, learning rate, gate and text are the profile's."""
    check = Check("trained and measured as the profile says, on its text")
    for r in records:
        wanted = dict(rule.setups.get(r.task, {})) if rule else {}
        if r.setup != wanted:
            keys = [k for k in sorted(wanted.keys() | r.setup.keys()) if r.setup.get(k) != wanted.get(k)]
            check.problems.append(f"{r.path} differs in: {_clip(', '.join(map(_quote, keys)))}")
    return check


def _sources(records: list[Record], text: str, sources: list[str]) -> Check:
    """All records come from the submitted file: one card, and the source in it is the file."""
    check = Check("the records are of this source")
    for r in records:
        if r.card.get("source") != text or [r.card.get("file")] != sources:
            check.problems.append(f"{r.path} is of another source; `pebench submit` runs what is missing")
        elif r.card != records[0].card:
            check.problems.append(f"{r.path} describes the encoding differently")
    return check


def _committed(records: list[Record]) -> Check:
    check = Check("run from committed code")
    for r in records:
        p = r.provenance
        commit, started = p.get("commit"), p.get("started")
        if not (isinstance(commit, str) and COMMIT.fullmatch(commit)) or p.get("dirty") is not False:
            why = f" ({_clip(str(p['no_commit']))})" if p.get("no_commit") else ""
            check.problems.append(
                f"{r.path}: of no commit{why}, or of changed files; run from a clean checkout"
            )
        try:
            datetime.fromisoformat(started if isinstance(started, str) else "")
        except ValueError:
            check.problems.append(f"{r.path}: says not when it was run")
    return check


def _numbers(records: list[Record]) -> Check:
    """Every value within what its metric can be."""
    check = Check("every number is possible")
    for r in records:
        for row in r.rows:
            low, high = RANGES.get(METRICS[row.metric].unit, (0.0, LARGEST))
            parts = (row.value, *(v for v in (row.floor, row.ceiling) if v is not None))
            sizes = [v for v in row.condition.values() if not isinstance(v, str)]
            if not all(low <= v <= high for v in parts) or row.n > 10**10:
                check.problems.append(f"{r.path}: {row.metric} {row.value:g} of n {row.n} is out of range")
            elif any(abs(v) > 10**9 for v in sizes) or any(
                len(str(part)) > 200 for pair in row.condition.items() for part in pair
            ):
                check.problems.append(f"{r.path}: a condition of {row.metric} is out of range")
        twice = [key for key, n in Counter(map(_key, r.rows)).items() if n > 1]
        check.problems += [f"{r.path}: {metric} stands there twice" for metric, _ in twice]
    return check


def _key(row: Row) -> tuple[str, str]:
    return row.metric, label(row.condition)


def _certificate(records: list[Record]) -> Check:
    check = Check("the certificate holds")
    certificates = [r for r in records if r.task == "certificate"]
    for r in certificates:
        failed = [row.condition.get("check") for row in r.rows if row.metric != "pass" or row.value != 1]
        check.problems += [f"it fails: {_quote(name)}; `pebench check` says why" for name in failed]
        if r.outcome != "measured":
            check.problems.append(f"it could not be made: {r.outcome}")
    if not certificates:
        check.problems.append("there is none")
    return check


def _same_test(records: list[Record], board: list[Record], notes: list[str]) -> Check:
    """The same questions with the same floor and ceiling as others were asked on the board."""
    check = Check("the same questions as on the board")
    for r in records:
        others = [o for o in board if o.task == r.task and o.setup == r.setup and o.rows]
        if r.task == "certificate" or not r.rows:
            continue
        if not others:
            notes.append(f"the board has no run of {r.task} to compare the questions with")
            continue
        known = {_key(row): row for o in others for row in o.rows}
        given = {_key(row): row for row in r.rows}
        for key, row in given.items():
            if key not in known or not _same_question(row, known[key]):
                check.problems.append(f"{r.path}: {key[0]} ({_quote(key[1])}) is another question")
        lengths = {row.condition.get("length") for row in r.rows}
        missing = [row for key, row in known.items() if key not in given]
        for row in missing:
            if row.condition.get("length") in lengths:
                check.problems.append(f"{r.path}: {row.metric} ({label(row.condition)}) is missing")
        beyond = {row.condition.get("length") for row in missing} - lengths
        if beyond:
            notes.append(f"{r.task} is not defined at length {', '.join(sorted(map(str, beyond)))}")
    notes[:] = list(dict.fromkeys(notes))
    return check


def _same_question(a: Row, b: Row) -> bool:
    def close(x: float | None, y: float | None) -> bool:
        return x == y or (x is not None and y is not None and math.isclose(x, y, rel_tol=SAME))

    return a.n == b.n and close(a.floor, b.floor) and close(a.ceiling, b.ceiling)


def _clip(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _quote(value: object) -> str:
    """A stranger's value, short and with everything unusual escaped."""
    return ascii(value if not isinstance(value, str) else value[:80])


def told(report: Report) -> Iterator[tuple[Check, list[str]]]:
    """Each check with the problems that are worth telling."""
    for check in report.checks:
        more = len(check.problems) - SHOWN
        yield check, check.problems[:SHOWN] + ([f"and {more} more"] if more > 0 else [])


def board_with(report: Report, board: Iterable[Record]) -> Board | None:
    """The board as it would be with this submission; None where a check failed."""
    if not report.passed:
        return None
    records = newest([*(r for r in board if r.profile == report.profile), *report.records])
    return board_of(records, report.profile, {report.profile: len(records)}, [])


def to_markdown(report: Report, board: Iterable[Record]) -> str:
    """The report for a pull request: the checks, then the comparison. Everything of the submission is escaped."""
    lines = [
        f"### {safe(report.name or 'Submission')}: {'every check holds' if report.passed else 'refused'}",
        "",
    ]
    for check, problems in told(report):
        lines.append(f"- {'✓' if check.passed else '✗'} {check.name}")
        lines += [f"  - {safe(problem)}" for problem in problems]
    lines += [f"- note: {safe(note)}" for note in report.notes]
    after = board_with(report, board)
    return "\n".join([*lines, "", *(compared(after, report.name) if after else [])]) + "\n"


def safe(text: str) -> str:
    """Markdown that shows this text as it is, and calls nobody."""
    return plain(text).replace("@", "@\u200b").replace("www.", "www\u200b.")


def compared(board: Board, name: str) -> list[str]:
    """An encoding beside its neighbours, the leader and RoPE, as lines of Markdown."""
    place = next(n for n, e in enumerate(board.entries) if e.name == name)
    chosen = [
        e for n, e in enumerate(board.entries) if n == 0 or abs(n - place) <= 2 or e.name in ("rope", "nope")
    ]
    header = ["tier", "encoding", "score", "95 %", *board.task_families, "coverage"]
    lines = [f"#### {safe(board.profile)}, {board.size}", ""]
    lines += [f"| {' | '.join(map(safe, header))} |", f"|{' --- |' * len(header)}"]
    for e in chosen:
        cells = [*_cells(e, board.task_families), f"{e.coverage:.0%}"]
        lines.append(f"| {' | '.join(f'**{cell}**' if e.name == name else cell for cell in cells)} |")
    differences = views.compare(board, name, [e.name for e in chosen if e.name != name])
    if len(differences):
        overall = differences[differences["task"] == "all"]
        lines += ["", f"Difference of {safe(name)}, paired by seed, with 95 % intervals:", ""]
        lines += [
            f"- {d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}] to {safe(d.other)}"
            for d in overall.itertuples()
        ]
    entry = board.entries[place]
    return [*lines, *(["", f"No rank: {safe(entry.reason)}"] if entry.reason else []), ""]


def _cells(e: Entry, families: list[str]) -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    parts = (e.families.get(family) for family in families)
    interval = f"{share(e.low)} to {share(e.high)}"
    scores = [share(part.score if part else None) for part in parts]
    return [str(e.tier or "-"), safe(e.name), share(e.score), interval, *scores]
