"""Predict the next token of a large text, in GPT-2's byte-pair encoding."""

import functools
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

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
from pebench.tasks.data.corpus import Split
from pebench.tasks.data.tokens import END_OF_TEXT, VOCABULARY, Part, Tokens, named, tokenizer
from pebench.tasks.data.wheels import CorpusError

ASKED = 16  # tokens at the end of a window that a record shows the guesses of
ASIDE = 8  # the first of so many parts of the held-out text is of the gate, the others of the test


class TokenTask(Task):
    """A task over the tokens of a folder of shards; `corpus` is that folder.

    The vocabulary has the size of the GRAPE reference's: GPT-2's 50,257 tokens, rounded up to a multiple of 64.
    """

    vocab = 50304
    family = "language"
    reads_text = True

    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        rows = self.drawn("train", max(1, tokens // length), length + 1, rng)
        return Batch(rows[:, :-1], rows[:, 1:])

    def drawn(self, part: Part, n: int, length: int, rng: torch.Generator) -> Tensor:
        """n random rows (n, length) of this part."""
        seed = int(torch.randint(2**62, (), generator=rng))
        return shards(self.corpus, part).rows(n, length, seed, 0)

    def held_out(self, split: Split, length: int) -> np.ndarray:
        """The held-out tokens (n,) of a split. CorpusError where it has fewer than `length`."""
        text = held_out(self.corpus)
        aside = len(text) // ASIDE
        part = text[:aside] if split == "valid" else text[aside:]
        if len(part) < length:
            raise CorpusError(
                f"{self.corpus} holds out {len(text):,} tokens, and {ASIDE * length:,} are needed to measure at "
                f"{length - 1:,}; tokenise more text"
            )
        return part

    def word(self, token: int) -> str:
        return (
            tokenizer().decode([token], skip_special_tokens=False)
            if token < VOCABULARY
            else "\N{REPLACEMENT CHARACTER}"
        )


class LanguageTokens(TokenTask):
    """Bits per byte and loss a token of documents that were not trained on, at the training length and beyond.

    Windows are disjoint, and the same tokens are scored at every length, so a difference between two lengths comes
    from the context alone. `bits_at` splits the windows by position. A token's bytes are those that it decodes to. The
    floor is the loss of the token frequencies of the first training shard.
    """

    name = "language_tokens"
    title = "Loss on tokens of a large text"
    gate = 0.25

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        lengths = grid(length, multiples)
        return [{"length": n, "of": max(lengths)} for n in lengths if max(lengths) % n == 0]

    def stretches(self, n: int, split: Split, length: int) -> Tensor:
        """n held-out pieces (n, length + 1), spread evenly; `valid` and `test` share none, whatever their lengths."""
        text = self.held_out(split, length + 1)
        places = torch.arange((len(text) - 1) // length)
        chosen = places[torch.linspace(0, len(places) - 1, min(n, len(places))).long()]
        rows = [text[start : start + length + 1] for start in (length * chosen).tolist()]
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def windows(self, n: int, split: Split, condition: Condition) -> Batch:
        """The windows (m, length) of a condition."""
        length = int(condition["length"])
        text = self.stretches(n, split, int(condition.get("of", length)))
        return Batch(text[:, :-1].reshape(-1, length), text[:, 1:].reshape(-1, length))

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        tokens, targets = self.windows(n, split, condition)
        size = max(1, TOKENS_AT_ONCE // tokens.shape[1])
        pairs = zip(tokens.split(size), targets.split(size), strict=True)
        nats = torch.cat([cross_entropy(lm(x).float().mT, y, reduction="none") for x, y in pairs])
        bits, width = nats / math.log(2), byte_counts()[targets]
        floor = -unigram(self.corpus)[targets].sum() / math.log(2)
        whole = int(width.sum())
        scores = [
            Score("bits_per_byte", bits.sum().item() / whole, whole, condition, floor.item() / whole, 0.0),
            Score("loss", nats.mean().item(), nats.numel(), condition),
        ]
        start, end = 0, 16
        while start < tokens.shape[1]:
            count = int(width[:, start:end].sum())
            place = {**condition, "position": start}
            scores.append(Score("bits_at", bits[:, start:end].sum().item() / max(1, count), count, place))
            start, end = end, 2 * end
        return scores

    def items(
        self, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> Batch | None:
        """The last tokens of the first windows are asked for."""
        tokens, targets = (part[:SHOWN].clone() for part in self.windows(n, split, condition))
        targets[:, :-ASKED] = IGNORE
        return Batch(tokens, targets)

    def oracle(self) -> LanguageModel:
        """Knows the held-out text: gives each token that follows a probability of one."""
        return knowing(held_out(self.corpus))


@functools.cache
def shards(corpus: Path | None, part: Part) -> Tokens:
    """The shards of a part. CorpusError where no folder is named, or it holds none."""
    return Tokens(named(corpus), part)


@functools.cache
def held_out(corpus: Path | None) -> np.ndarray:
    """The tokens (n,) uint16 of all documents that are not trained on, in their order."""
    return np.concatenate(shards(corpus, "valid").shards)


@functools.cache
def unigram(corpus: Path | None) -> Tensor:
    """Log-frequency (nats) of each token in the first training shard, with one count added to each."""
    counts = np.bincount(shards(corpus, "train").shards[0], minlength=TokenTask.vocab) + 1
    return torch.from_numpy(np.log(counts / counts.sum())).float()


@functools.cache
def byte_counts() -> Tensor:
    """How many bytes (vocab,) each token decodes to; the end of a text and the padding none."""
    counts = torch.zeros(TokenTask.vocab, dtype=torch.long)
    for piece, token in tokenizer().get_vocab().items():
        if token != END_OF_TEXT:
            counts[token] = len(piece)  # GPT-2 writes each byte as one character
    return counts


def knowing(text: np.ndarray) -> LanguageModel:
    """A model that knows a text (n,) uint16: each token behind a stretch of it has a probability of one."""
    data = text.astype(np.uint16).tobytes()

    def last(row: bytes) -> int:
        place = data.find(row)
        while place > 0 and place % 2:  # in the middle of a token
            place = data.find(row, place + 1)
        end = place + len(row)
        return int(text[end // 2]) if place >= 0 and end < len(data) else END_OF_TEXT

    def answer(tokens: Tensor) -> Tensor:
        following = torch.zeros_like(tokens)
        for row, line in enumerate(tokens.numpy().astype(np.uint16)):
            read = np.trim_zeros(line, "b")  # without padding, which looks like a token of many texts
            read = read if len(read) and data.find(read.tobytes()) >= 0 else line
            following[row, : len(read)] = torch.tensor([*read[1:].tolist(), last(read.tobytes())])
        return certain(following)

    return answer


def certain(tokens: Tensor) -> Tensor:
    """Logits (B, T, vocab) that give each of these tokens (B, T) a probability of one."""
    return torch.zeros(*tokens.shape, TokenTask.vocab).scatter_(-1, tokens[..., None], 1e4)
