"""Runs on a Slurm cluster: an array over the list of missing runs. All nodes share the records folder."""

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.results.metrics import counted
from pebench.suite.results.processes import environment
from pebench.suite.results.record import AGAIN, CERTIFICATE, RUNNING, make_folder, write_whole
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.engine import SweepError
from pebench.suite.runs.existing import due, existing
from pebench.suite.runs.preflight import state
from pebench.suite.runs.runner import sweep

FOLDER = Path(RUNNING, "slurm")  # in the records folder: lists, logs, and the nodes that are left out
MEMORY = 2  # GB of a run and rank, where no option of the user's says more
ORDER = (
    "encoding",
    "task",
    "profile",
    "seed",
    "corpus",
    "fingerprint",
    "device",
    "save",
    "retry",
)  # of a run in a list
SLOWEST = 3600.0  # seconds that a node may take for its facts; hashing a large text takes minutes
PATIENCE = 120  # seconds that Slurm may take to answer, and a node to be free for its facts


@dataclass(frozen=True)
class Options:
    """How runs are submitted."""

    device: str = "cpu"
    gpus: float | None = None
    partition: str | None = None
    time: str | None = None
    at_once: int | None = None  # runs at a time
    sbatch: tuple[str, ...] = ()  # further options of sbatch
    sharing: Sharing | None = None  # of each training among ranks, all on one node

    def words(self) -> list[str]:
        """The options of sbatch."""
        named = {
            "--partition": self.partition,
            "--time": self.time,
            "--gpus": gpus_of(self.device, self.wanted()),
        }
        given = [f"{option}={value}" for option, value in named.items() if value]
        own = any(word.startswith("--mem") for word in self.sbatch)
        mine = [] if own else [f"--mem={MEMORY * self.ranks}G"]
        return ["--requeue", "--nodes=1", f"--cpus-per-task={self.ranks}", *mine, *given, *self.sbatch]

    def wanted(self) -> float | None:
        """The GPUs of a run: those asked for, else one for each rank."""
        return self.gpus or (float(self.ranks) if self.sharing and self.device.startswith("cuda") else None)

    @property
    def ranks(self) -> int:
        """The processors of a run."""
        return self.sharing.ranks if self.sharing else 1


def gpus_of(device: str, gpus: float | None) -> str:
    """The whole number of GPUs of a run; empty where it takes none. SweepError for a share of one."""
    wanted = gpus if gpus is not None else float(device.startswith("cuda"))
    if wanted != int(wanted):
        raise SweepError(
            f"Slurm gives whole GPUs, not {wanted:g}; Ray shares them: --engine ray --gpus {wanted:g}"
        )
    return f"{int(wanted)}" if wanted else ""


def slurm(*words: str, timeout: float = PATIENCE) -> str:
    """What a command of Slurm prints. SweepError where it fails, or there is no Slurm."""
    if shutil.which(words[0]) is None:
        raise SweepError(f"there is no {words[0]} here; run this on a machine from which Slurm takes jobs")
    try:
        done = subprocess.run(  # a job gets our environment
            words, capture_output=True, text=True, check=True, timeout=timeout, env=environment()
        )
    except subprocess.CalledProcessError as e:
        lines = (e.stderr or e.stdout).strip().splitlines()
        raise SweepError(f"{words[0]}: {lines[-1] if lines else f'ended with status {e.returncode}'}") from e
    except subprocess.TimeoutExpired:
        raise SweepError(f"{words[0]} did not answer in {timeout:.0f} s; is slurmctld running?") from None
    return done.stdout


def command(*words: str) -> str:
    """A shell command of this pebench on a node."""
    return shlex.join([sys.executable, "-P", "-m", "pebench.suite.cli", *words])


