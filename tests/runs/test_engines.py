"""Engines: a real Ray cluster of three nodes and a real Slurm on this machine, and a stand-in of a hundred nodes."""

import gc
import importlib.util
import io
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pebench.suite import cli
from pebench.suite.experiment.profiles import SMOKE
from pebench.suite.results.cache import cache_folder
from pebench.suite.results.record import Record, RecordError, Row, read_all, to_json, write
from pebench.suite.runs import machine, preflight
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.engine import Ended, Fault, Lost, Node, SweepError
from pebench.suite.runs.engines import forkserver, parcel, ray
from pebench.suite.runs.engines import slurm as slurm_engine
from pebench.suite.runs.engines.parcel import Parcel, Sent, deliver, make
from pebench.suite.runs.engines.ray import Ray
from pebench.suite.runs.engines.slurm import ORDER, excluded, order_of
from pebench.suite.runs.existing import existing
from pebench.suite.runs.runner import Queue, Sweep, cells, sweep
from tests.in_process import exit_code
from tests.runs import slurm

ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-P", "-m", "pebench.suite.cli", "run", "--profile", "SMOKE")


def measured(cell: Cell, score: float = 0.5) -> Record:
    return cell.record(rows=(Row("exact", score, 8, {"length": 4}),), provenance={"seconds": 0.01})


class Instant:
    """A run that ends when it is first polled."""

    done = 0.5

    def __init__(self, cell: Cell, node: str, end: Ended | Fault | Lost):
        self.cell, self.node, self.end = cell, node, end

    def seconds(self) -> float:
        return 0.0

    def poll(self) -> Ended | Fault | Lost:
        return self.end

    def kill(self) -> None:
        """It runs nowhere."""


@dataclass
class Stand:
    """An engine whose runs end at once, in the way that its nodes decide."""

    names: list[str]
    folder: Path
    bad: dict[str, Fault | Lost] = field(default_factory=dict)
    slots: int = 1
    started: list[tuple[str, str]] = field(default_factory=list)

    def nodes(self) -> list[Node]:
        return [Node(name, self.slots) for name in self.names]

    def start(self, cell: Cell, node: str, save: bool) -> Instant:
        self.started.append((node, cell.title))
        if node in self.bad:
            return Instant(cell, node, self.bad[node])
        record = replace(
            TEMPLATE, encoding=cell.name, task=cell.task, seed=cell.seed, fingerprint=cell.fingerprint()
        )
        write(record, self.folder)
        return Instant(cell, node, Ended(record))

    def close(self) -> None:
        """Nothing is held."""


TEMPLATE = measured(Cell("nope", "copy", "SMOKE", 0))


def swept(engine: Any, chosen: list[Cell], folder: Path) -> tuple[dict[str, int], str]:
    text = io.StringIO()
    screen = Console(file=text, width=300)
    outcomes = sweep(SMOKE, chosen, folder, engine=engine, console=screen).run()
    return dict(outcomes), text.getvalue()


def many(count: int) -> list[Cell]:
    return [Cell("nope", "copy", "SMOKE", seed) for seed in range(count)]


def test_a_node_with_a_fault_is_named_once_and_its_run_goes_back(tmp_path: Path) -> None:
    engine = Stand(["a", "b", "c"], tmp_path, {"b": Fault("no [corpus]")}, slots=2)
    outcomes, text = swept(engine, many(12), tmp_path)
    assert outcomes == {"measured": 12}
    assert text.count("b is left out: no [corpus]") == 1
    assert len(read_all(tmp_path)[0]) == 12
    assert 1 <= [node for node, _ in engine.started].count("b") <= 2


def test_a_sweep_whose_nodes_all_fail_ends_and_says_why(tmp_path: Path) -> None:
    engine = Stand(["a", "b"], tmp_path, {"a": Fault("other code"), "b": Fault("disk full")})
    with pytest.raises(SweepError, match="a: other code; b: disk full"):
        swept(engine, many(3), tmp_path)
    assert read_all(tmp_path) == ([], [])


