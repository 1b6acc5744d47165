"""A training step of each encoding over a step of rope, in processor time of one thread.

    python -m benchmarks.cost --tasks needle,language --encodings tra,rope_pp

Both take turns on the same batches of STANDARD, each in the step that training takes, native where there is one. The
median of the ratios is printed. The bar of 1.5 is for encodings without weights of their own.
"""

import statistics
import time
from contextlib import ExitStack, nullcontext

import torch
import typer

from benchmarks.precision import products
from pebench.encodings.registry import names, resolve
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.experiment.training import AdamW, batch, stepper
from pebench.suite.lm import step
from pebench.suite.lm.model import LM
from pebench.tasks import make
from pebench.tasks.base import Task

BATCHES = 6  # of different lengths, as the tasks draw them
BAR = 1.5


def ratio(name: str, task: str, rounds: int) -> tuple[float, str]:
    """The median ratio of processor times, and which step the encoding takes."""
    plan, subject = PROFILES["STANDARD"].plans[task], make(task)
    assert isinstance(subject, Task)
    batches = [batch(subject, plan.recipe, 0, n) for n in range(BATCHES)]
    taken: dict[str, list[float]] = {"rope": [], name: []}
    with ExitStack() as stack:
        steps, kind = {}, ""
        for each in taken:
            cls, context = resolve(each)[1], subject.context(plan.recipe.length)
            lm = LM(plan.size(subject.vocab), cls, context, seed=0)
            kind = "native" if step.serves(lm) else "PyTorch"
            steps[each] = stack.enter_context(stepper(lm, AdamW(lm, plan.recipe), plan.recipe.clip))
        for n in range(rounds + 1):
            for data in batches:
                for each, take in steps.items():
                    start = time.process_time()
                    take(data, plan.recipe.learning_rate)
                    if n:  # the first round warms up
                        taken[each].append(time.process_time() - start)
    return statistics.median(b / a for a, b in zip(taken["rope"], taken[name], strict=True)), kind


def main(encodings: str = "", tasks: str = "needle", rounds: int = 2, kind: str = "") -> None:
    """Print a row for each encoding: kernel, step, and its time over rope's in each task.

    `--kind float32` multiplies as a processor does that is fast at float32 alone.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    chosen = tasks.split(",")
    print(f"| encoding | attention | step | {' | '.join(chosen)} | within {BAR} |")
    print(f"|---|---|---|{'---|' * (len(chosen) + 1)}")
    for name in encodings.split(",") if encodings else [name for name in names() if name != "rope"]:
        with products(kind) if kind else nullcontext():
            found = [ratio(name, task, rounds) for task in chosen]
        kernel = resolve(name)[1].kernel()
        bar = "no bar" if kernel == "own" else "yes" if max(r for r, _ in found) <= BAR else "**no**"
        cells = (f"{r:.2f}" for r, _ in found)
        print(f"| {name} | {kernel} | {found[0][1]} | {' | '.join(cells)} | {bar} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
