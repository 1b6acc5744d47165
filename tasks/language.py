"""Predict the next byte of real books."""

import functools
import math
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from pebench.tasks.base import (
    IGNORE,
    SHOWN,
    TOKENS_AT_ONCE,
    Batch,
    Condition,
    LanguageModel,
    Score,
    Task,
    grid,
)
from pebench.tasks.data.corpus import CorpusError, Split, byte_tensor
from pebench.tasks.data.text import joined, random_windows

STRETCH = 4096  # bytes that are scored in one piece, cut into windows of the length under test
ASKED = 16  # bytes at the end of a window that a record shows the guesses of
BEGIN = 0  # a byte that no text has, in front of every window, so that all of its bytes are scored


class Language(Task):
    """Bits per byte of books that were not trained on, at the training length and beyond.

    Evaluation windows are disjoint, and the same bytes are scored at every length, so a difference between
    two lengths comes from the context alone. `bits_at` splits the longest windows by position: a gain that
    is only the vanishing share of early bytes shows there.
    """

    name = "language"
    title = "Bits per byte of books"
    family = "language"
    vocab = 256
    gate = 0.25
    reads_text = True

    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        return windows(random_windows("train", max(1, tokens // length), length, rng, self.corpus))

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n} for n in grid(length, multiples) if STRETCH % n == 0]

    def stretches(self, n: int, split: Split) -> Tensor:
        """n pieces (n, 4096) of this split, spread evenly over its documents, never across two of them."""
        pieces = [
            doc[: len(doc) // STRETCH * STRETCH].view(-1, STRETCH) for doc in byte_tensor(split, self.corpus)
        ]
        everything = torch.cat(pieces)
        if not len(everything):
            raise CorpusError(f"no document of the {split} text has {STRETCH} bytes; add longer ones")
        return everything[torch.linspace(0, len(everything) - 1, min(n, len(everything))).long()].long()

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        data = windows(self.stretches(n, split).view(-1, int(condition["length"])))
        return self.scores(self.bits(lm, data), data.targets, condition)

    def items(
        self, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> Batch | None:
        """The last bytes of the first windows are asked for."""
        tokens, targets = windows(self.stretches(n, split).view(-1, int(condition["length"]))[:SHOWN])
        targets = targets.clone()
        targets[:, :-ASKED] = IGNORE
        return Batch(tokens, targets)

    def bits(self, lm: LanguageModel, data: Batch) -> Tensor:
        """Bits (n, length) of each byte of a batch."""
        size = max(1, TOKENS_AT_ONCE // data.tokens.shape[1])
        pieces = zip(data.tokens.split(size), data.targets.split(size), strict=True)
        return torch.cat(
            [
                cross_entropy(lm(tokens).float().mT, targets, reduction="none") / math.log(2)
                for tokens, targets in pieces
            ]
        )

    def scores(self, bits: Tensor, text: Tensor, condition: Condition) -> list[Score]:
        """What a model with these bits (n, length) scores on this text (n, length)."""
        length = bits.shape[1]
        scores = [Score("bits_per_byte", bits.mean().item(), bits.numel(), condition, self.floor(text), 0.0)]
        start, end = 0, 16
        while start < length:
            part = bits[:, start:end]
            scores.append(
                Score("bits_at", part.mean().item(), part.numel(), {**condition, "position": start})
            )
            start, end = end, 2 * end
        return scores

    def floor(self, text: Tensor) -> float:
        """Bits per byte of the best predictor that reads no context: byte frequencies of the training text."""
        return -unigram(self.corpus)[text].mean().item()

    def oracle(self) -> LanguageModel:
        """Knows the books: gives each byte that follows a probability of one."""

        @functools.cache
        def last_bytes(length: int) -> dict[bytes, int]:
            books = torch.cat([self.stretches(sys.maxsize, split) for split in ("valid", "test")])
            return {bytes(window[:-1]): window[-1] for window in books.view(-1, length).tolist()}

        def answer(tokens: Tensor) -> Tensor:
            last = last_bytes(tokens.shape[1])
            following = torch.tensor([[*line[1:], last[bytes(line[1:])]] for line in tokens.tolist()])
            return one_hot(following, self.vocab) * 1e4

        return answer


def windows(text: Tensor) -> Batch:
    """Every byte of text (n, length) is predicted from those before it.

    >>> windows(torch.tensor([[72, 105]]))
    Batch(tokens=tensor([[ 0, 72]]), targets=tensor([[ 72, 105]]))
    """
    begin = torch.full((len(text), 1), BEGIN)
    return Batch(torch.cat([begin, text[:, :-1]], dim=1), text)


@functools.cache
def unigram(corpus: Path | None) -> Tensor:
    """log2 of the byte frequencies (256,) of the training text, with one count added to each byte."""
    counts = torch.bincount(joined("train", corpus).long(), minlength=256) + 1
    return (counts.double() / counts.sum()).log2()
