"""A fair trial of recipes: AdamW and Muon, tuned with equal effort, with batches of 512 and 1024 tokens.

    python -m benchmarks.recipes --out recipes.jsonl

For each task, optimiser and batch, every rate is tried with every schedule on `rope` and seed 0. The best gate on
validation at the training length is chosen, and of equal gates the first to be passed. The chosen recipe trains every
encoding with every seed for the profile's steps, and with batches of 512 for twice as many. Reported: steps and
processor seconds to the gate, and the score kept beyond the training length, on the validation split. No test example
is read.

Every training is a line of the file when it is done. The same command goes on where it was stopped, and prints the
table when all is there; `--table` prints the table of what there is.
"""

import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import typer
from torch import Tensor

from pebench.encodings.registry import resolve
from pebench.encodings.streams import stream
from pebench.leaderboard.reports.recipes import SEEDS, STAGES, to_markdown
from pebench.suite.experiment import training
from pebench.suite.experiment.measure import function, gate, measure
from pebench.suite.experiment.profiles import STANDARD, Plan
from pebench.suite.experiment.training import AdamW, Recipe, batch, reseed, stepper
from pebench.suite.lm.model import LM
from pebench.suite.lm.step import NativeStep, multiplies_half
from pebench.tasks import make
from pebench.tasks.base import Batch, Task

RATES = {"adamw": (0.5, 1.0, 2.0), "muon": (1.0, 5 / 3, 10 / 3)}  # times the profile's rate: as many for each
SCHEDULES = ("cosine", "trapezoid")
CHECKS = 10  # gates on the way
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al., 2024, "Muon": the quintic, five times
MOMENTUM = 0.95
TUNED_ON = "rope"  # the encoding whose validation chooses a recipe
STEP = 0.01  # gates that differ by less are equal


@dataclass(frozen=True)
class Trial:
    """One training; two are the same if all of this is."""

    task: str
    encoding: str
    optimiser: str
    tokens: int  # of a batch
    factor: float  # of the profile's rate
    schedule: str
    steps: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a training came to. Scores are normalised, of validation examples."""

    gate: float
    passed: int | None  # steps until the gate was first passed
    seconds: float  # of processor time, training alone
    to_gate: float | None  # seconds until the gate was first passed
    kept: dict[str, float]  # score by length


def orthogonal(g: Tensor) -> Tensor:
    """The nearest matrices with singular values around one, of (..., m, n): five quintic Newton-Schulz steps."""
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon:
    """Muon (Jordan et al., 2024) on the matrices of the blocks, AdamW on all else at the profile's rate.

    An update is the orthogonalised momentum times 0.2 sqrt(larger side), the size of AdamW's (Liu et al., 2025,
    arXiv:2502.16982). q, k and v, and gate and up, are matrices of their own. Weight decay is the profile's. Forward
    and backward are the native step's. `others` is AdamW's rate over Muon's.
    """

    def __init__(self, lm: LM, recipe: Recipe, others: float):
        self.decay, self.others, self.clip = recipe.weight_decay, others, recipe.clip
        parts = {
            p: 3 if name.endswith("qkv.weight") else 2 if name.endswith("gate_up.weight") else 1
            for name, p in lm.named_parameters()
            if p.dim() == 2 and name.startswith("blocks.")
        }
        opt = AdamW(lm, recipe)
        opt.decays = [
            0.0 if p in parts else decay for p, decay in zip(opt.parameters, opt.decays, strict=True)
        ]
        self.native = NativeStep(lm, opt, math.inf)
        # Matrices of one shape are orthogonalised together.
        self.shapes = dict[tuple[int, int], list[Matrix]]()
        for p, count in parts.items():
            for n in range(count):
                one = Matrix(p, slice(n * (len(p) // count), (n + 1) * (len(p) // count)))
                self.shapes.setdefault(tuple(one.values().shape), []).append(one)  # type: ignore[arg-type]
        self.momenta = {shape: torch.zeros(len(every), *shape) for shape, every in self.shapes.items()}

    @torch.no_grad()
    def __call__(self, data: Batch, rate: float) -> tuple[float, float]:
        """Take one step at Muon's rate; the rate of the other parameters follows its schedule. Loss and norm."""
        flat, state = self.native.flat, torch.get_rng_state()
        loss, norm = self.scaled(data, multiplies_half())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            torch.set_rng_state(state)  # the same random numbers again, in float32
            loss, norm = self.scaled(data, False)
        if not (math.isfinite(loss) and math.isfinite(norm)):  # as AdamW: nothing changes
            flat.gradients.zero_()
            return loss, norm
        flat.gradients.mul_(min(1.0, self.clip / (norm + 1e-6)))
        for shape, every in self.shapes.items():
            gradient = torch.stack([one.gradients() for one in every])
            momentum = self.momenta[shape].mul_(MOMENTUM).add_(gradient)
            update = orthogonal(gradient + MOMENTUM * momentum) * 0.2 * max(shape) ** 0.5
            for one, step in zip(every, update, strict=True):
                one.values().mul_(1 - rate * self.decay).sub_(step, alpha=rate)
                one.gradients().zero_()
        flat.update(1.0, math.inf, rate * self.others)
        return loss, norm

    def scaled(self, data: Batch, half: bool) -> tuple[float, float]:
        """Forward and backward with products in this precision. Loss, and norm of the gradients."""
        loss, scale = self.native.gradients(*data, half)
        gradients = self.native.flat.gradients.div_(scale)
        return loss, gradients.norm().item()


