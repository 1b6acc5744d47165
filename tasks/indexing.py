"""Find the symbol so many places to the left or right of another one."""

import torch
from torch import Tensor

from pebench.tasks.algorithmic import BEGIN, FIRST, SEPARATOR, AlgorithmicTask, question_of, shuffles
from pebench.tasks.base import IGNORE, Batch, Condition, draw_long, grid
from pebench.tasks.data.corpus import Split

SYMBOLS, FARTHEST, ASKED = 128, 8, 4
SHIFT = FIRST + SYMBOLS + FARTHEST  # the token of a shift by 0, which never occurs


def shifted(line: Tensor, symbols: Tensor, shifts: Tensor) -> Tensor:
    """The symbols (B, k) that stand `shifts` (B, k) places to the right of `symbols` (B, k) in lines (B, n).

    >>> shifted(torch.tensor([[5, 9, 7]]), torch.tensor([[7, 5]]), torch.tensor([[-2, 1]]))
    tensor([[5, 9]])
    """
    places = (line[:, None, :] == symbols[:, :, None]).int().argmax(dim=2)
    return line.gather(1, places + shifts)


class Indexing(AlgorithmicTask):
    """BOS s SEP, then four questions: a symbol of s, a shift of 1 to 8 places to either side, the symbol there.

    Indirect indexing (Gopalakrishnan et al., 2025, arXiv 2509.10534): "three left of z" needs a place and a
    content at once. s holds distinct symbols of 128, in training 2 to L of them. All answers are fed back. Pairs
    of a symbol and an answer within s are equally likely. Lengths above 128 are not measured.
    """

    name = "indexing"
    title = "Three left of z (indirect indexing)"
    family = "indexing"
    vocab = SHIFT + FARTHEST + 1
    gate = 0.9

    def context(self, length: int) -> int:
        return self.size({"length": length})

    def size(self, condition: Condition) -> int:
        return int(condition["length"]) + 3 * ASKED + 1

    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        return {"length": draw_long(min(2, length), length, rng)}

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples) if 2 <= n <= SYMBOLS]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        length = int(condition["length"])
        line = FIRST + shuffles(n, SYMBOLS, rng)[:, :length]
        pairs = torch.tensor(near(length))[torch.randint(0, len(near(length)), (n, ASKED), generator=rng)]
        symbols, answers = (line.gather(1, places) for places in pairs.unbind(2))
        shifts = SHIFT + pairs[:, :, 1] - pairs[:, :, 0]
        questions = torch.stack([symbols, shifts, answers], dim=2).flatten(1)
        begin, separator = (torch.full((n, 1), symbol) for symbol in (BEGIN, SEPARATOR))
        tokens = torch.cat([begin, line, separator, questions], dim=1)
        targets = torch.full_like(tokens[:, 1:], IGNORE)
        targets[:, length + 3 :: 3] = answers
        return Batch(tokens[:, :-1], targets)

    def word(self, token: int) -> str:
        return f"{token - SHIFT:+d}" if token >= FIRST + SYMBOLS else super().word(token)

    def solve(self, tokens: Tensor) -> Tensor:
        line = question_of(tokens)
        first = line.shape[1] + 2
        said = torch.zeros_like(tokens)
        shifts = tokens[:, first + 1 :: 3] - SHIFT
        said[:, first + 1 :: 3] = shifted(line, tokens[:, first::3][:, : shifts.shape[1]], shifts)
        return said

    def chance(self, condition: Condition) -> float:
        """Always the same symbol: it stands at each place with probability 1/128.

        By the power mean inequality no other sequence of symbols is right more often.

        >>> round(1 / Indexing().chance({"length": 2}))  # 128 x 2^3
        1024
        """
        pairs = near(int(condition["length"]))
        at = torch.bincount(torch.tensor(pairs)[:, 1]).double() / len(pairs)
        return float((at**ASKED).sum()) / SYMBOLS


def near(length: int) -> list[tuple[int, int]]:
    """All pairs of different places of a line that are at most 8 apart.

    >>> near(2)
    [(0, 1), (1, 0)]
    """
    places = range(length)
    return [(a, b) for a in places for b in places if 0 < abs(a - b) <= FARTHEST]
