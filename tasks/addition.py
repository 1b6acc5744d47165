"""Add two numbers."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from pebench.tasks.algorithmic import FIRST, AlgorithmicTask, asking, question_of
from pebench.tasks.base import IGNORE, Batch, Condition, draw, grid
from pebench.tasks.corpus import Split

ZERO = FIRST  # the ten digits
PLUS = ZERO + 10
HINT = PLUS + 1  # the first of the places
HINTS = 100


def add(a: Tensor, b: Tensor) -> Tensor:
    """The digits (B, n + 1) of sums of numbers of n digits (B, n), all with the least significant digit first.

    >>> add(torch.tensor([[9, 9, 1]]), torch.tensor([[2, 0, 5]]))  # 199 + 502 = 0701
    tensor([[1, 0, 7, 0]])
    """
    total = pad(a + b, (0, 1))
    for i in range(a.shape[1]):
        total[:, i + 1] += total[:, i] // 10
    return total % 10


def hinted(places: Tensor, digits: Tensor) -> Tensor:
    """Each digit (B, n) after the hint that names its place (B, at least n), as tokens (B, 2n).

    >>> hinted(torch.tensor([[HINT + 4, HINT + 5, HINT + 6]]), torch.tensor([[7, 2]]))
    tensor([[17,  9, 18,  4]])
    """
    return torch.stack([places[:, : digits.shape[1]], ZERO + digits], dim=2).flatten(1)


class Addition(AlgorithmicTask):
    """BOS a "+" b SEP sum, with the least significant digit first, so that a step is one digit and one carry.

    Both numbers have n digits, uniform and leading zeros included, and the sum has n + 1; trained on 1 to L
    digits. Before each digit stands a hint that names its place: hints are consecutive from a random start on a
    circle of 100, so that all are trained at any length; those of the sum are given. Without hints small
    models do not find the two digits that belong together (Zhou et al., 2024, arXiv 2402.09371, section 3).
    """

    name = "addition"
    title = "Add two numbers"
    family = "arithmetic"
    vocab = HINT + HINTS
    gate = 0.9

    def context(self, length: int) -> int:
        return 6 * length + 4

    def size(self, condition: Condition) -> int:
        return self.context(int(condition["length"]))

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw(1, length, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples)]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        length = int(condition["length"])
        places = HINT + (torch.randint(HINTS, (n, 1), generator=rng) + torch.arange(length + 1)) % HINTS
        a, b = torch.randint(10, (2, n, length), generator=rng)
        plus = torch.full((n, 1), PLUS)
        question = torch.cat([hinted(places, a), plus, hinted(places, b)], dim=1)
        batch = asking(question, hinted(places, add(a, b)))
        batch.targets[batch.targets >= HINT] = IGNORE
        return batch

    def solve(self, tokens: Tensor) -> Tensor:
        question = question_of(tokens)
        n = question.shape[1] // 2
        said = torch.zeros_like(tokens)
        said[:, 2 * n + 3 :: 2] = ZERO + add(question[:, 1:n:2] - ZERO, question[:, n + 2 :: 2] - ZERO)
        return said

    def chance(self, condition: Condition) -> float:
        """The commonest sum is 10^n - 1, which 10^n of the 10^2n pairs have."""
        return 10.0 ** -int(condition["length"])
