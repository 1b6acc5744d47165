"""Kills a sweep with SIGKILL at twenty random moments and says whether anything was lost or made twice.

    python -m tests.faults [--seed N] [--kills N]

Takes a few minutes, so it is run by hand. Trainings save their state after every step here and are slowed down, so
that most kills meet one in the middle.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from pebench.suite.experiment import resume
from pebench.suite.experiment.profiles import SMOKE
from pebench.suite.results.record import Record, read_all
from pebench.suite.runs import runner, worker
from pebench.suite.runs.engines import local
from pebench.suite.runs.runner import cells

SWEEP = (sys.executable, "-m", "tests.faults", "--sweep")
PAUSE = 0.4  # seconds after each training step
CELLS = cells(SMOKE, ["rope", "rope@yarn", "alibi", "fox"], ["copy", "reverse", "recall"], [0, 1, 2], None)


def work() -> int:
    """The process of one cell: a slow one that saves its state at every step."""

    def due(self: resume.Resume) -> bool:
        time.sleep(PAUSE)
        return True

    resume.Resume.due = due  # type: ignore[method-assign]
    return worker.main()


def sweep(folder: Path, count: int | None) -> int:
    """The sweep that is killed, or the beginning of it."""
    code = f"import sys; sys.path.insert(0, {os.getcwd()!r}); from tests.faults import work; sys.exit(work())"
    local.WORKER, local.FORKS = ("-c", code), False
    runner.sweep(SMOKE, CELLS[:count], folder, jobs=2, save=True).run()
    return 0


def killed(folder: Path, after: float, everyone: bool) -> str:
    """Start the sweep and kill it: with its workers, or alone, when they have to end by themselves."""
    process = subprocess.Popen([*SWEEP, folder], stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(after)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    for child in workers if everyone else []:
        child.kill()
    process.wait()
    alive = psutil.wait_procs(workers, timeout=20)[1]
    check(not alive, f"{len(alive)} workers go on without their sweep")
    return f"{'all' if everyone else 'the sweep alone'}, {len(workers)} at work"


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {otherwise}")


def whole(folder: Path, before: dict[Path, bytes]) -> dict[Path, bytes]:
    """The files of the records, which are all readable, as they were before, and one for each run."""
    records, unreadable = read_all(folder)
    check(not unreadable, f"unreadable: {unreadable}")
    check(not list(folder.rglob("*.broken")), "a record was set aside")
    files = {folder / record.path: (folder / record.path).read_bytes() for record in records}
    check(all(files.get(path) == data for path, data in before.items()), "a record was lost or changed")
    runs = {(r.encoding, r.task, r.seed) for r in records}
    check(len(runs) == len(records), "a run has two records")
    check(runs <= {(c.name, c.task, c.seed) for c in CELLS}, "a record of no run")
    return files


def values(record: Record) -> tuple:
    """What is the same whoever trained: the cells that borrow a model say nothing of its loss where they found it."""
    borrowed = "base" in record.provenance
    return record.outcome, record.rows, None if borrowed else record.provenance["final_loss"]


def main(seed: int, kills: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name, "records"), dict[Path, bytes]()
        start = time.monotonic()
        subprocess.run([*SWEEP, Path(name, "one"), "--cells", "1"], check=True)
        unit = time.monotonic() - start  # what one run takes on this machine, as busy as it is
        for n in range(kills):
            after = rng.uniform(0.4, 1.3) * unit
            how = killed(folder, after, everyone=rng.random() < 0.5)
            files = whole(folder, files)
            states = len(list(folder.rglob("*.state")))
            print(
                f"kill {n + 1} after {after:.1f} s ({how}): {len(files)} of {len(CELLS)} records, all whole; "
                f"{states} trainings under way",
                flush=True,
            )
        done = subprocess.run([*SWEEP, folder])
        check(done.returncode == 0, f"the last sweep ended with status {done.returncode}")
        files = whole(folder, files)
        check(len(files) == len(CELLS), f"{len(files)} records of {len(CELLS)} runs")
        resumed = [log for log in folder.rglob("*.log") if "continues after step" in log.read_text()]
        left = [path.name for pattern in ("*.tmp", "*.state") for path in folder.rglob(pattern)]
        check(not left, f"left behind: {left}")
        print(f"{len(files)} records of {len(CELLS)} runs, one each; {len(resumed)} trainings were resumed")

        again = rng.sample(CELLS, 6)
        runner.sweep(SMOKE, again, Path(name, "again"), jobs=1).run()
        for cell in again:
            one, two = (runner.existing(cell, place) for place in (folder, Path(name, "again")))
            assert one
            assert two
            check(values(one) == values(two), f"{cell.title} has other values undisturbed")
        print(f"{len(again)} of them run again, undisturbed and one at a time: bitwise equal values")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cells", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sys.exit(sweep(chosen.sweep, chosen.cells) if chosen.sweep else main(chosen.seed, chosen.kills))
