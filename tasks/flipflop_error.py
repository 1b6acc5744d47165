"""Remember one bit: how seldom the reads are wrong, on a log scale."""

import math
from dataclasses import replace

import torch

from pebench.tasks.base import Condition, LanguageModel, Score
from pebench.tasks.data.corpus import Split
from pebench.tasks.flipflop import FlipFlop


class FlipFlopError(FlipFlop):
    """`flipflop`, scored by -log10 of the share of reads that are wrong.

    Rare glitches are the finding of Liu et al., 2023 (arXiv 2306.00946). Exact match of long sequences is 0 for
    one glitch in a hundred and for one in two. With w of r reads wrong the value is -log10((w + 1/2) / (r + 1)),
    which is finite without errors. The floor is the value with half of the reads wrong, the ceiling the value with
    none. `n` counts sequences, because the errors of one sequence come together.
    """

    name = "flipflop_error"
    title = "Remember one bit (log error)"
    gate = 0.6

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        exact, reads = super().measure(lm, condition, n, rng, split)
        wrong = round((1 - reads.value) * reads.n)
        floor, ceiling = decades(reads.n / 2, reads.n), decades(0, reads.n)
        value = decades(wrong, reads.n)
        return [
            Score("log_error", value, n, condition, floor, ceiling),
            replace(exact, floor=None, ceiling=None),
            reads,
        ]


def decades(wrong: float, reads: int) -> float:
    """-log10 of the share of reads that are wrong, with half a wrong read added.

    >>> round(decades(0, 49), 3), round(decades(24.5, 49), 3)
    (2.0, 0.301)
    """
    return -math.log10((wrong + 0.5) / (reads + 1))
