"""The process of one cell: reads the cell from standard input, says how far it is, and writes the record.

A training that is shared among ranks has a process for each below this one; rank 0 writes the record.

Any error in here becomes a record with its reason. The exceptions are faults of the machine: other code, no text,
no GPU, a full disk. The parent records what this process cannot: that it was killed, ran out of time or of memory.
"""

import contextlib
import errno
import json
import os
import secrets
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TextIO

import torch

from pebench.suite.experiment.sharing import Sharing
from pebench.suite.experiment.training import Diverged
from pebench.suite.results.record import AGAIN, Record, write
from pebench.suite.runs.cell import Began, Cell, clean, forget, provenance, run, trained
from pebench.tasks import make
from pebench.tasks.base import Task
from pebench.tasks.data.wheels import CorpusError

ORDER = "PEBENCH_ORDER"  # in the environment of a rank
RECORDED = 5  # exit code of a rank 0 that has written the record of a failure
PAUSE = 5.0  # seconds that another rank gives rank 0 to record an error that both have met
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
    sweep, rank = Sweep(os.dup(1)), int(os.environ["RANK"]) if ORDER in os.environ else None
    os.dup2(2, 1)
    line = sys.stdin.readline() if rank is None else os.environ[ORDER]
    parent = os.fdopen(os.dup(0))
    threading.Thread(target=follow, args=(parent,), daemon=True).start()
    order = json.loads(line)
    sharing = Sharing(**order["sharing"]) if order["sharing"] else None
    if sharing and rank is None:
        return start_ranks(sharing.ranks, line, sweep.pipe)
    # Denormal weights, which decaying biases make, cost a factor of 2 to 5; only the first parallel operation
    # finds this setting in time.
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    corpus = order["corpus"] and Path(order["corpus"])
    cell = Cell(order["encoding"], order["task"], order["profile"], order["seed"], corpus)
    device = torch.device(order["device"])
    if sharing and device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    folder = Path(order["folder"])
    if cell.fingerprint() != order["fingerprint"]:
        return sweep.end("the code has changed since this sweep began; start it again")
    if device.type == "cuda" and torch.cuda.device_count() <= (device.index or 0):
        return sweep.end(f"no device {device}: PyTorch finds {torch.cuda.device_count()} GPUs")
    if rank:
        return help_to_train(cell, device, folder, sharing)
    try:
        cell.look_up()
        clean(cell, folder)
        record = attempt(cell, device, sweep, folder, order["save"], sharing)
        write(record, folder)
    except CorpusError as e:
        return sweep.end(str(e))
    except OSError as e:
        return sweep.end(f"cannot use the records folder {folder}: cannot write the record: {e}")
    if record.outcome in AGAIN and sharing:
        return RECORDED  # torchrun ends the other ranks, which may wait for this one
    if record.outcome not in AGAIN:  # else another attempt continues from what was trained
        forget(cell, folder, device)
    return 0


def start_ranks(ranks: int, order: str, pipe: int) -> int:
    """Have torchrun start the ranks on this machine, and wait for them. They end with us, and all end with one."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    theirs, ours = os.pipe()  # `ours` closes when we are gone, however we went
    os.dup2(theirs, 0)
    os.dup2(pipe, 1)
    os.environ[ORDER] = order
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else DDP warns of what `Team.replica` wants
    config = LaunchConfig(
        1, 1, ranks, run_id=secrets.token_hex(8), rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1", max_restarts=0, monitor_interval=0.1,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-P", "-m", "pebench.suite.runs.worker")
    except ChildFailedError as e:
        rank, failure = e.get_first_failure()
        if rank == 0 and failure.exitcode == RECORDED:
            return 0
        ended = f"status {failure.exitcode}" if failure.exitcode >= 0 else f"signal {-failure.exitcode}"
        print(f"rank {rank} of {ranks} ended with {ended}", file=sys.stderr)
        return 1
    finally:
        os.close(ours)
    return 0


def help_to_train(cell: Cell, device: torch.device, folder: Path, sharing: Sharing | None) -> int:
    """Train along, as a rank other than 0, which alone measures and writes."""
    task = make(cell.task, cell.corpus)
    assert isinstance(task, Task)
    try:
        trained(cell, task, device, folder, lambda step: None, False, sharing)
    except Diverged:  # on all ranks, at the same step
        return 0
    except Exception:
        traceback.print_exc()
        time.sleep(PAUSE)
        return 1
    return 0


def follow(parent: TextIO) -> None:
    """End with the parent: its end of our standard input closes when it is gone, however it went."""
    parent.read()
    os._exit(1)


def attempt(
    cell: Cell, device: torch.device, sweep: Sweep, folder: Path, save: bool, sharing: Sharing | None
) -> Record:
    """The cell's record. OSError or CorpusError where the machine is to blame, which says nothing of the cell."""
    began = Began()
    try:
        return run(cell, device, folder, sweep.progress, save, sharing)
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
    made = provenance(cell, began, device, sharing)
    return cell.record(outcome=outcome, reason=reason, provenance=made)


if __name__ == "__main__":
    sys.exit(main())
