import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pebench.encodings.base import At, Broken, Encoding, Keys, sum_after
from pebench.encodings.registry import register


@register("stick_breaking")
class StickBreaking(Encoding):
    """The nearest key takes its share of a stick, the next a share of the rest (Tan et al., 2025, section 3.1).

    Replaces the softmax: recency comes from the order of breaking, without positions. A token does not see itself,
    rows sum to at most one, and the first token attends to nothing. The rest of the stick is dropped, as in the
    paper's formula; the authors' training code gives it to a learned vector per head. It also normalises heads in
    groups. We leave that out, as all encodings share the rest of the model.
    """

    title = "Stick-breaking attention"
    paper = "arXiv:2410.17980"
    family = "contextual"
    formula = (
        r"A_{ij} = \sigma(z_{ij}) \prod_{j<s<i} \big(1-\sigma(z_{is})\big),\quad "
        r"z_{ij} = q_i^\top k_j/\sqrt d,\ j<i"
    )
    relative = True

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Broken:
        return Broken(q, k)

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        before = keys.order < at.order[:, None]
        z = (q @ k.mT).float() * self.shape.scale
        left = sum_after(logsigmoid(-z).masked_fill(~before, 0.0))
        return (logsigmoid(z) + left).masked_fill(~before, -torch.inf).exp()
