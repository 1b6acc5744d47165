"""The answers that a record keeps are those that were scored."""

import json

import pytest
import torch

from pebench.suite.experiment.answers import MOST, answers
from pebench.suite.experiment.measure import generator, measure
from pebench.suite.results.record import Record, Row, from_json, to_json
from pebench.suite.runs.cell import ASKS
from pebench.tasks import TASKS, make
from pebench.tasks.base import SHOWN, Task
from pebench.tasks.language_tokens import TokenTask

LEARNED = [
    name
    for name, cls in TASKS.items()
    if issubclass(cls, Task) and not issubclass(cls, TokenTask) and name not in ASKS
]
LENGTH, EXAMPLES = 64, 8


@pytest.mark.parametrize("name", LEARNED)
def test_the_oracle_answers_right_and_a_blind_model_wrong(name: str, books: None) -> None:
    task = make(name)
    assert isinstance(task, Task)
    for condition in task.conditions(LENGTH, (1, 2)):
        items = task.items(condition, EXAMPLES, generator(task, condition, "test"))
        right = answers(task, task.oracle(), condition, items)
        assert [a["item"] for a in right] == list(range(SHOWN))
        assert all(a["right"] and a["said"] == a["answer"] != "" for a in right)
        wrong = answers(task, lambda t: torch.zeros(*t.shape, task.vocab), condition, items)
        assert not any(a["right"] for a in wrong)
        assert [a["asked"] for a in wrong] == [a["asked"] for a in right]
        assert all(len(text) <= MOST for a in right for text in (a["asked"], a["answer"], a["said"]))
        row = Row("exact", 0.5, 8, condition)
        record = Record("rope", name, "SMOKE", 0, "ab" * 8, rows=(row,), answers=tuple(right))
        assert from_json(to_json(record)) == record


def test_the_items_are_the_first_that_were_scored() -> None:
    task, condition = make("copy"), {"length": 6}
    assert isinstance(task, Task)
    seen: list[torch.Tensor] = []

    def model(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens)
        return task.oracle()(tokens)

    measure(task, model, condition, EXAMPLES, "test")
    items = task.items(condition, EXAMPLES, generator(task, condition, "test"))
    assert items is not None
    assert torch.equal(items.tokens, seen[0][:SHOWN])


def test_a_person_can_read_what_was_asked_and_said() -> None:
    task, condition = make("copy"), {"length": 2}
    assert isinstance(task, Task)
    items = task.items(condition, 1, torch.Generator().manual_seed(0))
    (one,) = answers(task, task.oracle(), condition, items)
    first, second = one["answer"].split()
    assert one["asked"] == f"start {first} {second} = _ _"


def test_the_answers_of_all_conditions_take_few_bytes(books: None) -> None:
    task = make("needle")
    assert isinstance(task, Task)
    every = [
        answer
        for condition in task.conditions(256, (1, 2, 4, 8))
        for answer in answers(
            task, task.oracle(), condition, task.items(condition, 4, generator(task, condition, "test"))
        )
    ]
    assert len(json.dumps(every)) < 40_000
