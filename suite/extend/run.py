"""Runs of the track: a method, a task and a text become one record. The text is what elsewhere is the seed.

A run is continued where it was interrupted: its finished steps lie in the records folder until its record is written.
Several processes share the work: a run that another one holds is left out.
"""

import json
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pebench.encodings.base import Encoding
from pebench.encodings.extension import longer, method_classes
from pebench.encodings.registry import loaded_text, source, source_text
from pebench.suite.experiment.clock import clock
from pebench.suite.extend import smollm2
from pebench.suite.extend.checkpoint import (
    Checkpoint,
    ModelError,
    PretrainedRoPE,
    architecture,
    load_checkpoint,
    short_name,
)
from pebench.suite.extend.items import ROOM, SNAP, books_of, items, room, windows
from pebench.suite.extend.measure import Session
from pebench.suite.extend.model import fastest
from pebench.suite.extend.profiles import COST, LOSS, NONE, RETRIEVAL, TASKS, Track
from pebench.suite.extend.searched import Found, Subject, find, needs_search, with_divisors
from pebench.suite.extend.trial import method_named
from pebench.suite.lm.native import stretch
from pebench.suite.lm.native.build import SOURCES
from pebench.suite.results.provenance import Provenance
from pebench.suite.results.record import (
    RUNNING,
    Answer,
    NewerSchema,
    Record,
    RecordError,
    Row,
    make_folder,
    record_path,
    write,
    write_whole,
)
from pebench.suite.results.setup import Setup
from pebench.suite.runs.cell import Began
from pebench.suite.runs.existing import existing, readable
from pebench.suite.runs.fingerprint import KERNELS, UNCOUNTED, code_of, encoding_code, native
from pebench.suite.runs.machine import peak_memory, processor
from pebench.suite.runs.meaning import Place, digest
from pebench.tasks.data.corpus import identity
from pebench.tasks.data.system import Lock

