"""What an encoding costs: training, prefill and decoding, timed against RoPE in the same process."""

import statistics
from collections.abc import Callable, Iterator
from typing import Protocol

from pebench.tasks.base import Condition, Score, grid


class Workload(Protocol):
    """A model that can be timed. Each call does its work once and returns the seconds that it took."""

    def train(self, length: int) -> float: ...
    def prefill(self, length: int) -> float: ...
    def decode(self, length: int) -> float: ...
    def tokens(self, kind: str, length: int) -> int: ...
    def cache_bytes(self, length: int) -> float: ...


class Throughput:
    """Time of a training step, a forward pass and one cached token, over the time of `rope`.

    Both models, subject and RoPE, do the same work in turn, pair by pair, so that a machine that slows down slows
    both. The value is the median of the ratios. Never mixed into quality.
    """

    name = "throughput"
    title = "Speed and memory"
    family = "cost"
    reads_text = False
    kinds = ("train", "prefill", "decode")

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples)]

    def measure(self, subject: Workload, rope: Workload, condition: Condition, n: int) -> Iterator[Score]:
        """Time `n` pairs of each kind, after a first pair that does not count."""
        length = int(condition["length"])
        for kind in self.kinds:
            ours, theirs = pairs(getattr(subject, kind), getattr(rope, kind), length, n)
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            speed = subject.tokens(kind, length) / statistics.median(ours)
            yield Score(f"{kind}_ratio", ratio, n, condition)
            yield Score(f"{kind}_speed", speed, n, condition)
        yield Score("cache_bytes", subject.cache_bytes(length), 1, condition)


def pairs(
    a: Callable[[int], float], b: Callable[[int], float], length: int, n: int
) -> tuple[list[float], list[float]]:
    """Seconds of a and of b, in turn, n times each, after a warm-up of both."""
    a(length), b(length)
    taken = [(a(length), b(length)) for _ in range(n)]
    return [x for x, _ in taken], [y for _, y in taken]
