"""Say a random string again."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pebench.tasks.base import IGNORE, AnswerTask, Batch, Condition, LanguageModel, draw, grid
from pebench.tasks.corpus import Split

BEGIN, SEPARATOR, FIRST = 0, 1, 2


def copying(strings: Tensor) -> Batch:
    """The examples that ask for these strings (B, n), of 2n + 1 tokens.

    >>> copying(torch.tensor([[7, 5]]))
    Batch(tokens=tensor([[0, 7, 5, 1, 7]]), targets=tensor([[-100, -100, -100,    7,    5]]))
    """
    size, n = strings.shape
    begin, separator = (torch.full((size, 1), symbol) for symbol in (BEGIN, SEPARATOR))
    tokens = torch.cat([begin, strings, separator, strings], dim=1)
    targets = tokens[:, 1:].clone()
    targets[:, : n + 1] = IGNORE
    return Batch(tokens[:, :-1], targets)


class Copy(AnswerTask):
    """BOS s SEP s, with symbols uniform over 30; trained on strings of 1 to L symbols.

    Exact match tells who finds the token n + 1 places back when n was never seen (Kazemnejad et al., 2023).
    """

    name = "copy"
    title = "Copy a random string"
    family = "copying"
    symbols = 30
    vocab = FIRST + symbols
    gate = 0.9

    def context(self, length: int) -> int:
        return 2 * length + 1

    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        n = draw(1, length, rng)
        return copying(self.strings(n, max(1, tokens // (2 * n + 1)), rng))

    def strings(self, length: int, n: int, rng: torch.Generator) -> Tensor:
        return torch.randint(FIRST, self.vocab, (n, length), generator=rng)

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples)]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        return copying(self.strings(int(condition["length"]), n, rng))

    def chance(self, condition: Condition) -> float:
        return float(self.symbols) ** -int(condition["length"])

    def oracle(self) -> LanguageModel:
        def answer(tokens: Tensor) -> Tensor:
            n = int((tokens[0] == SEPARATOR).nonzero()[0]) - 1  # tokens: BOS s SEP s without its last symbol
            said = torch.zeros_like(tokens)
            said[:, n + 1 :] = tokens[:, 1 : n + 1]
            return one_hot(said, self.vocab).float()

        return answer
