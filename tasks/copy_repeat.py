"""Say a string of few symbols again."""

from pebench.tasks.algorithmic import FIRST
from pebench.tasks.copy import Copy


class CopyRepeat(Copy):
    """BOS s SEP s, with symbols uniform over four; trained on strings of 1 to L symbols.

    Most symbols, pairs and triples occur several times, so the symbols before do not tell where to read on: a model
    must count places. Theory predicts that this does not generalise (Huang et al., 2024, arXiv 2410.02140, "copy
    repeat"): a negative control.

    >>> import torch
    >>> CopyRepeat().answer(torch.tensor([[4, 4, 2]]))
    tensor([[4, 4, 2]])
    """

    name = "copy_repeat"
    title = "Copy four symbols"
    symbols = 4
    vocab = FIRST + symbols
