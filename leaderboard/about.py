"""What the tasks and profiles are, as written down in tasks.json by suite/experiment/items.py: no torch is needed."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebench.leaderboard import shipped
from pebench.suite.results.record import Condition

FILE = Path(__file__).with_name("tasks.json")
PUBLISHED = shipped.folder() / "records"  # the published results
EXTENDED = shipped.folder() / "extended"  # the results of the track EXTEND
ELSEWHERE = shipped.folder() / "elsewhere"  # results of a quick profile on another kind of processor
# What a first run makes: the newest quick profile that has published results to be compared with.
USUAL = next((name for name in ("QUICK_2", "QUICK") if (PUBLISHED / name).is_dir()), "QUICK_2")


@dataclass(frozen=True)
class Item:
    """A test item that every model was asked: stretches of its text, and whether each is the right answer."""

    multiple: float  # of the training length
    condition: Condition
    pieces: list[tuple[str, bool]]

    @property
    def right(self) -> str:
        """The right answer."""
        return "".join(text for text, asked in self.pieces if asked).strip()


@dataclass(frozen=True)
class TaskFacts:
    """A task in a profile."""

    name: str
    title: str
    family: str
    unit: str  # what its lengths count
    rule: str
    trained: int
    context: int | None  # tokens that a model reads at the training length; None where nothing is trained
    tokens: int  # in a step
    rate: float  # peak of the learning rate
    lengths: list[int]
    conditions: int
    examples: int  # per condition
    steps: int
    layers: int
    width: int
    heads: int


@functools.cache
def document() -> dict[str, Any]:
    """The whole file."""
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return data


def task(profile: str, name: str) -> TaskFacts | None:
    """A task of a profile; None where this pebench does not know the profile or the task in it."""
    known = document()
    found = known["profiles"].get(profile, {}).get("tasks", {}).get(name)
    return None if found is None else TaskFacts(name=name, **known["tasks"][name], **found)


def tasks(profile: str) -> list[TaskFacts]:
    """The tasks of a profile, in its order."""
    names = document()["profiles"].get(profile, {}).get("tasks", {})
    return [facts for name in names if (facts := task(profile, name))]


def seeds(profile: str) -> int | None:
    """How many seeds a profile asks for; None where this pebench does not know it."""
    found: int | None = document()["profiles"].get(profile, {}).get("seeds")
    return found


def family(name: str) -> str:
    """The family of a task, empty where it is unknown."""
    return str(document()["tasks"].get(name, {}).get("family", ""))


def title(name: str) -> str:
    """What a task is called, its name where it is unknown."""
    return str(document()["tasks"].get(name, {}).get("title", name))


def items(profile: str, name: str) -> list[Item]:
    """Test items of a task, at growing lengths; profiles of other learning rates share the items of STANDARD."""
    known = document()["items"]
    found = known.get(profile if profile in known else "STANDARD", {}).get(name, [])
    return [
        Item(i["multiple"], i["condition"], [(text, asked) for text, asked in i["pieces"]]) for i in found
    ]
