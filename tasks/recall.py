"""Recall the values of keys."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from pebench.tasks.algorithmic import BEGIN, FIRST, SEPARATOR, AlgorithmicTask, question_of, shuffles
from pebench.tasks.base import IGNORE, Batch, Condition, draw, grid
from pebench.tasks.data.corpus import Split

KEYS, SYMBOLS, NOISE = 32, 64, 16  # KEYS: at most, in an example
FILLER = FIRST + SYMBOLS  # the first noise


def look_up(facts: Tensor, keys: Tensor) -> Tensor:
    """The newest value (B, p, 2) of each key (B, p) in rows of facts (B, n, 3): a key and the two tokens of its value.

    >>> facts = torch.tensor([[[5, 21, 20], [6, 22, 20], [5, 23, 20]]])
    >>> look_up(facts, torch.tensor([[6, 5]])).tolist()
    [[[22, 20], [23, 20]]]
    """
    here = (keys[:, :, None] == facts[:, None, :, 0]) * torch.arange(1, facts.shape[1] + 1)
    newest = here.argmax(dim=2)[:, :, None].expand(-1, -1, 2)
    return facts[:, :, 1:].gather(1, newest)


class LookUpTask(AlgorithmicTask):
    """BOS facts SEP, then each key that occurred, once and in random order, followed by its value.

    A value has two tokens, and all are fed back. With values of one token small models stop at guessing among the
    values that occurred, and never look at the key. The second token, which follows the first, teaches them to
    look.
    """

    vocab = FILLER + NOISE
    gate = 0.9
    values: ClassVar[int]  # how many different tokens the values of an example are made of

    @abstractmethod
    def symbols(self, n: int, rng: torch.Generator) -> Tensor:
        """The symbols of n examples: (n, KEYS) that may be keys, in random order, then (n, values) that are values'."""

    @abstractmethod
    def keys(self, condition: Condition) -> int:
        """How many different keys occur."""

    @abstractmethod
    def slots(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        """Which key (n, length), by number, stands in each slot; -1 where none does."""

    def size(self, condition: Condition) -> int:
        return 3 * (int(condition["length"]) + self.keys(condition)) + 1

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        length, p = int(condition["length"]), self.keys(condition)
        symbols = FIRST + self.symbols(n, rng)
        names = symbols[:, :p]
        slots = self.slots(condition, n, rng)
        noise = torch.randint(FILLER, FILLER + NOISE, (n, length, 3), generator=rng)
        which = torch.randint(KEYS, KEYS + self.values, (n, 2 * length), generator=rng)
        values = symbols.gather(1, which).unflatten(1, (length, 2))
        held = torch.cat([names.gather(1, slots.clamp(min=0))[:, :, None], values], dim=2)
        facts = torch.where(slots[:, :, None] >= 0, held, noise)
        queries = names.gather(1, shuffles(n, p, rng))
        answers = torch.cat([queries[:, :, None], look_up(facts, queries)], dim=2)
        begin, separator = (torch.full((n, 1), symbol) for symbol in (BEGIN, SEPARATOR))
        tokens = torch.cat([begin, facts.flatten(1), separator, answers.flatten(1)], dim=1)
        targets = tokens[:, 1:].clone()
        targets[:, : 3 * length + 1] = IGNORE
        targets[:, 3 * length + 1 :: 3] = IGNORE  # the keys
        return Batch(tokens[:, :-1], targets)

    def word(self, token: int) -> str:
        if token < FIRST:
            return super().word(token)
        return "·" if token >= FILLER else f"k{token - FIRST}"

    def solve(self, tokens: Tensor) -> Tensor:
        facts = question_of(tokens)
        first = facts.shape[1] + 2
        values = look_up(facts.unflatten(1, (-1, 3)), tokens[:, first::3])
        said = torch.zeros_like(tokens)
        said[:, first::3], said[:, first + 1 :: 3] = values.unbind(2)
        return said


class Recall(LookUpTask):
    """Multi-query associative recall (Arora et al., 2023, arXiv 2312.04927, section 3), every key asked for.

    Keys and values are of one alphabet, dealt anew for each example. With symbols of their own, `rope` and
    `t5_bias` learned to find what follows a value and never what follows a key.

    Each of n slots holds a key and its value, or three tokens of noise. Keys are distinct, the two tokens of a
    value uniform over 32. Trained on 1 to L slots. All of them (half of the time) or any number hold a fact.
    Measured with as many facts as half the training length has slots, further and further apart. Also measured
    with one fact in every slot (up to 32).
    """

    name = "recall"
    title = "Recall the values of keys"
    family = "recall"
    values = SYMBOLS - KEYS

    def symbols(self, n: int, rng: torch.Generator) -> Tensor:
        return shuffles(n, KEYS + self.values, rng)

    def context(self, length: int) -> int:
        return self.size({"length": length, "pairs": min(length, KEYS)})

    def keys(self, condition: Condition) -> int:
        return int(condition["pairs"])

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        n = draw(1, length, rng)
        most = min(n, KEYS)
        return {"length": n, "pairs": most if draw(0, 1, rng) else draw(1, most, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        half = max(1, min(length // 2, KEYS))
        return [
            {"length": n, "pairs": pairs}
            for n in grid(length, multiples)
            for pairs in sorted({half, min(n, KEYS)})
        ]

    def slots(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        order = shuffles(n, int(condition["length"]), rng)
        return order.where(order < self.keys(condition), -1)

    def chance(self, condition: Condition) -> float:
        """Always the same symbol: it must be one of the values, and then all 2k tokens must be it.

        >>> 1 / Recall().chance({"length": 1, "pairs": 1})  # 2 * 32^2
        2048.0
        """
        return self.values / (KEYS + self.values) * float(self.values) ** (-2 * self.keys(condition))
