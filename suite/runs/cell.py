"""One run: an encoding, a task, a profile and a seed become a record. The only place where scores come from."""

import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from pebench.encodings import registry
from pebench.encodings.base import Encoding
from pebench.suite.experiment.measure import Tick, examine, timings
from pebench.suite.experiment.profiles import PROFILES, Plan
from pebench.suite.experiment.resume import Resume
from pebench.suite.experiment.training import Diverged, train
from pebench.suite.lm.flops import flops_per_token
from pebench.suite.lm.model import LM
from pebench.suite.lm.native.build import served, serving
from pebench.suite.lm.precision import fast_bf16
from pebench.suite.proofs import probes as pictures
from pebench.suite.proofs.certificate import certify
from pebench.suite.results.record import Record, Row, record_path, tidy, write_whole
from pebench.suite.runs.checkpoint import CheckpointError, config, describe, load, save
from pebench.suite.runs.fingerprint import fingerprint, task_fingerprint
from pebench.tasks import TASKS, make
from pebench.tasks.base import Task
from pebench.tasks.data.corpus import identity
from pebench.tasks.throughput import Throughput

CERTIFICATE = "certificate"  # stands among the tasks of every sweep
SAVED = ("language",)  # tasks whose models are saved unasked
ASKS = {"harness": "language", "harness_grape": "language"}  # tasks that measure the model of another one


@dataclass(frozen=True)
class Cell:
    """What is to be run. `encoding` is a registered name, a sum, an extension or `file.py:Class`."""

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
    def base(self) -> "Cell | None":
        """The cell whose trained model this one measures, where it trains none.

        That of `rope` for `rope@yarn`, and of `language` for `harness`.
        """
        other = replace(
            self, encoding=registry.extension_of(self.encoding)[0], task=ASKS.get(self.task, self.task)
        )
        return other if self.trains and other != self else None

    @property
    def trains(self) -> bool:
        """Whether the task is learned."""
        return self.plan is not None and self.plan.recipe.steps > 0

    @property
    def place(self) -> Path:
        """Where in a records folder it keeps what it needs while it runs: lock, log, unfinished training."""
        return Path(".running", self.path)

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
        base = self.base.fingerprint() if self.base else ""
        return fingerprint(cls, self.task, repr(self.plan), corpus, base)

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


def commit() -> dict[str, Any]:
    """The commit of the source and whether files differ from it; empty where the source is no checkout of its own."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed package, be it inside another repository
        return {}
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


@dataclass(frozen=True)
class Began:
    """When a run began, and with which source: not with that of a commit made while it ran."""

    date: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    clock: float = field(default_factory=time.perf_counter)
    commit: dict[str, Any] = field(default_factory=commit)


def card(cls: type[Encoding]) -> dict[str, Any]:
    """What a record says of the encoding, its source included."""
    source = registry.source(cls)
    return {**cls.card(), "file": source.name, "source": source.read_text(encoding="utf-8")}


def run(
    cell: Cell,
    device: torch.device,
    folder: Path,
    tick: Tick = lambda done, total: None,
    save: bool = False,
) -> Record:
    """Run a cell to its record: measured, diverged or undefined. Other errors are the caller's to record.

    In a records folder a training leaves its state now and then, and is resumed from it; the trained model stays
    there where `save` asks for it, or the task is among SAVED, and the record names its file.
    """
    name, cls = registry.resolve(cell.encoding)
    began = Began()
    about: dict[str, Any] = {}
    try:
        if cell.task == CERTIFICATE:
            rows, about = certificate(name, cls)
        else:
            assert cell.plan is not None
            task = make(cell.task, cell.corpus)
            if isinstance(task, Throughput):
                rows = timings(cls, task, cell.plan, device, tick)
            else:
                rows, about = scores(cell, task, device, folder, tick, save)
    except Diverged as e:
        return cell.record(outcome="diverged", reason=str(e), provenance=provenance(cell, began, device))
    if not rows:
        reason = f"defined at none of the lengths of {cell.task}"
        return cell.record(outcome="undefined", reason=reason, provenance=provenance(cell, began, device))
    return cell.record(rows=tuple(rows), provenance={**provenance(cell, began, device), **about})


def scores(
    cell: Cell, task: Task, device: torch.device, folder: Path, tick: Tick, save: bool
) -> tuple[list[Row], dict[str, Any]]:
    """What the cell's model scores, and what its training took."""
    assert cell.plan is not None
    steps = cell.plan.recipe.steps
    total = steps + len(task.conditions(cell.plan.recipe.length, cell.plan.multiples)) + 1

    def step(done: int) -> None:
        tick(done + 1, total)

    if cell.base is None:
        lm, about = trained(cell, task, device, folder, step, save or cell.task in SAVED)
    else:
        lm, about = borrowed(cell.base, device, folder, step)
    extension = registry.extension_of(cell.encoding)[1]
    rows = examine(lm, task, cell.plan, device, lambda done, of: tick(steps + done, total), extension)
    return rows, {**about, "flops_per_token": flops_per_token(lm, task.context(cell.plan.recipe.length))}


