"""A submission that passes every check, without a training: real cells, made-up numbers."""

import json
from pathlib import Path

from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.results.record import CERTIFICATE, Record, Row, write
from pebench.suite.runs.cell import Cell
from pebench.suite.submissions import submission
from pebench.suite.submissions.template import encoding_file

SMOKE = PROFILES["SMOKE"]
FACTS = {
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": 60.0,
    "commit": "0123456789" * 4,
    "dirty": False,
    "versions": {"pebench": "0.1.0"},
    "command": "pebench run --profile SMOKE",
}
FILLED = {
    "authors": "A. Author and B. Author",
    "licence": "MIT",
    "bibtex": "@misc{my_idea,\n title = {Mine}\n}",
}


def rows(task: str, shift: float = 0.0) -> tuple[Row, ...]:
    """Plausible numbers of a task."""
    if task == CERTIFICATE:
        return tuple(Row("pass", 1.0, 1, {"check": name, "detail": "1e-7"}) for name in ("hides", "learns"))
    if task == "throughput":
        return (
            Row("train_ratio", 1.2 + shift, 3, {"length": 32}),
            Row("train_speed", 1e4, 3, {"length": 32}),
        )
    measured = tuple(Row("exact", 0.5 + shift, 8, {"length": n}, 0.0, 1.0) for n in (4, 8))
    return (Row("gate", 0.5 + shift, 8), *measured)


def record(cell: Cell, shift: float = 0.0) -> Record:
    """A record of this cell."""
    return cell.record(rows=rows(cell.task, shift), provenance=FACTS)


def standing(folder: Path, names: tuple[str, ...] = ("rope", "nope", "alibi")) -> Path:
    """Records of registered encodings, as a board has them."""
    for n, name in enumerate(names):
        for task in (CERTIFICATE, *SMOKE.plans):
            write(record(Cell(name, task, "SMOKE", 0), 0.1 * n), folder)
    return folder


def proposal(folder: Path, seeds: int = 1) -> submission.Proposal:
    """A new encoding in a file of its own."""
    text, cls = encoding_file("my_idea")
    # Not registered, as every test makes it anew and a name is registered once: the class gives the name.
    text = text.replace('@register("my_idea")\n', "").replace(f"class {cls}", "class My_Idea")
    file = folder / "my_idea.py"
    file.write_text(text)
    return submission.propose(f"{file}:My_Idea", SMOKE, seeds)


def submitted(folder: Path) -> tuple[submission.Proposal, Path, Path]:
    """The proposal, its records folder and the packed submission with a filled card."""
    plan = proposal(folder)
    records, out = folder / "records", folder / "my_idea"
    for cell in plan.cells:
        write(record(cell, 0.2), records)
    submission.pack(plan, records, out)
    fill(out)
    return plan, records, out


def fill(out: Path) -> None:
    """Fill in what only the author knows."""

    file = out / "card.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **FILLED}))
