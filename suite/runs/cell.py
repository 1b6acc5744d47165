"""One run: an encoding, a task, a profile and a seed become a record. The only place where scores come from."""

import contextlib
import datetime
import errno
import functools
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pebench.encodings import registry
from pebench.encodings.base import Encoding
from pebench.suite import lm as lm_package
from pebench.suite.experiment import graphs
from pebench.suite.experiment.clock import clock
from pebench.suite.experiment.measure import Tick, examine, timings
from pebench.suite.experiment.profiles import PROFILES, Plan
from pebench.suite.experiment.resume import Resume
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.experiment.training import Diverged, train
from pebench.suite.lm import precision
from pebench.suite.lm import step as native
from pebench.suite.lm.flops import flops_per_token
from pebench.suite.lm.model import LM
from pebench.suite.lm.native.build import served, serving
from pebench.suite.proofs import probes as pictures
from pebench.suite.proofs.certificate import certify
from pebench.suite.results.provenance import Commit, Parameters, Provenance, RunFacts
from pebench.suite.results.record import (
    CERTIFICATE,
    RUNNING,
    Answer,
    Record,
    Row,
    make_folder,
    record_path,
    tidy,
    write_whole,
)
from pebench.suite.results.setup import Corpus, Setup
from pebench.suite.runs.checkpoint import CheckpointError, Config, config, describe, load, save
from pebench.suite.runs.fingerprint import encoding_code, fingerprint, shared_code
from pebench.suite.runs.machine import commit, disk_faults, hardware, peak_memory, processor
from pebench.suite.runs.meaning import digest
from pebench.tasks import TASKS, make
from pebench.tasks.base import Task
from pebench.tasks.data import tokens
from pebench.tasks.data.corpus import identity
from pebench.tasks.data.system import Lock
from pebench.tasks.language_tokens import TokenTask
from pebench.tasks.throughput import Throughput

SAVED = ("language", "language_tokens")  # tasks whose models are saved unasked
ENGINE = ("middle", "step", "precision")  # of suite/lm, beside its folders native and gpu
RANKS = ".ranks"  # ends the name of the folder in which ranks keep the state of their training
ASKS = {
    "harness": "language",
    "harness_grape": "language",
    "needle_tokens": "language_tokens",
    "harness_tokens": "language_tokens",
}  # tasks that measure the model of another one


@dataclass(frozen=True)
class Cell:
    """A run to make. `encoding` is a registered name, a sum, an extension or `file.py:Class`.

    What it stands for is looked up once: files that change, or go, while it runs change nothing of its record.
    """

    encoding: str
    task: str
    profile: str
    seed: int
    corpus: Path | None = None

    @cached_property
    def resolved(self) -> tuple[str, type[Encoding]]:
        """The encoding's name and class, as its file was when this cell was first asked."""
        return registry.resolve(self.encoding)

    @property
    def name(self) -> str:
        """The encoding's name."""
        return self.resolved[0]

    @property
    def title(self) -> str:
        """How a person would name this run."""
        return f"{self.name} {self.task}" + (f" seed {self.seed}" if self.task != CERTIFICATE else "")

    @cached_property
    def path(self) -> Path:
        """Where its record belongs in a records folder."""
        return record_path(self.name, self.task, self.profile, self.seed, self.fingerprint())

    @cached_property
    def base(self) -> "Cell | None":
        """The cell whose trained model this one measures, where it trains none.

        `rope` is the base of `rope@yarn`, `language` of `harness`.
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
        return Path(RUNNING, self.path)

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
        return Record(
            encoding=self.name,
            task=self.task,
            profile=self.profile,
            seed=self.seed,
            fingerprint=self.fingerprint(),
            encoding_code=encoding_code(self.resolved[1]),
            shared_code=shared_code(self.task),
            card=self.card,
            setup=self.setup(),
            **rest,
        )

    def look_up(self) -> None:
        """Look up all that its record will say of it."""
        self.record(outcome="failed", reason="not run yet")

    @cached_property
    def card(self) -> dict[str, Any]:
        """What a record says of the encoding, its source included."""
        return card(*self.resolved)

    def fingerprint(self) -> str:
        """The hash of all that this cell's scores depend on."""
        return self.digest

    @cached_property
    def digest(self) -> str:
        base = self.base.fingerprint() if self.base else ""
        return fingerprint(self.resolved[1], self.task, self.plan, self.text.get("sha256", ""), base)

    @cached_property
    def text(self) -> Corpus:
        """Name and sha256 of the text that the task reads; empty where it reads none, or none is named."""
        if self.task in TASKS and issubclass(TASKS[self.task], TokenTask):
            if self.corpus is None:
                return {}
            about = {name: str(value) for name, value in tokens.identity(self.corpus).items()}
            return Corpus(
                name=about["name"],
                sha256=about["sha256"],
                revision=about["revision"],
                tokenizer=about["tokenizer"],
                tokens=about["tokens"],
            )
        return identity(self.corpus) if self.reads_text else {}

    @property
    def reads_text(self) -> bool:
        return self.task in TASKS and TASKS[self.task].reads_text

    def setup(self) -> Setup:
        """What was trained and how, for the record."""
        if self.plan is None:
            return {"task_family": CERTIFICATE, "task_title": "Certificate"}
        task, recipe = TASKS[self.task], self.plan.recipe
        setup: Setup = {
            "task_family": task.family,
            "task_title": task.title,
            "model": {"layers": self.plan.layers, "width": self.plan.width, "heads": self.plan.heads},
            "train_length": recipe.length,
            "steps": recipe.steps,
            "tokens": recipe.tokens,
            "learning_rate": recipe.learning_rate,
            "warmup": recipe.warmup,
            "weight_decay": recipe.weight_decay,
            "clip": recipe.clip,
            "floor": recipe.floor,
        }
        if issubclass(task, Task):
            setup["gate"] = task.gate
        if self.reads_text:
            setup["corpus"] = self.text
        return setup


