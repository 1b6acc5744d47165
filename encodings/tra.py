import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid, relu

from pebench.encodings.base import At, Encoding, Keys, Shape, sum_after, visible
from pebench.encodings.fox import open_gates
from pebench.encodings.registry import register


@register("tra")
class TRA(Encoding):
    """Keys of no positive logit are dropped, and distance counts the keys that are left (Opper et al., 2025).

    A key costs the query's log forget gate for each key that is left from it to the query, itself included. A query
    that keeps none reads nothing. The formula is from the authors' notebook (MOSS workshop, submission 96). Their gates
    start at one half. Ours start open, for L to 8L tokens, log-spaced over the heads: a key that bfloat16 moves across
    the threshold then moves the others little, and the certificate holds.
    """

    title = "Threshold relative attention (TRA), gates open at first"
    paper = "arXiv:2503.23174"
    family = "contextual"
    formula = (
        r"\ell_{ij} = s_{ij} + n_{ij} \log\sigma(w_h^\top x_i + b_h) \text{ where } s_{ij} = q_i^\top k_j/\sqrt d > 0,"
        r"\quad n_{ij} = \big|\{j \le s \le i : s_{is} > 0\}\big|"
    )
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        times = shape.train_length * torch.logspace(0, 3, shape.heads, base=2)
        self.weight = nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.width))
        self.gate_bias = nn.Parameter(open_gates(times).repeat(shape.layers, 1))

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        # In float32: a logit rounded to bfloat16 may fall on the other side of the threshold.
        score = relu(q.float() @ k.float().mT * self.shape.scale)
        kept = visible(at, keys) & (score > 0)
        count = kept.float()
        gate = logsigmoid(linear(at.x, self.weight[at.layer], self.gate_bias[at.layer]).float())  # (B, T, H)
        logits = score + (sum_after(count) + count) * gate.mT[..., None]
        lowest = torch.finfo(logits.dtype).min  # a row of -inf alone would be NaN
        return logits.masked_fill(~kept, lowest).softmax(-1).masked_fill(~kept, 0.0)
