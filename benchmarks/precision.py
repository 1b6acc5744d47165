"""What narrower matrix products change in a training, beside what another seed changes.

    python -m benchmarks.precision --encodings rope,fox,grape_ap --seeds 3 --kind float16

Trains the task `language` of a profile twice for each seed, with products in this precision and in float32, all else
alike, and measures both in float32 on validation text at the training length. The bar: the mean difference stays below
a fifth of the standard deviation over seeds. `--gates copy,recall` prints the gates of these tasks in both, too.
float16 is what the native step multiplies in where the processor has AVX512_FP16, bfloat16 what PyTorch does with AMX.
`--kind float32` is the control: the second training begins from weights that differ in their last bits alone.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from unittest.mock import patch

import torch
import typer

from pebench.encodings.registry import resolve
from pebench.suite.experiment.measure import function, gate
from pebench.suite.experiment.profiles import PROFILES, Plan
from pebench.suite.experiment.training import train
from pebench.suite.lm import precision
from pebench.suite.lm.model import LM
from pebench.tasks import make
from pebench.tasks.base import Task
from pebench.tasks.language import Language

LAST_BITS = 2.0**-22  # relative deviation of the control's first weights


@contextmanager
def products(kind: str) -> Iterator[None]:
    """Let training multiply in this precision alone inside the context."""
    with (
        patch.object(precision, "fast_bf16", lambda device: kind == "bfloat16"),
        patch.object(precision, "fast_fp16", lambda: kind == "float16"),
    ):
        yield


def trained(
    encoding: str, task: Task, profile: str, seed: int, kind: str, control: bool = False
) -> tuple[LM, Plan]:
    """A model after the training of a profile with products in this precision; `control` moves its first weights."""
    plan = PROFILES[profile].plans[task.name]
    lm = LM(plan.size(task.vocab), resolve(encoding)[1], task.context(plan.recipe.length), seed)
    if control:
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in lm.parameters():
                p *= 1 + LAST_BITS * torch.randn(p.shape, generator=rng)
    with products(kind):
        train(lm, task, plan.recipe, seed)
    return lm, plan


def bits(encoding: str, profile: str, seed: int, kind: str, control: bool = False) -> float:
    """Bits per byte of validation text after a training in this precision."""
    task = Language()
    lm, plan = trained(encoding, task, profile, seed, kind, control)
    model = function(lm, torch.device("cpu"))
    rng = torch.Generator()
    return task.measure(model, {"length": plan.recipe.length}, plan.examples, rng, "valid")[0].value


def passed(encoding: str, task: Task, profile: str, seed: int, kind: str) -> float:
    """The gate of a task after a training in this precision."""
    lm, plan = trained(encoding, task, profile, seed, kind)
    conditions = task.conditions(plan.recipe.length, (1,))
    return gate(task, function(lm, torch.device("cpu")), conditions, plan.examples).value


def main(
    encodings: str = "rope,fox,grape_ap",
    seeds: Annotated[int, typer.Option(min=2, help="A deviation needs two.")] = 3,
    profile: str = "STANDARD",
    kind: str = "float16",
    gates: str = "",
) -> None:
    """Print bits per byte in both precisions for each seed, and the mean difference over the seeds' deviation."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    print(f"| encoding | seed | float32 | {kind} products | difference |\n|---|---|---|---|---|")
    for encoding in encodings.split(","):
        exact, differences = [], []
        for seed in range(seeds):
            exact.append(bits(encoding, profile, seed, "float32"))
            differences.append(bits(encoding, profile, seed, kind, kind == "float32") - exact[-1])
            print(
                f"| {encoding} | {seed} | {exact[-1]:.4f} | {exact[-1] + differences[-1]:.4f} "
                f"| {differences[-1]:+.4f} |",
                flush=True,
            )
        mean, deviation = statistics.mean(differences), statistics.stdev(exact)
        share = f"{abs(mean) / deviation:.2f}" if deviation else "-"
        print(f"{encoding}: mean difference {mean:+.4f}, {share} of the seeds' {deviation:.4f}")
    for name in filter(None, gates.split(",")):
        task = make(name)
        assert isinstance(task, Task), f"{name} trains nothing"
        for encoding in encodings.split(","):
            both = [
                [passed(encoding, task, profile, seed, k) for k in ("float32", kind)] for seed in range(seeds)
            ]
            said = ", ".join(f"{one:.3f} / {other:.3f}" for one, other in both)
            print(f"gate of {name}, {encoding}, float32 / {kind}: {said}", flush=True)


if __name__ == "__main__":
    typer.run(main)
