"""Find the value of a key that stands somewhere in real text."""

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from pebench.tasks.base import IGNORE, AnswerTask, Batch, Condition, LanguageModel, draw, grid
from pebench.tasks.data.corpus import Split
from pebench.tasks.data.text import random_windows

DIGITS = 4
SENTENCE = 10  # bytes of " Q is 4821"
LEAD = 6  # of which come before the digits, and are the question
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST_NEEDLES = 4
KINDS = ("multi_key", "multi_query", "multi_value")


def sentences(keys: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bytes (..., 10) that say that each key (...) is this value (..., 4), in bytes too.

    >>> bytes(sentences(np.array(ord("Q")), np.array([*b"4821"])).tolist())
    b' Q is 4821'
    """
    said = np.empty((*keys.shape, SENTENCE), dtype=np.int64)
    said[...] = np.frombuffer(b" ? is 0000", dtype=np.uint8)
    said[..., 1], said[..., LEAD:] = keys, values
    return said


def order(n: int, things: int, rng: torch.Generator) -> NDArray[np.int64]:
    """A random order of these things in each of n rows. The sort is stable, as PyTorch's is: some numbers are equal."""
    return torch.rand(n, things, generator=rng).numpy().argsort(axis=1, kind="stable")


class Needle(AnswerTask):
    """Sentences " Q is 4821" stand in a book; at the end the question " Q is " asks for the digits.

    Length is in bytes, the questions and answers included; depth 0 is the beginning. Haystacks are windows of real
    books (training, validation and test from different ones), keys one capital, values four digits. In training
    one to four needles stand in the text and all are asked for in any order. A fifth of the time all have one key,
    and are asked for in the order of the text. Names and grid follow RULER (Hsieh et al., 2024, section 3.1):
    `single` is one needle at a depth. The others have as many needles as fit the training length, up to four:
    `multi_key` asks for one of them, `multi_query` for all, and `multi_value` for all values of one key. A model
    that finds single needles passes the gate: they are five of the eight conditions at a length. Most encodings
    find single needles long before they tell two apart.
    """

    name = "needle"
    title = "Needle in a book"
    family = "needle"
    vocab = 256
    gate = 0.6
    reads_text = True

    def hide(
        self, text: Tensor, needles: int, rng: torch.Generator, depth: float | None = None, kind: str = ""
    ) -> Batch:
        """Write needles into the texts (n, length), at a depth or anywhere, and ask for them at the end."""
        n, length = text.shape
        asked = 1 if kind == "multi_key" else needles
        bytes_, rows = text.numpy(), np.arange(n)[:, None]
        keys = ord("A") + order(n, 26, rng)[:, :needles]  # distinct within a text
        if kind == "multi_value":
            keys = keys[:, :1].repeat(needles, axis=1)
        values = ord("0") + torch.randint(0, 10, (n, needles, DIGITS), generator=rng).numpy()
        said = sentences(keys, values)  # (n, needles, 10)
        hay = length - asked * SENTENCE
        room = hay // needles - SENTENCE  # each needle has a stretch of its own
        where = torch.rand(n, needles, generator=rng) if depth is None else torch.full((n, needles), depth)
        starts = np.arange(needles) * (hay // needles) + (where * room).round().long().numpy()
        bytes_[rows, (starts[..., None] + np.arange(SENTENCE)).reshape(n, -1)] = said.reshape(n, -1)
        chosen = order(n, needles, rng)[:, :asked]
        if kind == "multi_value":
            chosen = np.arange(needles)[None]
        bytes_[:, hay:] = said[rows, chosen].reshape(n, -1)
        targets = np.full_like(bytes_, IGNORE)
        answers = targets[:, hay:].reshape(n, asked, SENTENCE)
        answers[..., LEAD:] = bytes_[:, hay:].reshape(n, asked, SENTENCE)[..., LEAD:]
        targets[:, hay:] = answers.reshape(n, -1)
        return Batch(text[:, :-1], torch.from_numpy(targets)[:, 1:])

    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        needles = draw(1, self.most(length), rng)
        n = draw(2 * SENTENCE * needles, length, rng)
        kind = "multi_value" if draw(0, 4, rng) == 0 else "multi_query"
        text = random_windows("train", max(1, tokens // n), n, rng, self.corpus)
        return self.hide(text, needles, rng, kind=kind)

    def most(self, length: int) -> int:
        """How many needles and their questions fit this length, up to four."""
        return min(MOST_NEEDLES, length // (2 * SENTENCE))

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        lengths = grid(length, multiples)
        single: list[Condition] = [
            {"length": n, "kind": "single", "depth": depth} for n in lengths for depth in DEPTHS
        ]
        several: list[Condition] = [
            {"length": n, "kind": kind, "needles": self.most(length)} for n in lengths for kind in KINDS
        ]
        return [*single, *several]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        text = random_windows(split, n, int(condition["length"]), rng, self.corpus)
        if condition["kind"] == "single":
            return self.hide(text, 1, rng, float(condition["depth"]))
        return self.hide(text, int(condition["needles"]), rng, kind=str(condition["kind"]))

    def chance(self, condition: Condition) -> float:
        several = condition["kind"] in ("multi_query", "multi_value")
        return 10.0 ** -(DIGITS * int(condition["needles"]) if several else DIGITS)

    def oracle(self) -> LanguageModel:
        def answer(tokens: Tensor) -> Tensor:
            said = torch.zeros_like(tokens)
            for row, text in enumerate(
                bytes(line) + b"0" for line in tokens.tolist()
            ):  # the last digit is cut
                places: dict[bytes, list[int]] = {}
                for sentence in re.finditer(rb" ([A-Z]) is \d{4}", text):
                    places.setdefault(sentence[1], []).append(sentence.end() - DIGITS)
                for here in places.values():  # the first half are needles, the other half their questions
                    half = len(here) // 2
                    for needle, question in zip(here[:half], here[half:], strict=False):
                        said[row, question - 1 : question - 1 + DIGITS] = torch.tensor(
                            [*text[needle : needle + DIGITS]]
                        )
            return one_hot(said, self.vocab).float()

        return answer
