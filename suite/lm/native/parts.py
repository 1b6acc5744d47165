"""A native step as a list of its parts: functions of the library, each with the structure that it works on.

Between two parts in C, Python would cost more than its instructions: they lie in memory by then, not in a cache.
"""

import ctypes
import functools
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, NamedTuple, cast

from pebench.suite.lm.native.build import library


class Part(NamedTuple):
    """A function of the library, by its name, and what it works on."""

    function: str
    on: ctypes.Structure

    @property
    def attends(self) -> bool:
        """Whether this is attention, which says whether there was memory for it."""
        return self.function.endswith(("_forward", "_backward"))


Step = Part | Callable[[], None]


class Entry(ctypes.Structure):
    """`Part` of step.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("run", "attend", "on")]


def joined(steps: Iterable[Step]) -> list[Callable[[], None]]:
    """The same in as few calls as possible: one for all parts in C that follow one another."""
    calls = list[Callable[[], None]]()
    for native, some in groupby(steps, lambda step: isinstance(step, Part)):
        run = list(some)
        calls += [Run(cast(list[Part], run))] if native else cast(list[Callable[[], None]], run)
    return calls


class Run:
    """Parts in C, one after the other."""

    def __init__(self, parts: list[Part]):
        self.parts = parts  # which keeps what they work on
        kernels = cast(ctypes.CDLL, library())
        self.entries = (Entry * len(parts))()
        for entry, part in zip(self.entries, parts, strict=True):
            at = ctypes.cast(kernels[part.function], ctypes.c_void_p).value
            entry.run, entry.attend = (None, at) if part.attends else (at, None)
            entry.on = ctypes.addressof(part.on)

    def __call__(self) -> None:
        if runner()(self.entries, len(self.parts)):
            raise MemoryError("no memory for the scratch space of attention")


@functools.cache
def runner() -> Any:
    """`step_run` of step.c."""
    found = cast(ctypes.CDLL, library())["step_run"]
    found.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    return found
