from abc import abstractmethod

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Counted, Encoding, Keys, Shape, sum_after, visible
from pebench.encodings.registry import register


class Counting(Encoding):
    """A key's position is how many tokens since it the query counts, at most `known` - 1."""

    paper = "arXiv:2405.18719"
    family = "contextual"
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.table = nn.Parameter(torch.zeros(shape.layers, self.known, shape.head_dim))

    @property
    @abstractmethod
    def known(self) -> int:
        """How many positions have a vector."""

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Counted:
        return Counted(q, k, (q @ self.table[at.layer].type_as(q).mT).float() * self.shape.scale)

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        seen = visible(at, keys)
        content = (q @ k.mT).float() * self.shape.scale
        gate = content.sigmoid().masked_fill(~seen, 0.0)
        count = (sum_after(gate) + gate).clamp(max=self.known - 1)  # (B, H, T, S)
        at_whole = self.form(q, k, at, keys).e  # (B, H, T, P)
        low = count.floor()
        share = count - low
        below = at_whole.gather(-1, low.long())
        above = at_whole.gather(-1, count.ceil().long())
        logits = content + below * (1 - share) + above * share
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)


@register("cope")
class CoPE(Counting):
    """A key's position is how many tokens since it the query counts (Golovneva et al., 2024, section 4).

    Gates sigmoid(q.k) are summed from the key to the query and clamped to 63. The sum interpolates between learned
    vectors, which the heads of a layer share. They start at zero: CoPE starts as NoPE. As in the authors' code,
    the positional logit is scaled by 1/sqrt(d) with the content logit.
    """

    title = "Contextual position encoding"
    formula = (
        r"\ell_{ij} = q_i^\top (k_j + e[p_{ij}])/\sqrt d,\quad "
        r"p_{ij} = \min\Big(\sum_{s=j}^{i} \sigma(q_i^\top k_s/\sqrt d),\ 63\Big)"
    )

    known = 64


@register("cope_scaled")
class ScaledCoPE(Counting):
    """CoPE that counts up to a sixteenth of the training length, as 64 is of 1,024.

    This form is ours, not the paper's.
    """

    title = "Contextual position encoding, counts by the training length"
    formula = (
        r"\ell_{ij} = q_i^\top (k_j + e[p_{ij}])/\sqrt d,\quad "
        r"p_{ij} = \min\Big(\sum_{s=j}^{i} \sigma(q_i^\top k_s/\sqrt d),\ L/16 - 1\Big)"
    )

    @property
    def known(self) -> int:
        return max(2, self.shape.train_length // 16)
