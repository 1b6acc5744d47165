"""One trial for the choice of a profile: train as a plan would, say what validation at the training length says.

    python -m benchmarks.trial recall rope --length 8 --steps 2500

No test example is read, so nothing can be chosen on one. What came out stands in suite/experiment/standard.md.
"""

import time

import torch
import typer

from pebench.encodings.registry import resolve
from pebench.suite.experiment.measure import function, gate
from pebench.suite.experiment.profiles import Plan
from pebench.suite.experiment.training import Recipe, train
from pebench.suite.lm.model import LM
from pebench.tasks import TASKS, make
from pebench.tasks.base import Task


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
) -> None:
    """Print a row of the trial table: what was trained, its gate, its final loss (nats), its processor time."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    subject = make(task)
    assert isinstance(subject, Task), f"{task} trains nothing; there are: {', '.join(TASKS)}"
    plan = Plan(layers, width, heads, Recipe(length, steps, tokens, rate), (1,), examples)
    start = time.process_time()
    lm = LM(plan.size(subject.vocab), resolve(encoding)[1], subject.context(length), seed)
    trained = train(lm, subject, plan.recipe, seed)
    row = gate(subject, function(lm, torch.device("cpu")), subject.conditions(length, (1,)), examples)
    seconds = time.process_time() - start
    passed = "passes" if row.value >= subject.gate else "fails"
    print(
        f"| {task} | {encoding} | {length} | {layers} x {width}, {heads} heads | {steps} x {tokens} "
        f"| {rate:g} | {seed} | {row.value:.3f} ({passed}) | {trained.final_loss:.3f} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    typer.run(main)
