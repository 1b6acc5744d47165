import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from pebench.encodings.base import At, Columns, Encoding, Shape, running_sum
from pebench.encodings.registry import register


@register("fox")
class FoX(Encoding):
    """Each token forgets: adds the log forget gates between key and query (Lin et al., 2025, eq. 4).

    With C_t the running sum of log f, the bias C_i - C_j is a constant of the row plus one key column. Gate
    weights start at N(0, 0.02), gate biases at 0 (the authors' code), so that f is about 1/2 at first.
    """

    title = "Forgetting attention"
    paper = "arXiv:2503.02130"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d + \sum_{s=j+1}^{i} \log\sigma(w_h^\top x_s + b_h)"
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.weight = nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.width))
        self.gate_bias = nn.Parameter(torch.zeros(shape.layers, shape.heads))

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        gate = linear(at.x, self.weight[at.layer], self.gate_bias[at.layer])  # (B, T, H)
        total = running_sum(logsigmoid(gate.float()).transpose(1, 2), at.memory, "forgotten")
        column = -total[..., None]  # (B, H, T, 1)
        return Columns(torch.ones_like(column), column)
