"""The tasks as the leaderboard shows them: `python -m pebench.suite.experiment.items` writes leaderboard/tasks.json.

The leaderboard runs without torch, so what it tells of a task is written down: its rule, the lengths of each profile,
and real test items, the first that every model was asked. A test compares the file with the tasks.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pebench.encodings.streams import stream
from pebench.suite.experiment.profiles import PROFILES, Plan
from pebench.suite.results.metrics import length_unit
from pebench.suite.results.record import write_whole
from pebench.tasks import TASKS, algorithmic, flipflop, make, permutation, recall, sort
from pebench.tasks.base import IGNORE, AnswerTask, Batch, Condition, Task
from pebench.tasks.language import Language, windows

FILE = Path(__file__).parents[2] / "leaderboard" / "tasks.json"
SHOWN = (1, 2, 8)  # multiples of the training length at which an item is shown
TEXT = ("needle", "language")  # read bytes
LETTERS = "abcdefghijklmnopqrstuvwxyz0123"
HIDDEN = ("RATE_THIRD", "RATE_TRIPLE")  # other learning rates: the items are those of STANDARD
Piece = tuple[str, bool]  # a stretch of a text, and whether it is the right answer


def document() -> dict[str, Any]:
    """All that leaderboard/tasks.json says."""
    return {
        "tasks": {name: about(name) for name in TASKS},
        "profiles": {
            name: {"about": profile.about, "seeds": profile.seeds, "tasks": {
                task: facts(task, plan) for task, plan in profile.plans.items()
            }}
            for name, profile in PROFILES.items()
        },
        "items": {
            name: {task: items(task, plan) for task, plan in profile.plans.items() if shows(task)}
            for name, profile in PROFILES.items()
            if name not in HIDDEN
        },
    }  # fmt: skip


def about(name: str) -> dict[str, Any]:
    """What a task is, at any size."""
    cls = TASKS[name]
    rule = inspect.cleandoc(cls.__doc__ or "").partition("\n\n>>>")[0]
    return {"title": cls.title, "family": cls.family, "unit": length_unit(name), "rule": rule}


def facts(name: str, plan: Plan) -> dict[str, Any]:
    """The sizes of a task in a profile."""
    task = make(name)
    size = {"layers": plan.layers, "width": plan.width, "heads": plan.heads}
    where = task.conditions(plan.recipe.length, plan.multiples)
    return {
        **size,
        "trained": plan.recipe.length,
        "lengths": sorted({int(condition["length"]) for condition in where}),
        "conditions": len(where),
        "steps": plan.recipe.steps,
        "examples": plan.examples,
    }


def shows(name: str) -> bool:
    """Whether a task has items that can be shown: answers, or text."""
    return name in TEXT or issubclass(TASKS[name], AnswerTask)


def items(name: str, plan: Plan) -> list[dict[str, Any]]:
    """The first test item at one, two and eight times the training length, as far as the profile measures there."""
    task = make(name)
    assert isinstance(task, Task)
    found = []
    for multiple in SHOWN:
        length = round(plan.recipe.length * multiple)
        alike = [c for c in task.conditions(plan.recipe.length, plan.multiples) if c["length"] == length]
        if alike:
            condition = next((c for c in alike if c.get("depth") == 0.5), alike[0])
            pieces = [list(piece) for piece in joined(name, task, condition, plan.examples)]
            found.append({"multiple": multiple, "condition": condition, "pieces": pieces})
    return found


def joined(name: str, task: Task, condition: Condition, n: int) -> Iterator[Piece]:
    """The first item of a condition, its neighbouring symbols joined."""
    said, asked = "", False
    for text, answer in symbols(name, first(task, condition, n)):
        if answer != asked and said:
            yield said, asked
            said = ""
        said, asked = said + text, answer
    yield said, asked


def first(task: Task, condition: Condition, n: int) -> Batch:
    """The first of the examples that `measure` asks under a condition."""
    named = ":".join(f"{key}={value}" for key, value in sorted(condition.items()))
    rng = torch.Generator().manual_seed(stream(0, f"{task.name}:test:{named}"))
    if isinstance(task, AnswerTask):
        batch = task.examples(condition, n, rng, "test")
    else:
        assert isinstance(task, Language)
        batch = windows(task.stretches(n, "test").view(-1, int(condition["length"])))
    return Batch(batch.tokens[:1], batch.targets[:1])


def symbols(name: str, item: Batch) -> Iterator[Piece]:
    """What the model reads, symbol by symbol, and behind it what it must say where something is asked."""
    tokens, targets = item.tokens[0].tolist(), item.targets[0].tolist()
    if name in TEXT:
        text = bytes([*tokens, targets[-1]])
        for place, byte in enumerate(text):
            asked = name != "language" and place > 0 and targets[place - 1] != IGNORE
            if byte or place:  # the beginning of a text has no picture
                yield chr(byte) if byte < 128 else "\ufffd", asked
        return
    fed_back = name != "permutation"  # its answers are not read on
    for place, token in enumerate(tokens):
        if not (fed_back and place and targets[place - 1] == token):
            yield symbol(name, token), False
        if targets[place] != IGNORE:
            yield symbol(name, targets[place]), True


def symbol(name: str, token: int) -> str:
    """How a person reads a token of a task; a space ends it, but not between tens and ones.

    >>> symbol("copy", 2), symbol("flipflop", 3), symbol("sort", 107), symbol("sort", 117)
    ('a ', '0 ', '5', '5 ')
    """
    if name == "permutation":
        return "start " if token == permutation.BEGIN else f"{element(token)} "
    if name == "flipflop":
        kinds = {flipflop.WRITE: "w", flipflop.READ: "r", flipflop.SKIP: "i"}
        return f"{kinds.get(token, token - flipflop.BIT)} "
    if token in (algorithmic.BEGIN, algorithmic.SEPARATOR):
        return "start " if token == algorithmic.BEGIN else "= "
    number = token - algorithmic.FIRST
    if name == "addition":
        return f"{number} "
    if name == "sort":
        if token >= sort.ONES:
            return f"{token - sort.ONES} "
        return f"{token - sort.TENS}" if token >= sort.TENS else f"s{number} "
    if name in ("recall", "latest"):
        if token >= recall.FILLER:
            return "· "
        return f"v{number - recall.KEYS} " if name == "latest" and number >= recall.KEYS else f"k{number} "
    return f"{LETTERS[number]} "


def element(token: int) -> str:
    """A permutation by its images: (2 1 3) swaps the first two."""
    group = "S3" if token < permutation.START["A5"] else "A5"
    images = permutation.GROUPS[group][token - permutation.START[group]]
    return f"({' '.join(str(image + 1) for image in images)})"


if __name__ == "__main__":
    write_whole(FILE, (json.dumps(document(), indent=1, ensure_ascii=False) + "\n").encode())
