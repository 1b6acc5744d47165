"""One trial for the choice of a profile: train as a plan would, say what validation says.

    python -m benchmarks.trial recall rope --length 8 --steps 2500
    python -m benchmarks.trial copy_unique fox --length 32 --multiples 1,1.5,2 --json trials.jsonl
    python -m benchmarks.trial parity fox --profile STANDARD_2 --times 2 --json trials.jsonl

No test example is read, so nothing can be chosen on one. What came out stands in docs/standard.md and
docs/standard2.md. With --json the trial is appended to a file that `python -m pebench.leaderboard.reports.rules
--trials` judges.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import torch
import typer

from pebench.encodings.registry import UnknownName, resolve
from pebench.suite.experiment.measure import function, gate, measure
from pebench.suite.experiment.profiles import Plan, profile_named
from pebench.suite.experiment.training import Recipe, train
from pebench.suite.lm.model import LM
from pebench.suite.lm.step import multiplies_in
from pebench.suite.runs.machine import processor
from pebench.tasks import TASKS, make
from pebench.tasks.base import LanguageModel, Task


def main(
    task: str,
    encoding: str,
    length: int = 8,
    steps: int = 2500,
    tokens: int = 1024,
    rate: float = 6e-3,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    seed: int = 0,
    examples: int = 256,
    multiples: Annotated[str, typer.Option(help="of the length, at which validation is measured")] = "1",
    profile: Annotated[str, typer.Option(help="a profile whose plan is tried, in the place of sizes")] = "",
    times: Annotated[float, typer.Option(help="of the profile's steps")] = 1.0,
    faster: Annotated[float, typer.Option(help="of the profile's learning rate")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="append the trial to this file")] = None,
) -> None:
    """Print a row of the trial table: what was trained, its gate, its final loss (nats), its processor time.

    With several multiples, behind it the mean normalised score at each length.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    try:
        subject = trained_task(task)
        cls = resolve(encoding)[1]
        grid = tuple(float(multiple) for multiple in multiples.split(","))
        plan = Plan(layers, width, heads, Recipe(length, steps, tokens, rate), grid, examples)
        if profile:
            plan = scaled(plan_of(profile, task), times, faster)
        if json_file:  # before an hour of training, not after it
            json_file.open("a").close()
    except (ValueError, OSError) as e:
        raise typer.BadParameter(str(e)) from e
    recipe = plan.recipe
    start = time.process_time()
    lm = LM(plan.size(subject.vocab), cls, subject.context(recipe.length), seed)
    trained = train(lm, subject, recipe, seed)
    model = function(lm, torch.device("cpu"))
    row = gate(subject, model, subject.conditions(recipe.length, (1,)), plan.examples)
    scores = validation(subject, model, plan) if plan.multiples != (1.0,) else {}
    seconds = time.process_time() - start
    passed = row.value >= subject.gate
    size = f"{plan.layers} x {plan.width}, {plan.heads} heads"
    how = f"{recipe.steps} x {recipe.tokens} | {recipe.learning_rate:g}"
    print(
        f"| {task} | {encoding} | {recipe.length} | {size} | {how} | {seed} "
        f"| {row.value:.3f} ({'passes' if passed else 'fails'}) | {trained.final_loss:.3f} "
        f"| {seconds:.0f} |" + "".join(f" {n}: {score:.2f}" for n, score in scores.items()),
        flush=True,
    )
    if json_file:
        said = {
            **{"task": task, "encoding": encoding, "length": recipe.length, "steps": recipe.steps},
            **{"tokens": recipe.tokens, "rate": recipe.learning_rate, "layers": plan.layers},
            **{"width": plan.width, "heads": plan.heads, "seed": seed},
            **{"gate": row.value, "learned": passed, "loss": trained.final_loss, "seconds": round(seconds)},
            **{"examples": plan.examples, "cpu": processor()},
            "precision": multiplies_in(torch.device("cpu"), lm),
            "scores": scores or {recipe.length: row.value},
        }
        with open(json_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")


def trained_task(name: str) -> Task:
    """The task of this name. UnknownName where there is none, or where it trains nothing."""
    trained = [known for known, cls in TASKS.items() if issubclass(cls, Task)]
    if name not in trained:
        raise UnknownName("task that trains", name, trained)
    return cast(Task, make(name))


def plan_of(profile: str, task: str) -> Plan:
    """The plan of a task in a profile. UnknownName where either does not exist."""
    plans = profile_named(profile).plans
    if task not in plans:
        raise UnknownName(f"task of {profile}", task, list(plans))
    return plans[task]


def scaled(plan: Plan, times: float, faster: float) -> Plan:
    """A plan with so many times its steps and so many times its learning rate.

    >>> plan = scaled(Plan(1, 16, 2, Recipe(length=4, steps=8, learning_rate=3e-3), (1, 2), 8), 2, 1 / 3)
    >>> plan.recipe.steps, plan.recipe.learning_rate
    (16, 0.001)
    """
    recipe = plan.recipe
    steps, rate = round(times * recipe.steps), faster * recipe.learning_rate
    return replace(plan, recipe=replace(recipe, steps=steps, learning_rate=rate))


def validation(task: Task, model: LanguageModel, plan: Plan) -> dict[int, float]:
    """The mean normalised score on validation at each length of a plan."""
    found: dict[int, list[float]] = {}
    for condition in task.conditions(plan.recipe.length, plan.multiples):
        rows = measure(task, model, condition, plan.examples, "valid")
        found.setdefault(int(condition["length"]), []).extend(r.score for r in rows if r.score is not None)
    return {length: sum(values) / len(values) for length, values in found.items()}


if __name__ == "__main__":
    typer.run(main)
