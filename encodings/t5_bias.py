import math

import torch
from torch import Tensor, nn

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import register


@register("t5_bias")
class T5Bias(Encoding):
    """A learned logit per head and bucket of distance, one table for all layers (Raffel et al., 2020, section 2.1).

    32 buckets: distances below 16 have their own, the rest share log-spaced ones up to 128. Unlike T5, logits
    are scaled by 1/sqrt(d) as everywhere in this suite, and the table is added after it. Initial values N(0, 0.02).
    """

    title = "T5 relative bias"
    paper = "arXiv:1910.10683"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d + W_{\mathrm{bucket}(i-j),\,h}"
    relative = True

    buckets = 32
    max_distance = 128

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.table = nn.Parameter(0.02 * torch.randn(shape.heads, self.buckets))

    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        return self.table[:, bucket(far, self.buckets, self.max_distance)]


def bucket(far: Tensor, buckets: int, max_distance: int) -> Tensor:
    """The causal bucket of each distance.

    >>> bucket(torch.tensor([0.0, 15, 16, 18, 19, 112, 113, 5000]), 32, 128).tolist()
    [0, 15, 16, 16, 17, 30, 31, 31]
    """
    exact = buckets // 2
    ratio = (far.clamp(min=exact) / exact).log() / math.log(max_distance / exact)
    spaced = exact + (ratio * (buckets - exact)).long()
    return torch.where(far < exact, far.long(), spaced.clamp(max=buckets - 1))
