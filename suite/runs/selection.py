"""The selection of a sweep: which encodings, tasks, data and device it needs, checked before anything runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import torch
import torch.distributed as dist

from pebench.encodings.registry import UnknownName, names, resolve
from pebench.suite.experiment.profiles import Plan, Profile
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import CERTIFICATE
from pebench.tasks import TASKS
from pebench.tasks.base import Task
from pebench.tasks.data import tokens
from pebench.tasks.data.corpus import Split, byte_tensor
from pebench.tasks.language_tokens import TokenTask
from pebench.tasks.lm_eval import questions


class EnvironmentProblem(RuntimeError):
    """Something that the command needs is not on this machine."""


def chosen(
    profile: Profile, encodings: Sequence[str] = (), tasks: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """The named encodings and tasks, or the profile's where none is named. A full sweep includes certificates.

    UnknownName or EncodingError where one of them cannot be run.
    """
    wanted_specs = list(encodings) or list(profile.encodings) or names()
    for spec in wanted_specs:
        resolve(spec)
    known = [CERTIFICATE, *profile.plans]
    wanted = list(tasks) or known
    for task in wanted:
        if task not in known:
            raise UnknownName("task", task, known)
    return wanted_specs, wanted


def demand_data(
    tasks: Sequence[str], corpus: Path | None = None, plans: Mapping[str, Plan] | None = None
) -> None:
    """CorpusError with the remedy where the data of these tasks are missing. Texts are verified by their hash.

    With `plans` a text of one's own is read at the lengths of training and measuring: it may be too short for them.
    """
    reading = [TASKS[task] for task in tasks if task in TASKS and TASKS[task].reads_text]
    if any(issubclass(task, TokenTask) for task in reading):
        tokens.demand(corpus)
    if not all(issubclass(task, TokenTask) for task in reading):
        for split in get_args(Split):
            byte_tensor(split, corpus)
    if corpus:
        for task in reading:
            if plans and issubclass(task, Task) and (plan := plans.get(task.name)):
                demand_lengths(task(corpus), plan)
    if {"harness_grape", "harness_tokens"} & set(tasks):
        for name in questions.SOURCES:
            questions.questions(name)


def demand_lengths(task: Task, plan: Plan) -> None:
    """CorpusError where a task's text is too short for what a plan trains, validates or measures."""
    rng, length = torch.Generator().manual_seed(0), plan.recipe.length
    task.training(length, plan.recipe.tokens, rng)
    conditions = task.conditions(length, (1, *plan.multiples))
    by_length = sorted(conditions, key=lambda condition: float(condition["length"]))
    task.items(by_length[0], 1, rng, "valid")
    task.items(by_length[-1], 1, rng, "test")


def device_named(name: str) -> torch.device:
    """The device of this name, which need not be of this machine. EnvironmentProblem where runs have no such kind."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise EnvironmentProblem(f"no device {name!r}; there are cpu, cuda, cuda:1 ...")
    return device


def demand_device(name: str, sharing: Sharing | None = None) -> None:
    """EnvironmentProblem with the remedy where there is no such device, or a rank would have none."""
    device = device_named(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("no CUDA device is available here; run with --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(
            f"no device {name!r}: PyTorch finds {counted(torch.cuda.device_count(), 'GPU')}, from cuda:0"
        )
    if sharing and not dist.is_available():
        raise EnvironmentProblem("this PyTorch is built without torch.distributed; run without --ranks")
    if sharing and device.type == "cuda" and sharing.ranks > torch.cuda.device_count():
        raise EnvironmentProblem(
            f"{sharing.ranks} ranks need a GPU each, and PyTorch finds {torch.cuda.device_count()}; give fewer --ranks"
        )
