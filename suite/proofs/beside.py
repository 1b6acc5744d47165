"""A check of the certificate in a process beside the others: the imports of torch.compile alone take as long as they.

Only Linux forks: elsewhere the system's libraries do not stand it. A process with threads is not forked either, and a
forked process that is killed tells nothing. In these cases the check runs where its result is asked for.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from pebench.encodings.base import Encoding
from pebench.suite.proofs.certificate import CHECKS, Check, CheckFunction, compiles_whole, run_check

FORKS = sys.platform == "linux"


def certificate(name: str, cls: type[Encoding]) -> Callable[[], list[Check]]:
    """`certify` to be called later; what compiles the model begins at once."""
    compiled = begun(compiles_whole, name, cls)

    def made() -> list[Check]:
        others = {c: run_check(c, name, cls, 0) for c in CHECKS if c is not compiles_whole}
        whole = compiled()
        return [whole if c is compiles_whole else others[c] for c in CHECKS]

    return made


def begun(check: CheckFunction, name: str, cls: type[Encoding]) -> Callable[[], Check]:
    """Start this check in a forked process; a call waits for its result."""
    if not FORKS or threading.active_count() > 1:
        return lambda: run_check(check, name, cls, 0)
    # A Ctrl-C inside a hook of the fork or a pipe's __del__ is printed and lost, and a mask leaves it to torch's
    # threads: the handler notes it, and it counts afterwards.
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        told_by = forked(check, name, cls)
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        signal.raise_signal(signal.SIGINT)

    def result() -> Check:
        try:
            told: Check = told_by.recv()
        except EOFError:
            return run_check(check, name, cls, 0)
        return told

    return result


def forked(check: CheckFunction, name: str, cls: type[Encoding]) -> Connection:
    """The end of a pipe that the check's result comes through."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    fork.Process(target=tell, args=(theirs, check, name, cls), daemon=True).start()
    theirs.close()
    return ours


def tell(pipe: Connection, check: CheckFunction, name: str, cls: type[Encoding]) -> None:
    """In the forked process: send the result. Ctrl-C is the parent's, and this process ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=follow, daemon=True).start()
    told = run_check(check, name, cls, 0)
    with contextlib.suppress(BrokenPipeError):  # the parent was interrupted, and is about to end
        pipe.send(told)


def follow() -> None:
    """End with the parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
