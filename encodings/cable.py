import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu, softplus

from pebench.encodings.base import At, Columns, Encoding, Shape, running_sum
from pebench.encodings.registry import register


@register("cable")
class CABLE(Encoding):
    """Each token adds a learned distance to all before it, and weighs what it crosses (Veisi et al., 2025, eq. 2-7).

    A bias is subtracted, as its distance penalises (with weights 2^-h and steps of 1 it is ALiBi's). Without the
    weights and with softplus for the ReLU, as in the first version and code (axiomlab/Cable), it would be FoX with
    the signs of w turned. Weights start at N(0, 0.02), as there. That code leaves out the 1/sqrt(d) of the logits;
    here it stays.
    """

    title = "Context-aware biases (CABLE)"
    paper = "arXiv:2503.08067"
    family = "additive"
    formula = (
        r"\ell_{ij} = q_i^\top k_j / \sqrt d - "
        r"\mathrm{softplus}(u_h^\top x_i) \sum_{s=j+1}^{i} \max(0, w_h^\top x_s)"
    )
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.step, self.weigh = (
            nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.width)) for _ in range(2)
        )

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        step, weight = (linear(at.x, w[at.layer]).float().mT[..., None] for w in (self.step, self.weigh))
        travelled = running_sum(relu(step[..., 0]), at.memory, "travelled")[..., None]  # (B, H, T, 1)
        return Columns(softplus(weight), travelled)
