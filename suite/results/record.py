"""One run is one immutable JSON file. Standard library only, so that reading results needs nothing.

A record is written once, whole, under a path that follows from what it says. Reading never writes, and a
file that cannot be read is named with its reason, never skipped in silence.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from pebench.suite.results.metrics import METRICS
from pebench.suite.results.names import name_problem, profile_problem, whole_problem
from pebench.suite.results.provenance import Provenance
from pebench.suite.results.setup import Setup

SCHEMA = 3  # 2: encoding_code and shared_code; 3: answers
VERIFIED = "verified.json"  # in a records folder: which records were run again, no record itself
RUNNING = ".running"  # in a records folder: what runs need while they run
OUTCOMES = ("measured", "failed", "diverged", "timed out", "out of memory", "undefined")
AGAIN = ("failed", "timed out", "out of memory")  # outcomes that another attempt may change
CERTIFICATE = "certificate"  # the task of the proofs; it stands among the tasks of every sweep
_HASH = re.compile(r"[0-9a-f]{16,64}")
ANSWER = 200  # characters
LARGEST = 64 * 2**20  # bytes of a file that is read; records of the largest profile have a hundredth
LARGEST_SENT = 4 * 2**20  # bytes of a record that a stranger sends
Condition = dict[str, int | float | str]


class RecordError(ValueError):
    """A record that says something it must not."""


@dataclass(frozen=True)
class Score:
    """One measured number, as a task returns it.

    It counts in the ranking where it has a floor and a ceiling. The floor is the best score of a predictor that does
    not read the input. The ceiling is the score of an oracle. Both are of the same condition.
    """

    metric: str
    value: float
    n: int  # how many answers, bytes or timings the value is the mean of
    condition: Condition = field(default_factory=dict)
    floor: float | None = None
    ceiling: float | None = None


@dataclass(frozen=True)
class Row(Score):
    """A score in a record: its metric is a known one and its numbers are finite. RecordError otherwise."""

    def __post_init__(self) -> None:
        value, floor, ceiling = self.value, self.floor, self.ceiling
        if self.metric not in METRICS:
            raise RecordError(f"unknown metric {self.metric!r}; add it to suite/results/metrics.py")
        for name, number in (("value", value), ("floor", floor), ("ceiling", ceiling)):
            if number is None and name != "value":
                continue
            if not _finite(number):
                raise RecordError(f"{name} of {self.metric} is {number!r}, not a finite number")
        if (floor is None) != (ceiling is None) or (floor is not None and floor == ceiling):
            raise RecordError(f"{self.metric} has a floor and a different ceiling, or neither")
        if type(self.n) is not int or self.n < 1:
            raise RecordError(f"n of {self.metric} is {self.n!r}, not a positive integer")
        if not isinstance(self.condition, dict):
            raise RecordError(f"the condition of {self.metric} is no object")
        for key, part in self.condition.items():
            if not isinstance(key, str) or not (isinstance(part, str) or _finite(part)):
                raise RecordError(f"the condition of {self.metric} maps names to numbers or strings")

    @property
    def score(self) -> float | None:
        """The value between floor (0) and ceiling (1); below the floor it stays 0. None where it does not count."""
        if self.floor is None or self.ceiling is None:
            return None
        return max(0.0, normalised(self.value, self.floor, self.ceiling))


def normalised(value: Any, floor: Any, ceiling: Any) -> Any:
    """The score before it is cut at 0: the floor maps to 0, the ceiling to 1. Takes numbers, or columns of a frame."""
    return (value - floor) / (ceiling - floor)


class Answer(TypedDict):
    """What a model answered to a test item: the texts are for people, each of at most ANSWER characters."""

    condition: Condition
    item: int  # its number among the test items of the condition, from 0
    asked: str  # what the model reads, `_` for each answer
    answer: str  # the right one
    said: str
    right: bool  # whether every token is


_ANSWER = {"condition": dict, "item": int, "asked": str, "answer": str, "said": str, "right": bool}


def _answer_problem(answer: object) -> str:
    """The fault of an answer; empty where there is none."""
    if not isinstance(answer, dict) or answer.keys() != _ANSWER.keys():
        return f"is no object of {', '.join(_ANSWER)}"
    for name, kind in _ANSWER.items():
        if type(answer[name]) is not kind:
            return f"has {name} {answer[name]!r}, no {kind.__name__}"
    if answer["item"] < 0 or max(len(answer[name]) for name in ("asked", "answer", "said")) > ANSWER:
        return f"has a negative item, or a text of more than {ANSWER} characters"
    if not all(
        isinstance(k, str) and (isinstance(v, str) or _finite(v)) for k, v in answer["condition"].items()
    ):
        return "has a condition that does not map names to numbers or strings"
    return ""


def _finite(number: object) -> bool:
    """Whether this is a number, neither endless nor true or false."""
    return (type(number) is int or isinstance(number, float)) and isfinite(number)


_NAMES: dict[str, Callable[[object], str]] = {
    "encoding": whole_problem,
    "task": name_problem,
    "profile": profile_problem,
}


@lru_cache(maxsize=4096)
def _problem(rule: Callable[[object], str], name: str) -> str:
    """Why a name breaks its rule; a folder of records repeats few names."""
    return rule(name)


@dataclass(frozen=True)
class Record:
    """What one run of (encoding, task, profile, seed) gave: rows, or the reason why there are none."""

    encoding: str
    task: str
    profile: str
    seed: int
    fingerprint: str  # of everything that the rows depend on
    rows: tuple[Row, ...] = ()
    outcome: str = "measured"
    reason: str = ""
    card: dict[str, Any] = field(
        default_factory=dict
    )  # the encoding: title, family, paper, formula, claims ...
    setup: Setup = field(default_factory=Setup)
    provenance: Provenance = field(default_factory=Provenance)
    # Hashes of two parts of the fingerprint; null in records of its revision 1, which did not tell them apart.
    encoding_code: str | None = None  # of the encoding alone
    shared_code: str | None = None  # of what all encodings share: task, model, training, measuring
    answers: tuple[Answer, ...] = ()  # to the first test items of each condition; none in records of schema 2
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for field_name, rule in _NAMES.items():
            value = getattr(self, field_name)
            if problem := _problem(rule, value) if isinstance(value, str) else rule(value):
                raise RecordError(f"{field_name} {value!r} {problem}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise RecordError(f"seed {self.seed!r} is not a non-negative integer")
        for name in ("fingerprint", "encoding_code", "shared_code"):
            value = getattr(self, name)
            if not (isinstance(value, str) and _HASH.fullmatch(value)) and (
                name == "fingerprint" or value is not None
            ):
                raise RecordError(f"{name} {value!r} is not 16 to 64 hexadecimal digits")
        if not isinstance(self.reason, str):
            raise RecordError(f"reason {self.reason!r} is no text")
        if self.outcome not in OUTCOMES:
            raise RecordError(f"outcome {self.outcome!r} is none of {', '.join(OUTCOMES)}")
        if (self.outcome == "measured") != bool(self.rows) or bool(self.rows) == bool(self.reason):
            raise RecordError("a record has rows or a reason why not, never both")
        for number, answer in enumerate(self.answers):
            if problem := _answer_problem(answer):
                raise RecordError(f"answer {number} {problem}")
        if self.answers and not self.rows:
            raise RecordError("a record without rows has no answers")
        for name in ("card", "setup", "provenance"):
            if not isinstance(getattr(self, name), dict):
                raise RecordError(f"{name} is not an object")

    @cached_property
    def path(self) -> Path:
        """Where this record lies in a records folder."""
        return record_path(self.encoding, self.task, self.profile, self.seed, self.fingerprint)


_FIELDS = frozenset(f.name for f in fields(Record))


def record_path(encoding: str, task: str, profile: str, seed: int, fingerprint: str) -> Path:
    """The one place of a run's record, relative to the records folder."""
    return Path(profile, task, encoding, f"{seed}-{fingerprint[:16]}.json")


