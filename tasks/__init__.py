"""The benchmark: these tasks and no others. A task never changes its meaning; a better one gets a new name."""

from pathlib import Path

from pebench.tasks.base import Task
from pebench.tasks.copy import Copy
from pebench.tasks.language import Language
from pebench.tasks.needle import Needle
from pebench.tasks.throughput import Throughput

TASKS: dict[str, type[Task] | type[Throughput]] = {
    "copy": Copy,
    "needle": Needle,
    "language": Language,
    "throughput": Throughput,
}


def make(name: str, corpus: Path | None = None) -> Task | Throughput:
    """A task by name, on this corpus (None: books-v1)."""
    cls = TASKS[name]
    return cls(corpus) if issubclass(cls, Task) else cls()
