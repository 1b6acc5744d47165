"""Keep track of the parity of bits."""

import torch
from torch import Tensor

from pebench.tasks.algorithmic import BEGIN, AlgorithmicTask
from pebench.tasks.base import IGNORE, Batch, Condition, draw, grid
from pebench.tasks.data.corpus import Split

BIT = BEGIN + 1  # BIT + 0 and BIT + 1 are the bits


class Parity(AlgorithmicTask):
    """BOS and bits; at each bit the parity of the bits so far is asked for: the word problem of S2.

    Every bit changes every later answer. Theory predicts that a transformer that fits short strings does not fit longer
    ones (Hahn and Rofin, 2024, arXiv 2402.09963): a negative control. Trained on 1 to L bits. No answer
    is fed back.

    >>> Parity().solve(torch.tensor([[BEGIN, BIT + 1, BIT, BIT + 1]])) - BIT
    tensor([[0, 1, 1, 0]])
    """

    name = "parity"
    title = "Parity of bits"
    family = "state tracking"
    vocab = BIT + 2
    gate = 0.9
    fed_back = False

    def context(self, length: int) -> int:
        return length + 1

    def size(self, condition: Condition) -> int:
        return self.context(int(condition["length"]))

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw(1, length, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples)]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        tokens = torch.full((n, self.size(condition)), BEGIN)
        tokens[:, 1:] = BIT + torch.randint(0, 2, (n, int(condition["length"])), generator=rng)
        targets = self.solve(tokens)
        targets[:, 0] = IGNORE
        return Batch(tokens, targets)

    def word(self, token: int) -> str:
        return "start" if token == BEGIN else str(token - BIT)

    def solve(self, tokens: Tensor) -> Tensor:
        return BIT + (tokens == BIT + 1).cumsum(dim=1) % 2

    def chance(self, condition: Condition) -> float:
        """All sequences of answers are equally likely: the bits are their differences."""
        return 0.5 ** int(condition["length"])
