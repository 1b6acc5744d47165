"""The origin of a submission: its source file, its name, and the source and the commit of each record."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pebench.leaderboard.submissions.report import Check, clip, quote
from pebench.suite.results.record import Record
from pebench.suite.results.source import (
    SourceError,
    decode,
    defined_names,
    load_problems,
    parse,
    registered_names,
    source_problems,
)

# What a record's card may say of an encoding, beside its title and paper.
SAID = {
    "family": re.compile(r"[a-z -]{0,40}"),
    "kernel": re.compile(r"[a-z -]{0,40}"),
    "formula": re.compile(r".{0,4000}", re.DOTALL),
    "about": re.compile(r".{0,10000}", re.DOTALL),
}
FIRST = datetime(2025, 1, 1, tzinfo=UTC)  # no record is older
COMMIT = re.compile(r"[0-9a-f]{40}")


def read_source(path: str, data: bytes, card: Mapping[str, Any], check: Check) -> str:
    """The text of the encoding's file; empty if it is no Python. It is parsed, never run."""
    if card.get("file") != path:
        check.problems.append(f"the file is {path}, but card.json says {quote(card.get('file'))}")
    if card.get("sha256") != hashlib.sha256(data).hexdigest():
        check.problems.append("its sha256 differs from the one in card.json; run `pebench submit` again")
    try:
        text = decode(data)
        tree = parse(text)
    except SourceError as e:
        check.problems.append(f"{path} {clip(str(e))}")
        return ""
    problems = dict.fromkeys([*source_problems(text, tree), *load_problems(tree)])
    check.problems += [f"{path} {problem}" for problem in problems]
    if (name := card.get("name", "")) and name not in defined_names(tree):
        check.problems.append(f"{path} defines no encoding {name!r}")
    if others := sorted(registered_names(tree) - {name}):
        check.problems.append(f"{path} registers {quote(others[0])} too; a submission is of one encoding")
    return text


def taken_names(folder: Path) -> dict[str, str]:
    """The names of the encodings in a folder of Python files, with their source; nothing is imported."""
    names = {}
    for file in sorted(folder.glob("*.py")):
        text = decode(file.read_bytes())
        for name in defined_names(parse(text)):
            names[name] = text
    return names


def check_name(
    name: str, text: str, taken: Mapping[str, str], published: Iterable[Record], own: Iterable[Record] = ()
) -> Check:
    """No other encoding has the name: none of this checkout, and none on the board.

    Records on the board that are the submission's `own` are of an `accept` that was cut off.
    """
    moved = {r.path for r in own}
    check = Check("the name is nobody else's")
    if not name:
        check.problems.append("card.json names no encoding")
    elif name in taken and taken[name] != text:
        check.problems.append(f"there is an encoding {name!r} already; choose another name")
    elif others := [r for r in published if r.encoding == name and r.path not in moved]:
        check.problems.append(f"the board has {name!r} already ({others[0].path}); choose another name")
    return check


def check_sources(records: list[Record], text: str, sources: list[str], card: Mapping[str, Any]) -> Check:
    """All records come from the submitted file: one card, and the source in it is the file.

    What that card says is shown as `card.json` is, and so is held to the same rules.
    """
    check = Check("the records are of this source")
    told = records[0].card if records else {}
    for key in ("title", "paper"):
        if told.get(key) != card.get(key) and records:
            check.problems.append(
                f"the records say {quote(told.get(key))} for `{key}`, and card.json {quote(card.get(key))}; correct "
                "the file, and run `pebench submit` again"
            )
    for key, fits in SAID.items():
        value = told.get(key, "")
        if not isinstance(value, str) or not fits.fullmatch(value):
            check.problems.append(
                f"`{key}` in the records is no text, too long, or holds other signs than words"
            )
    for r in records:
        if r.card.get("source") != text or [r.card.get("file")] != sources:
            check.problems.append(
                f"{r.path} is of another source; `pebench submit` makes the missing records"
            )
        elif r.card != records[0].card:
            check.problems.append(f"{r.path} describes the encoding differently")
    return check


def check_commits(records: list[Record]) -> Check:
    """Each record names a commit without changed files, and its date."""
    check = Check("run from committed code")
    for r in records:
        p = r.provenance
        commit, started = p.get("commit"), p.get("started")
        if not (isinstance(commit, str) and COMMIT.fullmatch(commit)) or p.get("dirty") is not False:
            why = f" ({clip(str(p['no_commit']))})" if p.get("no_commit") else ""
            check.problems.append(
                f"{r.path}: of no commit{why}, or of changed files; run from a clean checkout"
            )
        if not _possible(started):
            check.problems.append(f"{r.path}: does not say when it was run, with a time zone")
    return check


def _possible(started: object) -> bool:
    """Whether this is a moment that has been, in ISO 8601; a day is allowed to clocks."""
    try:
        moment = datetime.fromisoformat(started if isinstance(started, str) else "")
        return moment.tzinfo is not None and FIRST <= moment <= datetime.now(UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        return False
