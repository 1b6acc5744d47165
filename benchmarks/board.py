"""What a board costs by the number of records: a `pebench board`, and what the app does again for each page.

    python -m benchmarks.board 1200 12000 100000

Each folder holds the published records of STANDARD again and again, under further seeds, and is removed afterwards.
Times are processor seconds of a process of its own, the memory is its peak. "warm" is the work before the first table
of a page whose board was made before: looking whether the folder changed, the sentences above the table, its rows.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pebench.leaderboard.about import PUBLISHED
from pebench.suite.results.record import record_path

PROFILE = "STANDARD"
GIGABYTE = 2**20  # in the kilobytes of ru_maxrss
WARM = """
import sys, time
from pathlib import Path
from pebench.leaderboard.app import rows, views
from pebench.leaderboard.board import cached_board, stamp
folder = sys.argv[1]
cached_board((folder,), None, (), stamp(Path(folder)))
start = time.process_time()
board = cached_board((folder,), None, (), stamp(Path(folder)))
views.measured_what(board), views.questions(board), rows.board_table(board, str, views.Filter())
print(f"{time.process_time() - start:.2f}")
"""


def texts(count: int) -> Iterator[tuple[Path, str]]:
    """Records with their paths: the published ones, then the same under other seeds."""
    published = [json.loads(path.read_text()) for path in sorted((PUBLISHED / PROFILE).rglob("*.json"))]
    turns = ((turn, data) for turn in itertools.count() for data in published)
    for turn, data in itertools.islice(turns, count):
        again = data | {"seed": data["seed"] + 10 * turn}
        keys = ("encoding", "task", "profile", "seed", "fingerprint")
        yield record_path(*(again[key] for key in keys)), json.dumps(again, indent=1, sort_keys=True)


def make(count: int, folder: Path) -> None:
    """Write a folder of records."""
    for path, text in texts(count):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def measured(*arguments: str) -> tuple[str, float, float]:
    """What a Python process prints, its processor seconds, and its peak memory in GB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, env=environment, text=True)
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"python {' '.join(arguments)} ended with {child.returncode}")
    return said, used.ru_utime + used.ru_stime, used.ru_maxrss / GIGABYTE


def main(*counts: str) -> None:
    for count in map(int, counts or ("1200", "12000")):
        with tempfile.TemporaryDirectory() as folder:
            make(count, Path(folder))
            _, seconds, memory = measured("-m", "pebench.suite.cli", "board", "--json", "--records", folder)
            print(f"{count:>7,} records: board {seconds:.1f} s, {memory:.2f} GB", end="; ", flush=True)
            warm, _, _ = measured("-c", WARM, folder)
            print(f"warm, before the first table {warm.strip()} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
