"""An encoding of one's own: a learned logarithmic decay. An example in the manner of KERPLE (arXiv:2205.09921)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import register


@register("own_distance")
class OwnDistance(Encoding):
    """Adds -softplus(r_h) log(1 + distance) with one learned rate per head."""

    title = "Learned logarithmic decay"
    paper = "unpublished"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - \operatorname{softplus}(r_h) \log(1 + i - j)"
    relative = True  # claimed, and checked

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.rate = nn.Parameter(torch.zeros(shape.layers, shape.heads))

    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        rate = softplus(self.rate[layer])  # (H,)
        return -rate.view(-1, *[1] * far.dim()) * torch.log1p(far)
