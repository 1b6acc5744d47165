"""Predict the next byte of real books, and the last bytes of long windows by themselves."""

from torch import Tensor

from pebench.tasks.base import Condition, Score
from pebench.tasks.language import Language

LAST = 64  # bytes at the end of a window


class LanguageEnds(Language):
    """`language`, and beside the mean over a window the bits per byte of its last 64 bytes.

    In a mean over a long window most bytes have less context than the window is long; the last have all of it. The
    protocol is DAPE's (Zheng et al., 2024, arXiv 2405.14722), with 64 bytes in the place of 256 tokens. At L
    and beyond L are quantities of their own on the board (`at_length`, `beyond`).
    """

    name = "language_ends"
    title = "Bits per byte of books, and of their last bytes"
    gate = 0.2

    def scores(self, bits: Tensor, text: Tensor, condition: Condition) -> list[Score]:
        mean, *positions = super().scores(bits, text, condition)
        ends, floor = bits[:, -LAST:], self.floor(text[:, -LAST:])
        return [mean, Score("bits_last", ends.mean().item(), ends.numel(), condition, floor, 0.0), *positions]
