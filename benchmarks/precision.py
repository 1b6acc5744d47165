"""What bfloat16 matrix products change in a training, beside what another seed changes.

    python -m benchmarks.precision --encodings rope,fox,grape_ap --seeds 3

Trains the task `language` of a profile twice for each seed, with products in bfloat16 and in float32, all else alike,
and measures both in float32 on validation text at the training length. The bar: the mean difference stays below a
fifth of the standard deviation over seeds.
"""

import statistics
from unittest.mock import patch

import torch
import typer

from pebench.encodings.registry import resolve
from pebench.suite.experiment.measure import function
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.experiment.training import train
from pebench.suite.lm import precision
from pebench.suite.lm.model import LM
from pebench.tasks.language import Language


def bits(encoding: str, profile: str, seed: int, bf16: bool) -> float:
    """Bits per byte of validation text after a training in this precision."""
    task, plan = Language(), PROFILES[profile].plans["language"]
    lm = LM(plan.size(task.vocab), resolve(encoding)[1], plan.recipe.length, seed)
    with patch.object(precision, "fast_bf16", lambda device: bf16):
        train(lm, task, plan.recipe, seed)
    model = function(lm, torch.device("cpu"))
    return task.measure(model, {"length": plan.recipe.length}, plan.examples, torch.Generator(), "valid")[
        0
    ].value


def main(encodings: str = "rope,fox,grape_ap", seeds: int = 3, profile: str = "STANDARD") -> None:
    """Print bits per byte in both precisions for each seed, and the mean difference over the seeds' deviation."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    print("| encoding | seed | float32 | bfloat16 products | difference |\n|---|---|---|---|---|")
    for encoding in encodings.split(","):
        exact, differences = [], []
        for seed in range(seeds):
            exact.append(bits(encoding, profile, seed, False))
            differences.append(bits(encoding, profile, seed, True) - exact[-1])
            print(
                f"| {encoding} | {seed} | {exact[-1]:.4f} | {exact[-1] + differences[-1]:.4f} "
                f"| {differences[-1]:+.4f} |",
                flush=True,
            )
        mean, deviation = statistics.mean(differences), statistics.stdev(exact)
        print(
            f"{encoding}: mean difference {mean:+.4f}, {abs(mean) / deviation:.2f} of the seeds' {deviation:.4f}"
        )


if __name__ == "__main__":
    typer.run(main)
