"""Recall the values of keys that may change theirs."""

import torch
from torch import Tensor

from pebench.tasks.algorithmic import shuffles
from pebench.tasks.base import Condition, draw, grid
from pebench.tasks.recall import KEYS, Recall

AGAIN = 0.5  # share of the other slots in which a key gets a new value


class RecallAgain(Recall):
    """`recall` and `latest` in one: facts with noise between, and as a condition keys that are assigned again.

    Each of n slots holds a key and its value, or three tokens of noise. With `kind` "once" every key occurs in one
    slot, and the others are noise. With "again" half of the others assign a random key anew, and its newest value
    is asked for. Keys and values are of one alphabet, dealt anew for each example. Trained on both kinds in equal
    shares, on 1 to L slots with as many keys as slots (half of the time) or any number. Measured with L / 2 keys
    once, and with L / 4 keys again. One gate holds for both kinds.
    """

    name = "recall_again"
    title = "Recall the newest values of keys"
    gate = 0.75

    def context(self, length: int) -> int:
        return self.size({"length": length, "keys": min(length, KEYS)})

    def keys(self, condition: Condition) -> int:
        return int(condition["keys"])

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        n = draw(1, length, rng)
        most = min(n, KEYS)
        keys = most if draw(0, 1, rng) else draw(1, most, rng)
        return {"length": n, "keys": keys, "kind": "again" if draw(0, 1, rng) else "once"}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        half, quarter = (max(1, min(length // part, KEYS)) for part in (2, 4))
        kinds = {"once": half, "again": quarter}
        return [
            {"length": n, "keys": keys, "kind": kind}
            for n in grid(length, multiples)
            for kind, keys in kinds.items()
        ]

    def slots(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        keys, shape = self.keys(condition), (n, int(condition["length"]))
        order = shuffles(*shape, rng)
        anew = torch.randint(0, keys, shape, generator=rng)
        chosen = torch.rand(shape, generator=rng, dtype=torch.float64) < AGAIN * (
            condition["kind"] == "again"
        )
        return order.where(order < keys, anew.where(chosen, -1))
