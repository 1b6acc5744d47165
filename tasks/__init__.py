"""The benchmark: these tasks and no others.

From the first release on a task never changes its meaning; a better one gets a new name.
"""

from pathlib import Path

from pebench.tasks.addition import Addition
from pebench.tasks.base import Task
from pebench.tasks.copy import Copy
from pebench.tasks.copy_repeat import CopyRepeat
from pebench.tasks.copy_unique import CopyUnique
from pebench.tasks.flipflop import FlipFlop
from pebench.tasks.flipflop_error import FlipFlopError
from pebench.tasks.harness import GrapeHarness, Harness
from pebench.tasks.harness_tokens import HarnessTokens
from pebench.tasks.indexing import Indexing
from pebench.tasks.language import Language
from pebench.tasks.language_ends import LanguageEnds
from pebench.tasks.language_tokens import LanguageTokens
from pebench.tasks.latest import Latest
from pebench.tasks.needle import Needle
from pebench.tasks.needle_text import NeedleText
from pebench.tasks.needle_tokens import NeedleTokens
from pebench.tasks.parity import Parity
from pebench.tasks.permutation import PermutationProduct
from pebench.tasks.recall import Recall
from pebench.tasks.recall_again import RecallAgain
from pebench.tasks.reverse import Reverse
from pebench.tasks.sort import Sort
from pebench.tasks.throughput import Throughput

TASKS: dict[str, type[Task] | type[Throughput]] = {
    "copy": Copy,
    "reverse": Reverse,
    "addition": Addition,
    "flipflop": FlipFlop,
    "permutation": PermutationProduct,
    "sort": Sort,
    "recall": Recall,
    "latest": Latest,
    "needle": Needle,
    "language": Language,
    "copy_repeat": CopyRepeat,
    "copy_unique": CopyUnique,
    "flipflop_error": FlipFlopError,
    "indexing": Indexing,
    "language_ends": LanguageEnds,
    "needle_text": NeedleText,
    "parity": Parity,
    "recall_again": RecallAgain,
    "harness": Harness,
    "harness_grape": GrapeHarness,
    "language_tokens": LanguageTokens,
    "needle_tokens": NeedleTokens,
    "harness_tokens": HarnessTokens,
    "throughput": Throughput,
}


def make(name: str, corpus: Path | None = None) -> Task | Throughput:
    """A task by name, on this corpus (None: books-v1)."""
    cls = TASKS[name]
    return cls(corpus) if issubclass(cls, Task) else cls()
