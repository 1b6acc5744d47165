"""Say a random string again."""

import torch
from torch import Tensor

from pebench.tasks.algorithmic import FIRST, QuestionTask
from pebench.tasks.base import Condition, draw, grid

LETTERS = "abcdefghijklmnopqrstuvwxyz0123"  # for people: a symbol each; further ones are numbers


class Copy(QuestionTask):
    """BOS s SEP s, with symbols uniform over 30; trained on strings of 1 to L symbols.

    Exact match shows whether a model finds the token n + 1 places back when n was never seen (Kazemnejad et al., 2023).

    >>> Copy().answer(torch.tensor([[4, 7, 9]]))
    tensor([[4, 7, 9]])
    """

    name = "copy"
    title = "Copy a random string"
    family = "copying"
    symbols = 30
    vocab = FIRST + symbols
    gate = 0.9

    def context(self, length: int) -> int:
        return 2 * length + 1

    def size(self, condition: Condition) -> int:
        return self.context(int(condition["length"]))

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw(1, length, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples)]

    def questions(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        return torch.randint(FIRST, self.vocab, (n, int(condition["length"])), generator=rng)

    def answer(self, question: Tensor) -> Tensor:
        return question

    def word(self, token: int) -> str:
        number = token - FIRST
        return LETTERS[number] if 0 <= number < len(LETTERS) else super().word(token)

    def chance(self, condition: Condition) -> float:
        return float(self.symbols) ** -int(condition["length"])
