"""Remember one bit."""

import torch
from torch import Tensor

from pebench.tasks.algorithmic import AlgorithmicTask
from pebench.tasks.base import IGNORE, Batch, Condition, draw, grid
from pebench.tasks.data.corpus import Split

WRITE, READ, SKIP, BIT = 0, 1, 2, 3  # BIT + 0 and BIT + 1 are the bits
TRAINED, SPARSE, DENSE = 0.8, 0.98, 0.1  # shares of instructions that are to be ignored


def register(tokens: Tensor) -> Tensor:
    """What the register holds (B, T) after each token (B, T): the bit of the newest write, as a token.

    >>> w, r, i, zero, one = WRITE, READ, SKIP, BIT, BIT + 1
    >>> register(torch.tensor([[w, one, i, zero, r, one, w, zero]]))[:, 1::2] - BIT
    tensor([[1, 1, 1, 0]])
    """
    index = torch.arange(tokens.shape[1])
    writes = torch.where(tokens == WRITE, index, 0).cummax(dim=1).values
    return tokens.gather(1, (writes + 1).clamp(max=tokens.shape[1] - 1))


class FlipFlop(AlgorithmicTask):
    """Instructions, each followed by a bit: w writes it, i is to be ignored, r is followed by what was written.

    The flip-flop language FFL(p) of Liu et al., 2023 (arXiv 2306.00946, definition 1): the first instruction is w
    and the last r. The others are i with probability p, and w or r with (1 - p) / 2 each. The bits of w and i are
    uniform. Only the bits after r are asked for. Trained on 2 to L instructions of FFL(0.8). Beyond the training
    length also measured on FFL(0.98), where a write is far behind, and FFL(0.1), where many are near.
    """

    name = "flipflop"
    title = "Remember one bit (flip-flop)"
    family = "state tracking"
    vocab = BIT + 2
    gate = 0.9

    def context(self, length: int) -> int:
        return 2 * length - 1

    def size(self, condition: Condition) -> int:
        return self.context(int(condition["length"]))

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw(2, length, rng), "ignore": TRAINED}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        # At the training length only what was trained on: those conditions are the gate.
        return [
            {"length": n, "ignore": share}
            for n in grid(length, multiples)
            for share in ((TRAINED,) if n <= length else (TRAINED, SPARSE, DENSE))
        ]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        shape = (n, int(condition["length"]))
        ignore = float(condition["ignore"])
        tokens = torch.empty(n, 2 * shape[1], dtype=torch.long)
        fate = torch.rand(shape, generator=rng, dtype=torch.float64)
        tokens[:, ::2] = torch.where(fate < ignore, SKIP, torch.where(fate < (1 + ignore) / 2, WRITE, READ))
        tokens[:, 0], tokens[:, -2] = WRITE, READ
        tokens[:, 1::2] = torch.randint(BIT, BIT + 2, shape, generator=rng)
        reads = tokens[:, :-1] == READ
        tokens[:, 1:][reads] = register(tokens)[:, :-1][reads]
        return Batch(tokens[:, :-1], tokens[:, 1:].where(reads, IGNORE))

    def word(self, token: int) -> str:
        return {WRITE: "w", READ: "r", SKIP: "i"}.get(token) or str(token - BIT)

    def solve(self, tokens: Tensor) -> Tensor:
        return register(tokens)

    def chance(self, condition: Condition) -> float:
        """Always the same bit: a chain over (no error so far, register right or wrong).

        With no input every read has a bit that is fixed in advance. A write makes the register right or wrong
        by one half each, a read ends the chain where it is wrong. Reads of the newest write agree, so a
        predictor that changes its mind does no better (all correlations of a two-state chain are positive).

        >>> FlipFlop().chance({"length": 2, "ignore": 0.8})
        0.5
        """
        ignore = float(condition["ignore"])
        write = read = (1 - ignore) / 2
        right = wrong = 0.5  # after the first write
        for _ in range(int(condition["length"]) - 2):
            fresh = write * (right + wrong) / 2
            right, wrong = right * (read + ignore) + fresh, wrong * ignore + fresh
        return right
