"""Runs the cells of a sweep on the nodes of an engine, several at a time, and only those that are missing.

Ctrl-C and kill -9 lose at most the cells that are running, and a second call continues. Two sweeps may share
a folder: a cell is locked while it runs.
"""

import contextlib
import errno
import os
import statistics
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pebench.encodings.registry import distinct
from pebench.suite.experiment.profiles import Profile
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import AGAIN, CERTIFICATE, Record, RecordError, make_folder, read
from pebench.suite.runs import machine
from pebench.suite.runs.cell import Cell, locked
from pebench.suite.runs.engine import Ended, Engine, Fault, Lost, Node, Running, SweepError
from pebench.suite.runs.engines.local import HERE, Limits, Local
from pebench.suite.runs.existing import due, existing, one_line
from pebench.tasks.data.system import Lock

POLL = 0.1  # seconds
LONGEST = 1e9  # seconds that a record can say of a run
FEW = 5  # records of other runs say well enough how long a task takes
RECENT = 99  # times of runs of this sweep that an estimate looks at, for each task
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)  # what too many processes use up
ATTEMPTS = 3  # that a run gets whose process is lost while its node lives

Kind = tuple[str, str]  # profile and task: runs of one kind take about as long


def cells(
    profile: Profile, encodings: list[str], tasks: list[str], seeds: list[int], corpus: Path | None
) -> list[Cell]:
    """The sweep in the order in which it runs: certificates first, then task by task. Costs need one seed only.

    EncodingError where two of the encodings have one name: their records would be one row.
    """
    encodings = distinct(encodings)
    chosen = [Cell(e, CERTIFICATE, profile.name, 0) for e in encodings if CERTIFICATE in tasks]
    for task in tasks:
        if task != CERTIFICATE:
            chosen += [
                Cell(e, task, profile.name, seed, corpus)
                for seed in (seeds if profile.plans[task].recipe.steps else [0])
                for e in encodings
            ]
    return chosen


def estimate(todo: list[Cell], records: Iterable[Record]) -> tuple[float, list[str]]:
    """Seconds that these runs take one after the other, and the tasks that no record tells the time of.

    By the median of the records of the same profile and task, on whatever machine those were made.
    """
    return total(kinds(todo), times(records))


def kinds(todo: Iterable[Cell]) -> Counter[Kind]:
    """How many runs there are of each profile and task."""
    return Counter((cell.profile, cell.task) for cell in todo)


def times(records: Iterable[Record]) -> dict[Kind, float]:
    """The median seconds of a measured run of each profile and task."""
    known: dict[Kind, list[float]] = defaultdict(list)
    for record in records:
        seconds = record.provenance.get("seconds")
        if record.outcome == "measured" and isinstance(seconds, int | float) and 0 <= seconds <= LONGEST:
            known[record.profile, record.task].append(seconds)
    return {kind: statistics.median(values) for kind, values in known.items()}


def total(todo: Counter[Kind], each: dict[Kind, float]) -> tuple[float, list[str]]:
    """Seconds that these runs take one after the other, and the tasks of unknown time."""
    seconds = sum(n * each.get(kind, 0.0) for kind, n in todo.items())
    return seconds, list({task: None for profile, task in todo if (profile, task) not in each})


def latest(chosen: list[Cell], folder: Path) -> Iterator[Record]:
    """A few records of each of these tasks, the newest that the folder has, of whatever encoding."""
    for profile, task in {(cell.profile, cell.task): None for cell in chosen}:
        files = (folder / profile / task).glob("*/*.json")
        for path in sorted(files, key=os.path.getmtime, reverse=True)[:FEW]:
            with contextlib.suppress(RecordError):
                yield read(path, folder)


