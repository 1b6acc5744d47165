import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pebench.encodings.base import At, Shape
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned


@register("pope")
class PoPE(Tuned):
    """Each channel is a length from content and an angle from position alone (Gopalakrishnan et al., 2025).

    Lengths are softplus(q) and softplus(k). There are d frequencies 10000^(-c/d), one for each channel instead of
    each pair. A learned phase per head and channel, initially 0, joins the keys. In Cartesian form q and k have 2d
    channels and run on the plain kernel. (lucidrains/PoPE-pytorch clamps the phases to [-2 pi, 0]: half of them
    would stay at the edge where they start. A phase needs no bounds.)
    """

    title = "Polar coordinate position embedding"
    paper = "arXiv:2509.10534"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = \frac{1}{\sqrt d}\sum_{c=0}^{d-1} \mathrm{sp}(q_{ic})\,\mathrm{sp}(k_{jc})\,"
        r"\cos\big((j-i)\theta_c + \delta_{hc}\big),\quad \theta_c = 10000^{-c/d}"
    )
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape, torch.exp(-math.log(10_000) * torch.arange(shape.head_dim) / shape.head_dim))
        self.phase = nn.Parameter(torch.zeros(shape.layers, shape.heads, 1, shape.head_dim))

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.place * self.frequencies  # (T, d)
        return polar(q, angle), polar(k, angle + self.phase[at.layer])


def polar(x: Tensor, angle: Tensor) -> Tensor:
    """Points (..., 2d) at these angles (..., d), softplus(x) away from the origin."""
    length = softplus(x.float())
    return torch.cat([length * angle.cos(), length * angle.sin()], dim=-1).type_as(x)
