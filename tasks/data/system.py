"""Locks that work on every mount."""

import errno
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from pebench.suite.results.record import share

# What the system says where a mount, or this Python, has no locks.
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class Lock:
    """A lock on a file, between processes; a context manager that waits for it.

    In a folder that a group shares the group may take it too. On a mount without locks it is always had: work goes
    on, and one line of standard error says so. OSError where the file cannot be made.
    """

    warned = False  # in this process

    def __init__(self, path: Path):
        self.path = path
        self.file = FileLock(path, fallback_to_soft=False)  # a soft lock outlives a process that is killed

    def acquire(self, wait: bool = True) -> bool:
        """Whether it is ours now; without `wait` False where another process has it."""
        try:
            self.file.acquire(timeout=-1 if wait else 0)
            share(self.path)
        except Timeout:
            return False
        except OSError as e:
            if e.errno not in WITHOUT_LOCKS:
                raise
            self.warn(e)
        return True

    def warn(self, e: OSError) -> None:
        """Say once in a process that its files are not locked."""
        if not Lock.warned:
            Lock.warned = True
            where, why = self.path.parent, e.strerror or e
            print(
                f"pebench: no locks in {where} ({why}): two processes may do the same work twice",
                file=sys.stderr,
            )

    @property
    def held(self) -> bool:
        """Whether no other process can have it; False where the mount has no locks."""
        return self.file.is_locked

    def release(self) -> None:
        """Let go of it; no harm where it is not held."""
        self.file.release()

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
