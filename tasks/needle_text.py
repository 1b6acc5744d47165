"""One model for a text and for needles hidden in it: bits per byte, and needles."""

import torch

from pebench.tasks.base import Batch, Condition, LanguageModel, Score, draw, grid
from pebench.tasks.data.corpus import Split
from pebench.tasks.language import BEGIN, STRETCH, Language
from pebench.tasks.needle import Needle

DEPTHS = (0.0, 0.5, 1.0)
STRETCHES = (
    8  # of the needles' number of examples, one in so many pieces of text is scored: each has 4096 bytes
)
TEXT = "text"


class NeedleText(Needle):
    """`needle` and `language` in one model: half of the batches score all bytes of a book, half find needles.

    A text begins with a zero byte, as in `language`; a haystack does not. Needles are single at the beginning, middle
    and end, and as many as fit (`multi_key`). The gate is passed where single needles are found and the text is
    learned, whether or not several needles are told apart.
    """

    name = "needle_text"
    title = "Needles and text in one model"

    def training(self, length: int, tokens: int, rng: torch.Generator) -> Batch:
        task = Language(self.corpus).training if draw(0, 1, rng) else super().training
        return task(length, tokens, rng)

    def conditions(self, length: int, multiples: tuple[float, ...]) -> list[Condition]:
        lengths = grid(length, multiples)
        single: list[Condition] = [
            {"length": n, "kind": "single", "depth": depth} for n in lengths for depth in DEPTHS
        ]
        several: list[Condition] = [
            {"length": n, "kind": "multi_key", "needles": self.most(length)} for n in lengths
        ]
        text: list[Condition] = [{"length": n, "kind": TEXT} for n in lengths if STRETCH % n == 0]
        return [*single, *several, *text]

    def items(
        self, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> Batch | None:
        if condition["kind"] == TEXT:
            return Language(self.corpus).items(condition, max(1, n // STRETCHES), rng, split)
        return super().items(condition, n, rng, split)

    def measure(
        self, lm: LanguageModel, condition: Condition, n: int, rng: torch.Generator, split: Split = "test"
    ) -> list[Score]:
        if condition["kind"] == TEXT:
            return Language(self.corpus).measure(lm, condition, max(1, n // STRETCHES), rng, split)
        return super().measure(lm, condition, n, rng, split)

    def oracle(self) -> LanguageModel:
        needles, text = super().oracle(), Language(self.corpus).oracle()

        def answer(tokens: torch.Tensor) -> torch.Tensor:
            return text(tokens) if int(tokens[0, 0]) == BEGIN else needles(tokens)

        return answer