@dataclass(frozen=True)
class Began:
    """When a run began, and with which source: a commit made while it runs does not count."""

    date: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    clock: float = field(default_factory=clock)
    commit: Commit = field(default_factory=commit)


def card(name: str, cls: type[Encoding]) -> dict[str, Any]:
    """What a record says of the encoding, its source included."""
    return {**cls.card(), "file": registry.file_name(name, cls), "source": registry.source_text(cls)}


def run(
    cell: Cell,
    device: torch.device,
    folder: Path,
    tick: Tick = lambda done, total: None,
    save: bool = False,
    sharing: Sharing | None = None,
) -> Record:
    """Run a cell to its record: measured, diverged or undefined. Other errors are the caller's to record.

    With `sharing` this is rank 0 of the processes that train the model.

    In a records folder a training leaves its state now and then, and is resumed from it. The trained model stays
    there if `save` asks for it or the task is among SAVED; the record names its file.
    """
    name, cls = cell.resolved
    began = Began()
    about: RunFacts = {}
    answers = list[Answer]()
    try:
        if cell.task == CERTIFICATE:
            rows, about = certificate(name, cls)
        else:
            assert cell.plan is not None
            task = make(cell.task, cell.corpus)
            if isinstance(task, Throughput):
                rows = timings(cls, task, cell.plan, device, tick)
            else:
                rows, answers, about = scores(cell, task, device, folder, tick, save, sharing)
    except Diverged as e:
        made = provenance(cell, began, device, sharing)
        return cell.record(outcome="diverged", reason=str(e), provenance=made)
    made = provenance(cell, began, device, sharing)
    made["seconds"] = round(made["seconds"] + about.get("earlier_seconds", 0.0), 2)
    if not rows:
        reason = f"defined at none of the lengths of {cell.task}"
        return cell.record(outcome="undefined", reason=reason, provenance=made)
    return cell.record(rows=tuple(rows), answers=tuple(answers), provenance={**made, **about})


def scores(
    cell: Cell,
    task: Task,
    device: torch.device,
    folder: Path,
    tick: Tick,
    save: bool,
    sharing: Sharing | None = None,
) -> tuple[list[Row], list[Answer], RunFacts]:
    """What the cell's model scores and answers, and what its training took."""
    assert cell.plan is not None
    steps = cell.plan.recipe.steps
    total = steps + len(task.conditions(cell.plan.recipe.length, cell.plan.multiples)) + 1

    def step(done: int) -> None:
        tick(done + 1, total)

    if cell.base is None:
        lm, about = trained(cell, task, device, folder, step, save or cell.task in SAVED, sharing)
    else:
        lm, about = borrowed(cell.base, device, folder, step)
    extension = registry.extension_of(cell.encoding)[1]
    rows, answers = examine(
        lm, task, cell.plan, device, lambda done, of: tick(steps + done, total), extension
    )
    context = task.context(cell.plan.recipe.length)
    return rows, answers, {**about, "flops_per_token": told(lambda: flops_per_token(lm, context))}


