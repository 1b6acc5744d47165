"""A folder of records as columns. What was read is kept in the user's cache folder; a changed file is read again.

A kept line counts only where the file has the path, size, inode and times that it had when it was read, and where the
code that reads it is the same. Where anything is wrong with what was kept, the records are read.
"""

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pebench.leaderboard import columns as columns_module
from pebench.leaderboard.columns import Columns, columns, joined
from pebench.suite.results import metrics, names
from pebench.suite.results import record as record_module
from pebench.suite.results.cache import cache_folder
from pebench.suite.results.record import (
    VERIFIED,
    Record,
    RecordError,
    Unreadable,
    places,
    read,
    write_whole,
)

ROOM = "boards"  # in the cache folder
MOST = 8  # folders of records that are kept
WORTH = 100  # records, from which on keeping them is worth it
SETTLED = 2 * 10**9  # nanoseconds: a younger file may change again within one tick of its file system's clock
AT_ONCE = 500  # records in memory
STATE = ("size", "inode", "changed", "modified")
FILES = pa.schema([("place", pa.string()), *((name, pa.int64()) for name in STATE)])
CODE = (record_module, metrics, names, columns_module)
DIGEST = hashlib.sha256().digest_size
State = tuple[int, ...]  # of a file, in the order of FILES


class Kept(NamedTuple):
    """Records as columns, and the file of each."""

    files: dict[str, State]
    told: Columns

    def only(self, keep: Callable[[str, State], bool]) -> "Kept":
        """The records whose path and state are kept."""
        lines = [n for n, (place, state) in enumerate(self.files.items()) if keep(place, state)]
        files = list(self.files.items())
        return Kept(dict(files[n] for n in lines), self.told.take(lines))


def columns_of(folder: Path) -> tuple[Columns, list[Unreadable]]:
    """All records below a folder in the order of their paths, each once, and the files that are none.

    The same as `record.read_all`, as columns.
    """
    started = time.time_ns()
    files = dict(places(folder))
    files.pop(os.path.join(folder, VERIFIED), None)
    states = {place: state_of(place) for place in files}
    before = kept_of(folder).only(lambda place, state: states.get(place) == state)
    new = [(place, Path(place), problem) for place, problem in files.items() if place not in before.files]
    after, unreadable = before, list[Unreadable]()
    if new:
        added, unreadable = read_files(sorted(new, key=lambda file: file[1].parts), states, folder)
        after = merged(before, added)
    if len(after.files) - len(before.files) >= WORTH:
        keep(after.only(lambda place, state: max(state[2:]) < started - SETTLED), folder)
    return after.told, unreadable


def read_files(
    files: list[tuple[str, Path, str]], states: dict[str, State], folder: Path
) -> tuple[Kept, list[Unreadable]]:
    """The records of these files, read AT_ONCE at a time, and the files that are no records."""
    known, parts, unreadable = dict[str, State](), list[Columns](), list[Unreadable]()
    for start in range(0, len(files), AT_ONCE):
        records = list[Record]()
        for place, path, problem in files[start : start + AT_ONCE]:
            try:
                if problem:
                    raise RecordError(problem)
                records.append(read(path, folder))
                known[place] = states[place]
            except RecordError as e:
                unreadable.append(Unreadable(path, str(e)))
        parts.append(columns(records))
    return Kept(known, joined(parts)), unreadable


def merged(one: Kept, other: Kept) -> Kept:
    """Both in the order of the records' paths; of two files of one record the first one."""
    files, told = [*one.files.items(), *other.files.items()], joined([one.told, other.told])
    records, first = told.texts("file"), dict[str, int]()
    for line in sorted(range(len(files)), key=lambda line: files[line][0].split(os.sep)):
        first.setdefault(records[line], line)
    lines = [first[record] for record in sorted(first, key=lambda record: record.split(os.sep))]
    return Kept(dict(files[line] for line in lines), told.take(lines))


def state_of(place: str) -> State:
    """Size, inode and times of a file, which no change leaves all alike; nothing where there is no file."""
    with contextlib.suppress(OSError):
        about = os.stat(place)
        return about.st_size, about.st_ino & 2**63 - 1, about.st_ctime_ns, about.st_mtime_ns
    return ()


def file_of(folder: Path) -> Path:
    """Where the columns of a folder are kept: under another name once the code that makes them has changed."""
    sources = [Path(str(module.__file__)).read_bytes() for module in CODE]
    places = [os.fsencode(place) for place in (os.path.realpath(folder), folder)]
    return cache_folder() / ROOM / f"{hashlib.sha256(b''.join([*sources, *places])).hexdigest()[:32]}.arrow"


def keep(kept: Kept, folder: Path) -> None:
    """Write the columns of a folder; without a cache folder that can be written nothing is kept."""
    with contextlib.suppress(OSError, ValueError):
        data, options = io.BytesIO(), pa.ipc.IpcWriteOptions(compression="zstd")
        states = dict(zip(STATE, zip(*kept.files.values(), strict=True), strict=True))
        files = pa.table({"place": [*kept.files], **states}, FILES)
        for table in (files, kept.told.runs, kept.told.rows, kept.told.answers):
            with pa.ipc.new_stream(data, table.schema, options=options) as stream:
                stream.write_table(table.combine_chunks())
        target = file_of(folder)
        write_whole(target, hashlib.sha256(data.getbuffer()).digest() + data.getbuffer())
        for old in sorted(target.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-MOST]:
            old.unlink(missing_ok=True)


def kept_of(folder: Path) -> Kept:
    """What is kept of a folder; nothing where it is missing or broken."""
    with contextlib.suppress(OSError):
        whole = file_of(folder).read_bytes()
        digest, data = whole[:DIGEST], memoryview(whole)[DIGEST:]
        if hashlib.sha256(data).digest() == digest:
            reader = pa.BufferReader(data)
            files, *tables = (pa.ipc.open_stream(reader).read_all() for _ in range(4))
            states = zip(*(files[name].to_pylist() for name in STATE), strict=True)
            return Kept(dict(zip(files["place"].to_pylist(), states, strict=True)), Columns(*tables))
    return Kept({}, columns([]))
