"""Sort symbols, or numbers of several digits."""

import math

import torch
from torch import Tensor

from pebench.tasks.algorithmic import FIRST, QuestionTask, shuffles
from pebench.tasks.base import Condition, draw, draw_long, grid

SYMBOLS = 100
TENS = FIRST + SYMBOLS  # the ten digits in the place of the tens
ONES = TENS + 10
KINDS = {"symbols": SYMBOLS, "numbers": 100}  # how many different items there are


class Sort(QuestionTask):
    """BOS items SEP items in ascending order; an item is one of 100 symbols, or a number of two digits.

    Items are dealt from a shuffled deck that holds each once; a new deck follows it. When they were drawn
    independently, models failed on items that came twice. Trained on 1 to L items, two times of three on numbers,
    which are learned later. Single symbols and several digits behave differently (Kazemnejad et al., 2023,
    "Sorting"). Tens and ones are different tokens, so that a digit's place need not be counted from the beginning.

    >>> Sort().answer(torch.tensor([[9, 4, 7, 4]]))
    tensor([[4, 4, 7, 9]])
    >>> place = torch.tensor([TENS, ONES, TENS, ONES])
    >>> Sort().answer(torch.tensor([[4, 1, 0, 7]]) + place) - place  # 41 07
    tensor([[0, 7, 4, 1]])
    """

    name = "sort"
    title = "Sort symbols and numbers"
    family = "sorting"
    vocab = ONES + 10
    gate = 0.9

    def context(self, length: int) -> int:
        return 4 * length + 1

    def size(self, condition: Condition) -> int:
        width = 1 if condition["kind"] == "symbols" else 2
        return 2 * width * int(condition["length"]) + 1

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw_long(1, length, rng), "kind": "numbers" if draw(0, 2, rng) else "symbols"}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n, "kind": kind} for n in grid(length, multiples) for kind in KINDS]

    def questions(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        items = int(condition["length"])
        size = KINDS[str(condition["kind"])]
        decks = [shuffles(n, size, rng) for _ in range(0, items, size)]
        dealt = torch.cat(decks, dim=1)[:, :items]
        if condition["kind"] == "symbols":
            return FIRST + dealt
        return torch.stack([TENS + dealt // 10, ONES + dealt % 10], dim=2).flatten(1)

    def answer(self, question: Tensor) -> Tensor:
        if int(question[0, 0]) < TENS:
            return question.sort(dim=1).values
        tens, ones = question[:, ::2] - TENS, question[:, 1::2] - ONES
        numbers = (10 * tens + ones).sort(dim=1).values
        return torch.stack([TENS + numbers // 10, ONES + numbers % 10], dim=2).flatten(1)

    def word(self, token: int) -> str:
        """A symbol, tens or ones.

        >>> [Sort().word(token) for token in (FIRST + 7, TENS + 5, ONES + 3)]
        ['s7', '50', '+3']
        """
        if token >= TENS:
            return f"+{token - ONES}" if token >= ONES else f"{token - TENS}0"
        return super().word(token) if token < FIRST else f"s{token - FIRST}"

    def chance(self, condition: Condition) -> float:
        """All sets of items are equally likely, and what whole decks hold is known.

        >>> round(1 / Sort().chance({"length": 2, "kind": "symbols"}))  # pairs of 100 items
        4950
        """
        s = KINDS[str(condition["kind"])]
        return 1 / math.comb(s, int(condition["length"]) % s)
