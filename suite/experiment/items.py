"""The tasks as the leaderboard shows them: `python -m pebench.suite.experiment.items` writes leaderboard/tasks.json.

The leaderboard runs without torch, so its facts of a task are written down. They are its rule, the lengths of each
profile, and real test items, the first that every model was asked. A test compares the file with the tasks.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pebench.suite.experiment.measure import generator
from pebench.suite.experiment.profiles import PROFILES, Plan
from pebench.suite.results.metrics import length_unit
from pebench.suite.results.record import write_whole
from pebench.tasks import TASKS, make
from pebench.tasks.base import IGNORE, Batch, Condition, Task

FILE = Path(__file__).parents[2] / "leaderboard" / "tasks.json"
SHOWN = (1, 2, 8)  # multiples of the training length at which an item is shown
ASKS = ("harness", "harness_grape")  # have questions of their own
# Other learning rates, whose items are those of STANDARD; and texts that lie in a folder of the user's.
HIDDEN = ("RATE_THIRD", "RATE_TRIPLE", "PAPER_SMOKE", "PAPER_MEDIUM", "PAPER_LARGE")
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
        "context": task.context(plan.recipe.length) if isinstance(task, Task) else None,
        "tokens": plan.recipe.tokens,
        "rate": plan.recipe.learning_rate,
        "lengths": sorted({int(condition["length"]) for condition in where}),
        "conditions": len(where),
        "steps": plan.recipe.steps,
        "examples": plan.examples,
    }


def shows(name: str) -> bool:
    """Whether a task has items that can be shown: answers, or text."""
    return issubclass(TASKS[name], Task) and name not in ASKS


def items(name: str, plan: Plan) -> list[dict[str, Any]]:
    """The first test item at one, two and eight times the training length, where the profile measures there.

    Elsewhere at the shortest, a middle and the longest multiple that it measures.
    """
    task = make(name)
    assert isinstance(task, Task)
    found, every = [], sorted(plan.multiples)
    chosen = SHOWN if set(SHOWN) <= set(every) else sorted({every[0], every[len(every) // 2], every[-1]})
    for multiple in chosen:
        length = round(plan.recipe.length * multiple)
        alike = [c for c in task.conditions(plan.recipe.length, plan.multiples) if c["length"] == length]
        if alike:
            condition = next((c for c in alike if c.get("depth") == 0.5), alike[0])
            pieces = [list(piece) for piece in joined(task, condition, plan.examples)]
            found.append({"multiple": multiple, "condition": condition, "pieces": pieces})
    return found


def joined(task: Task, condition: Condition, n: int) -> Iterator[Piece]:
    """The first item of a condition, its neighbouring symbols joined."""
    said, asked = "", False
    for text, answer in symbols(task, first(task, condition, n)):
        if answer != asked and said:
            yield said, asked
            said = ""
        said, asked = said + text, answer
    yield said, asked


def first(task: Task, condition: Condition, n: int) -> Batch:
    """The first of the examples that `measure` asks under a condition."""
    items = task.items(condition, n, generator(task, condition, "test"))
    assert items is not None
    return Batch(items.tokens[:1], items.targets[:1])


def symbols(task: Task, item: Batch) -> Iterator[Piece]:
    """What the model reads, symbol by symbol, and behind it what it must say where something is asked."""
    tokens, targets = item.tokens[0].tolist(), item.targets[0].tolist()
    if task.reads_text:
        for place, byte in enumerate([*tokens, targets[-1]]):
            if byte or place:  # the beginning of a text has no picture
                yield task.word(byte), place > 0 and targets[place - 1] != IGNORE
        return
    for place, token in enumerate(tokens):
        if not (task.fed_back and place and targets[place - 1] == token):
            yield f"{task.word(token)} ", False
        if targets[place] != IGNORE:
            yield f"{task.word(targets[place])} ", True


if __name__ == "__main__":
    write_whole(FILE, (json.dumps(document(), indent=1, ensure_ascii=False) + "\n").encode())