def trained(
    cell: Cell, task: Task, device: torch.device, folder: Path, step: Callable[[int], None], save: bool
) -> tuple[LM, dict[str, Any]]:
    """Train the model of a cell; what the record says of it."""
    assert cell.plan is not None
    size, context = cell.plan.size(task.vocab), task.context(cell.plan.recipe.length)
    lm = LM(size, registry.resolve(cell.encoding)[1], context, cell.seed).to(device)
    done = train(lm, task, cell.plan.recipe, cell.seed, step, resume(cell, folder, device))
    about = {
        "parameters": parameters(lm),
        "tokens": done.tokens,
        "tokens_per_second": round(done.tokens / done.seconds, 1),
        "final_loss": done.final_loss,
    }
    if save:
        keep(cell, task, lm, folder)
        about["checkpoint"] = cell.checkpoint.as_posix()
    return lm, about


def borrowed(
    base: Cell, device: torch.device, folder: Path, step: Callable[[int], None]
) -> tuple[LM, dict[str, Any]]:
    """The model of another cell: its checkpoint, or trained here and saved in its place. Both are the same bits."""
    about: dict[str, Any] = {"checkpoint": base.checkpoint.as_posix()}
    with locked(base, folder):  # another sweep that is making it ends first
        lm = kept(base, folder)
        if lm is None:
            clean(base, folder)
            task = make(base.task, base.corpus)
            assert isinstance(task, Task)
            lm, about = trained(base, task, device, folder, step, save=True)
            resume(base, folder, device).remove()
    return lm.to(device), {"parameters": parameters(lm), **about, "base": base.path.as_posix()}


def locked(cell: Cell, folder: Path) -> FileLock:
    """The lock of whoever runs a cell, or trains its model for another one."""
    path = folder / cell.place.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def clean(cell: Cell, folder: Path) -> None:
    """Remove the unfinished files of a run of this cell that was killed; its lock is held."""
    for path in (cell.path, cell.checkpoint, cell.place.with_suffix(".state")):
        tidy(folder / path)


def kept(cell: Cell, folder: Path) -> LM | None:
    """The model in the checkpoint of a cell; None where there is none that can be used."""
    path = folder / cell.checkpoint
    if not path.exists():
        return None
    try:
        if config(path).fingerprint != cell.fingerprint():
            raise CheckpointError(f"{path} is of another run")
        return load(path, cell.encoding)
    except CheckpointError as e:
        print(f"{e}; trained again", file=sys.stderr)
        return None


def resume(cell: Cell, folder: Path, device: torch.device) -> Resume:
    """The state of this cell's training.

    It belongs to this code, the kernels that serve, machine and torch: others would end in other bits.
    """
    kernels = serving() if device.type == "cpu" else ""  # a GPU needs none, so none are compiled for it
    run = (
        *(cell.fingerprint(), kernels, cell.encoding, cell.seed, torch.__version__, processor()),
        *(hardware(device), torch.get_num_threads()),
    )
    return Resume(folder / cell.place.with_suffix(".state"), repr(run))


def certificate(name: str, cls: type[Encoding]) -> tuple[list[Row], dict[str, Any]]:
    """The certificate as rows, and the facts of it that badges show."""
    checks = certify(name, cls)
    rows = [Row("pass", float(c.passed), 1, {"check": c.name, "detail": c.measured}) for c in checks]
    return rows, {"badges": {"kernel": cls.kernel(), **{k: v for c in checks for k, v in c.facts.items()}}}


def keep(cell: Cell, task: Task, lm: LM, folder: Path) -> None:
    """Save a cell's trained model in the records folder, and beside it the pictures of its encoding."""
    corpus = identity(cell.corpus) if cell.reads_text else {}
    about = describe(lm, cell.encoding, cell.task, cell.profile, cell.seed, cell.fingerprint(), corpus)
    save(lm, about, folder / cell.checkpoint)
    assert cell.plan is not None
    points = pictures.trained(lm, pictures.texts(task, cell.plan.recipe.length))
    write_whole(folder / cell.checkpoint.with_suffix(".csv"), pictures.to_csv(points).encode())


def parameters(lm: LM) -> dict[str, int]:
    """How many the model has, and how many of them are the encoding's."""
    return {"total": count(lm), "encoding": count(lm.encoding)}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def provenance(cell: Cell, began: Began, device: torch.device) -> dict[str, Any]:
    """Where, when and with what a record was made."""
    encoding = Path(cell.encoding).name  # of a file, without the folders of this machine
    return {
        "started": began.date.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began.clock, 2),
        "peak_memory_bytes": peak_memory(device),
        "versions": {
            "pebench": version("pebench"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "device": hardware(device),
        "threads": torch.get_num_threads(),
        "precision": "bfloat16" if fast_bf16(device) else "float32",
        **(served() if device.type == "cpu" else {}),
        **began.commit,
        "task_fingerprint": task_fingerprint(cell.task, repr(cell.plan)),
        "command": f"pebench run --profile {cell.profile} -e {encoding} -t {cell.task} --seed {cell.seed}"
        + (f" --corpus {cell.corpus.name}" if cell.corpus else "")
        + (f" --device {device.type}" if device.type != "cpu" else ""),
    }


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held, of a GPU's memory where it runs on one.

    Linux's getrusage starts from what the parent held, and so is asked elsewhere only.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def hardware(device: torch.device) -> str:
    """What a device is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
