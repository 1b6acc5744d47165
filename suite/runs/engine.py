"""The seam between a sweep and the machines that make its runs: nodes, start, poll, kill.

A run ends with its record, or with a fault of its node, which says nothing of the run: it goes back to the queue.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pebench.suite.results.record import Record
from pebench.suite.runs.cell import Cell


class SweepError(OSError):
    """The sweep cannot go on: no records folder, no node, no cluster."""


class Node(NamedTuple):
    """A machine, and how many runs it makes at a time; `fault` says why it gets none."""

    name: str
    slots: int
    fault: str = ""


class Ended(NamedTuple):
    """The run has its record, which lies in the records folder."""

    record: Record


@dataclass(frozen=True)
class Fault:
    """The node cannot make runs: it is left out."""

    why: str


@dataclass(frozen=True)
class Lost:
    """The run is gone without a record; `alone` where its node still lives."""

    why: str
    alone: bool = False


class Running(Protocol):
    """A run that was started."""

    cell: Cell
    node: str

    @property
    def done(self) -> float:
        """How far it is, from 0 to 1."""

    def seconds(self) -> float:
        """How long it has been running; time in which it was suspended does not count."""

    def poll(self) -> Ended | Fault | Lost | None:
        """How it ended; None while it runs. OSError where the records folder cannot be used."""

    def kill(self) -> None:
        """Stop it, and leave no process behind."""


class Engine(Protocol):
    """Machines that make runs."""

    def nodes(self) -> list[Node]:
        """The nodes there are now. SweepError where there is none left."""

    def start(self, cell: Cell, node: str, save: bool) -> Running:
        """Start a run on a node; its lock is held. `save` keeps its trained model."""

    def close(self) -> None:
        """Let go of the machines."""
