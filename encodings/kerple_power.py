import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import register


@register("kerple_power")
class KerplePower(Encoding):
    """Far keys lose as a learned power of their distance (Chi et al., 2022).

    Conditionally positive definite for 0 < p <= 2; p = 1 is ALiBi with learned slopes. Two numbers per head,
    shared by all layers (chijames/KERPLE), initially p ~ U(0, 2) and a ~ U(0, 1). Here p = 2 sigmoid and a =
    softplus of free parameters; the authors' code clamps them in place.
    """

    title = "KERPLE, power"
    paper = "arXiv:2205.09921"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - a_h\,(i-j)^{p_h},\quad 0 < p_h \le 2"
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        share, rate = torch.rand(2, shape.heads).clamp(0.01, 0.99)
        self.raw_power = nn.Parameter(share.logit())
        self.raw_rate = nn.Parameter(rate.expm1().log())

    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        heads = (-1, *[1] * far.dim())
        power, rate = 2 * self.raw_power.sigmoid().view(heads), softplus(self.raw_rate).view(heads)
        # The gradient of 0^p holds log(0): raise 1 instead, and put the zero back.
        return -rate * (far.clamp(min=1) ** power) * (far > 0)