def duration(seconds: float) -> str:
    """A time as one says it.

    >>> duration(40), duration(400), duration(40_000)
    ('40 s', '7 min', '11.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Queue:
    """Runs that wait, in their order.

    A run that needs another run's checkpoint waits until that run has ended. If that run is not in this sweep, or
    its checkpoint was not kept, the first run that needs it trains the model. The others wait.
    """

    def __init__(self, cells: Iterable[Cell], folder: Path):
        self.folder = folder
        self.waiting = OrderedDict.fromkeys(cells)
        self.unfinished = set(self.waiting)  # waiting or running
        self.borrowed = Counter[Cell | None]()  # bases of those that run
        self.kinds = kinds(self.waiting)  # of those that wait

    def take(self) -> Cell | None:
        """The first run that can start, which runs from now on; None where none can."""
        for cell in self.waiting:
            if self.free(cell):
                del self.waiting[cell]
                self.borrowed[cell.base] += 1
                self.kinds[cell.profile, cell.task] -= 1
                self.kinds += Counter()  # forgets what is zero
                return cell
        return None

    def free(self, cell: Cell) -> bool:
        """Whether a run has all that it needs."""
        base = cell.base
        if base is None:
            return True
        return base not in self.unfinished and (
            not self.borrowed[base] or (self.folder / base.checkpoint).exists()
        )

    def end(self, cell: Cell) -> None:
        """A run has ended."""
        self.borrowed[cell.base] -= 1
        self.borrowed += Counter()
        self.unfinished.discard(cell)

    def back(self, cell: Cell) -> None:
        """A run did not end, and is the next to start."""
        self.borrowed[cell.base] -= 1
        self.borrowed += Counter()
        self.waiting[cell] = None
        self.waiting.move_to_end(cell, last=False)
        self.kinds[cell.profile, cell.task] += 1


class Started(NamedTuple):
    """A run that was started, its lock and its bar."""

    run: Running
    lock: Lock
    bar: TaskID


@dataclass
class Sweep:
    """A sweep over cells into a records folder."""

    cells: list[Cell]
    folder: Path
    jobs: int
    timeout: float  # seconds of one cell
    memory: int  # bytes, shared among the cells that run at a time
    device: str = "cpu"
    retry: bool = False  # run again what failed before
    save: bool = False  # the trained models too
    engine: Engine | None = None  # default: this machine
    sharing: Sharing | None = None  # of each training among ranks, on this machine
    console: Console = field(default_factory=Console)
    outcomes: Counter[str] = field(default_factory=Counter)
    recent: dict[Kind, deque[float]] = field(default_factory=dict)  # seconds of cells that are done
    before: list[Record] = field(default_factory=list)  # of other runs, for their times
    share: int = field(init=False)  # bytes of one cell
    out: dict[str, str] = field(default_factory=dict)  # nodes that are left out, and why

    def __post_init__(self) -> None:
        self.share = self.memory // self.jobs
        self.lost = Counter[Cell]()  # attempts whose process was lost

    def run(self) -> Counter[str]:
        """Make the missing runs; returns how many ended in which way. "kept" counts the runs that had their record."""
        try:
            make_folder(self.folder)
            missing = [cell for cell in self.cells if self.wanted(cell)]
            if missing:
                with contextlib.suppress(OSError):  # a file that another sweep moves away meanwhile
                    self.before = list(latest(missing, self.folder))
                self.share = self.memory // min(self.jobs, len(missing))
                self.make(missing, self.engine or self.here())
        except KeyboardInterrupt:
            self.console.print("interrupted; a second call continues")
            raise
        except SweepError:
            raise
        except OSError as e:
            if e.errno in EXHAUSTED:
                raise SweepError(f"cannot start another process: {e.strerror}; give fewer --jobs") from e
            inside = f"{e.filename}: " if e.filename and Path(e.filename) != self.folder else ""
            raise SweepError(f"cannot use the records folder {self.folder}: {inside}{e.strerror or e}") from e
        return self.outcomes

    def here(self) -> Local:
        """This machine as an engine."""
        limits = Limits(self.timeout, self.share)
        return Local(self.folder, self.jobs, self.device, limits, self.tell, self.sharing)

    def make(self, missing: list[Cell], engine: Engine) -> None:
        """Make these runs on an engine, and say beforehand how many there are."""
        try:
            self.jobs = sum(node.slots for node in self.usable(engine))
            at_once, queue = min(self.jobs, len(missing)), Queue(missing, self.folder)
            left = self.left(queue.kinds, [])
            self.tell(f"{counted(len(missing), 'run')} to make, {at_once} at a time; {left}")
            with self.bars() as progress:
                self.go(queue, engine, progress)
        finally:
            engine.close()

    def tell(self, line: str) -> None:
        """Print a line, as it is."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def wanted(self, cell: Cell) -> bool:
        """Whether the cell is to be run: it has no record, or its record failed and `retry` is set."""
        record = existing(cell, self.folder)
        if record is None or due(record, self.retry):
            return True
        self.outcomes["kept" if record.outcome not in AGAIN else record.outcome] += 1
        self.remember(record)
        return False

    def remember(self, record: Record) -> None:
        """Keep how long a run took."""
        for kind, seconds in times([record]).items():
            self.recent.setdefault(kind, deque(maxlen=RECENT)).append(seconds)

    def left(self, waiting: Counter[Kind], running: Iterable[Running]) -> str:
        """How long the rest takes, by the times of this sweep, or of runs before it; empty where nothing is left."""
        running = list(running)
        if not waiting and not running:
            return ""
        own = {kind: statistics.median(seconds) for kind, seconds in self.recent.items()}
        known = {**times(self.before), **own}
        whole, unknown = total(waiting + kinds(run.cell for run in running), known)
        done = sum(run.done * known.get((run.cell.profile, run.cell.task), 0.0) for run in running)
        lanes = max(1, min(self.jobs, waiting.total() + len(running)))
        seconds = (whole - done) / lanes
        if unknown:
            rest = f"time not yet known for {', '.join(unknown)}"
            return f"more than {duration(seconds)} left, {rest}" if seconds >= 1 else rest
        return f"about {duration(seconds)} left"

    def bars(self) -> Progress:
        """Progress for a terminal; in a pipe only the line of each finished cell appears."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def go(self, queue: Queue, engine: Engine, progress: Progress) -> None:
        """The loop: start, watch, reap."""
        many = len(queue.waiting)
        whole, finished = progress.add_task(counted(many, "run"), total=many, left=""), 0
        running: list[Started] = []
        bases = {cell.base for cell in self.cells}
        try:
            while queue.waiting or running:
                for node in self.free(engine, running):
                    if (cell := queue.take()) is None:
                        break
                    if started := self.start(cell, engine, node, self.save or cell in bases, progress):
                        running.append(started)
                    else:
                        queue.end(cell)
                        finished += 1
                time.sleep(POLL)
                for started in list(running):
                    run = started.run
                    end = run.poll()
                    progress.update(started.bar, completed=run.done)
                    if end is None:
                        continue
                    running.remove(started)
                    progress.remove_task(started.bar)
                    started.lock.release()
                    if not self.over(run, end, queue):
                        continue
                    finished += 1
                    left = self.left(queue.kinds, (other.run for other in running))
                    if isinstance(end, Ended):
                        self.report(run, end.record, f"{finished}/{many}", left)
                    progress.update(whole, left=left)
                progress.update(whole, completed=finished + sum(each.run.done for each in running))
        finally:
            for started in running:
                started.run.kill()
                started.lock.release()

    def free(self, engine: Engine, running: list[Started]) -> Iterator[str]:
        """A node for each run that can start now, the emptiest first."""
        used = Counter(started.run.node for started in running)
        room = {node.name: node.slots - used[node.name] for node in self.usable(engine)}
        self.jobs = sum(room.values()) + len(running)
        while (node := max(room, key=room.__getitem__, default=None)) is not None and room[node] > 0:
            room[node] -= 1
            yield node

    def usable(self, engine: Engine) -> list[Node]:
        """The nodes that get runs; each other one is named once. SweepError where all are left out."""
        nodes = engine.nodes()
        for node in nodes:
            if node.fault and node.name not in self.out:
                self.leave_out(node.name, node.fault)
        usable = [node for node in nodes if node.name not in self.out]
        if nodes and not usable:
            raise SweepError(
                "; ".join(
                    f"{n.name}: {self.out[n.name]}" if n.name != HERE else self.out[HERE] for n in nodes
                )
            )
        return usable

    def leave_out(self, node: str, why: str) -> None:
        """Give a node no more runs, and name it once."""
        if node not in self.out:
            self.out[node] = why
            if node != HERE:
                self.tell(f"{node} is left out: {one_line(why)}")

    def over(self, run: Running, end: Ended | Fault | Lost, queue: Queue) -> bool:
        """Whether a run is done with; else it is back in the queue."""
        if isinstance(end, Ended):
            queue.end(run.cell)
            self.outcomes[end.record.outcome] += 1
            self.remember(end.record)
            return True
        if isinstance(end, Fault):
            self.leave_out(run.node, end.why)
            queue.back(run.cell)
            return False
        self.lost[run.cell] += end.alone
        if self.lost[run.cell] < ATTEMPTS:
            self.tell(f"{run.cell.title} starts again: {one_line(end.why)}")
            queue.back(run.cell)
            return False
        self.tell(
            f"{run.cell.title} has no record: its process was lost {ATTEMPTS} times: {one_line(end.why)}"
        )
        queue.end(run.cell)
        self.outcomes["lost"] += 1
        return True

    def start(self, cell: Cell, engine: Engine, node: str, save: bool, progress: Progress) -> Started | None:
        """Start a run; None where another sweep has it, or has just finished it."""
        lock = locked(cell, self.folder)
        if not lock.acquire(wait=False):
            self.tell(f"{cell.title} is being run by another sweep")
            self.outcomes["elsewhere"] += 1
            return None
        try:
            if not self.wanted(cell):
                lock.release()
                return None
            run = engine.start(cell, node, save)
        except BaseException:
            lock.release()
            raise
        return Started(run, lock, progress.add_task(cell.title, total=1, left=""))

    def report(self, run: Running, record: Record, place: str, left: str) -> None:
        """Print one line about a cell that has ended."""
        where = f" on {run.node}" if run.node != HERE else ""
        took = f"{record.outcome} in {run.seconds():.0f} s{where}"
        missing = [
            f"{name} not written ({why})" for name, why in record.provenance.get("missing", {}).items()
        ]
        about = ", ".join(filter(None, [one_line(record.reason), *map(one_line, missing)]))
        rest = "; ".join(filter(None, [took + (f": {about}" if about else ""), left]))
        self.tell(f"[{place}] {run.cell.title} {rest}")


def sweep(
    profile: Profile,
    chosen: list[Cell],
    folder: Path,
    jobs: int | None = None,
    sharing: Sharing | None = None,
    **options: Any,
) -> Sweep:
    """A sweep under the limits of its profile, on all processors; the memory is shared among the runs at a time.

    On an engine of other machines each of them says for itself how many runs it takes.
    """
    memory, ranks = machine.usable_memory(), sharing.ranks if sharing else 1
    device = options.get("device", "cpu")
    if options.get("engine"):
        own = 1
    elif sharing and device.startswith("cuda"):
        own = machine.gpus()  # each rank has one of its own
    else:
        own = machine.runs_at_once(device)
    at_once = jobs or max(1, own // ranks)
    if not options.get("engine") and min(at_once, len(chosen)) > (most := machine.runs_in_memory()):
        raise SweepError(
            f"{at_once} runs at a time need {at_once * machine.LEAST_MEMORY / 2**30:.1f} GiB of memory, and "
            f"{memory / 2**30:.1f} are there; give --jobs {most} or fewer"
        )
    return Sweep(chosen, folder, at_once, profile.timeout, memory, sharing=sharing, **options)


def states(sweep_cells: list[Cell], folder: Path) -> Iterator[tuple[Cell, str]]:
    """Each cell's outcome, "missing", or "stale" where only a record of other code exists."""
    for cell in sweep_cells:
        path = folder / cell.path
        if path.exists():
            try:
                yield cell, read(path, folder).outcome
            except RecordError:
                yield cell, "unreadable"
        else:
            yield cell, "stale" if any(path.parent.glob(f"{cell.seed}-*.json")) else "missing"