def to_json(record: Record) -> str:
    """The text of a record file: sorted keys, no NaN, file names as far as they are text."""
    data = asdict(record)
    text = json.dumps(data, indent=1, sort_keys=True, allow_nan=False)
    if r"\udc" in text:  # perhaps bytes of a file name that this process could not read as text
        whole = _BYTES.sub(_decoded, json.dumps(data, ensure_ascii=False))
        text = json.dumps(json.loads(whole), indent=1, sort_keys=True)
    return f"{text}\n"


_BYTES = re.compile("[\udc80-\udcff]+")


def _decoded(found: re.Match[str]) -> str:
    return found.group().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def from_json(text: str) -> Record:
    """Read and check the text of a record file; RecordError names the fault."""
    try:
        data = _DECODER.decode(text)
        if r"\ud" in text or r"\uD" in text:  # perhaps half a surrogate pair, which would break every table
            json.dumps(data, ensure_ascii=False).encode()
    except RecordError:
        raise
    except (ValueError, RecursionError) as e:
        raise RecordError(f"not JSON: {e}") from e
    if not isinstance(data, dict):
        raise RecordError("not a JSON object")
    data = _migrated(data)
    if unknown := data.keys() - _FIELDS:
        raise RecordError(f"unknown fields {sorted(unknown)}")
    try:
        rows = tuple(Row(**row) for row in data.pop("rows", ()))
        for row in rows:
            least, most = METRICS[row.metric].possible
            if not least <= row.value <= most:
                raise RecordError(
                    f"value of {row.metric} is {row.value!r}, and possible are {least:g} to {most:g}"
                )
        return Record(rows=rows, answers=tuple(data.pop("answers", ())), **data)
    except (TypeError, OverflowError) as e:  # an unknown field; an integer beyond all floats
        raise RecordError(str(e)) from e