def submit_runs(cells: list[Cell], folder: Path, options: Options, retry: bool, save: bool) -> str:
    """Submit the missing runs as arrays, and say how to watch and to stop them.

    Runs that measure another run's model form an array of their own, which waits for the other one. What an earlier
    call has in the queue is not submitted again. With a limit of runs at a time, arrays wait for each other.
    """
    folder = folder.resolve()
    words = options.words()
    missing = [cell for cell in cells if due(existing(cell, folder), retry)]
    if not missing:
        return f"{counted(len(cells), 'run')} in {folder}: nothing is missing"
    largest, before = array_size(), queued(folder)
    waiting = [cell for cell in missing if key_of(cell) in before]
    missing = [cell for cell in missing if key_of(cell) not in before]
    already = f"{counted(len(waiting), 'run')} in the queue already; " if waiting else ""
    if not missing:
        return f"{already}nothing else is missing in {folder}"
    for old in (folder / FOLDER).glob("*.fault"):  # a node may have been mended since
        old.unlink(missing_ok=True)
    bases = {cell.base for cell in missing}
    jobs: list[str] = []
    earlier = {before[key_of(cell)].partition("_")[0] for cell in waiting}
    for waits, part in ((False, [c for c in missing if not c.base]), (True, [c for c in missing if c.base])):
        running = {job.partition("_")[0] for job in before.values()} if options.at_once else set[str]()
        first = {*running, *jobs, *earlier} if waits else running
        for start in range(0, len(part), largest):
            orders = [
                ordered(c, options.device, save or c in bases, retry, options.sharing)
                for c in part[start : start + largest]
            ]
            others = sorted({*first, *(jobs[-1:] if options.at_once else ())})
            after = (f"--dependency=afterany:{':'.join(others)}",) if others else ()
            try:
                jobs.append(
                    submit(write_list(folder, orders, words), range(len(orders)), options.at_once, after)
                )
            except (SweepError, KeyboardInterrupt) as e:
                made = f"; submitted before: `scancel {' '.join(jobs)}` stops it" if jobs else ""
                rest = f"{made}; the same command submits the rest"
                if isinstance(e, KeyboardInterrupt):
                    print(f"pebench: interrupted{rest}", file=sys.stderr)
                    raise
                raise SweepError(f"{e}{rest}") from e
    numbers, tasks = " ".join(jobs), ",".join(dict.fromkeys(cell.task for cell in cells))
    status = ["--profile", cells[0].profile, "--tasks", tasks, "--records", os.fspath(folder)]
    for encoding in dict.fromkeys(cell.encoding for cell in cells):
        status += ["-e", encoding]
    status += ["--seeds", f"{max(cell.seed for cell in cells) + 1}"]
    status += ["--corpus", os.fspath(cells[0].corpus)] if cells[0].corpus else []
    return (
        f"{already}{counted(len(missing), 'run')} submitted as job {numbers}\n"
        f"`pebench status {shlex.join(status)}` shows them, `squeue --job={','.join(jobs)}` "
        f"the queue, `scancel {numbers}` stops them; the same command then submits the missing runs"
    )


Key = tuple[str, str, str, int, str, str]  # what tells a run from others, its fingerprint last


def key_of(cell: Cell) -> Key:
    """A run as a list names it."""
    return key_in(ordered(cell, "", False, False))


def key_in(order: dict[str, Any]) -> Key:
    """The run of an order."""
    encoding, task, profile, seed, corpus, fingerprint = (order[name] for name in ORDER[:6])
    return encoding, task, profile, seed, corpus or "", fingerprint


def queued(folder: Path) -> dict[Key, str]:
    """The runs of earlier calls that Slurm still has, each with its job and task: 12_3."""
    listings = {file: file.with_suffix(".jobs") for file in (folder / FOLDER).glob("*.json")}
    if not any(jobs.exists() for jobs in listings.values()):
        return {}
    there = set(slurm("squeue", "--noheader", "--array", "--me", "--format=%F_%K").split())
    found = dict[Key, str]()
    for listing, jobs in listings.items():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            numbers, orders = (
                jobs.read_text().split(),
                json.loads(listing.read_text(encoding="utf-8"))["runs"],
            )
            for job in numbers:
                found |= {
                    key_in(order): f"{job}_{n}" for n, order in enumerate(orders) if f"{job}_{n}" in there
                }
    return found


