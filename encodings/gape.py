import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pebench.encodings.alibi import ScaledALiBi
from pebench.encodings.base import At, Columns, Encoding, Shape, alibi_slopes
from pebench.encodings.registry import register


class GatedFading(Encoding):
    """A query says how fast keys fade with distance, and a key how much of that it is spared (Ali et al., 2026).

    The product of the two gates, where GRAPE-A-QK has their sum. The paper could not be read: the bias is as in notes
    on it, with the text's length as the training length. Which functions the gates are (softplus and sigmoid of
    projections of q and k over sqrt(d)), and how they start (N(0, 0.02), the slopes `first` (H,)), is our choice.
    The paper adds the bias to RoPE: `rope+gape`.
    """

    paper = "arXiv:2605.10414"
    family = "additive"
    formula = (
        r"\ell_{ij} = q_i^\top k_j / \sqrt d - \Gamma_h\, \mathrm{sp}(u_h^\top q_i/\sqrt d)\, "
        r"\big(1 - \sigma(w_h^\top k_j/\sqrt d)\big)\,(i-j)/L"
    )
    relative = True

    def __init__(self, shape: Shape, first: Tensor):
        super().__init__(shape)
        self.query_gate, self.key_gate = (
            nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.head_dim)) for _ in range(2)
        )
        strength = (shape.train_length * first).log()
        self.log_strength = nn.Parameter(strength.repeat(shape.layers, 1))

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        query, key = (
            x.float() @ (gate[at.layer][..., None] * self.shape.scale)  # (B, H, T, 1)
            for x, gate in ((q, self.query_gate), (k, self.key_gate))
        )
        faded = self.log_strength[at.layer].exp()[:, None, None] / self.shape.train_length * softplus(query)
        spared, place = key.sigmoid(), at.place.float()
        # -(i - j)(1 - l_j) is j (1 - l_j) + i l_j, less a number of the row.
        one, none = torch.ones_like(place), torch.zeros_like(place)
        return Columns(
            faded * torch.cat([one, place], dim=-1),
            spared * torch.cat([-place, one], dim=-1) + torch.cat([place, none], dim=-1),
        )


@register("gape")
class GAPE(GatedFading):
    """GAPE that starts from ALiBi's slopes."""

    title = "Gated adaptive positional encoding (GAPE)"

    def __init__(self, shape: Shape):
        super().__init__(shape, alibi_slopes(shape.heads))


@register("gape_scaled")
class ScaledGAPE(GatedFading):
    """GAPE that starts from the slopes of `alibi_scaled`; the last slope is 4 / L. This form is ours."""

    title = "Gated adaptive positional encoding (GAPE), first slopes by the training length"

    def __init__(self, shape: Shape):
        super().__init__(shape, ScaledALiBi(shape).slopes)
