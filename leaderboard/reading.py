"""Folders of records, each read once while it does not change."""

import functools
import gc
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pebench.leaderboard.about import PUBLISHED, USUAL
from pebench.leaderboard.columns import Columns, joined
from pebench.leaderboard.folders import columns_of
from pebench.suite.results.metrics import EXTENDING
from pebench.suite.results.record import LARGEST, VERIFIED, Record, Unreadable, folders, read_all

REPRODUCED = (
    "equal",
    "within tolerance",
    "within seed spread",
)  # verdicts of `pebench reproduce` that verify
REMEDY = f"make some with `pebench run --profile {USUAL}`"


class BoardError(ValueError):
    """A folder or profile that no board can be made of, with the remedy."""


@dataclass(frozen=True)
class Reading:
    """What a records folder holds."""

    records: list[Record]
    unreadable: list[Unreadable]


@dataclass(frozen=True)
class Told:
    """The same as columns."""

    told: Columns
    unreadable: list[Unreadable]


def reading(folder: Path) -> Reading:
    """All records of a folder; an unchanged folder is read once. BoardError where there is no folder."""
    demand(folder)
    return _reading(folder, stamp(folder))


def told_of(folder: Path) -> Told:
    """All records of a folder as columns; an unchanged folder is read once. BoardError where there is no folder."""
    demand(folder)
    return _told_of(folder, stamp(folder))


def demand(folder: Path) -> None:
    """BoardError where there is no folder of records."""
    if not folder.is_dir():
        if folder == PUBLISHED:
            raise BoardError(
                "the published results cannot be unpacked; set PEBENCH_CACHE to a folder that can be written"
            )
        raise BoardError(f"there is no records folder {folder}; {REMEDY}")


def elsewhere(folders: Iterable[Path], encoding: str) -> list[str]:
    """The profiles in which these folders have results of an encoding, the one with most records first.

    Methods on a pretrained model are left out, as `make_board` does.
    """
    told = joined([told_of(folder).told for folder in folders])
    encodings = ~told.column("task").isin(EXTENDING)
    told = told.where((told.column("encoding") == encoding) & told.column("measured") & encodings)
    return [profile for profile, _ in Counter(told.texts("profile")).most_common()]


@functools.lru_cache(maxsize=4)
def _reading(folder: Path, changed: int) -> Reading:
    with uncollected():
        return Reading(*read_all(folder))


@functools.lru_cache(maxsize=4)
def _told_of(folder: Path, changed: int) -> Told:
    with uncollected():
        return Told(*columns_of(folder))


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
    """What `pebench reproduce --mark` states of these records: one of REPRODUCED, by path.

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
        if verdict in REPRODUCED and hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest
    }


def stamp(*records: Path) -> int:
    """A number that changes when a record is added or removed: cheap, as it looks at the folders only."""
    found = (os.fspath(inner) for folder in records for inner, _, problem in folders(folder) if not problem)
    return hash(tuple((inner, os.stat(inner).st_mtime_ns) for inner in found))


def folders_named(text: str) -> tuple[str, ...]:
    """The folders that a text names, as PEBENCH_RECORDS does: with os.pathsep between them.

    One that is there may have that sign in its name.
    """

    def is_folder(name: str) -> bool:
        return os.path.isdir(os.path.expanduser(name))

    found, parts = list[str](), text.split(os.pathsep)
    while parts:
        joined_up = (n for n in range(len(parts), 1, -1) if is_folder(os.pathsep.join(parts[:n])))
        n = next(joined_up, 1)
        found.append(os.pathsep.join(parts[:n]))
        del parts[:n]
    return tuple(filter(None, found))


def folder_named(text: str) -> Path:
    """The records folder that a person means: a path, or the word `published`. BoardError where it is no path."""
    if "\0" in text:
        raise BoardError(f"{text!r} is no folder: it holds a null byte")
    try:
        return PUBLISHED if text == "published" else Path(text).expanduser()
    except RuntimeError as e:  # a user that there is not
        raise BoardError(f"{text!r} is no folder: {e}") from e
