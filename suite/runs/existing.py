"""The record that a run has already."""

from pathlib import Path

from rich.console import Console

from pebench.suite.results.record import Record, RecordError, read
from pebench.suite.runs.cell import Cell

AGAIN = ("failed", "timed out", "out of memory")  # outcomes that another attempt may change


def one_line(text: object) -> str:
    """What an error says, which may be a page, in one line.

    >>> one_line("sizes differ:\\n  3 and 4")
    'sizes differ: 3 and 4'
    """
    return " ".join(str(text).split())


def existing(cell: Cell, folder: Path) -> Record | None:
    """The record that this cell has, if any. A file in its place that is no record is set aside, and said so.

    OSError where the disk does not give the file: that says nothing of what is in it.
    """
    path = folder / cell.path
    if not path.exists():
        return None
    try:
        return read(path, folder)
    except RecordError as e:
        if isinstance(e.__cause__, OSError):
            raise e.__cause__ from e
        aside = path.with_suffix(".broken")
        path.replace(aside)
        message = f"{path} is no record ({one_line(e)}); set aside as {aside.name}, running it again"
        Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
        return None
