"""Recall the values of keys."""

from abc import abstractmethod

import torch
from torch import Tensor

from pebench.tasks.algorithmic import BEGIN, FIRST, SEPARATOR, AlgorithmicTask, question_of, shuffles
from pebench.tasks.base import IGNORE, Batch, Condition, draw, grid
from pebench.tasks.corpus import Split

KEYS, VALUES, NOISE = 64, 32, 16
VALUE = FIRST + KEYS  # FIRST is the first key, VALUE the first value, FILLER the first noise
FILLER = VALUE + VALUES


def look_up(pairs: Tensor, queries: Tensor) -> Tensor:
    """The newest value of each query (B, p) in a row of key-value pairs (B, 2n).

    >>> look_up(torch.tensor([[5, 91, 6, 92, 5, 93]]), torch.tensor([[6, 5]]))
    tensor([[92, 93]])
    """
    keys, values = pairs[:, ::2], pairs[:, 1::2]
    here = (queries[:, :, None] == keys[:, None]) * torch.arange(1, keys.shape[1] + 1)
    return values.gather(1, here.argmax(dim=2))


class LookUpTask(AlgorithmicTask):
    """BOS pairs SEP, then each key that occurred, once and in random order; at each its value is asked for.

    No value is fed back: given those that were said, small models learn to guess among those that are left,
    and never to look at the key.
    """

    vocab = FILLER + NOISE
    gate = 0.9

    @abstractmethod
    def keys(self, condition: Condition) -> int:
        """How many different keys occur."""

    @abstractmethod
    def slots(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        """Which key (n, length), by number, stands in each slot; -1 where none does."""

    def size(self, condition: Condition) -> int:
        return 2 * int(condition["length"]) + self.keys(condition) + 2

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        length, p = int(condition["length"]), self.keys(condition)
        names = FIRST + shuffles(n, KEYS, rng)[:, :p]
        slots = self.slots(condition, n, rng)
        taken = slots >= 0
        shape = (n, length, 2)
        pairs = torch.randint(FILLER, FILLER + NOISE, shape, generator=rng)
        values = torch.randint(VALUE, VALUE + VALUES, (n, length), generator=rng)
        held = torch.stack([names.gather(1, slots.clamp(min=0)), values], dim=2)
        pairs = torch.where(taken[:, :, None], held, pairs).flatten(1)
        queries = names.gather(1, shuffles(n, p, rng))
        begin, separator = (torch.full((n, 1), symbol) for symbol in (BEGIN, SEPARATOR))
        tokens = torch.cat([begin, pairs, separator, queries], dim=1)
        targets = torch.full_like(tokens, IGNORE)
        targets[:, -p:] = look_up(pairs, queries)
        return Batch(tokens, targets)

    def solve(self, tokens: Tensor) -> Tensor:
        pairs = question_of(tokens)
        said = torch.zeros_like(tokens)
        first = pairs.shape[1] + 2
        said[:, first:] = look_up(pairs, tokens[:, first:])
        return said

    def chance(self, condition: Condition) -> float:
        return float(VALUES) ** -self.keys(condition)


class Recall(LookUpTask):
    """Multi-query associative recall (Arora et al., 2023, arXiv 2312.04927, section 3), every key asked for.

    Each of n slots holds a key and its value, or two tokens of noise. Keys are distinct, values uniform over
    32. Trained on 1 to L slots of which any number holds a pair; measured with as many pairs as half the
    training length has slots, further and further apart, and with a pair in every slot (up to the 64 keys).
    """

    name = "recall"
    title = "Recall the values of keys"
    family = "recall"

    def context(self, length: int) -> int:
        return self.size({"length": length, "pairs": min(length, KEYS)})

    def keys(self, condition: Condition) -> int:
        return int(condition["pairs"])

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        n = draw(1, length, rng)
        return {"length": n, "pairs": draw(1, min(n, KEYS), rng)}

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
