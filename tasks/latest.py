"""Recall the newest values of keys that change theirs."""

import torch
from torch import Tensor

from pebench.tasks.algorithmic import FIRST, shuffles
from pebench.tasks.base import Condition, draw, grid
from pebench.tasks.recall import KEYS, LookUpTask


class Latest(LookUpTask):
    """Keys are assigned values again and again; at the end the newest value of each key is asked for.

    n assignments to k keys, each of them at least once. Trained on 1 to L assignments, half of the time all to
    different keys. With few keys alone, small models learn to repeat the last value, and no more. Measured with L
    / 4 keys, so that more and more old values compete with the newest. Also measured with n / 2 keys (up to 32),
    so that the newest are further and further behind. Keys and values have symbols of their own, which tell
    `alibi` and `fox` the place in an assignment.
    """

    name = "latest"
    title = "Recall the newest value"
    family = "recall"
    values = 16

    def symbols(self, n: int, rng: torch.Generator) -> Tensor:
        values = torch.arange(KEYS, KEYS + self.values)
        return torch.cat([shuffles(n, KEYS, rng), values.expand(n, -1)], dim=1)

    def context(self, length: int) -> int:
        return self.size({"length": length, "keys": min(length, KEYS)})

    def keys(self, condition: Condition) -> int:
        return int(condition["keys"])

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        n = draw(1, length, rng)
        most = min(n, KEYS)
        return {"length": n, "keys": most if draw(0, 1, rng) else draw(1, most, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        few = max(1, min(length // 4, KEYS))
        return [
            {"length": n, "keys": keys}
            for n in grid(length, multiples)
            for keys in sorted({few, max(1, min(n // 2, KEYS))})
        ]

    def slots(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        length, k = int(condition["length"]), self.keys(condition)
        slots = torch.randint(0, k, (n, length), generator=rng)
        slots[:, :k] = torch.arange(k)
        return slots.gather(1, shuffles(n, length, rng))

    def word(self, token: int) -> str:
        number = token - FIRST - KEYS
        return f"v{number}" if 0 <= number < self.values else super().word(token)

    def chance(self, condition: Condition) -> float:
        return float(self.values) ** (-2 * self.keys(condition))
