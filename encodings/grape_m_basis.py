import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Shape, rotate
from pebench.encodings.grape_m import Learned
from pebench.encodings.registry import register


@register("grape_m_basis")
class GrapeMBasis(Learned):
    """GRAPE-M whose planes are learned too: an orthogonal basis for every head (GRAPE, algorithm 1: one for all).

    The basis is the Cayley transform E = (I - S)(I + S)^-1 of a skew matrix that starts at 0, so the
    encoding starts as RoPE. W_q and W_k could take E up, hence no new functions, but another way to learn
    them. No official code.
    """

    title = "GRAPE-M, learned orthogonal basis"
    formula = (
        r"\ell_{ij} = q_i^\top E_h R\big((j-i)\theta_h\big) E_h^\top k_j / \sqrt d,\quad "
        r"E_h^\top E_h = I \text{ learned}"
    )

    def __init__(self, shape: Shape):
        super().__init__(shape, spectra=shape.heads)
        self.skew = nn.Parameter(torch.zeros(shape.layers, shape.heads, shape.head_dim, shape.head_dim))

    def basis(self, layer: int) -> Tensor:
        """E of each head, (H, d, d)."""
        skew = self.skew[layer] - self.skew[layer].mT
        eye = torch.eye(skew.shape[-1], device=skew.device)
        return torch.linalg.solve(eye + skew, eye - skew)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        basis = self.basis(at.layer)
        angle = self.angle(at)  # (H, T, d/2)
        return tuple(rotate(x.float() @ basis, angle).type_as(x) for x in (q, k))  # type: ignore[return-value]