def trained(
    cell: Cell,
    task: Task,
    device: torch.device,
    folder: Path,
    step: Callable[[int], None],
    save: bool,
    sharing: Sharing | None = None,
) -> tuple[LM, RunFacts]:
    """Train the model of a cell, with other ranks where it is shared; what the record says of it."""
    assert cell.plan is not None
    size, context = cell.plan.size(task.vocab), task.context(cell.plan.recipe.length)
    recipe, state = cell.plan.recipe, resume(cell, folder, device)
    about: RunFacts = {}  # the precision more exactly than `provenance`, which knows no model

    def model() -> LM:
        return LM(size, cell.resolved[1], context, cell.seed)

    if sharing is None:
        lm = model().to(device)
        kind = {"stepper": graphs.stepper} if device.type == "cuda" else {}
        done = train(lm, task, recipe, cell.seed, step, state, **kind)
        about["precision"] = told(lambda: native.multiplies_in(device, lm))
    else:
        from pebench.suite.experiment.ranks import train_together  # takes a second to import

        place = folder / cell.place.with_suffix(RANKS)
        lm, done, about = train_together(
            model, task, recipe, cell.seed, step, place, state.run, sharing, device
        )
    if state.earlier:
        about["earlier_seconds"] = round(state.earlier, 2)
    about["parameters"] = parameters(lm)
    about["tokens"] = done.tokens
    about["tokens_per_second"] = round(done.tokens / done.seconds, 1)
    about["final_loss"] = done.final_loss
    return lm, {**about, **(keep(cell, task, lm, folder) if save else {})}


def borrowed(
    base: Cell, device: torch.device, folder: Path, step: Callable[[int], None]
) -> tuple[LM, RunFacts]:
    """The model of another cell: its checkpoint, or trained here and saved in its place. Both are the same bits."""
    about: RunFacts = {"checkpoint": base.checkpoint.as_posix()}
    with locked(base, folder):  # another sweep that is making it ends first
        lm = kept(base, folder)
        if lm is None:
            clean(base, folder)
            task = make(base.task, base.corpus)
            assert isinstance(task, Task)
            lm, about = trained(base, task, device, folder, step, save=True)
            forget(base, folder, device)
    return lm.to(device), {"parameters": parameters(lm), **about, "base": base.path.as_posix()}


def locked(cell: Cell, folder: Path) -> Lock:
    """The lock that a process holds which runs a cell, or trains its model for another one."""
    path = folder / cell.place.with_suffix(".lock")
    make_folder(path.parent)
    return Lock(path)


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


def forget(cell: Cell, folder: Path, device: torch.device) -> None:
    """Remove the state of a training whose run has its record: it is never read again."""
    with contextlib.suppress(OSError):
        resume(cell, folder, device).remove()
    shutil.rmtree(folder / cell.place.with_suffix(RANKS), ignore_errors=True)


def resume(cell: Cell, folder: Path, device: torch.device) -> Resume:
    """The state of this cell's training.

    It belongs to this code, the engine, the kernels that serve, machine and torch: others would end in other bits.
    """
    kernels = serving() if device.type == "cpu" else ""  # a GPU needs none, so none are compiled for it
    run = (
        *(cell.fingerprint(), kernels, cell.encoding, cell.seed, torch.__version__, processor()),
        *(hardware(device), torch.get_num_threads(), engine()),
    )
    return Resume(folder / cell.place.with_suffix(".state"), repr(run))


@functools.cache
def engine() -> str:
    """SHA-256 of the training engine's Python, which no fingerprint counts."""
    home = Path(lm_package.__file__).parent
    files = [*home.glob("native/*.py"), *home.glob("gpu/*.py"), *(home / f"{name}.py" for name in ENGINE)]
    return digest(*(file.read_text(encoding="utf-8") for file in sorted([*files, Path(graphs.__file__)])))