def test_a_run_whose_process_is_lost_again_and_again_has_no_record(tmp_path: Path) -> None:
    outcomes, text = swept(Stand(["a"], tmp_path, {"a": Lost("killed", alone=True)}), many(1), tmp_path)
    assert outcomes == {"lost": 1}
    assert "its process was lost 3 times: killed" in text
    assert read_all(tmp_path) == ([], [])


def test_a_run_waits_for_the_model_that_it_measures(tmp_path: Path) -> None:
    chosen = cells(SMOKE, ["rope@yarn", "rope", "rope@ntk"], ["copy"], [0], None)
    queue = Queue(chosen, tmp_path)
    base = queue.take()
    assert base is not None
    assert base.name == "rope"
    assert queue.take() is None
    queue.back(base)
    assert queue.take() == base
    queue.end(base)  # without a checkpoint: the first that borrows makes it
    first = queue.take()
    assert first is not None
    assert queue.take() is None
    queue.end(first)
    assert queue.take() not in (None, first)


@pytest.mark.walks
def test_the_driver_keeps_up_with_a_hundred_nodes_and_its_memory_does_not_grow(tmp_path: Path) -> None:
    """Fifty finished runs a second, in processor time: a driver has a processor of its own."""
    engine = Stand([f"n{i}" for i in range(100)], tmp_path)
    chosen = many(1200)
    swept(engine, chosen[:200], tmp_path)
    engine.started.clear()
    known = records_alive()
    before, start = psutil.Process().memory_info().rss, time.process_time()
    outcomes, _ = swept(engine, chosen, tmp_path)
    seconds = time.process_time() - start
    assert outcomes == {"kept": 200, "measured": 1000}
    assert 1000 / seconds > 50
    assert psutil.Process().memory_info().rss - before < 40 * 2**20
    assert records_alive() - known < 100  # none of them is kept
    assert {node for node, _ in engine.started} == set(engine.names)


def records_alive() -> int:
    """How many this process holds: other tests' boards keep some."""
    gc.collect()
    return sum(isinstance(each, Record) for each in gc.get_objects())


def test_a_measured_record_stays_when_another_machine_sends_one(tmp_path: Path) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)
    name = cell.path.as_posix()
    first, second = measured(cell, 0.5), measured(cell, 0.25)
    failed = cell.record(outcome="failed", reason="x", provenance={})
    assert deliver(cell, {name: to_json(failed).encode()}, {}, tmp_path) == failed
    assert deliver(cell, {name: to_json(first).encode()}, {}, tmp_path) == first
    for later in (second, failed):
        assert deliver(cell, {name: to_json(later).encode()}, {}, tmp_path) == first
    assert existing(cell, tmp_path) == first


@pytest.mark.parametrize("where", ["../out", "/tmp/out", "a/../../out"])
def test_no_file_comes_back_outside_the_records_folder(where: str, tmp_path: Path) -> None:
    cell = Cell("nope", "copy", "SMOKE", 0)
    files = {cell.path.as_posix(): to_json(measured(cell)).encode(), where: b"x"}
    with pytest.raises(RecordError, match="has the place"):
        deliver(cell, files, {}, tmp_path / "records")
    with pytest.raises(RecordError, match="is of another run"):
        deliver(
            cell, {cell.path.as_posix(): to_json(measured(many(2)[1])).encode()}, {}, tmp_path / "records"
        )
    assert existing(cell, tmp_path / "records") is None


def test_an_encoding_of_a_file_travels_as_text(tmp_path: Path) -> None:
    file = tmp_path / "mine@home.py"
    file.write_text("from pebench.encodings.rope import RoPE\n\n\nclass Mine(RoPE):\n    pass\n")
    for rest in (":Mine", "", ":Mine@yarn"):
        cell = Cell(f"{file}{rest}", "copy", "SMOKE", 0)
        sent = Sent.of(cell.encoding)
        there = replace(cell, encoding=sent.here())
        assert str(tmp_path) not in sent.here()
        assert there.path == cell.path
    assert Sent.of("rope+fox@yarn").here() == "rope+fox@yarn"


