import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import register


@register("kerple_log")
class KerpleLog(Encoding):
    """Far keys lose as the logarithm of their distance, at learned rates (Chi et al., 2022).

    A conditionally positive definite kernel with two positive numbers per head, shared by all layers as in
    the authors' code (chijames/KERPLE). That clamps p and a to 0.01 in place; here they are a softplus,
    with the same initial values: p ~ U(0, 2), a ~ U(0, 1).
    """

    title = "KERPLE, logarithmic"
    paper = "arXiv:2205.09921"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - p_h \log\big(1 + a_h\,(i-j)\big)"
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        power, rate = torch.rand(2, shape.heads).clamp(min=0.01) * torch.tensor([[2.0], [1.0]])
        self.raw_power = nn.Parameter(power.expm1().log())  # softplus of it is the initial value
        self.raw_rate = nn.Parameter(rate.expm1().log())

    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        heads = (-1, *[1] * far.dim())
        power, rate = softplus(self.raw_power).view(heads), softplus(self.raw_rate).view(heads)
        return -power * torch.log1p(rate * far)
