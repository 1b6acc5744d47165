"""lm-eval and our checkpoints: a model class for any of its tasks, and `pebench harness`.

Importing this module registers the model: `lm_eval.simple_evaluate(model="pebench", model_args={"checkpoint":
"...", "max_length": 512}, tasks=...)`. Our own tasks are in the folder `pebench.tasks.lm_eval.books.YAML`.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from pebench.encodings.registry import UnknownName
from pebench.suite.experiment.measure import function
from pebench.suite.lm.generate import generate
from pebench.suite.lm.model import LM, LengthError
from pebench.suite.runs import checkpoint as checkpoints
from pebench.suite.runs.checkpoint import CheckpointError
from pebench.tasks.base import Condition, Score
from pebench.tasks.data.corpus import CorpusError
from pebench.tasks.language import BEGIN
from pebench.tasks.lm_eval.books import YAML
from pebench.tasks.lm_eval.reader import PREFIX, Reader, choice_scores, quiet

FORCED_CHOICE = (
    *("arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa", "winogrande", "sciq"),
    "passages",
)
ANSWER = 256  # bytes that a task may generate where it does not say


class ByteLM(Reader):
    """A standard LM over bytes as lm-eval sees models; it reads as many as in training, if not told otherwise."""

    def __init__(self, lm: LM, begins: bool, max_length: int | None = None, seed: int = 0):
        limit = lm.encoding.max_length
        length = max_length or lm.encoding.shape.train_length
        if lm.size.vocab != 256:
            raise CheckpointError(
                "this model reads the symbols of its task, not bytes; take one of a text task"
            )
        if length < 2:
            raise LengthError(f"a maximum of {length} bytes leaves nothing to read; give at least 2")
        if limit is not None and length > limit:
            raise LengthError(f"a maximum of {length} bytes, but this encoding is defined up to {limit}")
        super().__init__(function(lm, next(lm.parameters()).device), begins, length)
        self.lm = lm
        self.rng = torch.Generator().manual_seed(seed)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [self.continued(*request.args) for request in requests]

    def continued(self, context: str, options: dict[str, Any]) -> str:
        """What is generated behind a context, until one of the strings `until` or `max_gen_toks` bytes."""
        ends = options.get("until") or []
        stops = [stop.encode() for stop in ([ends] if isinstance(ends, str) else ends) if stop]
        n = min(int(options.get("max_gen_toks", ANSWER)), self.max_length // 2)  # half is the context's
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        text = self.tok_encode(context)
        head = [BEGIN] if self.begins or not text else []
        room = self.max_length - n - len(head) + 1  # the last byte is not read
        self.cut += len(text) > room
        said = bytearray()
        for byte in generate(self.lm, head + text[-room:], n, temperature, self.rng):
            said.append(byte)
            places = [place for stop in stops if (place := said.find(stop)) >= 0]
            if places:
                return said[: min(places)].decode(errors="replace")
        return said.decode(errors="replace")


@register_model("pebench")
class CheckpointLM(ByteLM):
    """A checkpoint of pebench. CheckpointError and LengthError say why it cannot be measured."""

    def __init__(
        self,
        checkpoint: str | Path,
        encoding: str | None = None,
        max_length: int | None = None,
        device: str = "cpu",
        stale: bool = False,
        batch_size: int | str | None = None,  # lm-eval's; here memory bounds a batch
        max_batch_size: int | None = None,
    ):
        path = Path(checkpoint)
        lm = checkpoints.load(path, encoding, stale).to(device)
        super().__init__(lm, checkpoints.config(path).task == "language", max_length)


class Measured(NamedTuple):
    """One task: how many of its questions were asked, how many inputs were cut, and the scores."""

    task: str
    questions: int
    cut: int
    scores: list[Score]


def tasks() -> list[str]:
    """The names of our tasks, as `measure` takes them."""
    names = TaskManager(include_path=YAML, include_defaults=False).all_subtasks
    return [name.removeprefix(PREFIX) for name in names]


def measure(
    lm: ByteLM, names: list[str], limit: int | None = None, online: bool = False
) -> Iterator[Measured]:
    """Measure tasks through lm-eval, one after another, on their first `limit` questions (None: all).

    Offline the names are ours, and the questions come out of the cache: UnknownName, or CorpusError where
    they are not prepared. `online` the names are lm-eval's own, with its loaders: CorpusError where it
    cannot have them.
    """
    with quiet():
        manager = TaskManager(include_path=None if online else YAML, include_defaults=online)
        known = manager.all_tasks if online else [n.removeprefix(PREFIX) for n in manager.all_subtasks]
        for name in names:
            if name not in known:
                raise UnknownName("harness task", name, known)
        for name in names:
            for title, task in loaded(manager, name, online).items():
                cut = lm.cut
                results = evaluate(lm, {"tasks": {title: task}}, limit=limit, bootstrap_iters=0)
                asked = results["n-samples"][title]["effective"]
                yield Measured(
                    title.removeprefix(PREFIX), asked, lm.cut - cut, scores(title, task, results, asked)
                )


def loaded(manager: TaskManager, name: str, online: bool) -> dict[str, Task]:
    """The tasks of this name: one, or in lm-eval's groups several."""
    if not online:
        return manager.load([PREFIX + name])["tasks"]
    try:
        return manager.load([name])["tasks"]
    except Exception as e:  # the loaders of the hub, of data sets and of tasks raise what they like
        raise CorpusError(
            f"lm-eval cannot load {name!r}: {type(e).__name__}: {e}. It needs the network and the Hugging Face "
            f"hub; without --online, {', '.join(FORCED_CHOICE)} are asked from local data "
            "(`pebench data prepare --harness`)"
        ) from e


def scores(title: str, task: Task, results: dict[str, Any], asked: int) -> list[Score]:
    """The scores of one task: of a forced choice with the level of chance, else what lm-eval reports."""
    condition: Condition = {"task": title.removeprefix(PREFIX)}
    if task.OUTPUT_TYPE == "multiple_choice":
        return choice_scores(task, results["samples"][title], condition)
    return [
        Score(metric.partition(",")[0], float(value), asked, condition)
        for metric, value in results["results"][title].items()
        if "," in metric and isinstance(value, int | float) and "_stderr," not in metric
    ]


def above_chance(score: Score) -> bool:
    """Whether an accuracy is above its chance level: one-sided, at 5 %, by the normal approximation."""
    assert score.floor is not None
    return score.value - score.floor > 1.645 * math.sqrt(score.floor * (1 - score.floor) / score.n)
