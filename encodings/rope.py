from torch import Tensor

from pebench.encodings.base import At, Shape, rope_frequencies, rotate
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned


class Rotary(Tuned):
    """Rotates each plane (m, m + d/2) of q and k by position times a fixed frequency."""

    family = "multiplicative"
    relative = True
    norm_preserving = True

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.place * self.frequencies
        return rotate(q, angle), rotate(k, angle)


@register("rope")
class RoPE(Rotary):
    """Rotate each plane of q and k by position times frequency (Su et al., 2021, section 3.2.2).

    Planes are the half-split pairs (m, m + d/2), as in GPT-NeoX and Llama.
    """

    title = "Rotary position embedding"
    paper = "arXiv:2104.09864"
    formula = r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad \theta_m = 10000^{-2m/d}"

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))
