"""What Ray costs of its own: the first word of a node, and a run's way there and back, without the run.

    python -m benchmarks.engines                    # a cluster of one node on this machine, 200 runs
    python -m benchmarks.engines --address HOST:PORT --runs 1000

Each run is sent under another fingerprint, so the node answers at once that its code is not the sweep's. The line is
JSON: seconds from the connection to the facts of every node, seconds of the first run, and milliseconds of the later
runs, one at a time, by the clock and in processor time of this process.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pebench.suite.runs.cell import Cell
from pebench.suite.runs.engine import Fault
from pebench.suite.runs.engines.ray import Ray
from pebench.suite.runs.machine import processor

CLUSTER = Path(__file__).parent.parent / "tests" / "runs" / "cluster.py"


class Elsewhere(Cell):
    """A run that no node can make."""

    def fingerprint(self) -> str:
        return "0" * 64


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a cluster of one node with one processor, on this machine."""
    process = subprocess.Popen(
        [sys.executable, os.fspath(CLUSTER), json.dumps({"n1": {}})],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout
    try:
        yield next(json.loads(line)["address"] for line in process.stdout if line.startswith('{"address"'))
    finally:
        process.terminate()
        process.wait(timeout=60)


def way(engine: Ray, cell: Cell, node: str) -> float:
    """Seconds until a run that the node refuses has come back."""
    start = time.perf_counter()
    run = engine.start(cell, node, save=False)
    while (end := run.poll()) is None:
        time.sleep(0.0005)
    assert isinstance(end, Fault), end
    return time.perf_counter() - start


def measured(address: str, runs: int) -> dict[str, object]:
    """The line."""
    cell = Cell("nope", "copy", "SMOKE", 0)
    with tempfile.TemporaryDirectory() as folder:
        engine = Ray([cell], Path(folder), timeout=60, address=address)
        start = time.perf_counter()
        try:
            nodes = [node for node in engine.nodes() if not node.fault]
            stated = time.perf_counter() - start
            if not nodes:
                sys.exit("no node of the cluster can make a run; `pebench nodes --engine ray` says why")
            refused = Elsewhere(cell.encoding, cell.task, cell.profile, cell.seed)
            first = way(engine, refused, nodes[0].name)
            before = time.process_time()
            ways = sorted(way(engine, refused, nodes[0].name) for _ in range(runs))
            own = (time.process_time() - before) / runs
        finally:
            engine.close()
    return {
        "processor": processor(), "nodes": len(nodes), "stated_s": round(stated, 2), "first_s": round(first, 2),
        "runs": runs, "median_ms": round(1000 * statistics.median(ways), 1),
        "ninetieth_ms": round(1000 * ways[int(0.9 * runs)], 1), "driver_processor_ms": round(1000 * own, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", help="a cluster that runs; default: one node on this machine")
    parser.add_argument("--runs", type=int, default=200, help="after the first; default: 200")
    given = parser.parse_args()
    if importlib.util.find_spec("ray") is None:
        sys.exit("Ray is not installed; pip install 'pebench[ray]'")
    if given.address:
        print(json.dumps(measured(given.address, given.runs)))
        return
    with cluster() as address:
        print(json.dumps(measured(address, given.runs)))


if __name__ == "__main__":
    main()
