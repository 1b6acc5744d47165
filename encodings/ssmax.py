from typing import Self

import torch
from torch import Tensor, nn

from pebench.encodings.asentmax import ASEntmax
from pebench.encodings.base import At, Columns, Encoding, Keys, Shape, visible
from pebench.encodings.parts import part
from pebench.encodings.registry import EncodingError, register
from pebench.encodings.rope import RoPE
from pebench.encodings.stick_breaking import StickBreaking
from pebench.encodings.tra import TRA
from pebench.encodings.wrapper import Wrapper


@register("ssmax")
class SSMax(Wrapper):
    """The softmax sharpens with the number of keys: logits times s log n (Nakanishi, 2025).

    One s per layer and head, with no bias, starting so that s log n is 1 on average over the training
    length. n is the query's place in the text, from 1: keys that a window hides count too. The whole logit is scaled,
    biases too.
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
        if found := part(inner, StickBreaking, TRA, ASEntmax):
            raise EncodingError(f"{found.title} has no softmax that ssmax could scale; drop one of the two")
        return super().over(inner)

    def factor(self, at: At) -> Tensor:
        """s log n (H, T, 1) of each query, which sees n keys."""
        return self.sharpness[at.layer][:, None, None] * (at.order + 1).log()[:, None]

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        q, k = super().qk(q, k, at)
        return (q, k) if self.defines("weights") else ((q.float() * self.factor(at)).type_as(q), k)

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns | None:
        columns = super().columns(q, k, at)
        if columns is None or self.defines("weights"):
            return columns
        return Columns(columns.q * self.factor(at), columns.k)

    def rebias(self, bias: Tensor, at: At, keys: Keys) -> Tensor:
        hidden = bias == -torch.inf  # times log 1 it would be NaN
        return (bias.masked_fill(hidden, 0.0) * self.factor(at)).masked_fill(hidden, -torch.inf)

    def reweigh(self, weights: Tensor, at: At, keys: Keys) -> Tensor:
        # The logits up to a constant of the row, which the softmax drops.
        logits = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
        return (self.factor(at) * logits).masked_fill(~visible(at, keys), -torch.inf).softmax(-1)
