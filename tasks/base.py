"""What a task is: batches to train on, conditions to measure under, an oracle and a content-free floor.

A task knows nothing of encodings and models. It sees a language model as a function from tokens (B, T) to logits
(B, T, vocab). So its oracle is measured through the very same path. Randomness is always the caller's: the same
generator state gives the same tokens, on every platform.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pebench.suite.results.record import Condition, Score
from pebench.tasks.data.corpus import Split

IGNORE = -100  # a target that is not asked for; cross_entropy's own convention
LanguageModel = Callable[[Tensor], Tensor]

# Tokens that are scored in one forward pass: bounds the memory of evaluation at any length.
TOKENS_AT_ONCE = 8192
SHOWN = 3  # test items of a condition whose answers a record keeps
BLANK = -1  # in a text for people: the place of an answer


class Batch(NamedTuple):
    """`tokens` (B, T) go in; position t must predict `targets[:, t]`, or nothing where that is IGNORE."""

    tokens: Tensor
    targets: Tensor


class Task(ABC):
    """A learned task. Its meaning never changes: a better one gets a new name."""

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    vocab: ClassVar[int]
    gate: ClassVar[float]  # normalised score on the training distribution from which it counts as learned
    reads_text: ClassVar[bool] = False
    fed_back: ClassVar[bool] = True  # whether the model reads each right answer before the next

    def __init__(self, corpus: Path | None = None):
        self.corpus = corpus  # None: books-v1

    def context(self, length: int) -> int:
        """How many tokens the model reads at this length."""
        return length

    @abstractmethod
    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        """A batch of about `tokens` tokens, of one length that is drawn anew for each batch, at most `length`."""

    @abstractmethod
    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        """The conditions to measure after training at `length`; each condition has at least the key `length`."""

    @abstractmethod
    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        """Score `n` examples under a condition.

        `split` "valid" is drawn apart from "test", and its text is by other authors. Where there are few examples
        at all, as with short words of `permutation`, the same ones come in both and in training.
        """

    @abstractmethod
    def items(
        self, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> Batch | None:
        """The first three of the `n` examples that `measure` scores, to be shown; None where nothing can be.

        A text without questions asks for its last bytes here.
        """

    @abstractmethod
    def oracle(self) -> LanguageModel:
        """A function in the place of the model that always knows the answer."""

    def word(self, token: int) -> str:
        """How a person reads a token: here as a byte.

        >>> from pebench.tasks import make
        >>> make("language").text([72, 105, BLANK]), make("copy").text([0, 2, 3, 1, BLANK])
        ('Hi_', 'start a b = _')
        """
        return chr(token) if 0 < token < 128 else "\N{REPLACEMENT CHARACTER}"

    def text(self, tokens: Iterable[int]) -> str:
        """How a person reads tokens; `_` stands for BLANK."""
        return ("" if self.reads_text else " ").join("_" if t == BLANK else self.word(t) for t in tokens)


class AnswerTask(Task):
    """A task whose examples end in an answer: exact match of the whole answer first, then per token."""

    @abstractmethod
    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        """`n` examples under a condition, all of one length."""

    @abstractmethod
    def chance(self, condition: Condition) -> float:
        """Exact match of the best predictor that does not read the input."""

    def items(
        self, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> Batch | None:
        tokens, targets = self.examples(condition, n, rng, split)
        return Batch(tokens[:SHOWN], targets[:SHOWN])

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        """Teacher-forced: a whole answer is right exactly where greedy decoding would give it."""
        asked = right = exact = 0
        batch = self.examples(condition, n, rng, split)
        size = max(1, TOKENS_AT_ONCE // batch.tokens.shape[1])
        for tokens, targets in zip(batch.tokens.split(size), batch.targets.split(size), strict=True):
            hidden = targets == IGNORE
            hit = lm(tokens).argmax(-1) == targets
            asked += int((~hidden).sum())
            right += int(hit.sum())
            exact += int((hit | hidden).all(1).sum())
        return [
            Score("exact", exact / n, n, condition, self.chance(condition), 1.0),
            Score("per_token", right / asked, asked, condition),
        ]


def grid(length: int, multiples: tuple[float, ...]) -> list[int]:
    """The lengths at which a model trained at `length` is measured.

    >>> grid(16, (1, 1.5, 8))
    [16, 24, 128]
    """
    return [round(length * m) for m in multiples]


def draw(low: int, high: int, rng: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def draw_long(low: int, high: int, rng: torch.Generator) -> int:
    """The greater of two draws: all lengths occur, but fewer steps go to short ones, which are soon learned."""
    return max(draw(low, high, rng), draw(low, high, rng))
