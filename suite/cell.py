"""One run: an encoding, a task, a profile and a seed become a record. The only place where scores come from."""

import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pebench.encodings import registry
from pebench.encodings.base import Encoding
from pebench.suite.certificate import certify
from pebench.suite.checkpoint import describe, save
from pebench.suite.fingerprint import fingerprint
from pebench.suite.measure import Learned, Tick, learn, timings
from pebench.suite.profiles import PROFILES, Plan
from pebench.suite.record import Record, Row, record_path
from pebench.suite.training import Diverged, precision
from pebench.tasks import TASKS, make
from pebench.tasks.base import Task
from pebench.tasks.corpus import identity
from pebench.tasks.throughput import Throughput

CERTIFICATE = "certificate"  # stands among the tasks of every sweep
SAVED = ("language",)  # tasks whose models are saved unasked


@dataclass(frozen=True)
class Cell:
    """What is to be run. `encoding` is a registered name or `file.py:Class`."""

    encoding: str
    task: str
    profile: str
    seed: int
    corpus: Path | None = None

    @property
    def name(self) -> str:
        """The encoding's name."""
        return registry.resolve(self.encoding)[0]

    @property
    def title(self) -> str:
        """How a person would name this run."""
        return f"{self.name} {self.task}" + (f" seed {self.seed}" if self.task != CERTIFICATE else "")

    @property
    def path(self) -> Path:
        """Where its record belongs in a records folder."""
        return record_path(self.name, self.task, self.profile, self.seed, self.fingerprint())

    @property
    def checkpoint(self) -> Path:
        """Where its model belongs in a records folder, where it is saved."""
        return Path("checkpoints", self.path).with_suffix(".safetensors")

    @property
    def plan(self) -> Plan | None:
        """The task's plan; the certificate has none."""
        return PROFILES[self.profile].plans.get(self.task)

    def record(self, **rest: Any) -> Record:
        """A record of this cell."""
        name, cls = registry.resolve(self.encoding)
        return Record(
            encoding=name,
            task=self.task,
            profile=self.profile,
            seed=self.seed,
            fingerprint=self.fingerprint(),
            card=card(cls),
            setup=self.setup(),
            **rest,
        )

    def fingerprint(self) -> str:
        """The hash of all that this cell's scores depend on."""
        cls = registry.resolve(self.encoding)[1]
        corpus = identity(self.corpus)["sha256"] if self.reads_text else ""
        return fingerprint(cls, self.task, repr(self.plan), corpus)

    @property
    def reads_text(self) -> bool:
        return self.task in TASKS and TASKS[self.task].reads_text

    def setup(self) -> dict[str, Any]:
        """What was trained and how, for the record."""
        if self.plan is None:
            return {"task_family": CERTIFICATE, "task_title": "Certificate"}
        task = TASKS[self.task]
        setup = {
            "task_family": task.family,
            "task_title": task.title,
            "model": {"layers": self.plan.layers, "width": self.plan.width, "heads": self.plan.heads},
            "train_length": self.plan.recipe.length,
            **{key: value for key, value in asdict(self.plan.recipe).items() if key != "length"},
        }
        if issubclass(task, Task):
            setup["gate"] = task.gate
        if self.reads_text:
            setup["corpus"] = identity(self.corpus)
        return setup


def card(cls: type[Encoding]) -> dict[str, Any]:
    """What a record says of the encoding, its source included."""
    source = registry.source(cls)
    return {**cls.card(), "file": source.name, "source": source.read_text(encoding="utf-8")}


def provenance_now(cell: Cell, device: torch.device) -> dict[str, Any]:
    """The provenance of a record that is made without a run."""
    return provenance(cell, datetime.datetime.now(datetime.UTC), time.perf_counter(), device)


def run(
    cell: Cell, device: torch.device, tick: Tick = lambda done, total: None, folder: Path | None = None
) -> Record:
    """Run a cell to its record: measured, diverged or undefined. Other errors are the caller's to record.

    With a records folder the trained model is saved there too, and the record names its file.
    """
    name, cls = registry.resolve(cell.encoding)
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    about: dict[str, Any] = {}
    try:
        if cell.task == CERTIFICATE:
            rows = list(checks(name, cls))
        else:
            assert cell.plan is not None
            task = make(cell.task, cell.corpus)
            if isinstance(task, Throughput):
                rows = timings(cls, task, cell.plan, device, tick)
            else:
                learned = learn(cls, task, cell.plan, cell.seed, device, tick)
                rows, about = learned.rows, training_facts(learned)
                if folder is not None:
                    about["checkpoint"] = keep(cell, learned, folder)
    except Diverged as e:
        return cell.record(
            outcome="diverged", reason=str(e), provenance=provenance(cell, started, clock, device)
        )
    if not rows:
        reason = f"defined at none of the lengths of {cell.task}"
        return cell.record(
            outcome="undefined", reason=reason, provenance=provenance(cell, started, clock, device)
        )
    return cell.record(rows=tuple(rows), provenance={**provenance(cell, started, clock, device), **about})


def checks(name: str, cls: type[Encoding]) -> Iterator[Row]:
    """The certificate as rows."""
    for check in certify(name, cls):
        yield Row("pass", float(check.passed), 1, {"check": check.name, "detail": f"{check.measured}"})


def training_facts(learned: Learned) -> dict[str, Any]:
    """What training took, for the record."""
    trained = learned.trained
    return {
        "parameters": {"total": count(learned.lm), "encoding": count(learned.lm.encoding)},
        "tokens": trained.tokens,
        "tokens_per_second": round(trained.tokens / trained.seconds, 1),
        "final_loss": trained.final_loss,
    }


def keep(cell: Cell, learned: Learned, folder: Path) -> str:
    """Save a cell's trained model, and say where in the records folder."""
    corpus = identity(cell.corpus) if cell.reads_text else {}
    about = describe(
        learned.lm, cell.encoding, cell.task, cell.profile, cell.seed, cell.fingerprint(), corpus
    )
    save(learned.lm, about, folder / cell.checkpoint)
    return cell.checkpoint.as_posix()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def provenance(cell: Cell, started: datetime.datetime, clock: float, device: torch.device) -> dict[str, Any]:
    """Where, when and with what a record was made."""
    encoding = Path(cell.encoding).name  # of a file, without the folders of this machine
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 2),
        "peak_memory_bytes": kilobytes * (1 if sys.platform == "darwin" else 1024),
        "versions": {
            "pebench": version("pebench"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": "bfloat16" if precision(device)._enabled else "float32",
        **commit(),
        "command": f"pebench run --profile {cell.profile} -e {encoding} -t {cell.task} --seed {cell.seed}",
    }


def processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> dict[str, Any]:
    """The commit of the source and whether files differ from it; empty where the source is no checkout."""
    root = Path(__file__).resolve().parent.parent
    git = ["git", "-C", os.fspath(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": head, "dirty": bool(changes.strip())}
