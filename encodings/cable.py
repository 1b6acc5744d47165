import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from pebench.encodings.base import At, Encoding, Shape, running_sum, widen
from pebench.encodings.registry import register


@register("cable")
class CABLE(Encoding):
    """Each token adds a learned distance to all before it (Veisi et al., 2025; unweighted form).

    The same function as FoX with the signs of w and b turned: -softplus(z) = log sigmoid(-z). Weights start
    at N(0, 0.02), biases at 0 (axiomlab/Cable). That code leaves out the 1/sqrt(d) of the logits; here it
    stays.
    """

    title = "Context-aware biases (CABLE)"
    paper = "arXiv:2503.08067"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - \sum_{s=j+1}^{i} \mathrm{softplus}(w_h^\top x_s + b_h)"
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.weight = nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.width))
        self.step_bias = nn.Parameter(torch.zeros(shape.layers, shape.heads))

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        step = softplus(linear(at.x, self.weight[at.layer], self.step_bias[at.layer]).float())  # (B, T, H)
        column = running_sum(step.mT, at.memory, "travelled")[..., None]  # (B, H, T, 1)
        return widen(q, k, torch.ones_like(column), column, self.shape.scale)
