"""The origin of a submission: its source file, its name, and the source and the commit of each record."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pebench.leaderboard.submissions.report import Check, clip, quote
from pebench.suite.results.record import Record
from pebench.suite.results.source import SourceError, decode, defined_names, parse, source_problems

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


def check_name(name: str, text: str, taken: Mapping[str, str], published: Iterable[Record]) -> Check:
    """No other encoding has the name: none of this checkout, and none on the board."""
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


def check_sources(records: list[Record], text: str, sources: list[str]) -> Check:
    """All records come from the submitted file: one card, and the source in it is the file."""
    check = Check("the records are of this source")
    for r in records:
        if r.card.get("source") != text or [r.card.get("file")] != sources:
            check.problems.append(f"{r.path} is of another source; `pebench submit` runs what is missing")
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
        try:
            datetime.fromisoformat(started if isinstance(started, str) else "")
        except ValueError:
            check.problems.append(f"{r.path}: does not say when it was run")
    return check