def test_a_node_with_other_code_answers_with_a_fault() -> None:
    order = Parcel(Sent("nope"), "copy", "SMOKE", 0, None, "0" * 64, {}, False, "cpu", 60, 1)
    answers = list(make(order))
    assert answers == [Fault("other code, text or plan than the sweep's")]


def test_folders_of_dead_processes_are_removed_and_another_container_s_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, own = parcel.own_folders(), os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "elsewhere")
        other = parcel.own_folders()
    for name in (f"{mine}{dead.pid}-a", f"{mine}{own}-a", f"{other}{dead.pid}-a", "pebench-run-mine"):
        (tmp_path / name / "r").mkdir(parents=True)
    parcel.forget_dead()
    assert not (tmp_path / f"{mine}{dead.pid}-a").exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_node_states_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEBENCH_CACHE", os.fspath(tmp_path / "empty"))
    chosen = cells(SMOKE, ["rope"], ["copy", "language"], [0, 1], None)
    asked = preflight.expected(chosen)
    assert len(asked) == 2
    facts = preflight.state([(cell, "0" * 64) for cell, _ in asked], "cuda:99", tmp_path / "nowhere")
    said = "\n".join(facts["faults"])
    for part in (
        "pebench data prepare",
        "other code, text or plan than the sweep's: rope copy",
        "and 1 more",
    ):
        assert part in said
    assert "no device cuda:99" in said
    assert "cannot write to" in said
    assert preflight.state(asked[:1], "cpu", tmp_path)["faults"] == []


def told(*words: str) -> tuple[int, str]:
    """The exit code of a command that runs here, and all that it says."""
    done = CliRunner().invoke(cli.app, list(words))
    code = cli.explained(done.exception) if isinstance(done.exception, Exception) else done.exit_code
    return code or 0, f"{done.output} {done.exception}"


def test_the_nodes_are_a_table_whose_exit_code_says_whether_one_fails() -> None:
    words = ("nodes", "--profile", "SMOKE", "-e", "nope", "-t", "copy")
    code, said = told(*words)
    assert code == 0
    assert "1 of 1 node can make these runs" in said
    code, said = told(*words, "--json", "--device", "cuda:9")
    assert code == 3
    facts = json.loads(said.partition("\n0 of 1 node")[0])[0]
    assert facts["faults"][0].startswith("no device cuda:9: PyTorch finds ")
    assert facts["torch"]
    assert facts["processors"] >= 1


def test_a_list_has_only_its_runs(tmp_path: Path) -> None:
    listing = tmp_path / "list.json"
    listing.write_text(json.dumps({"sbatch": [], "runs": []}))
    code, said = told("cell", os.fspath(listing), "0")
    assert code == 3
    assert "has 0 runs, from 0: there is no 0" in said
    assert told("cell", os.fspath(tmp_path / "none"), "0")[0] == 3