ENCODING = "rope"  # the encoding of all models here, as records name it
SNAPS = 8  # times SNAP: the least text between numbers, so that a depth is off by an eighth at most
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A run to make."""

    checkpoint: Checkpoint
    track: Track
    method: str
    task: str
    text: int
    corpus: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict, compare=False)  # of the model and corpus, hashed once
    found: Found | None = None  # by a search, where the method needs one

    @property
    def name(self) -> str:
        """What records call the method: as in `pebench run`, an extension of an encoding."""
        return ENCODING if self.method == NONE else f"{ENCODING}@{self.method}"

    @property
    def encoding(self) -> type[Encoding]:
        """The class of the model's RoPE as extended."""
        return PretrainedRoPE if self.method == NONE else longer(PretrainedRoPE, self.method)

    @cached_property
    def shared_code(self) -> str:
        """SHA-256 of the code that all methods share in this task; for times the kernels count too."""
        timed = self.task == COST
        uncounted = (*UNCOUNTED, *(() if timed else KERNELS), "pebench.encodings.extension")
        roots = {Place(Session.__module__, Session.__name__)}
        return digest(code_of((), uncounted).hash(roots), *(native(file) for file in SOURCES if timed))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that its scores depend on, the precision of products among it."""
        code = (encoding_code(self.encoding), self.shared_code)
        inputs = (repr(self.track.lengths), repr(self.track.stretches), self.facts["sha256"], str(fastest()))
        used = [self.found.used] if self.found else []
        return digest("1", *code, self.task, str(self.text), *inputs, self.facts["corpus"]["sha256"], *used)

    @property
    def path(self) -> Path:
        """Where its record belongs in a records folder."""
        return record_path(self.name, self.task, self.track.name, self.text, self.fingerprint)

    @property
    def title(self) -> str:
        """How a person would name it."""
        return f"{self.method} {self.task} text {self.text}"


def runs(
    checkpoint: Checkpoint,
    track: Track,
    methods: list[str],
    tasks: list[str],
    corpus: Path | None,
) -> list[Run]:
    """All runs of a profile: text by text, so that methods can be compared before all texts are read.

    ModelError where a method needs a search whose result is not here, or where the texts are too short or too few.
    """
    books = identity(corpus)
    if not tasks or RETRIEVAL in tasks:
        demand_room(checkpoint, track)
    if not tasks or LOSS in tasks or RETRIEVAL in tasks:
        demand_texts(checkpoint, track, corpus)
    if not tasks or RETRIEVAL in tasks:
        demand_fit(checkpoint, track, corpus)
    config = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
    facts = {"sha256": checkpoint.sha256, "corpus": books, "trained": architecture(config).trained}
    subject = Subject(checkpoint.sha256, float(track.farthest), books["sha256"])
    found = {method: find(subject, track.name) for method in methods if needs_search(method)}
    models = {
        method: with_divisors(checkpoint, track.farthest, each.divisors) for method, each in found.items()
    }
    return [
        Run(models.get(method, checkpoint), track, method, task, text, corpus, facts, found.get(method))
        for number in range(track.texts)
        for method in methods
        for task, text in track.cells()
        if text == number and (not tasks or task in tasks)
    ]


def unsearched(
    checkpoint: Checkpoint, track: Track, methods: list[str], corpus: Path | None
) -> dict[str, str]:
    """The methods that cannot run because they need a search whose result is not here, each with the reason."""
    needy = [method for method in methods if needs_search(method)]
    if not needy:
        return {}
    subject = Subject(checkpoint.sha256, float(track.farthest), identity(corpus)["sha256"])
    try:
        find(subject, track.name)
    except ModelError as e:
        return dict.fromkeys(needy, str(e))
    return {}


def loaded(folder: Path | None) -> Checkpoint:
    """The model in a folder, else SmolLM2. ModelError where there is none, or where SmolLM2 is damaged."""
    place = folder or smollm2.folder()
    if folder is None and not (place / "config.json").is_file():
        raise ModelError(
            "SmolLM2 is not prepared: run `pebench data prepare --smollm2` (93 MB), or name a checkpoint with --model"
        )
    checkpoint = load_checkpoint(place)
    if place.resolve() == smollm2.folder().resolve():
        smollm2.demand_undamaged(checkpoint)
    return checkpoint


def shortened(checkpoint: Checkpoint, trained: int) -> Checkpoint:
    """The model with another training length L. ModelError where it was trained on shorter texts."""
    if not 0 < trained <= checkpoint.about.trained:
        raise ModelError(
            f"{checkpoint.folder} was trained on texts of {checkpoint.about.trained} tokens, so --trained cannot be "
            f"{trained}; choose a number from 1 to {checkpoint.about.trained}"
        )
    return replace(checkpoint, about=replace(checkpoint.about, trained=trained))


def demand_texts(checkpoint: Checkpoint, track: Track, corpus: Path | None) -> None:
    """ModelError where the corpus has fewer windows than the profile has texts: one would count as several."""
    length = round(checkpoint.about.trained * track.farthest)
    sizes = [len(book) for book in books_of(checkpoint, corpus)]
    if (found := sum(size // length for size in sizes)) < track.texts:
        parts = {size // n for size in sizes for n in range(1, track.texts + 1)} - {0}
        longest = max((n for n in parts if sum(size // n for size in sizes) >= track.texts), default=0)
        shorter = f", or --trained N with N up to {most}" if (most := int(longest / track.farthest)) else ""
        raise ModelError(
            f"{track.name} reads {track.texts} texts of {length} tokens, and the test books have {found}; use more "
            f"text{shorter}"
        )


def demand_room(checkpoint: Checkpoint, track: Track) -> None:
    """ModelError where texts are too short for needles at their depths, or keep too little room for them.

    A needle moves back by up to SNAP tokens, to the end of a sentence.
    """
    least = ROOM + SNAPS * SNAP
    if (shortest := round(checkpoint.about.trained * min(track.lengths))) < least:
        raise ModelError(
            f"{track.name} hides numbers in texts of {shortest} tokens, and they need {least}: {ROOM} for numbers, "
            f"question and answer, {SNAPS * SNAP} for their depths; use a model of longer texts or a larger --trained, "
            f"or measure --tasks {LOSS},{COST}"
        )
    if (needed := room(checkpoint)) > ROOM:
        raise roomless(checkpoint, needed)


def demand_fit(checkpoint: Checkpoint, track: Track, corpus: Path | None) -> None:
    """ModelError where a text with its numbers, a question and the answer is longer than its length."""
    lengths = [round(checkpoint.about.trained * m) for m in track.lengths]
    texts = windows(checkpoint, max(lengths), corpus)[: track.texts]
    for item in (
        item for number, text in enumerate(texts) for item in items(checkpoint, text, lengths, number)
    ):
        hay = int(item.condition["length"]) - ROOM
        needed = len(item.text) - hay + len(checkpoint.encode(item.question)) + item.asked
        if needed > ROOM:
            raise roomless(checkpoint, needed)


def roomless(checkpoint: Checkpoint, needed: int) -> ModelError:
    """The error of a tokenizer that takes too many tokens for needles, question and answer."""
    return ModelError(
        f"the tokenizer of {checkpoint.folder} takes {needed} tokens for hidden numbers and their question, and a "
        f"text keeps {ROOM}; measure --tasks {LOSS},{COST}, or use a model with a larger vocabulary"
    )


def named(methods: list[str], track: Track) -> list[str]:
    """The methods to run: the profile's, or those that are named. UnknownName or EncodingError for another."""
    return [m if m == NONE else method_named(m) for m in methods or track.methods]


