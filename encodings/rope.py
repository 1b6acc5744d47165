from torch import Tensor

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies, rotate
from pebench.encodings.registry import register


@register("rope")
class RoPE(Encoding):
    """Rotate each plane of q and k by position times frequency (Su et al., 2021, section 3.2.2).

    Planes are the half-split pairs (m, m + d/2), as in GPT-NeoX and Llama.
    """

    title = "Rotary position embedding"
    paper = "arXiv:2104.09864"
    family = "multiplicative"
    formula = r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad \theta_m = 10000^{-2m/d}"
    relative = True
    norm_preserving = True

    base = 10_000.0

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("frequencies", rope_frequencies(shape.head_dim, self.base), persistent=False)
        self.frequencies: Tensor

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.pos[:, None] * self.frequencies
        return rotate(q, angle), rotate(k, angle)
