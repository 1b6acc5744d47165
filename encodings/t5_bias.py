import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import register


class Bucketed(Encoding):
    """A learned logit per head and bucket of distance, one table for all layers."""

    paper = "arXiv:1910.10683"
    family = "additive"
    relative = True

    buckets = 32

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.table = nn.Parameter(0.02 * torch.randn(shape.heads, self.buckets))

    @property
    @abstractmethod
    def max_distance(self) -> int:
        """Where the last bucket begins, about: above half the number of buckets."""

    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        return self.table[:, bucket(far, self.buckets, self.max_distance)]


@register("t5_bias")
class T5Bias(Bucketed):
    """A learned logit per head and bucket of distance, one table for all layers (Raffel et al., 2020, section 2.1).

    32 buckets: distances below 16 have their own, the rest share log-spaced ones up to 128. Unlike T5, logits
    are scaled by 1/sqrt(d) as everywhere in this suite, and the table is added after it. Initial values N(0, 0.02).
    """

    title = "T5 relative bias"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d + W_{\mathrm{bucket}(i-j),\,h}"

    max_distance = 128


@register("t5_bias_scaled")
class ScaledT5Bias(Bucketed):
    """T5's bias whose log-spaced buckets end at a quarter of the training length, as 128 is of T5's 512.

    The 16 exact buckets stay, so that L is above 64 where there are log-spaced ones. This form is ours, not T5's.
    """

    title = "T5 relative bias, buckets by the training length"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d + W_{\mathrm{bucket}_{L/4}(i-j),\,h}"

    @property
    def max_distance(self) -> int:
        return max(self.buckets // 2 + 1, self.shape.train_length // 4)


def bucket(far: Tensor, buckets: int, max_distance: int) -> Tensor:
    """The causal bucket of each distance.

    >>> bucket(torch.tensor([0.0, 15, 16, 18, 19, 112, 113, 5000]), 32, 128).tolist()
    [0, 15, 16, 16, 17, 30, 31, 31]
    """
    exact = buckets // 2
    ratio = (far.clamp(min=exact) / exact).log() / math.log(max_distance / exact)
    spaced = exact + (ratio * (buckets - exact)).long()
    return torch.where(far < exact, far.long(), spaced.clamp(max=buckets - 1))
