import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from pebench.encodings.base import At, Encoding, Shape, rotate, running_sum
from pebench.encodings.registry import register


@register("carope")
class CARoPE(Encoding):
    """Each token sets a head's first frequency for its step, and plane m turns by its m-th power (Veisi et al., 2025).

    The frequency 1 / (softplus(w.x) + 1) lies in (0, 1), where RoPE has 10000^(-2/d). Steps up to and including the
    token itself are summed. Weights start at N(0, 0.02): the frequency is about 0.59 at first, and later planes are
    nearly still. The formula is from research notes on the paper. The paper reads the token embedding; here each layer
    reads its own input.
    """

    title = "Context-aware RoPE (CARoPE)"
    paper = "arXiv:2507.23083"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top R(\Phi_j-\Phi_i)\,k_j / \sqrt d,\quad "
        r"\Phi_{t,m} = \sum_{s\le t} f(x_s)^m,\ f(x) = \frac{1}{\mathrm{sp}(w_h^\top x) + 1}"
    )
    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.weight = nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.width))
        self.register_buffer("powers", torch.arange(1.0, shape.head_dim // 2 + 1), persistent=False)
        self.powers: Tensor

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        first = 1 / (softplus(linear(at.x, self.weight[at.layer]).float()) + 1)  # (B, T, H)
        step = first.mT[:, :, None] ** self.powers[:, None]  # (B, H, d/2, T)
        angle = running_sum(step, at.memory, "turned").mT
        return rotate(q, angle), rotate(k, angle)
