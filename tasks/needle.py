"""Find the value of a key that stands somewhere in real text."""

import re

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pebench.tasks.base import IGNORE, AnswerTask, Batch, Condition, LanguageModel, draw, grid
from pebench.tasks.corpus import Split
from pebench.tasks.text import random_windows

DIGITS = 4
SENTENCE = 11  # bytes of " QX is 4821"
LEAD = 7  # of which come before the digits, and are the question
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_NEEDLES = 4


def sentences(keys: Tensor, values: Tensor) -> Tensor:
    """The bytes (..., 11) that say that each key (..., 2) is this value (..., 4), in bytes too.

    >>> bytes(sentences(torch.tensor([*b"QX"]), torch.tensor([*b"4821"])).tolist())
    b' QX is 4821'
    """
    space, verb = (torch.tensor([*part]).expand(*keys.shape[:-1], -1) for part in (b" ", b" is "))
    return torch.cat([space, keys, verb, values], dim=-1)


class Needle(AnswerTask):
    """A sentence " QX is 4821" stands in a book; at the end the question " QX is " asks for the digits.

    Length is in bytes, the question and the answer included; depth 0 is the beginning. Haystacks are windows of
    real books (training, validation and test from different ones), keys two capitals, values four digits. In
    training one to four needles stand in the text and all are asked for, in any order; under test one of one.
    Names and grid follow RULER's single needle (Hsieh et al., 2024).
    """

    name = "needle"
    title = "Needle in a book"
    family = "needle"
    vocab = 256
    gate = 0.9
    reads_text = True

    def hide(self, text: Tensor, needles: int, depth: float | None, rng: torch.Generator) -> Batch:
        """Write needles into the texts (n, length), at a depth or anywhere, and ask for each at the end."""
        n, length = text.shape
        rows = torch.arange(n)[:, None]
        initials = torch.rand(n, 26, generator=rng).argsort(dim=1)[:, :needles]  # distinct within a text
        keys = ord("A") + torch.stack([initials, torch.randint(0, 26, (n, needles), generator=rng)], dim=-1)
        values = ord("0") + torch.randint(0, 10, (n, needles, DIGITS), generator=rng)
        said = sentences(keys, values)  # (n, needles, 11)
        hay = length - needles * SENTENCE
        room = hay // needles - SENTENCE  # each needle has a stretch of its own
        where = torch.rand(n, needles, generator=rng) if depth is None else torch.full((n, needles), depth)
        starts = torch.arange(needles) * (hay // needles) + (where * room).round().long()
        for i in range(needles):
            text[rows, starts[:, i : i + 1] + torch.arange(SENTENCE)] = said[:, i]
        order = torch.rand(n, needles, generator=rng).argsort(dim=1)
        text[:, hay:] = said[rows, order].flatten(1)
        targets = torch.full_like(text, IGNORE)
        asked = hay + (torch.arange(needles) * SENTENCE)[:, None] + torch.arange(LEAD, SENTENCE)
        targets[:, asked.flatten()] = text[:, asked.flatten()]
        return Batch(text[:, :-1], targets[:, 1:])

    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        needles = draw(1, min(MOST_NEEDLES, length // (2 * SENTENCE)), rng)
        n = draw(2 * SENTENCE * needles, length, rng)
        return self.hide(
            random_windows("train", max(1, tokens // n), n, rng, self.corpus), needles, None, rng
        )

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n, "depth": depth} for n in grid(length, multiples) for depth in DEPTHS]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        text = random_windows(split, n, int(condition["length"]), rng, self.corpus)
        return self.hide(text, 1, float(condition["depth"]), rng)

    def chance(self, condition: Condition) -> float:
        return 10.0**-DIGITS

    def oracle(self) -> LanguageModel:
        def answer(tokens: Tensor) -> Tensor:
            said = torch.zeros_like(tokens)
            for row, text in enumerate(bytes(line) for line in tokens.tolist()):
                question = text[-(SENTENCE - 1) :][:LEAD]
                found = re.search(re.escape(question) + rb"(\d{4})", text)
                assert found is not None
                said[row, -DIGITS:] = torch.tensor([*found[1]])
            return one_hot(said, self.vocab).float()

        return answer
