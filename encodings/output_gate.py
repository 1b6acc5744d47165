import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pebench.encodings.base import At, Shape
from pebench.encodings.registry import register
from pebench.encodings.rope import RoPE
from pebench.encodings.wrapper import Wrapper


@register("output_gate")
class OutputGate(Wrapper):
    """Each channel of what a head has read is gated by the token that reads (Qiu et al., 2025; FoX-Pro; Qwen3-Next).

    The gate is a sigmoid of a projection of x without a bias, after attention and before the output projection, as
    in zhixuan-lin/forgetting-transformer. Weights start at N(0, 0.02), so that gates are about one half at first.
    FoX-Pro also normalises the gated values, which is left out.
    """

    title = "output gate"
    paper = "arXiv:2505.06708"
    family = "multiplicative"
    formula = r"y_t \leftarrow \sigma(W x_t) \odot y_t"
    relative = True
    norm_preserving = True

    inner_class = RoPE

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.weight = nn.Parameter(0.02 * torch.randn(shape.layers, shape.width, shape.width))

    def output(self, y: Tensor, at: At) -> Tensor:
        gate = linear(at.x, self.weight[at.layer]).sigmoid()  # (B, T, D)
        heads = gate.unflatten(-1, (self.shape.heads, -1)).transpose(1, 2)
        return super().output((y.float() * heads).type_as(y), at)