def done(run: Run, folder: Path) -> bool:
    """Whether a run has its record. A broken file in its place is none; errors are as in `readable`."""
    try:
        return readable(run, folder) is not None
    except NewerSchema:
        raise
    except RecordError:
        return False


def make(todo: Iterable[Run], folder: Path, tell: Tell) -> Iterator[tuple[Run, Record | Exception | None]]:
    """Make these runs in turn: each with its record, or with the error that ended it and no other run.

    None stands in its place where another process is making it.
    """
    session: Session | None = None
    for run in todo:
        lock = locked(run, folder)
        if not lock.acquire(wait=False):
            yield run, None
            continue
        found: Record | Exception | None
        try:
            if (found := existing(run, folder)) is None:
                if session is None or session.method != run.method:
                    session = None  # lets go of its weights and caches first
                    session = Session(run.checkpoint, run.method, run.track, run.corpus)
                found = measured(run, session, folder, tell)
        except Exception as e:
            session, found = None, e  # its readers may have stopped within a text
        finally:
            lock.release()
        yield run, found


def tidy(todo: list[Run], folder: Path) -> None:
    """Remove the steps of runs that have a record: a process may have been killed between the two."""
    for run in todo:
        steps = place(run, folder)
        if steps.exists() and done(run, folder):
            steps.unlink(missing_ok=True)


def locked(run: Run, folder: Path) -> Lock:
    """The lock of the process that makes a run."""
    path = place(run, folder).with_suffix(".lock")
    make_folder(path.parent)
    return Lock(path)


def place(run: Run, folder: Path) -> Path:
    """Where the finished steps of a run lie until its record is written."""
    return folder / RUNNING / run.path.with_suffix(".steps")


def measured(run: Run, session: Session, folder: Path, tell: Tell) -> Record:
    """Measure the steps of a run that are left, and write its record."""
    began, kept = Began(), place(run, folder)
    ready = finished(run, kept, tell)
    resumed = len(ready)
    steps = list(session.steps(run.task, run.text))
    for n, step in enumerate(steps):
        if step.name in ready:
            continue
        tell(f"{run.title}: {step.name} ({n + 1} of {len(steps)})")
        rows, given = step.measure()
        ready[step.name] = {"rows": [asdict(row) for row in rows], "answers": list(given)}
        whole = {"fingerprint": run.fingerprint, "rounding": rounding(), "steps": ready}
        write_whole(kept, json.dumps(whole).encode())
    rows = [Row(**row) for step in steps for row in ready[step.name]["rows"]]
    answers: list[Answer] = [answer for step in steps for answer in ready[step.name]["answers"]]
    record = Record(
        encoding=run.name,
        task=run.task,
        profile=run.track.name,
        seed=run.text,
        fingerprint=run.fingerprint,
        encoding_code=encoding_code(run.encoding),
        shared_code=run.shared_code,
        rows=tuple(rows),
        answers=tuple(answers),
        card=card(run),
        setup=setup(run, session),
        provenance={**provenance(run, began), "resumed_steps": resumed},
    )
    write(record, folder)
    kept.unlink(missing_ok=True)
    return record