def array_size() -> int:
    """The most tasks of one array on this cluster."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", slurm("scontrol", "show", "config"))
    return max(1, int(found[1]) - 1) if found else 1000


def ordered(
    cell: Cell, device: str, save: bool, retry: bool, sharing: Sharing | None = None
) -> dict[str, Any]:
    """A run of a list."""
    encoding = cell.encoding
    if ".py" in encoding:
        encoding = os.path.abspath(os.path.expanduser(encoding))
    return {
        "encoding": encoding,
        "task": cell.task,
        "profile": cell.profile,
        "seed": cell.seed,
        "corpus": os.fspath(cell.corpus) if cell.corpus else None,
        "fingerprint": cell.fingerprint(),
        "device": device,
        "save": save,
        "retry": retry,
        "sharing": asdict(sharing) if sharing else None,
    }


def write_list(folder: Path, orders: list[dict[str, Any]], words: list[str]) -> Path:
    """Write a list of runs, with the options that a task needs to submit itself again."""
    place = folder / FOLDER
    make_folder(place)
    listing = place / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{len(list(place.glob('*.json')))}.json"
    write_whole(listing, json.dumps({"sbatch": words, "runs": orders}, indent=1).encode())
    return listing


def submit(
    listing: Path, numbers: range | list[int], at_once: int | None = None, more: tuple[str, ...] = ()
) -> str:
    """Submit runs of a list as an array; the job's number."""
    words: list[str] = json.loads(listing.read_text())["sbatch"]
    array = f"{numbers[0]}-{numbers[-1]}" if isinstance(numbers, range) else ",".join(map(str, numbers))
    log = listing.with_suffix("") / "%a.log"
    make_folder(log.parent)
    job = slurm(
        "sbatch", "--parsable", "--job-name=pebench", f"--array={array}" + (f"%{at_once}" if at_once else ""),
        f"--output={log}", "--open-mode=append", *words, *more,
        f"--wrap=exec {command('cell', os.fspath(listing))} $SLURM_ARRAY_TASK_ID",
    ).strip().partition(";")[0]  # fmt: skip
    with contextlib.suppress(OSError), listing.with_suffix(".jobs").open("a") as file:
        file.write(f"{job}\n")
    return job


def run_one(listing: Path, number: int, console: Console) -> int:
    """Make a run of a list here; the exit code. A node that cannot is left out, and the run goes back to the queue."""
    order = order_of(listing, number)
    corpus = Path(order["corpus"]) if order["corpus"] else None
    folder = listing.resolve().parents[2]
    cell = Cell(order["encoding"], order["task"], order["profile"], order["seed"], corpus)
    faults = state([(cell, order["fingerprint"])], order["device"], folder)["faults"]
    if not faults:
        options = {
            "device": order["device"],
            "retry": order["retry"],
            "save": order["save"],
            "console": console,
            "sharing": Sharing(**order["sharing"]) if order.get("sharing") else None,
        }
        try:
            outcomes = sweep(PROFILES[cell.profile], [cell], folder, 1, **options).run()
        except SweepError as e:
            faults = [str(e)]
        else:
            if outcomes["elsewhere"]:
                console.print(
                    "this job made no record: the other one may end without it, so look again later"
                )
            return 4 if any(outcomes[name] for name in (*AGAIN, "elsewhere")) else 0
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    console.print(f"{node} is left out: {'; '.join(faults)}", markup=False, highlight=False, soft_wrap=True)
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        try:
            (listing.parent / f"{node}.fault").write_text("; ".join(faults))
        except OSError as e:  # the folder is the fault: each other node would send the run on
            console.print(f"the run is not submitted again: {e.strerror or e}")
            return 3
        others = {node, *(name for name, _ in left_out(folder)), *excluded(listing)}
        job = submit(listing, [number], more=(f"--exclude={','.join(sorted(others))}",))
        console.print(f"the run is in the queue again, as job {job}")
    return 3


