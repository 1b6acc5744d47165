"""Runs on this machine: each in a process of its own, with a limit of time and of memory."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil
import torch

from pebench.suite.experiment.clock import clock
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.results.record import AGAIN, Record, make_folder, share, write
from pebench.suite.runs.cell import Began, Cell, provenance
from pebench.suite.runs.engine import Ended, Fault, Node
from pebench.suite.runs.engines.forkserver import FORKS, ForkServerError, Worker, fork, surroundings
from pebench.suite.runs.existing import existing

WORKER = ("-P", "-m", "pebench.suite.runs.worker")  # -P: nothing in the working directory is imported
HERE = "this machine"
STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


@dataclass(frozen=True)
class Limits:
    """What one run may take: seconds, and bytes of memory."""

    timeout: float
    memory: int


@dataclass
class Job:
    """A run in a process of this machine."""

    cell: Cell
    folder: Path
    device: str
    limits: Limits
    process: subprocess.Popen[str] | Worker
    log: Path
    tell: Callable[[str], None]
    sharing: Sharing | None = None
    node: str = HERE
    reader: threading.Thread = field(init=False)
    started: float = field(default_factory=clock)
    began: Began = field(default_factory=Began)
    done: float = 0.0  # share
    used: int = 0  # bytes, the most that were seen
    seen: float = field(default_factory=clock)  # when it was last looked at
    stopped: float = 0.0  # seconds in which it was stopped, and we were not
    error: str = ""  # why this machine cannot make the run
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

    def poll(self) -> Ended | Fault | None:
        """How it ended; None while it runs. A process that takes too long or too much memory is killed."""
        self.watch()
        if self.process.poll() is None:
            return None
        self.close()
        return Fault(self.error) if self.error else Ended(self.record())

    def look(self) -> tuple[bool, int]:
        """Whether the process is stopped, and the bytes that it holds."""
        process, now = psutil.Process(self.process.pid), clock()
        stopped = process.status() in STOPPED
        self.stopped += now - self.seen if stopped else 0
        self.seen = now
        return stopped, sum(each.memory_info().rss for each in (process, *self.ranks()))

    def ranks(self) -> list[psutil.Process]:
        """The processes below ours; none where no training is shared, as looking for them takes time."""
        return psutil.Process(self.process.pid).children(recursive=True) if self.sharing else []

    def watch(self) -> None:
        """Kill a run that takes too long or too much."""
        if self.ended or self.process.poll() is not None:
            return
        with contextlib.suppress(psutil.Error):
            before = self.stopped
            stopped, used = self.look()
            self.used = max(self.used, used)
            if used > self.limits.memory:
                most = f"used {used / 2**30:.1f} GiB, more than {self.limits.memory / 2**30:.1f}"
                self.end("out of memory", most)
                return
            if stopped and not before:
                remedy = f"`kill -CONT {self.process.pid}` lets it go on"
                self.tell(f"{self.cell.title} was stopped; {remedy}")
        if self.seconds() > self.limits.timeout:
            self.end("timed out", f"took longer than {self.limits.timeout:.0f} s")

    def end(self, outcome: str, reason: str) -> None:
        """Stop it, and remember why."""
        self.ended = (outcome, reason)
        self.stop()

    def kill(self) -> None:
        """Stop it, and wait for its end."""
        self.stop()
        self.close()

    def stop(self) -> None:
        """Kill its processes, and a compiler that one of them waits for: they are a session of their own."""
        alive = self.process.poll() is None
        with contextlib.suppress(psutil.Error):
            ranks = self.ranks()
            if alive:
                with contextlib.suppress(OSError, AttributeError):  # Windows has no groups
                    os.killpg(self.process.pid, signal.SIGKILL)
            for rank in ranks:
                with contextlib.suppress(psutil.Error):
                    rank.kill()
        self.process.kill()

    def close(self) -> None:
        """Wait for its end and its last messages, and close its pipes."""
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def record(self) -> Record:
        """The record of a run that has ended, which is written here where it could not do that itself."""
        record, code = existing(self.cell, self.folder), self.process.wait()
        # A record stands however its process ended after writing it; one of an earlier attempt does not.
        if record is None or (code != 0 and record.outcome in AGAIN):
            outcome, reason = self.ended or ("failed", died(code, self.log))
            made = provenance(self.cell, self.began, torch.device(self.device), self.sharing)
            # That is where and when; memory and threads are those of the process that ended, not ours.
            made |= {"peak_memory_bytes": self.used, "threads": 1, "seconds": round(self.seconds(), 2)}
            record = self.cell.record(outcome=outcome, reason=reason, provenance=made)
            write(record, self.folder)
        return record


@dataclass
class Local:
    """This machine."""

    folder: Path
    jobs: int
    device: str
    limits: Limits
    tell: Callable[[str], None] = print
    sharing: Sharing | None = None  # of each training

    def nodes(self) -> list[Node]:
        """This one."""
        return [Node(HERE, self.jobs)]

    def start(self, cell: Cell, node: str, save: bool) -> Job:
        """Start a run's process."""
        log = self.folder / cell.place.with_suffix(".log")
        make_folder(log.parent)
        with log.open("w", encoding="utf-8") as errors:
            process = worker(errors)
        share(log)
        assert process.stdin is not None
        sharing = self.sharing if cell.trains and cell.base is None else None
        with contextlib.suppress(BrokenPipeError):  # it died at once: `record` says why
            process.stdin.write(order(cell, self.folder, self.device, save, sharing))
            process.stdin.flush()
        return Job(cell, self.folder, self.device, self.limits, process, log, self.tell, sharing)

    def close(self) -> None:
        """Nothing is held."""


def worker(errors: IO[str]) -> subprocess.Popen[str] | Worker:
    """A worker process that waits for its cell. Ctrl-C reaches us alone; we end the workers."""
    if FORKS:
        with contextlib.suppress(ForkServerError):
            return fork(errors, surroundings())
    return spawn(errors)


def spawn(errors: IO[str]) -> subprocess.Popen[str]:
    """A worker that is a process from its start."""
    return subprocess.Popen(
        [sys.executable, *WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        encoding="utf-8",
        env=surroundings(),
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
    )


def order(
    cell: Cell, folder: Path, device: str = "cpu", save: bool = False, sharing: Sharing | None = None
) -> str:
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
        "sharing": asdict(sharing) if sharing else None,
    }
    return json.dumps(message) + "\n"


def died(code: int, log: Path) -> str:
    """Why a process ended without a record: the signal, or the last line that it wrote."""
    if code < 0:
        return f"killed by signal {-code}" + (" (often: the system ran out of memory)" if code == -9 else "")
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended with status {code}: {lines[-1] if lines else 'said nothing'}"