def _no_constant(name: str) -> float:
    raise RecordError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _migrated(data: dict[str, Any]) -> dict[str, Any]:
    """Bring older schemas up to date, one step at a time."""
    schema = data.get("schema")
    if type(schema) is not int or schema < 1:
        raise RecordError(f"schema {schema!r} is not a version number")
    if schema > SCHEMA:
        raise NewerSchema(f"schema {schema} is newer than this pebench knows ({SCHEMA}); upgrade pebench")
    if schema < 2 and (early := data.keys() & {"encoding_code", "shared_code"}):
        raise RecordError(f"schema {schema} has no fields {sorted(early)}")
    if schema < 3 and "answers" in data:
        raise RecordError(f"schema {schema} has no field answers")
    return {**data, "schema": SCHEMA}


def write(record: Record, folder: Path) -> Path:
    """Write a record whole or not at all, and return its path. OSError where the folder cannot be written."""
    path = folder / record.path
    write_whole(path, to_json(record).encode())
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, in the place of an older one. OSError where that cannot be done.

    Its mode follows the umask. In a folder that a group shares, the group may write new files.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, and a file is to be written", os.fspath(path))
    make_folder(path.parent)
    for attempt in (1, 2):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                settle(file.fileno())
            share(temporary)
            os.replace(temporary, path)
            return
        except FileNotFoundError:  # without locks another process may have tidied it away
            if attempt == 2:
                raise
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


_STREAM = re.compile(r"/dev/(stdout|stderr|fd/(\d+))|/proc/self/fd/(\d+)")


def write_out(path: Path, data: bytes) -> None:
    """Write a file that a user names: whole, as `write_whole` does, through a link, or into a device or a pipe.

    OSError where that cannot be done.
    """
    if match := _STREAM.fullmatch(
        os.fspath(path)
    ):  # our own: opened anew, a file would be written from its start
        number = match[2] or match[3] or {"stdout": 1, "stderr": 2}[match[1]]
        with open(os.dup(int(number)), "wb") as stream:
            stream.write(data)
    elif path.exists() and not path.is_file() and not path.is_dir():
        with open(os.open(path, os.O_WRONLY), "wb") as stream:
            stream.write(data)
    else:
        write_whole(Path(os.path.realpath(path)) if path.is_symlink() else path, data)


