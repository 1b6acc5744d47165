"""A submission that is spoiled in one way, and what the review finds in it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pebench.encodings.registry import FOLDER
from pebench.leaderboard.submissions.comment import to_markdown
from pebench.leaderboard.submissions.completeness import Rules
from pebench.leaderboard.submissions.origin import taken_names
from pebench.leaderboard.submissions.report import Report
from pebench.leaderboard.submissions.validate import validate
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.results.record import Record, Row, from_json, to_json
from pebench.suite.submissions.submission import once, setups

RULES = {name: Rules(p.seeds, setups(p), once(p)) for name, p in PROFILES.items()}
TAKEN = taken_names(FOLDER)
CODE = "__import__('os').system('echo owned > owned')"
Spoiled = dict[str, tuple[Callable[[Path], Any], str]]  # a fault: how it is made, and its problem


def found(folder: Path, board: list[Record]) -> Report:
    return validate(folder, RULES, TAKEN, board, board)


def problems(report: Report) -> str:
    return "\n".join(problem for check in report.checks for problem in check.problems)


def one(folder: Path, task: str = "copy") -> Path:
    return next((folder / "records/SMOKE" / task).rglob("*.json"))


def changed(folder: Path, task: str = "copy", **parts: Any) -> None:
    """Rewrite the record of a task with other content."""
    path = one(folder, task)
    path.write_text(to_json(replace(from_json(path.read_text()), **parts)))


def raw(folder: Path, old: str, new: str) -> None:
    """Rewrite the text of a record."""
    path = one(folder)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def card(folder: Path, **fields: Any) -> None:
    file = folder / "card.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def rows_of(folder: Path, task: str = "copy") -> tuple[Row, ...]:
    return from_json(one(folder, task).read_text()).rows


def source(f: Path, text: str) -> None:
    """Other source, with a card and records that agree."""
    (f / "my_idea.py").write_text(text)
    card(f, sha256=hashlib.sha256(text.encode()).hexdigest())
    for path in (f / "records").rglob("*.json"):
        record = from_json(path.read_text())
        path.write_text(to_json(replace(record, card={**record.card, "source": text})))


def values(f: Path, task: str, value: float) -> None:
    path = one(f, task)
    data = json.loads(path.read_text())
    for row in data["rows"]:
        row["value"] = value  # no Row takes an impossible one
    path.write_text(json.dumps(data))


def provenance(f: Path, **other: Any) -> None:
    changed(f, provenance={**from_json(one(f).read_text()).provenance, **other})


def their_card(f: Path, **other: Any) -> None:
    changed(f, card={**from_json(one(f).read_text()).card, **other})


def floors(f: Path, floor: float) -> None:
    changed(f, rows=tuple(replace(r, floor=floor) if r.floor is not None else r for r in rows_of(f)))


def demand_found(fault: tuple[Callable[[Path], Any], str], folder: Path, board: list[Record]) -> None:
    """Make a fault. The review must name it, refuse the submission, and escape every text of it."""
    spoil, says = fault
    spoil(folder)
    report = found(folder, board)
    assert says in problems(report)
    assert not report.passed
    text = to_markdown(report, board)
    assert "refused" in text
    for trap in ("<script", "<img", "](http", "\u202e"):
        assert trap not in text.replace("\\<", "")
    assert len(text) < 20_000
