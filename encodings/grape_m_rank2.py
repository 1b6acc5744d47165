import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies
from pebench.encodings.registry import register


@register("grape_m_rank2")
class GrapeMRank2(Encoding):
    """One learned plane per head turns with the position, all else is still (GRAPE, section 2.3).

    exp(n w L) of the generator L = a b^T - b a^T by Rodrigues' formula, in O(d) and without a matrix. Only the
    plane of a and b and the speed w |a||b| sin(a, b) matter. So a and b are made orthonormal at use: then L L =
    -(a a^T + b b^T). Planes start at random, speeds as a RoPE spectrum over the heads. No official code.
    """

    title = "GRAPE-M, one plane per head"
    paper = "arXiv:2512.07805"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top e^{(j-i)\omega L} k_j/\sqrt d,\quad "
        r"e^{\phi L} = I + \sin\phi\,L + (1-\cos\phi)\,L^2,\ L = ab^\top - ba^\top"
    )
    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.log_frequencies = nn.Parameter(rope_frequencies(2 * shape.heads).log().repeat(shape.layers, 1))
        self.plane = nn.Parameter(torch.randn(shape.layers, shape.heads, 2, shape.head_dim))

    def spectrum(self) -> Tensor:
        return self.log_frequencies.exp()

    def retune(self, frequencies: Tensor) -> None:
        self.log_frequencies.copy_(frequencies.log())

    def axes(self, layer: int) -> tuple[Tensor, Tensor]:
        """Orthonormal a and b of each head, (H, d, 1) each."""
        a, b = self.plane[layer].unbind(1)
        a = normalize(a, dim=-1)
        b = normalize(b - (a * b).sum(-1, keepdim=True) * a, dim=-1)
        return a[..., None], b[..., None]

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        a, b = self.axes(at.layer)
        angle = at.place * self.log_frequencies[at.layer].exp()[:, None, None]  # (H, T, 1)
        return turn(q, a, b, angle), turn(k, a, b, angle)


def turn(x: Tensor, a: Tensor, b: Tensor, angle: Tensor) -> Tensor:
    """exp(angle L) x for x (..., T, d), orthonormal a and b (..., d, 1) and angle (..., T, 1)."""
    u, v = x.float() @ a, x.float() @ b
    half = (angle / 2).sin()
    moved = angle.sin() * (v * a.mT - u * b.mT) - 2 * half * half * (u * a.mT + v * b.mT)  # 1 - cos = 2 sin^2
    return (x.float() + moved).type_as(x)
