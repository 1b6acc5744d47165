import torch
from torch import Tensor

from pebench.encodings.base import At, Shape, rope_frequencies, rotate
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned


@register("partial_rope")
class PartialRoPE(Tuned):
    """Rotate the first quarter of the channels and leave the rest without positions (GPT-NeoX-20B).

    The frequencies are those of a head of the rotated width: 10000^(-2m/r) with r = d/4. (p-RoPE keeps the
    denominator d instead and drops the slow planes.)
    """

    title = "Partial RoPE, a quarter of the channels"
    paper = "arXiv:2204.06745"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top \big(R((j-i)\theta) \oplus I_{d-r}\big)\,k_j/\sqrt d,\quad "
        r"\theta_m = 10000^{-2m/r},\ r = d/4"
    )
    relative = True
    norm_preserving = True

    share = 0.25

    def __init__(self, shape: Shape):
        rotated = max(2, 2 * int(self.share * shape.head_dim / 2))
        super().__init__(shape, rope_frequencies(rotated))
        self.rotated = rotated

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.place * self.frequencies
        return self.rotate_first(q, angle), self.rotate_first(k, angle)

    def rotate_first(self, x: Tensor, angle: Tensor) -> Tensor:
        """Rotate the first r channels of x (B, H, T, d) by angle (T, r/2)."""
        turned, still = x.tensor_split([self.rotated], dim=-1)
        return torch.cat([rotate(turned, angle), still], dim=-1)
