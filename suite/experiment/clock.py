"""Seconds in which this process could run: a machine that sleeps, and a process that is stopped, let none pass."""

import threading
import time

BEAT = 0.2  # seconds between two looks at the clock
PAUSE = 1.0  # a gap between two looks that is longer, and in which the process did not compute, is a pause
BUSY = 0.1  # share of a gap that a process computes which holds the interpreter, but is not stopped


class Clock:
    """A clock that stands still while the process is stopped, by a signal, a scheduler or a laptop's lid.

    Nothing tells a process that it was stopped, so a thread looks at the clock all the time.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.paused = 0.0  # seconds
        self.seen, self.used = time.monotonic(), time.process_time()
        self.thread: threading.Thread | None = None

    def __call__(self) -> float:
        """Seconds since some moment in the past."""
        with self.lock:
            if self.thread is None:
                self.seen, self.used = time.monotonic(), time.process_time()
                self.thread = threading.Thread(target=self.watch, daemon=True)
                self.thread.start()
            return self.look()

    def look(self) -> float:
        """Take in the time since the last look; the lock is held."""
        now, used = time.monotonic(), time.process_time()
        gap = now - self.seen
        if gap > PAUSE and used - self.used < BUSY * gap:
            self.paused += gap - BEAT
        self.seen, self.used = now, used
        return now - self.paused

    def watch(self) -> None:
        while True:
            time.sleep(BEAT)
            with self.lock:
                self.look()


clock = Clock()
