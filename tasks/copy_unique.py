"""Say a string of distinct symbols again."""

import math

import torch
from torch import Tensor

from pebench.tasks.algorithmic import FIRST, shuffles
from pebench.tasks.base import Condition, grid
from pebench.tasks.copy import Copy


class CopyUnique(Copy):
    """BOS s SEP s, with distinct symbols of 128; trained on strings of 1 to L symbols.

    Each symbol occurs once, so it tells which symbol follows: one induction step per token, at any length. Theory
    predicts that this generalises (Huang et al., 2024, arXiv 2410.02140, "copy unique"): a positive control.
    Lengths above 128 have no such string and are not measured.

    >>> CopyUnique().answer(torch.tensor([[4, 7, 9]]))
    tensor([[4, 7, 9]])
    """

    name = "copy_unique"
    title = "Copy distinct symbols"
    symbols = 128
    vocab = FIRST + symbols

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples) if n <= self.symbols]

    def questions(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        return FIRST + shuffles(n, self.symbols, rng)[:, : int(condition["length"])]

    def chance(self, condition: Condition) -> float:
        """All arrangements are equally likely.

        >>> round(1 / CopyUnique().chance({"length": 2}))  # 128 x 127
        16256
        """
        return 1 / math.perm(self.symbols, int(condition["length"]))
