"""The record that a run has already."""

import contextlib
from pathlib import Path
from typing import Protocol

from rich.console import Console

from pebench.suite.results.record import AGAIN, NewerSchema, Record, RecordError, read


class Run(Protocol):
    """A run of any kind: it has one place in a records folder."""

    @property
    def path(self) -> Path: ...


def one_line(text: object) -> str:
    """What an error says, which may be a page, in one line.

    >>> one_line("sizes differ:\\n  3 and 4")
    'sizes differ: 3 and 4'
    """
    return " ".join(str(text).split())


def due(record: Record | None, retry: bool = False) -> bool:
    """Whether a run with this record is to be made: it has none, or failed and is to be tried again."""
    return record is None or (retry and record.outcome in AGAIN)


def readable(run: Run, folder: Path) -> Record | None:
    """The record that this run has; None where there is none. RecordError where the file in its place is broken.

    Two errors say nothing of the content: OSError where the disk does not give the file, and NewerSchema, which is a
    newer pebench's. No run may take the place of such a file.
    """
    path = folder / run.path
    if not path.exists():
        return None
    try:
        return read(path, folder)
    except NewerSchema as e:
        raise NewerSchema(f"{path}: {e}") from e
    except RecordError as e:
        if isinstance(e.__cause__, OSError):
            raise e.__cause__ from e
        raise


def existing(run: Run, folder: Path) -> Record | None:
    """The record that this run has, if any. A file in its place that is broken is set aside, and said so.

    Errors are as in `readable`.
    """
    try:
        return readable(run, folder)
    except NewerSchema:
        raise
    except RecordError as e:
        path = folder / run.path
        aside = path.with_suffix(".broken")
        with contextlib.suppress(FileNotFoundError):  # another sweep has set it aside
            path.replace(aside)
        message = f"{path} is no record ({one_line(e)}); set aside as {aside.name}, running it again"
        Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
        return None
