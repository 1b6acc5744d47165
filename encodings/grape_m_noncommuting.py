import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies
from pebench.encodings.registry import register


@register("grape_m_noncommuting")
class GrapeMNoncommuting(Encoding):
    """A dense generator in a learned subspace of half the channels (GRAPE, appendix D).

    L = E L_r E^T with r orthonormal columns E and a skew L_r: the sum of planes that do not commute,
    exponentiated at once. exp(nL) = I + E (exp(n L_r) - I) E^T needs matrices of r x r only. L_r starts as
    the RoPE spectrum of r channels and E as a random subspace. The result is a partial RoPE whose planes
    and frequencies are those of L_r's Schur form. No official code.
    """

    title = "GRAPE-M, non-commuting planes in a subspace"
    paper = "arXiv:2512.07805"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top e^{(j-i) E L_r E^\top} k_j/\sqrt d,\quad "
        r"E^\top E = I_r,\ L_r^\top = -L_r,\ r = d/2"
    )
    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        rank = 2 * max(1, shape.head_dim // 4)
        self.subspace = nn.Parameter(torch.randn(shape.layers, shape.heads, shape.head_dim, rank))
        planes = torch.diag(rope_frequencies(rank))  # the generator of `rotate`, as half of a skew matrix
        start = torch.zeros(rank, rank)
        start[rank // 2 :, : rank // 2] = planes
        self.generator = nn.Parameter(start.repeat(shape.layers, shape.heads, 1, 1))

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        basis = torch.linalg.qr(self.subspace[at.layer]).Q  # (H, d, r)
        skew = self.generator[at.layer] - self.generator[at.layer].mT
        # Scaling and squaring loses a digit per tenfold position, which float64 has to spare.
        action = torch.linalg.matrix_exp(at.place[..., None] * skew.double()[:, None]).float()  # (H, T, r, r)
        return self.act(q, basis, action), self.act(k, basis, action)

    def act(self, x: Tensor, basis: Tensor, action: Tensor) -> Tensor:
        """x + E (action - I) E^T x for x (B, H, T, d)."""
        inside = x.float() @ basis  # (B, H, T, r)
        moved = (action @ inside[..., None])[..., 0] - inside
        return (x.float() + moved @ basis.mT).type_as(x)
