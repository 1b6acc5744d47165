from typing import Self

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Shape, running_sum, visible
from pebench.encodings.registry import EncodingError, register
from pebench.encodings.rope import RoPE
from pebench.encodings.stick_breaking import StickBreaking
from pebench.encodings.wrapper import Wrapper


@register("ssmax")
class SSMax(Wrapper):
    """The softmax sharpens with the number of keys: logits times s log n (Nakanishi, 2025).

    One s per layer and head, with no bias, starting so that s log n is 1 on average over the training
    length. n counts the tokens that the query sees, itself included, whatever their positions. The whole
    logit is scaled, biases too.
    """

    title = "scalable softmax"
    paper = "arXiv:2501.19399"
    family = "multiplicative"
    formula = r"\ell_{ij} \leftarrow s_h \log(n_i)\,\ell_{ij}"
    relative = True

    inner_class = RoPE

    def __init__(self, shape: Shape):
        super().__init__(shape)
        mean = torch.arange(1, shape.train_length + 1).log().mean()
        self.sharpness = nn.Parameter((1 / mean).repeat(shape.layers, shape.heads))

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        if issubclass(inner, StickBreaking):
            raise EncodingError("stick_breaking has no softmax that ssmax could scale; drop one of the two")
        return super().over(inner)

    def factor(self, seen: Tensor, layer: int) -> Tensor:
        """s log n (H, T, 1) of queries that see so many keys (T,)."""
        return self.sharpness[layer][:, None, None] * seen.log()[:, None]

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        q, k = super().qk(q, k, at)
        if self.kernel() == "own":
            return q, k
        seen = running_sum(torch.ones_like(at.pos), at.memory, "seen")
        return (q.float() * self.factor(seen, at.layer)).type_as(q), k

    def bias(self, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        bias = super().bias(q_pos, k_pos, layer)
        if bias is None:
            return None
        hidden = bias == -torch.inf  # times log 1 it would be NaN
        scaled = bias.masked_fill(hidden, 0.0) * self.factor(visible(q_pos, k_pos).sum(-1), layer)
        return scaled.masked_fill(hidden, -torch.inf)

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        weights = super().weights(q, k, q_pos, k_pos, layer)
        if weights is None:
            return None
        # The logits up to a constant of the row, which the softmax drops.
        logits = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
        seen = visible(q_pos, k_pos)
        return (self.factor(seen.sum(-1), layer) * logits).masked_fill(~seen, -torch.inf).softmax(-1)
