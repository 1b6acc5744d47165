import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid, relu

from pebench.encodings.base import At, Encoding, Keys, Shape, sum_after, visible
from pebench.encodings.registry import register


@register("tra")
class TRA(Encoding):
    """Keys of no positive logit are dropped, and distance counts the keys that are left (Opper et al., 2025).

    A key costs the query's log forget gate for each key that is left from it to the query, itself included. A query
    that keeps none reads nothing. As in the authors' notebook, gates are a projection of x with a bias, at PyTorch's
    initial values.
    """

    title = "Threshold relative attention (TRA)"
    paper = "arXiv:2503.23174"
    family = "contextual"
    formula = (
        r"\ell_{ij} = s_{ij} + n_{ij} \log\sigma(w_h^\top x_i + b_h) \text{ where } s_{ij} = q_i^\top k_j/\sqrt d > 0,"
        r"\quad n_{ij} = \big|\{j \le s \le i : s_{is} > 0\}\big|"
    )
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        bound = shape.width**-0.5
        self.weight = nn.Parameter(bound * (2 * torch.rand(shape.layers, shape.heads, shape.width) - 1))
        self.gate_bias = nn.Parameter(bound * (2 * torch.rand(shape.layers, shape.heads) - 1))

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        # In float32: a logit rounded to bfloat16 may fall on the other side of the threshold.
        score = relu(q.float() @ k.float().mT * self.shape.scale)
        kept = visible(at, keys) & (score > 0)
        count = kept.float()
        gate = logsigmoid(linear(at.x, self.weight[at.layer], self.gate_bias[at.layer]).float())  # (B, T, H)
        logits = score + (sum_after(count) + count) * gate.mT[..., None]
        lowest = torch.finfo(logits.dtype).min  # a row of -inf alone would be NaN
        return logits.masked_fill(~kept, lowest).softmax(-1).masked_fill(~kept, 0.0)