def settle(handle: int) -> None:
    """Have the disk keep a file, where the mount can be asked to."""
    try:
        os.fsync(handle)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing."""
    if not folder.is_dir():
        if folder.parent != folder:
            make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        share(folder)


def share(path: Path) -> None:
    """Let the group write what lies in a folder of a group: set-group-id, and writable to it.

    A mode is a courtesy: a mount that refuses it loses no result.
    """
    with contextlib.suppress(OSError):
        about = path.parent.stat().st_mode
        if about & stat.S_ISGID and about & stat.S_IWGRP:
            path.chmod(path.stat().st_mode | stat.S_IRGRP | stat.S_IWGRP)


def tidy(path: Path) -> None:
    """Remove what a `write_whole` of this file left that was killed; nobody else may be writing it now."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


class NewerSchema(RecordError):
    """A record of a newer pebench: it is whole, and no run may take its place."""


class Unreadable(NamedTuple):
    """A file in a records folder that is no record, and why."""

    path: Path
    reason: str


def read(path: Path, folder: Path) -> Record:
    """One record of this folder. RecordError where it is broken or lies where another belongs."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise RecordError("no regular file")
        if about.st_size > LARGEST:
            raise RecordError(f"larger than {LARGEST // 2**20} MB")
        record = from_json(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError) as e:
        raise RecordError(str(e)) from e
    if os.path.join(folder, record.path) != os.fspath(path) and not same_file(folder / record.path, path):
        raise RecordError(f"says that its place is {record.path}")
    return record


def same_file(a: Path, b: Path) -> bool:
    """Whether two paths lead to one file, through links."""
    try:
        return a.samefile(b)
    except OSError:
        return False


def read_all(folder: Path) -> tuple[list[Record], list[Unreadable]]:
    """All records below a folder in the order of their paths, each once, and the files that are none.

    Symbolic links are followed; a link to nothing and a folder that cannot be read are named.
    """
    records, unreadable = dict[Path, Record](), list[Unreadable]()
    for path, problem in sorted(found(folder), key=lambda file: file[0].parts):
        if path == folder / VERIFIED:
            continue
        try:
            if problem:
                raise RecordError(problem)
            record = read(path, folder)
            records.setdefault(record.path, record)
        except RecordError as e:
            unreadable.append(Unreadable(path, str(e)))
    return [records[path] for path in sorted(records, key=lambda path: path.parts)], unreadable


def found(folder: Path) -> Iterator[tuple[Path, str]]:
    """The JSON files below a folder, and with its reason whatever cannot be looked into."""
    return ((Path(place), problem) for place, problem in places(folder))


def places(folder: Path) -> Iterator[tuple[str, str]]:
    """The same as texts: of a hundred thousand files, making paths takes longer than finding them."""
    for inside, entries, problem in folders(folder):
        if problem:
            yield os.fspath(inside), problem
        for entry in entries:
            place = os.path.join(inside, entry.name)
            if not entry.name.startswith(".") and entry.name.endswith(".json"):
                yield place, ""
            elif entry.is_symlink() and entry.name[0] != "." and not os.path.exists(place):
                yield place, f"a link to {os.readlink(place)}, which is not there"


def folders(folder: Path) -> Iterator[tuple[Path, list[os.DirEntry[str]], str]]:
    """Each folder from this one down, once, with its entries, or the reason why it cannot be read.

    Symbolic links are followed, and of several ways to a folder the first counts. What runs need while they run is
    left out.
    """
    todo, seen = [(folder, os.path.realpath(folder))], set[str]()
    while todo:
        inside, real = todo.pop()
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(inside) as entries:
                here = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError as e:
            yield inside, [], e.strerror or str(e)
            continue
        yield inside, here, ""
        for entry in reversed(here):
            if entry.name != RUNNING and is_folder(entry):
                path = inside / entry.name
                target = os.path.realpath(path) if entry.is_symlink() else os.path.join(real, entry.name)
                todo.append((path, target))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether this is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def newest(records: Iterable[Record]) -> list[Record]:
    """The record that started last, for each (encoding, task, profile, seed)."""
    best: dict[tuple[str, str, str, int], Record] = {}
    for r in records:
        key = (r.encoding, r.task, r.profile, r.seed)
        if key not in best or str(r.provenance.get("started", "")) >= str(
            best[key].provenance.get("started", "")
        ):
            best[key] = r
    return list(best.values())
