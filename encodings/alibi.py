import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Shape, alibi_slopes, widen
from pebench.encodings.registry import register


@register("alibi")
class ALiBi(Encoding):
    """Far keys lose: adds -slope * (i - j) per head (Press et al., 2022, section 3).

    The part in i is the same for a whole row, so the softmax drops it; the part in j rides on the kernel
    as an extra key column.
    """

    title = "Attention with linear biases"
    paper = "arXiv:2108.12409"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - m_h\,(i-j)"
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.heads), persistent=False)
        self.slopes: Tensor

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        column = self.slopes[:, None, None] * at.pos[:, None]  # (H, T, 1)
        return widen(q, k, torch.ones_like(column), column, self.shape.scale)