@pytest.mark.parametrize(
    ("grant", "processors", "gigabytes"),
    [
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "1024"}, 1, 1),
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_CPU": "2048"}, 1, 2),
        ({"SLURM_CPUS_PER_TASK": "many", "SLURM_MEM_PER_NODE": "0"}, None, None),
    ],
)
def test_a_grant_of_slurm_counts(
    grant: dict[str, str], processors: int | None, gigabytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = machine.cores(), machine.memory()
    for name, value in grant.items():
        monkeypatch.setenv(name, value)
    assert machine.cores() == (processors or usual[0])
    assert machine.memory() == (gigabytes * 2**30 if gigabytes else usual[1])


def needed(what: str, there: bool) -> None:
    """Skip where an engine is missing; in continuous integration it must be there."""
    if not there:
        assert "CI" not in os.environ, f"{what} is missing: `make engines` installs it"
        pytest.skip(f"{what} is not installed: `make engines` installs it")


@dataclass
class RayCluster:
    """A cluster that runs, and the processes of its nodes."""

    process: subprocess.Popen[str]
    about: dict[str, Any]

    def node_of(self, pid: int) -> str:
        try:
            return psutil.Process(pid).environ().get("PEBENCH_TEST_NODE", "")
        except psutil.Error:
            return ""

    def kill(self, name: str) -> None:
        """Kill all processes of a node at once."""
        mine = [pid for pid in psutil.pids() if pid != os.getpid() and self.node_of(pid) == name]
        for pid in {*mine, self.about["raylets"][name]}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


THREE: dict[str, dict[str, str]] = {"n1": {}, "n2": {}, "n3": {}}


def ray_cluster(environments: dict[str, dict[str, str]] = THREE) -> Iterator[RayCluster]:
    needed("Ray", importlib.util.find_spec("ray") is not None)
    process = subprocess.Popen(
        [sys.executable, os.fspath(Path(__file__).with_name("cluster.py")), json.dumps(environments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
    )
    assert process.stdout
    about = next((json.loads(line) for line in process.stdout if line.startswith('{"address"')), None)
    assert about, "the cluster did not start"
    try:
        yield RayCluster(process, about)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def by_ray(cluster: RayCluster, folder: Path, *words: str) -> list[str]:
    address = cluster.about["address"]
    return [*RUN, "--engine", "ray", "--address", address, "--records", os.fspath(folder), *words]


def words_of_nodes(cluster: RayCluster) -> list[str]:
    words = [
        sys.executable,
        "-P",
        "-m",
        "pebench.suite.cli",
        "nodes",
        "--profile",
        "SMOKE",
        "--engine",
        "ray",
    ]
    return [*words, "--address", cluster.about["address"]]


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_ray_makes_the_rows_that_this_machine_makes(tmp_path: Path, books: None) -> None:
    """Every task of SMOKE for `rope`; one task for an encoding in a file, and for a borrowed model.

    Ray's workers would import the driver's working directory before all else.
    """
    for taken in ("torch", "numpy"):
        (tmp_path / f"{taken}.py").write_text("raise SystemExit('imported from the working directory')")
    file = tmp_path / "mine.py"
    file.write_text("from pebench.encodings.rope import RoPE\n\n\nclass Mine(RoPE):\n    title = 'Mine'\n")
    every = [task for task in SMOKE.plans if task != "throughput"]
    sweeps = (("-e", "rope", "-t", ",".join(every)), ("-e", f"rope@yarn,{file}:Mine", "-t", "copy"))
    for cluster in ray_cluster():
        for words in sweeps:
            command = by_ray(cluster, tmp_path / "ray", *words)
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
    for words in sweeps:
        subprocess.run([*RUN, "--records", tmp_path / "local", *words], check=True, capture_output=True)
    far, near = ({r.path: r.rows for r in read_all(tmp_path / name)[0]} for name in ("ray", "local"))
    assert len(far) == len(every) + 2
    assert far == near
    assert sorted((tmp_path / "ray").rglob("*.safetensors"))


def on_two_ranks(folder: Path) -> None:
    """The only record of a folder is of a model that two processes trained."""
    (record,), unreadable = read_all(folder)
    assert not unreadable
    assert record.outcome == "measured", logs(folder)
    assert record.provenance["ranks"] == 2
    assert record.provenance["micro_batch"] == 4


RANKS = ("-e", "rope", "-t", "copy", "--ranks", "2", "--micro-batch", "4")


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_a_model_on_two_ranks_takes_two_processors_of_a_node_of_ray(tmp_path: Path) -> None:
    for cluster in ray_cluster({"small": {}, "wide": {"PROCESSORS": "2"}}):
        command = by_ray(cluster, tmp_path, *RANKS)
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"/{cluster.about['ids']['wide'][:8]}" in done.stdout
    on_two_ranks(tmp_path)


KILLS = int(os.environ.get("PEBENCH_KILLS", "1"))


@pytest.mark.engines
@pytest.mark.timeout(600 * KILLS)
def test_a_node_that_is_killed_whole_costs_no_record(tmp_path: Path) -> None:
    """Kills at random moments, one in each sweep of 24 runs; PEBENCH_KILLS says how many."""
    rng = random.Random(0)
    for number in range(KILLS):
        for cluster in ray_cluster():
            folder = tmp_path / str(number)
            words = ("-e", "rope,alibi,fox,nope", "-t", "copy,sort", "--seeds", "3")
            process = subprocess.Popen(by_ray(cluster, folder, *words), stdout=subprocess.PIPE, text=True)
            at = rng.randrange(1, 16)
            while process.poll() is None and len(list(folder.glob("SMOKE/*/*/*.json"))) < at:
                time.sleep(0.1)
            assert process.poll() is None, "the sweep ended before a node was killed"
            victim = rng.choice(["n1", "n2", "n3"])
            cluster.kill(victim)
            killed = time.monotonic()
            text = process.communicate(timeout=400)[0]
            print(f"kill {number} of {victim}: {time.monotonic() - killed:.0f} s to the end", flush=True)
            assert process.returncode == 0, text
            records, unreadable = read_all(folder)
            assert len(records) == 24
            assert not unreadable
            assert {record.outcome for record in records} == {"measured"}
            assert text.count(" measured in ") == 24


def workers_of(cluster: RayCluster) -> list[int]:
    """The workers of runs on the nodes of a cluster, and the servers that fork them."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = {"pebench.suite.runs.worker", forkserver.SERVER[-1]} & set(process.cmdline())
            if ours and cluster.node_of(process.pid):
                found.append(process.pid)
        except psutil.Error:  # it has just ended
            continue
    return found


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_a_sweep_on_ray_that_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    for cluster in ray_cluster({"n1": {}}):
        process = subprocess.Popen(
            by_ray(cluster, tmp_path, "-e", "rope", "-t", "copy"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not workers_of(cluster):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "interrupted; a second call continues" in text
        assert "Traceback" not in errors
        end = time.monotonic() + 30
        while workers_of(cluster):
            assert time.monotonic() < end, "a worker is left"
            time.sleep(0.2)
        assert read_all(tmp_path) == ([], [])


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_a_node_without_text_one_of_other_code_and_a_full_one_make_no_record(
    tmp_path: Path, books: None
) -> None:
    other = tmp_path / "other"
    shutil.copytree(
        ROOT / "pebench",
        other / "pebench",
        symlinks=False,
        ignore=shutil.ignore_patterns("records", "__pycache__"),
    )
    model = other / "pebench" / "suite" / "lm" / "model.py"
    model.write_text(
        model.read_text()
        + "\n\nLM.__doc__ = 'other'\n\n\ndef forward(self, x):\n    return x\n\n\nLM.forward = forward\n"
    )
    full = tmp_path / "full"
    full.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here to be full")
    environments = {
        "n1": {"PEBENCH_CACHE": os.fspath(tmp_path / "empty")},
        "n2": {"PYTHONPATH": os.fspath(other)},
        "n3": {"TMPDIR": os.fspath(full)},
        "n4": {},
    }
    words = ("-e", "rope", "-t", "language,copy", "--seeds", "2")
    try:
        for cluster in ray_cluster(environments):
            # Elsewhere than in a checkout: Ray lets workers import from the folder in which the sweep is started.
            command = by_ray(cluster, tmp_path / "r", *words)
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            for why in ("pebench data prepare", "other code, text or plan than the sweep's", "MiB free in"):
                assert done.stdout.count(why) == 1, done.stdout
            assert done.stdout.count(" is left out: ") == 3
            assert len(read_all(tmp_path / "r")[0]) == 4
            good = cluster.about["ids"]["n4"][:8]
            assert done.stdout.count(f"/{good}") == 4
            view = [*words_of_nodes(cluster), "-e", "rope", "-t", "language,copy"]
            table = subprocess.run(view, capture_output=True, text=True, cwd=tmp_path)
            assert table.returncode == 3
            assert "1 of 4 nodes can make these runs" in table.stdout
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[dict[str, str]]:
    reason = slurm.missing()
    needed(reason, not reason)
    with slurm.cluster(tmp_path / "cluster") as env:
        yield env


def submitted(env: dict[str, str], folder: Path, *words: str) -> list[str]:
    """Submit runs; the numbers of the jobs."""
    command = [*RUN, "--engine", "slurm", "--records", os.fspath(folder), "--sbatch", "--mem=900M", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pebench status" in done.stdout
    return done.stdout.splitlines()[0].partition(" as job ")[2].split()


def wait_for_jobs(env: dict[str, str], seconds: float = 280) -> None:
    end = time.monotonic() + seconds
    while subprocess.run(["squeue", "--noheader"], env=env, capture_output=True, text=True).stdout.strip():
        assert time.monotonic() < end, "the jobs do not end"
        time.sleep(0.5)


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.rglob("*.log"))


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_slurm_makes_an_array_of_what_is_missing(tiny: dict[str, str], tmp_path: Path) -> None:
    records = tmp_path / "records"
    jobs = submitted(
        tiny, records, "-e", "rope@yarn,rope,nope", "-t", "copy", "--partition", "main", "--time", "10"
    )
    assert len(jobs) == 2  # rope@yarn waits for rope
    wait_for_jobs(tiny)
    found, unreadable = read_all(records)
    assert [record.encoding for record in found] == ["nope", "rope", "rope@yarn"], logs(records)
    assert not unreadable
    assert "tokens" not in found[2].provenance  # it trained nothing
    again = subprocess.run(
        [*RUN, "--engine", "slurm", "--records", records, "-e", "rope,nope", "-t", "copy"],
        env=tiny, capture_output=True, text=True,
    )  # fmt: skip
    assert "nothing is missing" in again.stdout


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_a_model_on_two_ranks_takes_two_processors_of_slurm(tiny: dict[str, str], tmp_path: Path) -> None:
    (job,) = submitted(tiny, tmp_path / "records", *RANKS, "--sbatch", "--mem=1900M")
    show = subprocess.run(["scontrol", "show", "job", job], env=tiny, capture_output=True, text=True).stdout
    assert "NumCPUs=2" in show, show
    wait_for_jobs(tiny)
    on_two_ranks(tmp_path / "records")


@pytest.mark.engines
@pytest.mark.timeout(600)
def test_a_slurm_node_with_a_fault_is_left_out_and_its_run_is_queued_again(
    tiny: dict[str, str], tmp_path: Path, books: None
) -> None:
    records = tmp_path / "records"
    cache = f"--export=ALL,PEBENCH_CACHE={cache_folder()}"  # of jobs: what the bad node lacks is its own
    jobs = submitted(tiny, records, "-e", "rope", "-t", "language", "--sbatch", "--hold", "--sbatch", cache)
    listing = next(records.glob(".running/slurm/*.json"))
    subprocess.run(["scancel", *jobs], env=tiny, check=True)
    orders = json.loads(listing.read_text())
    orders["sbatch"].remove("--hold")
    listing.write_text(json.dumps(orders))
    bad = {
        "PEBENCH_CACHE": os.fspath(tmp_path / "empty"),
        "SLURMD_NODENAME": "n1",
        "SLURM_ARRAY_JOB_ID": jobs[0],
    }
    words = [sys.executable, "-m", "pebench.suite.cli"]
    done = subprocess.run([*words, "cell", listing, "0"], env={**tiny, **bad}, capture_output=True, text=True)
    assert done.returncode == 3
    assert "n1 is left out: " in done.stdout
    assert "the run is in the queue again, as job" in done.stdout
    wait_for_jobs(tiny)
    (record,) = read_all(records)[0]
    assert record.outcome == "measured", logs(records)
    view = [*words, "status", "--profile", "SMOKE", "-e", "rope", "-t", "language", "--records", records]
    said = subprocess.run(view, env=tiny, capture_output=True, text=True)
    assert "1 measured" in said.stdout
    assert "n1 was left out: " in said.stderr


@pytest.mark.engines
@pytest.mark.timeout(300)
def test_the_nodes_of_a_slurm_state_their_facts(tiny: dict[str, str]) -> None:
    words = [sys.executable, "-m", "pebench.suite.cli", "nodes", "--engine", "slurm", "--json"]
    words += ["--profile", "SMOKE", "-e", "rope", "-t", "copy"]
    done = subprocess.run(words, env=tiny, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert [node["node"] for node in facts] == ["n1", "n2"]
    assert all(node["faults"] == [] for node in facts)


def test_slurm_that_is_not_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    words = ["-e", "nope", "-t", "copy", "--engine", "slurm", "--records", os.fspath(tmp_path)]
    assert exit_code(monkeypatch, *RUN[4:], *words) == 3
    assert capsys.readouterr().err.startswith("pebench: there is no scontrol here; run this on a machine")
    assert exit_code(monkeypatch, *RUN[4:], *words, "--gpus", "0.5") == 3
    assert "Slurm gives whole GPUs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no list of runs"),
        ('{"runs": 3}', "is no list of runs"),
        ('{"schema": 3, "rows": []}', "is no list of runs"),
        ('{"runs": [{"encoding": "rope"}]}', "is no list of runs"),
        (
            json.dumps({"runs": [{**dict.fromkeys(ORDER), "profile": "OLD", "task": "copy"}]}),
            "submit the runs again",
        ),
        ('{"runs": []}', "0 runs"),
    ],
)
def test_a_file_that_is_no_list_of_runs_is_told(text: str, says: str, tmp_path: Path) -> None:
    listing = tmp_path / "list.json"
    listing.write_text(text)
    with pytest.raises(SweepError, match=says):
        order_of(listing, 0)


def test_the_nodes_that_a_user_leaves_out_stay_out(tmp_path: Path) -> None:
    listing = tmp_path / "list.json"
    listing.write_text(json.dumps({"sbatch": ["--mem=1G", "--exclude=a,b[1-3,5],c"]}))
    assert excluded(listing) == ["a", "b[1-3,5]", "c"]


class Died(Exception):
    """Ray's error of a process that is gone."""


class RayStand:
    """Of Ray what `look` asks: nodes that answer, are silent, or die when they are asked."""

    exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=Died)

    def __init__(self, **answers: dict[str, Any] | Exception | None):
        self.answers = answers

    def nodes(self) -> list[dict[str, Any]]:
        about = {"Resources": {"CPU": 2}, "Alive": True}
        return [{"NodeID": name, "NodeManagerHostname": name, **about} for name in self.answers]

    def wait(self, asked: list[str], timeout: float) -> tuple[list[str], list[str]]:
        return [name for name in asked if self.answers[name] is not None], []

    def get(self, name: str) -> dict[str, Any]:
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer

    def put(self, question: Any) -> Any:
        return question


GOOD = {"faults": [], "precision": "float32", "torch": "2"}
BROKEN = {"faults": ["no text"], "precision": "float32", "torch": "2"}


def asking(monkeypatch: pytest.MonkeyPatch, folder: Path, stand: RayStand) -> Ray:
    monkeypatch.setattr(ray, "connect", lambda address: stand)
    monkeypatch.setattr(Ray, "ask", lambda self, node: node)
    monkeypatch.setattr(ray, "LOOK", 0.0)
    return Ray(many(1), folder, 60)


def test_a_node_in_doubt_keeps_the_sweep_from_ending(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand = RayStand(good=GOOD, bad=BROKEN)
    engine = asking(monkeypatch, tmp_path, stand)
    found = {node.name.partition("/")[0]: node for node in engine.nodes()}
    assert [(name, node.slots, node.fault) for name, node in found.items()] == [
        ("good", 2, ""),
        ("bad", 2, "no text"),
    ]
    stand.answers["good"] = None  # asked anew, it takes its time
    assert engine.doubt(found["good"].name)
    assert {node.name.partition("/")[0]: (node.slots, node.fault) for node in engine.nodes()} == {
        "good": (0, ""),
        "bad": (2, "no text"),
    }
    sweep_of = Sweep([], tmp_path, 1, 60, 2**30, console=Console(file=io.StringIO()))
    assert [node.name for node in sweep_of.usable(engine)] == [found["good"].name]
    stand.answers["good"] = GOOD
    assert {node.slots for node in engine.nodes()} == {2}


def test_a_node_whose_process_dies_when_it_is_asked_has_a_fault_in_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = asking(monkeypatch, tmp_path, RayStand(good=GOOD, dies=Died("out of memory")))
    faults = {node.name.partition("/")[0]: node.fault for node in engine.nodes()}
    assert faults == {"good": "", "dies": "its process was lost 3 times: Died: out of memory"}


def test_runs_in_the_queue_are_not_submitted_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[tuple[str, ...]] = []
    queue = ["7_0", "7_2", "8_0"]

    def answer(*words: str, timeout: float = 1) -> str:
        said.append(words)
        return {"squeue": "\n".join(queue), "scontrol": "MaxArraySize = 1001", "sbatch": f"{6 + len(said)}"}[
            words[0]
        ]

    monkeypatch.setattr(slurm_engine, "slurm", answer)
    chosen = many(3)
    options = slurm_engine.Options()
    said.clear()
    assert "3 runs submitted" in slurm_engine.submit_runs(chosen, tmp_path, options, False, False)
    (jobs,) = (tmp_path / slurm_engine.FOLDER).glob("*.jobs")
    jobs.write_text("7\n")
    again = slurm_engine.submit_runs(chosen, tmp_path, options, False, False)
    assert again.startswith("2 runs in the queue already; 1 run submitted")
    queue.append("7_1")
    assert "nothing else is missing" in slurm_engine.submit_runs(chosen, tmp_path, options, False, False)


@pytest.mark.parametrize("how", [SweepError("sbatch: QOSMaxSubmitJobPerUserLimit"), KeyboardInterrupt()])
def test_an_array_that_is_not_submitted_names_those_before_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    how: BaseException,
) -> None:
    made: list[tuple[str, ...]] = []

    def answer(*words: str, timeout: float = 1) -> str:
        if words[0] == "sbatch":
            if made:
                raise how
            made.append(words)
            return "12"
        return "MaxArraySize = 3"

    monkeypatch.setattr(slurm_engine, "slurm", answer)
    with pytest.raises(type(how)) as told:
        slurm_engine.submit_runs(many(3), tmp_path, slurm_engine.Options(), False, False)
    said = str(told.value) or capsys.readouterr().err
    assert re.search(r"(QOSMax|interrupted).*scancel 12.*submits the rest", said)


def test_a_limit_of_runs_holds_over_all_arrays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[tuple[str, ...]] = []

    def answer(*words: str, timeout: float = 1) -> str:
        if words[0] == "sbatch":
            made.append(words)
            return f"{10 + len(made)}"
        return "MaxArraySize = 3"

    monkeypatch.setattr(slurm_engine, "slurm", answer)
    slurm_engine.submit_runs(many(5), tmp_path, slurm_engine.Options(at_once=2), False, False)
    waits = [[word for word in words if word.startswith("--dependency")] for words in made]
    assert waits == [[], ["--dependency=afterany:11"], ["--dependency=afterany:12"]]
