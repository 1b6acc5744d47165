import torch

from pebench.encodings.alibi import Sloped
from pebench.encodings.base import Shape
from pebench.encodings.registry import register


@register("nape")
class NAPE(Sloped):
    """Half the heads lose with distance, half see no position (Vasylenko et al., 2025).

    The slopes of the first half are 1, 1/2, 1/3 ... as in deep-spin/asentmax, not ALiBi's powers of two.
    """

    title = "Half NoPE, half ALiBi"
    paper = "arXiv:2506.16640"
    formula = (
        r"\ell_{ij} = q_i^\top k_j / \sqrt d - m_h\,(i-j),\quad "
        r"m_h = 1/h \text{ for } h \le H/2, \text{ else } 0"
    )

    def __init__(self, shape: Shape):
        slopes = torch.zeros(shape.heads)
        slopes[: shape.heads // 2] = 1 / torch.arange(1, shape.heads // 2 + 1)
        super().__init__(shape, slopes)
