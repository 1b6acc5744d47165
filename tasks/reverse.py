"""Say a random string backwards."""

import torch
from torch import Tensor

from pebench.tasks.base import Condition, draw_long
from pebench.tasks.copy import Copy


class Reverse(Copy):
    """BOS s SEP reversed(s), with symbols uniform over 30; trained on strings of 1 to L symbols.

    Unlike in `copy`, the next symbol to read is one place nearer to the front at each step. So no single distance
    is right (Kazemnejad et al., 2023, "Reverse").

    >>> import torch
    >>> Reverse().answer(torch.tensor([[4, 7, 9]]))
    tensor([[9, 7, 4]])
    """

    name = "reverse"
    title = "Reverse a random string"

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw_long(1, length, rng)}

    def answer(self, question: Tensor) -> Tensor:
        return question.flip(1)
