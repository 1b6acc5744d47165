"""What a board costs by the number of records: a `pebench board`, and what the app does again for each page.

    python -m benchmarks.board 1200 12000 100000
    python -m benchmarks.board --chromium 4200

Each folder holds the published records of STANDARD again and again, under further seeds, and is removed afterwards.
Times are processor seconds of a process of its own, the memory is its peak. A first call reads every record, a second
call has them from the user's cache. "warm" is the work before the first table of a page whose board was made before:
looking whether the folder changed, the sentences above the table, its rows. With --chromium it is wall time instead: a
browser that was there before opens the app, until its table has a row. 4,200 records are 100,000 rows.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.app import launch
from pebench.suite.results.record import record_path
from pebench.suite.runs.machine import processor

PROFILE = "STANDARD"
GIGABYTE = 2**20  # in the kilobytes of ru_maxrss
WARM = """
import sys, time
from pathlib import Path
from pebench.leaderboard.app import rows, views
from pebench.leaderboard.board import cached_board
from pebench.leaderboard.reading import stamp
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


def in_chromium(folder: Path) -> list[float]:
    """Seconds until the table is there, of three visits after a first one."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    port = launch.free_port(None)
    child, url = launch.start([folder], port), f"http://{launch.ADDRESS}:{port}"
    try:
        while not launch.answers(url):
            time.sleep(launch.PATIENCE)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page, taken = browser.new_page(viewport={"width": 1280, "height": 900}), []
            for _ in range(4):
                begin = time.monotonic()
                page.goto(url, wait_until="commit", timeout=300_000)
                page.locator(".pebench-table tr[data-name]").first.wait_for(timeout=300_000)
                taken.append(time.monotonic() - begin)
                page.wait_for_timeout(5000)  # figures settle
            browser.close()
        return taken[1:]
    finally:
        launch.stop(child)


def main(*words: str) -> None:
    browser, counts = "--chromium" in words, [int(word) for word in words if word != "--chromium"]
    print(f"{processor()}, one thread")
    for count in counts or (1200, 12000):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
            os.environ["PEBENCH_CACHE"] = cache
            make(count, Path(folder))
            time.sleep(3)  # what was written just now is not kept
            print(f"{count:>7,} records: ", end="", flush=True)
            if browser:
                print(f"first table {', '.join(f'{s:.2f}' for s in in_chromium(Path(folder)))} s", flush=True)
                continue
            for call in ("first", "second"):
                _, seconds, memory = measured(
                    "-m", "pebench.suite.cli", "board", "--json", "--records", folder
                )
                print(f"{call} board {seconds:.1f} s, {memory:.2f} GB; ", end="", flush=True)
            warm, _, _ = measured("-c", WARM, folder)
            print(f"warm, before the first table {warm.strip()} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
