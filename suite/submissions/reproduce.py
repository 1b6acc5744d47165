"""Runs a record's cell again and says whether the numbers are the same.

A record is a stranger's text: no path is taken from it. Only a registered encoding, or a file that the user names,
is ever loaded.
"""

import errno
import hashlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from pebench.encodings import registry
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.results.metrics import EXTENDING, METRICS, counted
from pebench.suite.results.record import (
    AGAIN,
    CERTIFICATE,
    LARGEST_SENT,
    RUNNING,
    Record,
    RecordError,
    Row,
    from_json,
    make_folder,
    read,
    write_whole,
)
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.existing import one_line
from pebench.suite.runs.runner import sweep
from pebench.suite.submissions.spread import UNKNOWN, Question, SeedSpread, by_question, spread_in
from pebench.tasks.data.system import Lock

Verdict = Literal["equal", "within tolerance", "within seed spread", "different"]
ATTEMPTS = 5  # at writing a mark
ERRORS = 3.0  # standard errors of a difference that count as the same
SEEDS = 4.0  # standard deviations between seeds, likewise: of pairs of published seeds 96 % are within, in all numbers
RATIO = 1.5  # factor between two timings of the same code on two machines
MARKS = 1  # schema of the file of marks
# What a record says of the machine that decides how numbers are rounded, by the words for it.
MACHINE = {
    "cpu": "processor",
    "device": "device",
    "precision": "precision",
    "torch": "torch version",
    "threads": "threads",
    "kernels": "kernels",
}
TOLERANCE = (
    "shares: 3 standard errors of the difference of two shares of n answers; bits: 3 standard errors of two "
    "means of n bytes whose deviation is as large as the mean; ratios of times: a factor of 1.5; speeds belong "
    "to a machine and are not compared; all else, floors and ceilings included: equal"
)
OTHER_MACHINE = (
    f"; on another kind of machine {SEEDS:g} standard deviations of two seeds' difference added in squares "
)


class ReproduceError(ValueError):
    """A record that cannot be run again here, with the remedy."""


@dataclass(frozen=True)
class Difference:
    """One number of a record, then and now."""

    metric: str
    condition: str
    then: float | None
    now: float | None
    allowed: float  # largest |then - now|; infinite where the number is not compared
    verdict: Verdict


@dataclass(frozen=True)
class Reproduction:
    """What running a record again gave."""

    verdict: Verdict
    differences: list[Difference]  # of every number that is not bitwise equal
    compared: int
    reason: str = ""  # where the runs ended differently
    machine: tuple[str, ...] = ()  # what differs between the two machines
    tolerance: str = TOLERANCE
    over_seeds: float | None = (
        None  # root mean square of the differences, where two seeds have 1; None: unknown
    )


def load(path: Path) -> tuple[Record, str]:
    """The record in a file and the file's sha256. RecordError where it is none; its place does not matter."""
    with path.open("rb") as file:
        data = file.read(LARGEST_SENT + 1)
    if len(data) > LARGEST_SENT:
        raise RecordError(f"{path} is larger than {LARGEST_SENT // 2**20} MB: no record")
    try:
        return from_json(data.decode("utf-8")), hashlib.sha256(data).hexdigest()
    except (ValueError, OverflowError) as e:
        raise RecordError(f"{path} is no record: {e}") from e


def cell_of(record: Record, encoding: str = "", corpus: Path | None = None) -> Cell:
    """The cell that a record is of, as this checkout would run it.

    `encoding` is the user's `file.py:Class` where the record's is not registered. ReproduceError where the
    record is of other code, of another text or of something that is not here.
    """
    if record.task in EXTENDING:
        command = "".join(c for c in one_line(record.provenance.get("command", "")) if c.isprintable())[:300]
        raise ReproduceError(
            f"{record.task} reads a pretrained model, which is not run again here; in an empty --records folder "
            f"`{command or 'pebench extend'}` makes the record again"
        )
    if record.outcome in AGAIN:
        raise ReproduceError(
            f"the run ended as {record.outcome!r}, without a result to compare; `pebench run --retry` makes it again"
        )
    parts = registry.extension_of(record.encoding)[0].split("+")
    if not encoding and not all(part in registry.names() for part in parts):
        raise ReproduceError(
            f"no encoding {record.encoding!r} is registered here; read its source, then name its file: "
            "--encoding FILE.py:Class"
        )
    spec = encoding or record.encoding
    name = registry.resolve(spec)[0]
    if name != record.encoding:
        raise ReproduceError(f"the record is of {record.encoding!r}, and {spec} is {name!r}")
    if record.profile not in PROFILES or record.task not in (CERTIFICATE, *PROFILES[record.profile].plans):
        raise ReproduceError(f"there is no task {record.task!r} of profile {record.profile!r} here")
    cell = Cell(spec, record.task, record.profile, record.seed, corpus)
    if cell.fingerprint() != record.fingerprint:
        commit = str(record.provenance.get("commit", ""))
        known = len(commit) == 40 and all(c in "0123456789abcdef" for c in commit)
        remedy = f"git checkout {commit}" if known else "check out the code that it was made with"
        text = " (on its own text: --corpus PATH)" if corpus is None and _own_text(record) else ""
        raise ReproduceError(f"the record is of other code than this; {remedy}{text}")
    return cell


