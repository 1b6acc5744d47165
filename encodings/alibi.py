import torch
from torch import Tensor

from pebench.encodings.base import At, Columns, Encoding, Shape, alibi_slopes
from pebench.encodings.registry import register


class Sloped(Encoding):
    """Adds -slope * (i - j) per head: the part in i is one number for a whole row, which the softmax drops."""

    family = "additive"
    relative = True

    def __init__(self, shape: Shape, slopes: Tensor):
        super().__init__(shape)
        self.register_buffer("slopes", slopes, persistent=False)
        self.slopes: Tensor

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        column = self.slopes[:, None, None] * at.place  # (H, T, 1)
        return Columns(torch.ones_like(column), column)


@register("alibi")
class ALiBi(Sloped):
    """Far keys lose: adds -slope * (i - j) per head (Press et al., 2022, section 3).

    The part in i is the same for a whole row, so the softmax drops it. The part in j rides on the kernel as an
    extra key column.
    """

    title = "Attention with linear biases"
    paper = "arXiv:2108.12409"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - m_h\,(i-j)"

    def __init__(self, shape: Shape):
        super().__init__(shape, alibi_slopes(shape.heads))


@register("alibi_scaled")
class ScaledALiBi(Sloped):
    """ALiBi whose last slope is 4 / L, so that the slowest head looks over the same share of every training length.

    ALiBi's slopes 2^(-8h/H) are these at L = 1024. This form is ours, not the paper's.
    """

    title = "Attention with linear biases, slopes by the training length"
    paper = "arXiv:2108.12409"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - m_h\,(i-j),\quad m_h = (L/4)^{-h/H}"

    def __init__(self, shape: Shape):
        reach = max(2.0, shape.train_length / 4)
        super().__init__(shape, reach ** (-torch.arange(1, shape.heads + 1) / shape.heads))
