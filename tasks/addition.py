"""Add two numbers."""

import torch
from torch import Tensor

from pebench.tasks.algorithmic import FIRST, QuestionTask
from pebench.tasks.base import Condition, draw, grid

ZERO = FIRST  # the ten digits
PLUS = ZERO + 10


def add(a: Tensor, b: Tensor) -> Tensor:
    """The digits (B, n + 1) of sums of numbers of n digits (B, n), all with the least significant digit first.

    >>> add(torch.tensor([[9, 9, 1]]), torch.tensor([[2, 0, 5]]))  # 199 + 502 = 0701
    tensor([[1, 0, 7, 0]])
    """
    total = torch.nn.functional.pad(a + b, (0, 1))
    for i in range(a.shape[1]):
        total[:, i + 1] += total[:, i] // 10
    return total % 10


class Addition(QuestionTask):
    """BOS a "+" b SEP sum, with the least significant digit first, so that a step is one digit and one carry.

    Both numbers have n digits, uniform and leading zeros included, and the sum has n + 1; trained on 1 to L
    digits. The reversed order is what small models can learn (Lee et al., 2023, "Teaching Arithmetic to Small
    Transformers"); aligning the digits of the two numbers at new lengths is what is measured.

    >>> Addition().answer(torch.tensor([[ZERO + 7, ZERO + 2, PLUS, ZERO + 5, ZERO + 1]])) - ZERO  # 27 + 15
    tensor([[2, 4, 0]])
    """

    name = "addition"
    title = "Add two numbers"
    family = "arithmetic"
    vocab = PLUS + 1
    gate = 0.9

    def context(self, length: int) -> int:
        return 3 * length + 3

    def size(self, condition: Condition) -> int:
        return self.context(int(condition["length"]))

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw(1, length, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples)]

    def questions(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        digits = int(condition["length"])
        question = torch.randint(ZERO, ZERO + 10, (n, 2 * digits + 1), generator=rng)
        question[:, digits] = PLUS
        return question

    def answer(self, question: Tensor) -> Tensor:
        n = question.shape[1] // 2
        return ZERO + add(question[:, :n] - ZERO, question[:, n + 1 :] - ZERO)

    def chance(self, condition: Condition) -> float:
        """The commonest sum is 10^n - 1, which 10^n of the 10^2n pairs have."""
        return 10.0 ** -int(condition["length"])