def order_of(listing: Path, number: int) -> dict[str, Any]:
    """A run of a list. SweepError where the file is no list, or one of another pebench, or has fewer runs."""
    try:
        orders = json.loads(listing.read_text(encoding="utf-8"))["runs"]
        whole = all({*ORDER} <= order.keys() for order in orders)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        orders, whole = [], False
    if not whole:
        raise SweepError(f"{listing} is no list of runs; `pebench run --engine slurm` writes them")
    if number >= len(orders):
        raise SweepError(f"{listing} has {counted(len(orders), 'run')}, from 0: there is no {number}")
    order: dict[str, Any] = orders[number]
    profile, task = order["profile"], order["task"]
    if profile not in PROFILES or task not in (CERTIFICATE, *PROFILES[profile].plans):
        raise SweepError(
            f"{listing} asks for {profile} {task}, which this pebench does not have; submit the runs again"
        )
    return order


def excluded(listing: Path) -> list[str]:
    """The nodes that the user's own options leave out; of two such options sbatch takes the last."""
    words: list[str] = json.loads(listing.read_text(encoding="utf-8"))["sbatch"]
    given = [found[1] for word in words if (found := re.match(r"(?:--exclude[= ]|-x[= ]?)(.*)", word))]
    return [node for names in given[-1:] for node in re.findall(r"[^,\[]+(?:\[[^]]*])?", names)]


def left_out(folder: Path) -> Iterator[tuple[str, str]]:
    """The nodes that could make no runs of the last submission to this folder, and why."""
    for file in sorted((folder / FOLDER).glob("*.fault")):
        with contextlib.suppress(OSError):
            yield file.stem, file.read_text().strip()


def states_of_nodes(
    cells: list[Cell], device: str, gpus: float | None, partition: str | None, more: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The facts and faults of each node of a partition, each asked by a job of a minute; `more` are options of srun."""
    where = [f"--partition={partition}"] if partition else []
    names = sorted(set(slurm("sinfo", "--noheader", "--Node", "--format=%N", *where).split()))
    if not names:
        raise SweepError(f"Slurm has no node{f' in {partition}' if partition else ''}; `sinfo` lists them")
    profile = cells[0].profile
    asked = [word for c in dict.fromkeys(c.encoding for c in cells) for word in ("-e", c)]
    asked += [word for t in dict.fromkeys(c.task for c in cells) for word in ("-t", t)]
    asked += [word for c in {c.corpus for c in cells if c.corpus} for word in ("--corpus", os.fspath(c))]
    number = gpus_of(device, gpus)
    where += [f"--gpus={number}"] if number else []
    line = shlex.split(command("nodes", "--json", "--profile", profile, "--device", device, *asked))
    ask = ("srun", "--quiet", "--nodes=1", "--ntasks=1", f"--immediate={PATIENCE}")
    jobs = {
        name: subprocess.Popen(
            [*ask, f"--nodelist={name}", *where, *more, *line],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        )
        for name in names
    }  # fmt: skip
    found, end = {}, time.monotonic() + PATIENCE + SLOWEST
    for name, job in jobs.items():
        try:
            out, errors = job.communicate(timeout=max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            job.kill()
            job.communicate()
            found[name] = {"faults": [f"did not state its facts in {SLOWEST:.0f} s"]}
            continue
        try:
            found[name] = {key: value for key, value in json.loads(out)[0].items() if key != "node"}
        except (ValueError, IndexError):
            lines = errors.strip().splitlines()
            found[name] = {"faults": [lines[-1] if lines else f"srun ended with status {job.returncode}"]}
    return found
