import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from pebench.encodings.base import At, Shape, running_sum
from pebench.encodings.registry import register
from pebench.encodings.turning import Turning


@register("carope")
class CARoPE(Turning):
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

    def angle(self, at: At) -> Tensor:
        log_first = -softplus(linear(at.x, self.weight[at.layer]).float()).log1p()  # (B, T, H)
        step = (log_first.mT[..., None] * self.powers).exp()  # (B, H, T, d/2)
        return running_sum(step.mT, at.memory, "turned").mT
