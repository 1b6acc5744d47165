"""The process of one cell: reads the cell from standard input, says how far it is, and writes the record.

Whatever goes wrong in here becomes a record with its reason, but for faults of the machine: other code, no text, no
GPU, a full disk. The parent records what this process cannot: that it was killed, ran out of time or of memory.
"""

import contextlib
import errno
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TextIO

import torch

from pebench.suite.results.record import Record, write
from pebench.suite.runs.cell import Began, Cell, clean, provenance, resume, run
from pebench.tasks.data.wheels import CorpusError

# What a disk does to a run through no fault of its own.
FOLDER = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Sweep:
    """The process that started us, at the other end of our standard output."""

    def __init__(self, pipe: int):
        self.pipe, self.last = pipe, 0.0
        # A sweep that is suspended reads nothing, and must not hold us up.
        with contextlib.suppress(AttributeError, OSError):  # Windows
            os.set_blocking(pipe, False)

    def progress(self, done: int, total: int) -> None:
        """Say how far the run is, now and then; it is no loss where nobody listens."""
        if time.monotonic() - self.last > 0.2 or done == total:
            self.last = time.monotonic()
            with contextlib.suppress(OSError):
                self.send({"done": done, "total": total})

    def end(self, why: str) -> int:
        """Say why this machine cannot make the run; our exit code."""
        with contextlib.suppress(AttributeError, OSError):
            os.set_blocking(self.pipe, True)
        self.send({"error": why})
        return 3

    def send(self, message: dict[str, int | str]) -> None:
        os.write(self.pipe, f"{json.dumps(message)}\n".encode())


def main() -> int:
    """Run the cell that a line of JSON on standard input names. 0: a record is written; 3: this machine cannot."""
    # What an encoding or a library prints must not disturb the protocol, be it from C.
    sweep = Sweep(os.dup(1))
    os.dup2(2, 1)
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=follow, args=(sys.stdin,), daemon=True).start()
    # Denormal weights, which decaying biases make, cost a factor of 2 to 5; only the first parallel operation
    # finds this setting in time.
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    corpus = order["corpus"] and Path(order["corpus"])
    cell = Cell(order["encoding"], order["task"], order["profile"], order["seed"], corpus)
    device = torch.device(order["device"])
    folder = Path(order["folder"])
    if cell.fingerprint() != order["fingerprint"]:
        return sweep.end("the code has changed since this sweep began; start it again")
    if device.type == "cuda" and not torch.cuda.is_available():
        return sweep.end("no CUDA device is available here")
    try:
        cell.look_up()
        clean(cell, folder)
        record = attempt(cell, device, sweep, folder, order["save"])
        write(record, folder)
    except CorpusError as e:
        return sweep.end(str(e))
    except OSError as e:
        return sweep.end(f"cannot use the records folder {folder}: cannot write the record: {e}")
    with contextlib.suppress(OSError):  # the record stands; a state that is left over is never read
        resume(cell, folder, device).remove()
    return 0


def follow(parent: TextIO) -> None:
    """End with the parent: its end of our standard input closes when it is gone, however it went."""
    parent.read()
    os._exit(1)


def attempt(cell: Cell, device: torch.device, sweep: Sweep, folder: Path, save: bool) -> Record:
    """The cell's record. OSError or CorpusError where the machine is to blame, which says nothing of the cell."""
    began = Began()
    try:
        return run(cell, device, folder, sweep.progress, save)
    except MemoryError as e:
        outcome, reason = "out of memory", f"out of memory: {e}"
    except CorpusError:
        raise
    except Exception as e:
        if isinstance(e, OSError) and e.errno in FOLDER:
            raise
        traceback.print_exc()
        where = traceback.extract_tb(e.__traceback__)[-1]
        reason = f"{type(e).__name__}: {e} ({Path(where.filename).name}, line {where.lineno})"
        outcome = (
            "out of memory" if "can't allocate memory" in str(e) or "out of memory" in str(e) else "failed"
        )
    return cell.record(outcome=outcome, reason=reason, provenance=provenance(cell, began, device))


if __name__ == "__main__":
    sys.exit(main())
