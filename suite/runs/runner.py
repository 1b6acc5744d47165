"""Runs the cells of a sweep: each in a process of its own, several at a time, and only those that are missing.

Ctrl-C and kill -9 lose at most the cells that are running, and a second call continues. Two sweeps may share
a folder: a cell is locked while it runs.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pebench.encodings.registry import distinct
from pebench.suite.experiment.clock import clock
from pebench.suite.experiment.profiles import Profile
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import Record, RecordError, make_folder, read, share, write
from pebench.suite.runs import machine
from pebench.suite.runs.cell import CERTIFICATE, Began, Cell, locked, provenance
from pebench.suite.runs.machine import cores
from pebench.tasks.data.system import Lock, environment

WORKER = ("-P", "-m", "pebench.suite.runs.worker")  # -P: nothing in the working directory is imported
POLL = 0.1  # seconds
# glibc keeps what a training step frees for the next one, rather than returning it: page faults take a tenth of a step.
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
FEW = 5  # records of other runs say well enough how long a task takes
STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
AGAIN = ("failed", "timed out", "out of memory")  # outcomes that another attempt may change


class SweepError(OSError):
    """The sweep cannot go on: the records folder cannot be read or written."""


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
    known: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        seconds = record.provenance.get("seconds")
        if record.outcome == "measured" and isinstance(seconds, int | float):
            known[record.profile, record.task].append(seconds)
    times = {key: statistics.median(values) for key, values in known.items()}
    total = sum(times.get((cell.profile, cell.task), 0.0) for cell in todo)
    unknown = {cell.task: None for cell in todo if (cell.profile, cell.task) not in times}
    return total, list(unknown)


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


@dataclass
class Job:
    """A cell that is running."""

    cell: Cell
    process: subprocess.Popen[str]
    lock: Lock
    log: Path
    bar: TaskID
    reader: threading.Thread = field(init=False)
    started: float = field(default_factory=clock)
    began: Began = field(default_factory=Began)
    done: float = 0.0  # share
    used: int = 0  # bytes, the most that were seen
    seen: float = field(default_factory=clock)  # when it was last looked at
    stopped: float = 0.0  # seconds in which it was stopped, and we were not
    error: str = ""  # why the sweep cannot go on
    ended: tuple[str, str] | None = None  # outcome and reason, where we killed it

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self.read_messages, daemon=True)
        self.reader.start()

    def read_messages(self) -> None:
        """Take in what the process reports, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "error" in message:
                self.error = message["error"]
            else:
                self.done = message["done"] / message["total"]

    def seconds(self) -> float:
        """How long it has been running; time in which it or the sweep was suspended does not count."""
        return clock() - self.started - self.stopped

    def look(self) -> tuple[bool, int]:
        """Whether the process is stopped, and the bytes that it holds."""
        process, now = psutil.Process(self.process.pid), clock()
        stopped = process.status() in STOPPED
        self.stopped += now - self.seen if stopped else 0
        self.seen = now
        return stopped, process.memory_info().rss

    def kill(self, outcome: str, reason: str) -> None:
        """Stop it, and remember why."""
        self.ended = (outcome, reason)
        self.process.kill()

    def close(self) -> None:
        """Wait for its end and its last messages, and close its pipes."""
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


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
    console: Console = field(default_factory=Console)
    outcomes: Counter[str] = field(default_factory=Counter)
    records: list[Record] = field(default_factory=list)  # of the cells that are done
    before: list[Record] = field(default_factory=list)  # of other runs, for their times
    share: int = field(init=False)  # bytes of one cell

    def __post_init__(self) -> None:
        self.share = self.memory // self.jobs

    def run(self) -> Counter[str]:
        """Run what is missing; how many cells ended in which way, "kept" being those that had their record."""
        try:
            make_folder(self.folder)
            missing = [cell for cell in self.cells if self.wanted(cell)]
            if missing:
                with contextlib.suppress(OSError):  # a file that another sweep moves away meanwhile
                    self.before = list(latest(missing, self.folder))
                at_once = min(self.jobs, len(missing))
                self.share = self.memory // at_once
                about = (
                    f"{counted(len(missing), 'run')} to make, {at_once} at a time; {self.left(missing, [])}"
                )
                self.console.print(about, highlight=False, soft_wrap=True)
            with self.bars() as progress:
                self.go(missing, progress)
        except KeyboardInterrupt:
            self.console.print("interrupted; a second call continues")
            raise
        except SweepError:
            raise
        except OSError as e:
            raise SweepError(f"cannot use the records folder {self.folder}: {e}") from e
        return self.outcomes

    def wanted(self, cell: Cell) -> bool:
        """Whether the cell is to be run: it has no record, or a failed one that is to be tried again."""
        record = existing(cell, self.folder)
        if record is None or (self.retry and record.outcome in AGAIN):
            return True
        self.outcomes["kept" if record.outcome not in AGAIN else record.outcome] += 1
        self.records.append(record)
        return False

    def left(self, waiting: list[Cell], running: list[Job]) -> str:
        """How long the rest takes, by the times of this sweep, or of runs before it; empty where nothing is left."""
        if not waiting and not running:
            return ""
        own = {(record.profile, record.task) for record in self.records if record.outcome == "measured"}
        known = self.records + [r for r in self.before if (r.profile, r.task) not in own]
        whole, unknown = estimate([*waiting, *(job.cell for job in running)], known)
        done = sum(job.done * estimate([job.cell], known)[0] for job in running)
        lanes = max(1, min(self.jobs, len(waiting) + len(running)))
        seconds = (whole - done) / lanes
        if unknown:
            rest = f"not yet known how much for {', '.join(unknown)}"
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

    def go(self, missing: list[Cell], progress: Progress) -> None:
        """The loop: start, watch, reap."""
        whole = progress.add_task(counted(len(missing), "run"), total=len(missing), left="")
        waiting, finished = list(missing), 0
        running: list[Job] = []
        try:
            while waiting or running:
                while len(running) < self.jobs and (cell := self.startable(waiting, running)):
                    waiting.remove(cell)
                    if job := self.start(cell, progress):
                        running.append(job)
                    else:
                        finished += 1
                time.sleep(POLL)
                for job in list(running):
                    self.watch(job)
                    progress.update(job.bar, completed=job.done)
                    if job.process.poll() is not None:
                        running.remove(job)
                        progress.remove_task(job.bar)
                        finished += 1
                        record, left = self.reap(job), self.left(waiting, running)
                        self.report(job, record, f"{finished}/{len(missing)}", left)
                        progress.update(whole, left=left)
                progress.update(whole, completed=finished + sum(job.done for job in running))
        finally:
            for job in running:
                job.process.kill()
                job.close()
                job.lock.release()

    def startable(self, waiting: list[Cell], running: list[Job]) -> Cell | None:
        """The first cell that can start.

        A cell that needs another cell's checkpoint waits until that cell has run. If that cell is not in this sweep,
        or its checkpoint was not kept, the first cell that needs it trains the model and the others wait.
        """
        unfinished = {*waiting, *(job.cell for job in running)}
        borrowed = {job.cell.base for job in running}
        for cell in waiting:
            base = cell.base
            if base is None:
                return cell
            if base not in unfinished and (base not in borrowed or (self.folder / base.checkpoint).exists()):
                return cell
        return None

    def start(self, cell: Cell, progress: Progress) -> Job | None:
        """Start a cell's process; None where another sweep has it."""
        lock = locked(cell, self.folder)
        if not lock.acquire(wait=False):
            self.console.print(f"{cell.title} is being run by another sweep")
            self.outcomes["elsewhere"] += 1
            return None
        if not self.wanted(cell):  # another sweep has just finished it
            lock.release()
            return None
        log = self.folder / cell.place.with_suffix(".log")
        with log.open("w", encoding="utf-8") as errors:
            process = spawn(errors)
        for path in (lock.path, log):
            share(path)
        save = self.save or any(other.base == cell for other in self.cells)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: `reap` says why
            process.stdin.write(order(cell, self.folder, self.device, save))
            process.stdin.flush()
        return Job(cell, process, lock, log, progress.add_task(cell.title, total=1, left=""))

    def watch(self, job: Job) -> None:
        """Kill a cell that takes too long or too much."""
        if job.ended or job.process.poll() is not None:
            return
        with contextlib.suppress(psutil.Error):
            before = job.stopped
            stopped, used = job.look()
            job.used = max(job.used, used)
            if used > self.share:
                most = f"used {used / 2**30:.1f} GiB, more than {self.share / 2**30:.1f}"
                job.kill("out of memory", most)
                return
            if stopped and not before:
                remedy = f"`kill -CONT {job.process.pid}` lets it go on"
                self.console.print(f"{job.cell.title} was stopped; {remedy}", markup=False, soft_wrap=True)
        if job.seconds() > self.timeout:
            job.kill("timed out", f"took longer than {self.timeout:.0f} s")

    def reap(self, job: Job) -> Record:
        """The record of a cell that has ended, which is written here where it could not do that itself."""
        job.close()
        if job.error:
            job.lock.release()
            raise SweepError(job.error)
        record, code = existing(job.cell, self.folder), job.process.returncode
        # A record stands however its process ended after writing it; one of an earlier attempt does not.
        if record is None or (code != 0 and record.outcome in AGAIN):
            outcome, reason = job.ended or ("failed", died(code, job.log))
            made = provenance(job.cell, job.began, torch.device(self.device))
            # That is where and when; memory and threads are those of the process that ended, not ours.
            made |= {"peak_memory_bytes": job.used, "threads": 1, "seconds": round(job.seconds(), 2)}
            record = job.cell.record(outcome=outcome, reason=reason, provenance=made)
            write(record, self.folder)
        job.lock.release()
        self.outcomes[record.outcome] += 1
        self.records.append(record)
        return record

    def report(self, job: Job, record: Record, place: str, left: str) -> None:
        """Print one line about a cell that has ended."""
        took = f"{record.outcome} in {job.seconds():.0f} s"
        missing = [
            f"{name} not written ({why})" for name, why in record.provenance.get("missing", {}).items()
        ]
        about = ", ".join(filter(None, [one_line(record.reason), *map(one_line, missing)]))
        rest = "; ".join(filter(None, [took + (f": {about}" if about else ""), left]))
        self.console.print(
            f"[{place}] {job.cell.title} {rest}", markup=False, highlight=False, soft_wrap=True
        )


