"""Find the number that a sentence in a large text gives to a letter: asked of a model of text, untrained for it."""

import functools

import numpy as np
import torch
from torch import Tensor

from pebench.tasks.base import IGNORE, AnswerTask, Batch, Condition, LanguageModel, grid
from pebench.tasks.data.corpus import Split
from pebench.tasks.data.tokens import tokenizer
from pebench.tasks.language_tokens import TokenTask, certain

DIGITS = 4
NEEDLES = 4  # of `multi_key`
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


class NeedleTokens(TokenTask, AnswerTask):
    """Sentences " The number of Q is 4 8 2 1." stand in held-out text; at its end the same words ask for the digits.

    Length is in tokens, the question and its answer included; depth 0 is the beginning. `single` is one needle at a
    depth, `multi_key` asks for one of four (RULER, Hsieh et al., 2024, section 3.1). Keys are capitals. Nothing is
    trained: `language_tokens` trained the model. Passkeys were first hidden so by Mohtashami and Jaggi (2023, arXiv
    2305.16300).
    """

    name = "needle_tokens"
    title = "Needles in a large text, without training"
    family = "needle"
    gate = 0.6

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        lengths = grid(length, multiples)
        single: list[Condition] = [
            {"length": n, "kind": "single", "depth": depth} for n in lengths for depth in DEPTHS
        ]
        several: list[Condition] = [{"length": n, "kind": "multi_key", "needles": NEEDLES} for n in lengths]
        return [*single, *several]

    def examples(self, condition: Condition, n: int, rng: torch.Generator, split: Split) -> Batch:
        length = int(condition["length"]) + 1
        windows = np.lib.stride_tricks.sliding_window_view(self.held_out(split, length), length)
        chosen = torch.randint(0, len(windows), (n,), generator=rng)
        text = torch.from_numpy(windows[chosen.numpy()].astype(np.int64))
        needles, question = int(condition.get("needles", 1)), len(words()) - 1  # without the full stop
        hay, rows = text.shape[1] - question, torch.arange(n)[:, None]
        keys = torch.rand(n, 26, generator=rng).argsort(dim=1, stable=True)[:, :needles]
        values = torch.randint(0, 10, (n, needles, DIGITS), generator=rng)
        said = sentences(keys, values)
        room = hay // needles - len(words())  # each needle has a stretch of its own
        depth = condition.get("depth")
        where = (
            torch.full((n, needles), float(depth))
            if depth is not None
            else torch.rand(n, needles, generator=rng)
        )
        starts = torch.arange(needles) * (hay // needles) + (where * room).round().long()
        text[rows, (starts[..., None] + torch.arange(len(words()))).reshape(n, -1)] = said.reshape(n, -1)
        asked = torch.randint(0, needles, (n,), generator=rng)
        text[:, hay:] = said[torch.arange(n), asked, :question]
        targets = torch.full_like(text, IGNORE)
        targets[:, -DIGITS:] = text[:, -DIGITS:]
        return Batch(text[:, :-1], targets[:, 1:])

    def chance(self, condition: Condition) -> float:
        return 10.0**-DIGITS

    def oracle(self) -> LanguageModel:
        """Looks the question's words up in the text."""

        def answer(tokens: Tensor) -> Tensor:
            said, lead = torch.zeros_like(tokens), len(words()) - 1 - DIGITS
            for row, text in enumerate(tokens.tolist()):
                end = len(text) - (DIGITS - 1)  # the last digit is not read
                question = text[end - lead : end]
                place = next(n for n in range(end) if text[n : n + lead] == question)
                said[row, end - 1 :] = torch.tensor(text[place + lead : place + lead + DIGITS])
            return certain(said)

        return answer


@functools.cache
def words(key: str = "A", value: str = "0000") -> tuple[int, ...]:
    """The tokens of a sentence: each letter and digit is one, behind its space."""
    spaced = "".join(f" {digit}" for digit in value)
    return tuple(tokenizer().encode(f" The number of {key} is{spaced}.").ids)


def sentences(keys: Tensor, values: Tensor) -> Tensor:
    """The tokens (..., words) that say that each key (...), 0 to 25, has this value (..., 4)."""
    said = torch.tensor(words()).expand(*keys.shape, -1).clone()
    letters = torch.tensor([words(chr(ord("A") + n))[3] for n in range(26)])
    digits = torch.tensor([words(value=str(n) * DIGITS)[-2] for n in range(10)])
    said[..., 3] = letters[keys]
    said[..., -1 - DIGITS : -1] = digits[values]
    return said
