"""What the model that `language_tokens` trained answers where several answers are given, asked through lm-eval."""

import numpy as np
import torch

from pebench.tasks.base import Condition, LanguageModel, Score, grid
from pebench.tasks.data.corpus import Split
from pebench.tasks.data.tokens import END_OF_TEXT, tokenizer
from pebench.tasks.language_tokens import LanguageTokens, knowing
from pebench.tasks.lm_eval.questions import SOURCES, questions

GATE = 8  # stretches of text that the gate is measured on: it is that of `language_tokens`


class HarnessTokens(LanguageTokens):
    """The seven tasks of the GRAPE paper's evaluation (section 6, table 1), zero-shot, over GPT-2's tokens.

    The likeliest answer is the model's, and the floor of the accuracy is chance. The model reads at most `length`
    tokens of a question and its answer, the last ones. Nothing is trained: `language_tokens` trained the model.
    """

    name = "harness_tokens"
    title = "Forced choice by a model of tokens: the seven tasks of the GRAPE paper"

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        return [{"length": n, "task": name} for n in grid(length, multiples) for name in SOURCES]

    def items(self, condition: Condition, n: int, rng: torch.Generator, split: Split = "test") -> None:
        return None

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        if split == "valid":  # the gate: whether it learned the language
            return super().measure(lm, condition, min(n, GATE), rng, split)
        from pebench.tasks.lm_eval.token_reader import TokenReader, forced_choice

        return forced_choice(
            TokenReader(lm, False, int(condition["length"])), str(condition["task"]), n, condition
        )

    def oracle(self) -> LanguageModel:
        """Knows every question with its right answer."""
        text = [END_OF_TEXT]
        for name in SOURCES:
            for q in questions(name):
                text += [*tokenizer().encode(q.contexts[q.gold] + q.choices[q.gold]).ids, END_OF_TEXT]
        return knowing(np.array(text, np.uint16))
