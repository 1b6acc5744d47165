"""The files of a submission folder, read as untrusted data: no link is followed and every size is bounded."""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pebench.leaderboard.submissions.report import Check, clip, quote
from pebench.suite.results.record import RecordError

KILO, MEGA = 1024, 1024**2
FILES, DEPTH, FOLDER_BYTES = 5000, 6, 200 * MEGA
SOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}\.py")
RECORD = re.compile(r"records/[A-Z0-9_]+/[a-z0-9_]+/[a-z0-9_]+/[0-9]{1,4}-[0-9a-f]{16}\.json")


def expected_files(folder: Path, check: Check) -> list[str]:
    """The paths of a submission's files below its folder, sorted; any other entry is a problem.

    None where they are too many or too large: then nothing of them is read.
    """
    found, total = [], 0
    for count, (path, entry) in enumerate(_walk(folder, PurePosixPath())):
        if count == FILES:
            check.problems.append(f"more than {FILES} files")
            return []
        name, kind = str(path), entry.stat(follow_symlinks=False)
        expected = name == "card.json" or SOURCE.fullmatch(name) or RECORD.fullmatch(name)
        if not stat.S_ISREG(kind.st_mode):
            check.problems.append(f"{quote(name)} is a link or no regular file; remove it")
        elif not expected:
            check.problems.append(f"{quote(name)} does not belong in a submission; remove it")
        elif kind.st_nlink > 1:
            check.problems.append(f"{quote(name)} is a hard link; copy the file")
        else:
            total += kind.st_size
            found.append(name)
    if total > FOLDER_BYTES:
        check.problems.append(f"{total / MEGA:.0f} MB in all; at most {FOLDER_BYTES // MEGA}")
        return []
    return sorted(found)


def _walk(folder: Path, inside: PurePosixPath) -> Iterator[tuple[PurePosixPath, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            path = inside / entry.name
            if entry.is_dir(follow_symlinks=False) and len(path.parts) < DEPTH:
                yield from _walk(folder / entry.name, path)
            else:
                yield path, entry


def read_bounded(folder: Path, path: str, most: int, check: Check) -> bytes:
    """A file's bytes; none, and a problem, if there are more than `most`."""
    names = ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")  # not on every system
    handle = os.open(folder / path, os.O_RDONLY | sum(getattr(os, name, 0) for name in names))
    with os.fdopen(handle, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        check.problems.append(f"{path} is larger than {most // KILO} kB")
        return b""
    return data


def strict_json(data: bytes) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN, no number beyond a float. RecordError names the fault."""
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_no, parse_int=_int, object_pairs_hook=_no_key_twice
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise RecordError(f"not JSON: {clip(str(e))}") from e


def _no(name: str) -> float:
    raise RecordError(f"{name} is not a number")


def _int(digits: str) -> int:
    if len(digits) > 20:
        raise RecordError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for key, _ in pairs)
    if twice := [key for key, count in counts.items() if count > 1]:
        raise RecordError(f"key {quote(twice[0])} stands there twice")
    return dict(pairs)