def _own_text(record: Record) -> bool:
    """Whether the text has to be named: it is a user's own, or shards of tokens, of which there is no usual folder."""
    corpus = record.setup.get("corpus")
    return isinstance(corpus, dict) and (
        "tokenizer" in corpus or str(corpus.get("name", "")).startswith("user:")
    )


def run_again(cell: Cell, device: str = "cpu", console: Console | None = None) -> Record:
    """Run a cell in a process of its own and a temporary folder. ReproduceError where it leaves no record."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep(
            PROFILES[cell.profile],
            [cell],
            folder,
            jobs=1,
            device=device,
            console=console or Console(quiet=True),
        ).run()
        try:
            return read(folder / cell.path, folder)
        except RecordError as e:
            raise ReproduceError(f"the run left no record: {e}") from e


def compare(then: Record, now: Record, spread: SeedSpread | None = None) -> Reproduction:
    """Whether two records of one cell say the same (TOLERANCE).

    On one kind of machine they are to be equal. Another kind trains another model: there `spread` widens the
    tolerance of what a training moves, and the verdict is "within seed spread".
    """
    other = machines(then, now)
    if then.outcome != now.outcome:
        reason = f"it was {then.outcome}, and is now {now.outcome}"
        said = f"{reason}: {now.reason}" if now.reason else reason
        return Reproduction("different", [], 0, said, other)
    seeds = (spread or SeedSpread()) if other else None
    old, new = by_question(then), by_question(now)
    found = [_difference(key, old.get(key), new.get(key), seeds) for key in sorted(old.keys() | new.keys())]
    verdict: Verdict = "equal"
    for one in ("within tolerance", "within seed spread", "different"):
        if any(d.verdict == one for d in found):
            verdict = one
    unequal = [d for d in found if d.verdict != "equal"]
    if seeds is None:
        return Reproduction(verdict, unequal, len(found))
    source = f"({counted(seeds.encodings, 'encoding')} with two seeds or more)"
    unknown = f"(no record has a second seed of this task: taken as {UNKNOWN:g} of floor to ceiling)"
    told = TOLERANCE + OTHER_MACHINE + (source if seeds.encodings else unknown)
    return Reproduction(verdict, unequal, len(found), "", other, told, _over_seeds(old, new, seeds))


def _over_seeds(old: dict[Question, Row], new: dict[Question, Row], seeds: SeedSpread) -> float | None:
    """Root mean square of the differences over their standard deviation between two seeds."""
    squares = [
        (old[key].value - new[key].value) ** 2 / (2 * variance)
        for key in old.keys() & new.keys()
        if (variance := seeds.variances.get(key, 0.0)) > 0
    ]
    return math.sqrt(math.fsum(squares) / len(squares)) if squares else None


def machines(then: Record, now: Record) -> tuple[str, ...]:
    """What differs between the machines of two records of one cell: they round differently.

    A fact that the old record does not state is left out.
    """

    def stated(record: Record, key: str) -> str | None:
        versions = record.provenance.get("versions")
        fact: object
        if key == "torch":
            fact = versions.get("torch") if isinstance(versions, dict) else None
        else:
            fact = record.provenance.get(key)
        text = "".join(c for c in one_line(fact) if c.isprintable())[:80]  # a stranger's
        return None if fact is None else text or "none"

    facts = [(name, stated(then, key), stated(now, key)) for key, name in MACHINE.items()]
    return tuple(
        f"{name}: {before} then, {after or 'not known'} now"
        for name, before, after in facts
        if before is not None and before != after
    )


def _difference(key: Question, then: Row | None, now: Row | None, seeds: SeedSpread | None) -> Difference:
    if then is None or now is None:
        before, after = (row.value if row else None for row in (then, now))
        return Difference(*key, before, after, 0.0, "different")
    if (then.n, then.floor, then.ceiling, then.value) == (now.n, now.floor, now.ceiling, now.value):
        return Difference(*key, then.value, now.value, 0.0, "equal")
    verdict: Verdict = "within tolerance"
    allowed = tolerance(then, now)
    if seeds is not None and (variance := seeds.variance(key, then)):
        allowed, verdict = math.hypot(allowed, SEEDS * math.sqrt(2 * variance)), "within seed spread"
    same_test = then.n == now.n and _close(then.floor, now.floor) and _close(then.ceiling, now.ceiling)
    close = same_test and abs(then.value - now.value) <= allowed
    return Difference(*key, then.value, now.value, allowed, verdict if close else "different")


def _close(a: float | None, b: float | None) -> bool:
    """Floors and ceilings are computed by another processor, perhaps, but from the same examples."""
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-6))


def tolerance(a: Row, b: Row) -> float:
    """How far two values of one metric may be apart on one kind of machine and still be the same result.

    Another library rounds differently, and training carries that on until single answers change; the seed, the
    batches and the questions are the same.

    >>> round(tolerance(Row("exact", 0.5, 100), Row("exact", 0.5, 100)), 2)
    0.21
    """
    unit, n = METRICS[a.metric].unit, min(a.n, b.n)
    mean = (a.value + b.value) / 2
    if unit in ("share", "score"):
        p = (min(max(mean, 0.0), 1.0) * n + 0.5) / (
            n + 1
        )  # half an answer on each side: 0 and 1 are not certain
        return ERRORS * math.sqrt(2 * p * (1 - p) / n)
    if unit == "bits":
        return ERRORS * abs(mean) * math.sqrt(2 / n)
    if unit == "x RoPE":
        return (RATIO - 1) * min(a.value, b.value)
    return math.inf if unit.endswith("/s") else 0.0


def reproduce(
    path: Path,
    encoding: str = "",
    corpus: Path | None = None,
    device: str = "cpu",
    records: Path | None = None,
    rerun: Callable[[Cell, str], Record] = run_again,
) -> tuple[Record, Reproduction, dict[str, Any]]:
    """Run the record in a file again: the new record, the comparison, and the mark that states it.

    `records` is the folder whose seeds tell how far another kind of machine may be off.
    """
    then, digest = load(path)
    if records and not records.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", os.fspath(records))
    now = rerun(cell_of(then, encoding, corpus), device)
    spread = spread_in(records, then.profile, then.task) if records else None
    result = compare(then, now, spread)
    return now, result, mark_of(then, digest, now, result)


def _excess(d: Difference) -> float:
    if d.then is None or d.now is None:
        return math.inf
    gap = abs(d.then - d.now)
    return gap / d.allowed if d.allowed else math.inf


def mark_of(then: Record, digest: str, now: Record, result: Reproduction) -> dict[str, Any]:
    """The statement that a record, whose file has this sha256, was run again."""
    worst = max(result.differences, key=_excess, default=None)
    stated = asdict(worst) if worst else None
    if stated and math.isinf(stated["allowed"]):
        stated["allowed"] = None
    return {
        "record": then.path.as_posix(),
        "sha256": digest,
        "verdict": result.verdict,
        "numbers": result.compared,
        "unequal": len(result.differences),
        "worst": stated,
        "tolerance": result.tolerance,
        "machine": list(result.machine),
        "over_seeds": result.over_seeds,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"pebench": version("pebench"), "torch": torch.__version__},
        "platform": f"{platform.system()} {platform.machine()}",
        **{key: now.provenance.get(key) for key in ("cpu", "device", "commit", "dirty")},
    }


def add_mark(mark: dict[str, Any], file: Path) -> None:
    """Add a mark to a file of marks, in the place of an older one of the same record.

    ReproduceError where the record was not reproduced or the file is something else.
    """
    if mark["verdict"] == "different":
        raise ReproduceError("a record that is not reproduced gets no mark")
    make_folder(file.parent / RUNNING)
    with Lock(file.parent / RUNNING / f"{file.name}.lock"):
        for _ in range(ATTEMPTS):  # without locks another process may write between our reading and writing
            marks = {**marks_of(file), mark["record"]: mark}
            data = {"schema": MARKS, "verified": dict(sorted(marks.items()))}
            write_whole(file, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())
            if marks_of(file).get(mark["record"]) == mark:
                break


def marks_of(file: Path) -> dict[str, Any]:
    """The marks in a file, by record; none where there is no file. ReproduceError where it is something else."""
    if not file.exists():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise ReproduceError(f"{file} is no file of marks: {e}") from e
    if (
        not isinstance(data, dict)
        or data.get("schema") != MARKS
        or not isinstance(data.get("verified"), dict)
    ):
        raise ReproduceError(f"{file} is no file of marks; name another one")
    return data["verified"]
