"""Tasks whose examples are computed, not read from a text: what they share."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pebench.tasks.base import IGNORE, AnswerTask, Batch, Condition, LanguageModel
from pebench.tasks.data.corpus import Split

BEGIN, SEPARATOR, FIRST = 0, 1, 2  # FIRST: of the symbols that belong to the task


def asking(question: Tensor, answer: Tensor) -> Batch:
    """BOS question SEP answer, for questions (B, q) and answers (B, a): q + a + 1 tokens, the answer asked for.

    >>> asking(torch.tensor([[7, 5]]), torch.tensor([[9]]))
    Batch(tokens=tensor([[0, 7, 5, 1]]), targets=tensor([[-100, -100, -100,    9]]))
    """
    begin, separator = (torch.full((len(question), 1), symbol) for symbol in (BEGIN, SEPARATOR))
    tokens = torch.cat([begin, question, separator, answer], dim=1)
    targets = tokens[:, 1:].clone()
    targets[:, : question.shape[1] + 1] = IGNORE
    return Batch(tokens[:, :-1], targets)


def question_of(tokens: Tensor) -> Tensor:
    """What stands between BOS and SEP, (B, q), in tokens that all ask a question of one length."""
    return tokens[:, 1 : int((tokens[0] == SEPARATOR).nonzero()[0])]


def shuffles(rows: int, n: int, rng: torch.Generator) -> Tensor:
    """A random order of n things in each row, (rows, n)."""
    return torch.rand(rows, n, generator=rng, dtype=torch.float64).argsort(dim=1)


class AlgorithmicTask(AnswerTask):
    """Trained on conditions that are drawn, a new one for each batch."""

    @abstractmethod
    def lesson(self, length: int, rng: torch.Generator) -> Condition:
        """A condition of the training distribution, of a length up to `length`."""

    @abstractmethod
    def size(self, condition: Condition) -> int:
        """How many tokens the model reads in an example."""

    @abstractmethod
    def solve(self, tokens: Tensor) -> Tensor:
        """The right symbol (B, T) wherever one is asked for, worked out from the tokens (B, T)."""

    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        condition = self.lesson(length, rng)
        return self.examples(condition, max(1, tokens // self.size(condition)), rng, "train")

    def word(self, token: int) -> str:
        return {BEGIN: "start", SEPARATOR: "="}.get(token) or str(token - FIRST)

    def oracle(self) -> LanguageModel:
        return lambda tokens: one_hot(self.solve(tokens), self.vocab).float()


class QuestionTask(AlgorithmicTask):
    """BOS question SEP answer."""

    @abstractmethod
    def questions(self, condition: Condition, n: int, rng: torch.Generator) -> Tensor:
        """`n` questions (n, q)."""

    @abstractmethod
    def answer(self, question: Tensor) -> Tensor:
        """The answers (B, a) to questions (B, q)."""

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        question = self.questions(condition, n, rng)
        return asking(question, self.answer(question))

    def solve(self, tokens: Tensor) -> Tensor:
        answer = self.answer(question_of(tokens))
        said = torch.zeros_like(tokens)
        said[:, -answer.shape[1] :] = answer
        return said
