"""Processes that make runs of `pebench extend` at a time. Each gets one run after another from its call.

The call prints what they tell. Ctrl-C reaches it alone, and a helper ends with it, however it went: the helper's
standard input closes then. Finished steps stay.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pebench.suite.commands.errors import explained, worded
from pebench.suite.extend.checkpoint import Checkpoint
from pebench.suite.extend.model import fastest
from pebench.suite.extend.profiles import Track, track_named
from pebench.suite.extend.run import Run, Tell, loaded, make, named, runs, shortened
from pebench.suite.results.processes import environment
from pebench.suite.runs.machine import cores, usable_memory

DONE, BUSY, FAILED = "done", "busy", "failed"
LEAST = 3.5 * 2**30  # bytes of a process beside weights and cache; SmolLM2 at 32,768 tokens took 5.3 GB
VIEWS = 2  # of the keys, at most
PAUSE = 0.02  # seconds between looks at threads that end


class Ended(NamedTuple):
    """How a run ended. BUSY: another call is making it."""

    run: Run
    how: str
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Order:
    """The options of a call, by which a helper finds the same runs."""

    track: str
    methods: list[str]  # as they were given: names, file.py:Class
    tasks: list[str]
    model: str | None
    trained: int | None
    corpus: str | None
    records: str
    threads: int

    def runs(self) -> list[Run]:
        """All runs of the call. Errors as of the call itself."""
        track = track_named(self.track)
        chosen, checkpoint = named(self.methods, track), loaded(Path(self.model) if self.model else None)
        if self.trained is not None:
            checkpoint = shortened(checkpoint, self.trained)
        return runs(checkpoint, track, chosen, self.tasks, Path(self.corpus) if self.corpus else None)


def at_once(checkpoint: Checkpoint, track: Track, threads: int) -> int:
    """How many runs at a time the processor and the memory hold."""
    about, size = checkpoint.about, torch.finfo(fastest()).bits // 8
    cache = 2 * size * about.layers * about.kv_heads * about.head_dim * about.trained * track.farthest
    weights = size * sum(x.numel() for x in checkpoint.weights.values())
    return max(1, min(cores() // threads, int(usable_memory() // (VIEWS * cache + weights + LEAST))))


def here(todo: Iterable[Run], folder: Path, tell: Tell) -> Generator[Ended]:
    """Make these runs in this process."""
    for run, found in make(todo, folder, tell):
        if found is None:
            yield Ended(run, BUSY)
        elif isinstance(found, Exception):
            if explained(found) is None:  # our own fault
                traceback.print_exception(found)
            yield Ended(run, FAILED, reason=worded(found))
        else:
            yield Ended(run, DONE, found.provenance["seconds"])


def beside(order: Order, todo: Iterable[Run], jobs: int, tell: Tell) -> Generator[Ended]:
    """Make these runs in so many processes at a time. They are closed with this generator."""
    waiting, news, helpers = (
        deque(todo),
        queue.SimpleQueue[Ended | str | BaseException | None](),
        list[Helper](),
    )

    def serve() -> None:
        """Hand out runs to one helper, and to another in its place where it died."""
        try:
            helper: Helper | None = None
            while True:
                try:
                    run = waiting.popleft()
                except IndexError:  # another thread took the last one
                    break
                if helper is None:
                    helpers.append(helper := Helper(order))
                for said in helper.make(run):
                    news.put(said)
                if helper.process.poll() is not None:
                    helper = None
            news.put(None)
        except BaseException as e:
            news.put(e)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(jobs)]
    left = len(threads)
    try:
        for thread in threads:
            thread.start()
        while left:
            said = news.get()
            if isinstance(said, Ended):
                yield said
            elif isinstance(said, str):
                tell(said)
            elif said is None:
                left -= 1
            else:
                raise said
    finally:
        waiting.clear()
        while any(thread.is_alive() for thread in threads):  # one may be starting a helper just now
            for helper in list(helpers):
                helper.stop()
            time.sleep(PAUSE)
        for helper in helpers:
            helper.close()


class Helper:
    """A process that makes runs, from the side of the call."""

    def __init__(self, order: Order):
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment(),
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )
        self.send(asdict(order))

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone, and its standard output says so
            self.process.stdin.write(f"{json.dumps(message)}\n")
            self.process.stdin.flush()

    def make(self, run: Run) -> Iterator[Ended | str]:
        """What it tells of a run, and how the run ended."""
        assert self.process.stdout is not None
        self.send({"title": run.title, "fingerprint": run.fingerprint})
        for line in self.process.stdout:
            said = json.loads(line)
            if "tell" in said:
                yield said["tell"]
            else:
                yield Ended(run, said["how"], said["seconds"], said["reason"])
                return
        yield Ended(run, FAILED, reason=died(self.process.wait()))

    def stop(self) -> None:
        """Have it end, within a run too."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def close(self) -> None:
        """End it, and wait for that."""
        self.stop()
        with self.process:
            return


def died(code: int) -> str:
    """Why a helper is gone."""
    if code < 0:
        return f"its process was killed by signal {-code}; if memory was short, give fewer --jobs"
    return f"its process ended with exit code {code}"


def main() -> None:
    """Make the runs that lines of JSON on standard input name, and tell on standard output how they end."""
    # What a method or a library prints must not disturb the protocol, be it from C.
    out, lines = os.fdopen(os.dup(1), "w", encoding="utf-8"), queue.SimpleQueue[str]()
    os.dup2(2, 1)

    def follow() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(1)  # the call is gone, or needs us no more

    def say(**message: Any) -> None:
        print(json.dumps(message), file=out, flush=True)

    threading.Thread(target=follow, daemon=True).start()
    order = Order(**json.loads(lines.get()))
    torch.set_num_threads(order.threads)
    known, reason = dict[str, Run](), "code or data have changed since this call began; start it again"
    try:
        known = {run.title: run for run in order.runs()}
    except Exception as e:  # the call itself had none
        reason = worded(e)

    def asked() -> Iterator[Run]:
        while True:
            wanted = json.loads(lines.get())
            run = known.get(wanted["title"])
            if run is not None and run.fingerprint == wanted["fingerprint"]:
                yield run
            else:
                say(how=FAILED, seconds=0.0, reason=reason)

    for each in here(asked(), Path(order.records), lambda line: say(tell=line)):
        say(how=each.how, seconds=each.seconds, reason=each.reason)


if __name__ == "__main__":
    main()