@dataclass(frozen=True, eq=False)
class Matrix:
    """Some rows of a parameter, which Muon updates as one matrix."""

    parameter: Tensor
    rows: slice

    def values(self) -> Tensor:
        return self.parameter.data[self.rows]

    def gradients(self) -> Tensor:
        assert self.parameter.grad is not None
        return self.parameter.grad[self.rows]


def trapezoid(step: int, recipe: Recipe) -> float:
    """The share of the peak rate: a linear warm-up, flat, and a linear fall to a tenth over the last fifth."""
    warm = max(1, round(recipe.warmup * recipe.steps))
    left = (recipe.steps - step) / max(1, recipe.steps // 5)
    return min((step + 1) / warm, 1.0, 0.1 + 0.9 * min(1.0, left))


def run(trial: Trial) -> Outcome:
    """Train, with gates on the way, and measure."""
    plan, task = STANDARD.plans[trial.task], make(trial.task)
    assert isinstance(task, Task)
    rate = trial.factor * plan.recipe.learning_rate
    recipe = replace(plan.recipe, tokens=trial.tokens, steps=trial.steps, learning_rate=rate)
    lm = LM(plan.size(task.vocab), resolve(trial.encoding)[1], task.context(recipe.length), trial.seed)
    share = training.rate if trial.schedule == "cosine" else trapezoid
    spent, passed, to_gate = 0.0, None, None
    with taken(lm, recipe, trial.optimiser, plan.recipe.learning_rate / rate) as take:
        for step, data in batches(task, recipe, trial.seed):
            due = step and passed is None and not step % max(1, recipe.steps // CHECKS)
            if due and validated(lm, task, plan) >= task.gate:
                passed, to_gate = step, spent
            lm.train()
            lm.progress.fill_(step / recipe.steps)
            start = time.process_time()
            take(data, rate * share(step, recipe))
            spent += time.process_time() - start
    at = validated(lm, task, plan)
    if passed is None and at >= task.gate:
        passed, to_gate = recipe.steps, spent
    return Outcome(at, passed, spent, to_gate, beyond(lm, task, plan))


def batches(task: Task, recipe: Recipe, seed: int) -> Iterator[tuple[int, Batch]]:
    """The batches of a training, each after the seed of its step."""
    for step in range(recipe.steps):
        reseed(torch.device("cpu"), stream(seed, f"train:{step}"))
        yield step, batch(task, recipe, seed, step)


@contextmanager
def taken(
    lm: LM, recipe: Recipe, optimiser: str, others: float
) -> Iterator[Callable[[Batch, float], object]]:
    """What takes a step with this optimiser."""
    if optimiser == "adamw":
        with stepper(lm, AdamW(lm, recipe), recipe.clip) as step:
            yield step
        return
    muon = Muon(lm, recipe, others)
    try:
        yield muon
    finally:
        muon.native.release()


def validated(lm: LM, task: Task, plan: Plan) -> float:
    """The gate on validation examples at the training length."""
    lm.progress.fill_(1.0)
    conditions = task.conditions(plan.recipe.length, (1,))
    return gate(task, function(lm, torch.device("cpu")), conditions, plan.examples).value


def beyond(lm: LM, task: Task, plan: Plan) -> dict[str, float]:
    """The mean score on validation examples by length, at the profile's lengths."""
    scores: dict[str, list[float]] = {}
    model = function(lm, torch.device("cpu"))
    for condition in task.conditions(plan.recipe.length, plan.multiples):
        rows = measure(task, model, condition, plan.examples, "valid")
        scores.setdefault(str(condition["length"]), []).extend(r.score for r in rows if r.score is not None)
    return {length: statistics.mean(values) for length, values in scores.items() if values}


class Done:
    """The trainings of a file, to which new ones are added one by one."""

    def __init__(self, path: Path):
        self.path, self.found = path, dict[Trial, Outcome]()
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                trial, outcome = json.loads(line)
                self.found[Trial(**trial)] = Outcome(**outcome)
            except (ValueError, TypeError):  # the line at which the last run was killed
                print(f"{path}: an unfinished line is left out")

    def get(self, trial: Trial) -> Outcome:
        """Of a training that was done, or is done now."""
        if trial not in self.found:
            outcome = self.found[trial] = run(trial)
            with self.path.open("a") as file:
                file.write(json.dumps([asdict(trial), asdict(outcome)]) + "\n")
                file.flush()
                os.fsync(file.fileno())
            print(f"{trial}: gate {outcome.gate:.3f}, {outcome.seconds:.0f} s", flush=True)
        return self.found[trial]


def tried(first: Trial) -> list[Trial]:
    """The trainings that choose the recipe of this task, optimiser and batch."""
    return [
        replace(first, encoding=TUNED_ON, seed=0, factor=factor, schedule=schedule)
        for factor in RATES[first.optimiser]
        for schedule in SCHEDULES
    ]


def tuned(done: Done, first: Trial) -> Trial:
    """The best of all rates and schedules: by the gate of seed 0, and of equal gates by the steps until it passed."""

    def merit(trial: Trial) -> tuple[float, float]:
        outcome = done.get(trial)
        return round(outcome.gate / STEP), -(math.inf if outcome.passed is None else outcome.passed)

    best = max(tried(first), key=merit)
    return replace(first, factor=best.factor, schedule=best.schedule)


def main(
    out: Path = Path("recipes.jsonl"),
    tasks: str = "copy,recall,needle,sort,language",
    encodings: str = "rope,alibi,fox,grape_a_qk,nope",
    tokens: str = "512,1024",
    seeds: int = SEEDS,
    share: float = 1.0,
    table: bool = False,
) -> None:
    """Run the missing trials, then print the table. `--share 0.01` takes a hundredth of the steps."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    if not table:
        done = Done(out)
        stages = [(times, size) for times, size in STAGES if str(size) in tokens.split(",")]
        for (times, size), task, optimiser, encoding in itertools.product(
            stages, tasks.split(","), RATES, encodings.split(",")
        ):
            steps = max(CHECKS, round(share * STANDARD.plans[task].recipe.steps))
            best = tuned(done, Trial(task, encoding, optimiser, size, 1.0, "cosine", steps, 0))
            for seed in range(seeds):
                done.get(replace(best, steps=times * steps, seed=seed))
    print(to_markdown(out))


if __name__ == "__main__":
    typer.run(main)
