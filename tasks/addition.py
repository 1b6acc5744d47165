"""Add two numbers."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from pebench.tasks.algorithmic import FIRST, QuestionTask
from pebench.tasks.base import Condition, LanguageModel, Score, draw_long, grid
from pebench.tasks.data.corpus import Split

ZERO = FIRST  # the ten digits


def add(a: Tensor, b: Tensor) -> Tensor:
    """The digits (B, n + 1) of sums of numbers of n digits (B, n), all with the least significant digit first.

    >>> add(torch.tensor([[9, 9, 1]]), torch.tensor([[2, 0, 5]]))  # 199 + 502 = 0701
    tensor([[1, 0, 7, 0]])
    """
    total = pad(a + b, (0, 1))
    for i in range(a.shape[1]):
        total[:, i + 1] += total[:, i] // 10
    return total % 10


class Addition(QuestionTask):
    """BOS a_1 b_1 a_2 b_2 ... SEP sum, with the least significant digit first: a step is one place and one carry.

    Both numbers have n digits, uniform and leading zeros included, and the sum has n + 1; trained on 1 to L
    digits. The two digits of a place stand side by side, as in a column sum. Written one number after the other,
    neither `rope` nor `alibi` learned in 2500 steps to find the two that belong together. Nor did they with the
    index hints of Zhou et al., 2024 (arXiv 2402.09371, section 3).

    The share of right digits counts. No encoding gets whole sums of six digits right after training on four (0.01
    at most), and yet they keep between one and four of the seven.

    >>> Addition().answer(torch.tensor([[9, 2, 9, 0, 1, 5]]) + ZERO) - ZERO  # 199 + 502
    tensor([[1, 0, 7, 0]])
    """

    name = "addition"
    title = "Add two numbers"
    family = "arithmetic"
    vocab = ZERO + 10
    gate = 0.95

    def context(self, length: int) -> int:
        return 3 * length + 2

    def size(self, condition: Condition) -> int:
        return self.context(int(condition["length"]))

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw_long(1, length, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples)]

    def questions(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        return torch.randint(ZERO, ZERO + 10, (n, 2 * int(condition["length"])), generator=rng)

    def answer(self, question: Tensor) -> Tensor:
        return ZERO + add(question[:, ::2] - ZERO, question[:, 1::2] - ZERO)

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        exact, digits = super().measure(lm, condition, n, rng, split)
        return [
            replace(digits, floor=self.chance(condition), ceiling=1.0),
            replace(exact, floor=None, ceiling=None),
        ]

    def chance(self, condition: Condition) -> float:
        """The share of digits that are right without reading: the last is 0 or 1, all others are uniform."""
        n = int(condition["length"])
        return (0.1 * n + 0.5 + 0.5 * 10.0**-n) / (n + 1)