def sweep(
    profile: Profile, chosen: list[Cell], folder: Path, jobs: int | None = None, **options: Any
) -> Sweep:
    """A sweep under the limits of its profile, on all processors; the memory is shared among the runs at a time."""
    memory = int(0.9 * machine.memory())
    return Sweep(chosen, folder, jobs or cores(), profile.timeout, memory, **options)


def spawn(errors: IO[str]) -> subprocess.Popen[str]:
    """A worker process that waits for its cell. Ctrl-C reaches us alone; we end the workers."""
    return subprocess.Popen(
        [sys.executable, *WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        encoding="utf-8",
        env={**MALLOC, **environment(OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")},
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
    )


def order(cell: Cell, folder: Path, device: str = "cpu", save: bool = False) -> str:
    """The line that tells a worker what to run."""
    message = {
        "encoding": cell.encoding,
        "task": cell.task,
        "profile": cell.profile,
        "seed": cell.seed,
        "corpus": os.fspath(cell.corpus) if cell.corpus else None,
        "device": device,
        "folder": os.fspath(folder),
        "fingerprint": cell.fingerprint(),
        "save": save,
    }
    return json.dumps(message) + "\n"


def died(code: int, log: Path) -> str:
    """Why a process ended without a record: the signal, or the last line that it wrote."""
    if code < 0:
        return f"killed by signal {-code}" + (" (often: the system ran out of memory)" if code == -9 else "")
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended with status {code}: {lines[-1] if lines else 'said nothing'}"


def stale(records: Iterable[Record]) -> list[Path]:
    """The places of the records whose code, plan or text is not that of today."""
    made = ((r, Cell(r.encoding, r.task, r.profile, r.seed)) for r in records)
    return [record.path for record, cell in made if record.fingerprint != cell.fingerprint()]


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