def finished(run: Run, path: Path, tell: Tell) -> dict[str, Any]:
    """The finished steps of a run in a file; none where it is missing, broken, of other code or of other rounding."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        steps, then = dict(data["steps"]), dict(data["rounding"])
        if data["fingerprint"] != run.fingerprint:
            return {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if then == (now := rounding()):
        return steps
    before, here = (", ".join(f"{key} {value}" for key, value in each.items()) for each in (then, now))
    tell(f"{run.title}: begins anew, for its finished steps are of {before}, and this call is of {here}")
    return {}


def rounding() -> dict[str, Any]:
    """What decides how sums are rounded here, the precision aside: steps of one record have it in common."""
    return {"threads": torch.get_num_threads(), "kernels": "native" if stretch.kernels() else "pytorch"}


def card(run: Run) -> dict[str, Any]:
    """What a record says of the method, its source included, and of the search that it rests on."""
    said = {**run.encoding.card(), "method": run.method, "source": source_text(source_of(run))}
    return {**said, "searched": asdict(run.found)} if run.found else said


def source_of(run: Run) -> type[Encoding]:
    """The class whose file tells the method."""
    return PretrainedRoPE if run.method == NONE else method_classes(run.method)[0]


def setup(run: Run, session: Session) -> Setup:
    """What was read and by which model, for the record."""
    about = run.checkpoint.about
    return {
        "task_family": "extension",
        "task_title": TASKS[run.task],
        "train_length": about.trained,
        "lengths": session.lengths(),
        "factor": session.factor(max(session.lengths())),
        "model": {
            "name": short_name(run.checkpoint.folder),
            "sha256": run.facts["sha256"],
            "layers": about.layers,
            "width": about.width,
            "heads": about.heads,
            "kv_heads": about.kv_heads,
            "parameters": sum(x.numel() for x in run.checkpoint.weights.values()),
            "rope_base": about.base,
        },
        "corpus": run.facts["corpus"],
    }


def provenance(run: Run, began: Began) -> Provenance:
    """Where, when and with what a record was made."""
    return {
        "started": began.date.isoformat(timespec="seconds"),
        "seconds": round(clock() - began.clock, 2),
        "peak_memory_bytes": peak_memory(torch.device("cpu")),
        "versions": {
            "pebench": version("pebench"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "device": "cpu",
        "threads": rounding()["threads"],
        "kernels": rounding()["kernels"],
        "precision": "bfloat16" if fastest() == torch.bfloat16 else "float32",
        **began.commit,
        "command": command(run),
    }


def command(run: Run) -> str:
    """The command that makes a run again; files and folders stand in it without the folders of this machine."""
    checkpoint, trained = run.checkpoint.folder.resolve(), run.checkpoint.about.trained
    threads = torch.get_num_threads()
    return (
        f"pebench extend --profile {run.track.name} -m {spelled(run.method)} -t {run.task}"
        + (f" --model {checkpoint.name}" if checkpoint != smollm2.folder().resolve() else "")
        + (f" --trained {trained}" if trained != run.facts["trained"] else "")
        + (f" --corpus {run.corpus.resolve().name}" if run.corpus else "")
        + (f" --threads {threads}" if threads != 1 else "")
    )


def spelled(method: str) -> str:
    """A method as the command line has it: of a user's own file as file.py:Class."""
    if method == NONE:
        return method
    parts = zip(method.split("+"), method_classes(method), strict=True)
    return "+".join(
        f"{source(cls).name}:{cls.__name__}" if loaded_text(cls.__module__) else name for name, cls in parts
    )
