"""The process of one cell: reads the cell from standard input, says how far it is, and writes the record.

Whatever goes wrong in here becomes a record with its reason. The parent records what this process cannot:
that it was killed, ran out of time or of memory.
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

# What a disk does to a run through no fault of its own.
FOLDER = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def main() -> int:
    """Run the cell that one line of JSON on standard input names. 0: a record is written; 3: the sweep must end."""
    # What an encoding or a library prints must not disturb the protocol, be it from C.
    said = open(os.dup(1), "w", closefd=False)  # noqa: SIM115  (open to the end: its closing would be heard)
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
        return end("the code has changed since this sweep began; start it again", said)
    clean(cell, folder)
    try:
        record = attempt(cell, device, said, folder, order["save"])
        write(record, folder)
    except OSError as e:
        return end(f"cannot use the records folder {folder}: cannot write the record: {e}", said)
    with contextlib.suppress(OSError):  # the record stands; a state that is left over is never read
        resume(cell, folder, device).remove()
    return 0


def end(why: str, said: TextIO) -> int:
    """Have the parent end the sweep; the exit code."""
    print(json.dumps({"error": why}), file=said, flush=True)
    return 3


def follow(parent: TextIO) -> None:
    """End with the parent: its end of our standard input closes when it is gone, however it went."""
    parent.read()
    os._exit(1)


def attempt(cell: Cell, device: torch.device, said: TextIO, folder: Path, save: bool) -> Record:
    """The cell's record, whatever happens; OSError where the disk is to blame, which says nothing of the cell."""
    began, last = Began(), 0.0

    def tick(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2 or done == total:
            last = time.monotonic()
            print(json.dumps({"done": done, "total": total}), file=said, flush=True)

    try:
        return run(cell, device, folder, tick, save)
    except MemoryError as e:
        outcome, reason = "out of memory", f"out of memory: {e}"
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
