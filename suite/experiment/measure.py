"""How a model is measured: the gate first, then every condition on examples that are the same for everyone."""

from collections.abc import Callable
from contextlib import suppress

import torch

from pebench.encodings.base import Encoding
from pebench.encodings.extension import extended
from pebench.encodings.registry import resolve
from pebench.encodings.streams import stream
from pebench.suite.experiment.answers import answers
from pebench.suite.experiment.profiles import Plan
from pebench.suite.experiment.speed import Timed
from pebench.suite.lm.model import LM, LengthError
from pebench.suite.results.record import Answer, Row
from pebench.tasks.base import Condition, LanguageModel, Score, Task
from pebench.tasks.data.corpus import Split
from pebench.tasks.throughput import Throughput

Tick = Callable[[int, int], None]  # (done, of all)


def examine(
    lm: LM, task: Task, plan: Plan, device: torch.device, tick: Tick, extension: str = ""
) -> tuple[list[Row], list[Answer]]:
    """Measure a trained model: validation at the training length (the gate), then every condition of the plan.

    A plan may leave the training length to the gate alone, where a task that is learned has nothing left to tell.
    With an extension ("pi", "ntk", "yarn") the encoding reads a text c times as long as its training texts as
    extended by the factor c. At the training length and below it stays as trained.
    """
    length, trained = plan.recipe.length, lm.encoding
    conditions = task.conditions(length, plan.multiples)
    model = function(lm, device)
    said = list[Answer]()
    rows = [gate(task, model, task.conditions(length, (1,)), plan.examples)]
    for done, condition in enumerate(conditions, start=2):
        factor = int(condition["length"]) / length
        lm.encoding = extended(trained, extension, factor) if extension and factor > 1 else trained
        with suppress(LengthError):  # beyond what the encoding is defined for: missing, never zero
            rows += measure(task, model, condition, plan.examples, "test")
            items = task.items(condition, plan.examples, generator(task, condition, "test"))
            said += answers(task, model, condition, items)
        tick(done, len(conditions) + 1)
    lm.encoding = trained
    return rows, said


def function(lm: LM, device: torch.device) -> LanguageModel:
    """The model as a task sees it: in float32, whatever it was trained in, so that scores hold on any machine."""
    lm.eval()

    @torch.no_grad()
    def model(tokens: torch.Tensor) -> torch.Tensor:
        return lm(tokens.to(device)).cpu()

    return model


def gate(task: Task, model: LanguageModel, near: list[Condition], n: int) -> Row:
    """The mean normalised score on validation examples of the training length."""
    rows = [row for c in near for row in measure(task, model, c, n, "valid") if row.score is not None]
    return Row("gate", sum(row.score or 0.0 for row in rows) / len(rows), sum(row.n for row in rows))


def measure(task: Task, model: LanguageModel, condition: Condition, n: int, split: Split) -> list[Row]:
    """The rows of one condition, on examples that are the same for every encoding and seed."""
    return as_rows(task.measure(model, condition, n, generator(task, condition, split), split))


def generator(task: Task, condition: Condition, split: Split) -> torch.Generator:
    """What the examples of a condition are drawn from."""
    name = ":".join(f"{key}={value}" for key, value in sorted(condition.items()))
    return torch.Generator().manual_seed(stream(0, f"{task.name}:{split}:{name}"))


def as_rows(scores: list[Score]) -> list[Row]:
    """The scores of a task as rows of a record."""
    return [Row(**vars(s)) for s in scores]


def timings(cls: type[Encoding], task: Throughput, plan: Plan, device: torch.device, tick: Tick) -> list[Row]:
    """Time the encoding against RoPE."""
    rope = Timed(resolve("rope")[1], plan, device)
    subject = Timed(cls, plan, device)
    conditions = task.conditions(plan.recipe.length, plan.multiples)
    rows: list[Row] = []
    for done, condition in enumerate(conditions, start=1):
        with suppress(LengthError):
            rows += as_rows(list(task.measure(subject, rope, condition, plan.examples)))
        tick(done, len(conditions))
    return rows