def certificate(name: str, cls: type[Encoding]) -> tuple[list[Row], RunFacts]:
    """The certificate as rows, and the facts of it that badges show. OSError where a check had no room on the disk."""
    checks = certify(name, cls)
    if not all(check.passed for check in checks) and (full := disk_faults(Path(tempfile.gettempdir()))):
        raise OSError(errno.ENOSPC, f"a check may have failed for want of room: {full[0]}")
    rows = [Row("pass", float(c.passed), 1, {"check": c.name, "detail": c.measured}) for c in checks]
    return rows, {"badges": {"kernel": cls.kernel(), **{k: v for c in checks for k, v in c.facts.items()}}}


def keep(cell: Cell, task: Task, lm: LM, folder: Path) -> RunFacts:
    """Save a cell's trained model in the records folder, and beside it the pictures of its encoding.

    What the record says of them: where the model lies, and under `missing` why a file could not be written. The
    scores stand without either.
    """
    plan = cell.plan
    assert plan is not None

    def model() -> None:
        about = describe(lm, cell.encoding, cell.task, cell.profile, cell.seed, cell.fingerprint(), cell.text)
        save(lm, about, folder / cell.checkpoint)

    def drawn() -> None:
        points = pictures.trained(lm, pictures.texts(task, plan.recipe.length))
        write_whole(folder / cell.checkpoint.with_suffix(".csv"), pictures.to_csv(points).encode())

    missing = {
        name: why for name, write in (("checkpoint", model), ("pictures", drawn)) if (why := failed(write))
    }
    about: RunFacts = {} if "checkpoint" in missing else {"checkpoint": cell.checkpoint.as_posix()}
    return {**about, **({"missing": missing} if missing else {})}


def task_of(about: Config, corpus: Path | None = None) -> Task:
    """The task that a model was trained on, with the text that it read. CheckpointError where one is not here."""
    if about.task not in TASKS:
        raise CheckpointError(f"the model is of the task {about.task!r}, which this pebench does not have")
    text = Cell(about.encoding, about.task, about.profile, about.seed, corpus).text
    if text.get("sha256") != about.corpus.get("sha256"):
        raise CheckpointError(
            f"the model read another text, {about.corpus.get('name')!r}; name its file or folder with --corpus"
        )
    task = make(about.task, corpus)
    assert isinstance(task, Task)
    return task


def failed(write: Callable[[], None]) -> str:
    """Why a file could not be written, which is told in the log; empty where it was."""
    try:
        write()
    except Exception as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else str(e)  # without the path
        print(f"not written: {type(e).__name__}: {e}", file=sys.stderr)
        return f"{type(e).__name__}: {why}"
    return ""


def told(fact: Callable[[], Any]) -> Any:
    """A fact beside the scores; None, and a line in the log, where it cannot be had."""
    try:
        return fact()
    except Exception as e:
        print(f"not known: {type(e).__name__}: {e}", file=sys.stderr)
        return None


def parameters(lm: LM) -> Parameters:
    """How many the model has, and how many of them are the encoding's."""
    return {"total": count(lm), "encoding": count(lm.encoding)}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def provenance(cell: Cell, began: Began, device: torch.device, sharing: Sharing | None = None) -> Provenance:
    """Where, when and with what a record was made."""
    encoding = Path(cell.encoding).name  # of a file, without the folders of this machine
    made: Provenance = {
        "started": began.date.isoformat(timespec="seconds"),
        "seconds": round(clock() - began.clock, 2),
        "peak_memory_bytes": told(lambda: peak_memory(device)),
        "versions": {
            "pebench": told(lambda: version("pebench")),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": told(processor),
        "device": told(lambda: hardware(device)),
        "threads": torch.get_num_threads(),
        "precision": told(lambda: (precision if sharing else native).multiplies_in(device)),
        **(served() if device.type == "cpu" else {}),
        **began.commit,
        "command": f"pebench run --profile {cell.profile} -e {encoding} -t {cell.task} --seed {cell.seed}"
        + (f" --corpus {cell.corpus.name}" if cell.corpus else "")
        + (f" --device {device.type}" if device.type != "cpu" else "")
        + (sharing.options() if sharing else ""),
    }
    if sharing:
        made["ranks"], made["micro_batch"] = sharing.ranks, sharing.micro_batch
        made["sharded"], made["recompute"] = sharing.sharded, sharing.recompute
    return made
