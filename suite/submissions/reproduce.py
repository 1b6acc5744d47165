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
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from pebench.encodings import registry
from pebench.encodings.extension import methods
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.extend.profiles import COST, NONE, TRACKS
from pebench.suite.extend.run import ENCODING, Run, loaded, make, named, runs, shortened
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
POOLED = (
    "of a pretrained model answers of one length and kind are pooled; nats: 3 standard errors of two means of n whose "
    f"deviation is as large as the mean, and 1 at least for margins; {TOLERANCE}"
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
    demand_result(record)
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
        raise ReproduceError(f"the record is of other code than this; {_checkout(record, corpus)}")
    return cell


def demand_result(record: Record) -> None:
    """ReproduceError where a record has no result to compare."""
    if record.outcome in AGAIN:
        raise ReproduceError(
            f"the run ended as {record.outcome!r}, without a result to compare; `pebench run --retry` makes it again"
        )


def _checkout(record: Record, corpus: Path | None) -> str:
    """How to get the code and the text of a record."""
    commit = str(record.provenance.get("commit", ""))
    known = len(commit) == 40 and all(c in "0123456789abcdef" for c in commit)
    remedy = f"git checkout {commit}" if known else "check out the code that it was made with"
    return remedy + (" (on its own text: --corpus PATH)" if corpus is None and _own_text(record) else "")


def run_of(record: Record, method: str = "", corpus: Path | None = None, model: Path | None = None) -> Run:
    """The run of `pebench extend` that a record is of; `method` is the user's file where none of the name is here.

    ReproduceError where the record is of times, or of another model, code, text or precision.
    """
    demand_result(record)
    command = "".join(c for c in one_line(record.provenance.get("command", "")) if c.isprintable())[:300]
    anew = f"in an empty --records folder `{command or 'pebench extend'}` makes the record again"
    if record.task == COST:
        raise ReproduceError(f"{record.task} holds times, which belong to a machine; {anew}")
    trained, name = registry.extension_of(record.encoding)
    if record.profile not in TRACKS or trained != ENCODING:
        raise ReproduceError(f"there is no {record.encoding!r} of profile {record.profile!r} here")
    if not method and not all(part in methods() for part in name.split("+") if part):
        raise ReproduceError(
            f"no method {name!r} is here; read its source, then name its file: --encoding FILE.py:Class"
        )
    track = TRACKS[record.profile]
    (known,) = named([method or name or NONE], track)
    if known != (name or NONE):
        raise ReproduceError(f"the record is of {name or NONE!r}, and {method} is {known!r}")
    said, length = record.setup.get("model"), record.setup.get("train_length")
    checkpoint = loaded(model)
    if isinstance(length, int) and 0 < length < checkpoint.about.trained:
        checkpoint = shortened(checkpoint, length)
    if not isinstance(said, dict) or said.get("sha256") != checkpoint.sha256:
        raise ReproduceError(f"the record is of another model than {checkpoint.folder}; {anew}")
    every = runs(checkpoint, track, [known], [record.task], corpus)
    run = next((run for run in every if run.text == record.seed), None)
    if run is None or run.fingerprint != record.fingerprint:
        precision = one_line(record.provenance.get("precision", ""))[:20]
        raise ReproduceError(
            f"the record is of other code, text or precision ({precision}) than here; {_checkout(record, corpus)}"
        )
    return run


def read_again(record: Record, run: Run, console: Console | None = None) -> Record:
    """Make a run of `pebench extend` in a temporary folder, with as many threads as the record had."""
    threads, before = record.provenance.get("threads"), torch.get_num_threads()
    if isinstance(threads, int) and 0 < threads <= (os.cpu_count() or 1):
        torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as name:
            tell = partial(
                (console or Console(quiet=True)).print, markup=False, highlight=False, soft_wrap=True
            )
            ((_, found),) = make([run], Path(name), tell)
    finally:
        torch.set_num_threads(before)
    if isinstance(found, Exception):
        raise found
    assert found is not None  # nobody else has the folder
    return found


def pooled(record: Record) -> Record:
    """The record with one row for each metric, length and kind of question: one answer alone proves nothing."""
    groups: dict[Question, list[Row]] = {}
    for row in record.rows:
        kept = {key: value for key, value in row.condition.items() if key != "depth"}
        groups.setdefault((row.metric, repr(sorted(kept.items()))), []).append(replace(row, condition=kept))
    rows = [
        replace(some[0], value=math.fsum(x.value * x.n for x in some) / (n := sum(x.n for x in some)), n=n)
        for some in groups.values()
    ]
    return replace(record, rows=tuple(rows))


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
    trained = then.task not in EXTENDING  # else no training carries rounding on
    seeds = (spread or SeedSpread()) if other and trained else None
    old, new = by_question(then), by_question(now)
    found = [_difference(key, old.get(key), new.get(key), seeds) for key in sorted(old.keys() | new.keys())]
    verdict: Verdict = "equal"
    for one in ("within tolerance", "within seed spread", "different"):
        if any(d.verdict == one for d in found):
            verdict = one
    unequal = [d for d in found if d.verdict != "equal"]
    if seeds is None:
        return Reproduction(verdict, unequal, len(found), "", other)
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
    if unit == "nats":  # a margin, which may be 0: its deviation is of a nat at least
        mean = max(1.0, abs(mean))
    if unit in ("bits", "nats", "nats/token"):
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
    model: Path | None = None,
    console: Console | None = None,
) -> tuple[Record, Reproduction, dict[str, Any]]:
    """Run the record in a file again: the new record, the comparison, and the mark that states it.

    `records` is the folder whose seeds tell how far another kind of machine may be off. `model` is the folder of the
    pretrained model that a record of `pebench extend` read, where that is not SmolLM2. `console` is told how far the
    reading of that model is.
    """
    then, digest = load(path)
    if records and not records.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", os.fspath(records))
    if then.task in EXTENDING:
        if device != "cpu":
            raise ReproduceError(
                f"a pretrained model is read on a CPU, not on {device!r}; leave --device out"
            )
        now = read_again(then, run_of(then, encoding, corpus, model), console)
        result = compare(then, now)
        if result.verdict != "equal":
            result = replace(compare(pooled(then), pooled(now)), tolerance=POOLED)
    else:
        now = rerun(cell_of(then, encoding, corpus), device)
        result = compare(then, now, spread_in(records, then.profile, then.task) if records else None)
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
    file = Path(os.path.realpath(file))  # a link stays one
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
