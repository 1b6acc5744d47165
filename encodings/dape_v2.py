from typing import cast

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Keys, Shape, distance, visible
from pebench.encodings.kerple_log import KerpleLog
from pebench.encodings.registry import register


@register("dape_v2")
class DAPEv2(Encoding):
    """DAPE that also sees the logits of the two neighbouring keys (Zheng et al., 2024, "DAPE V2"), over KERPLE.

    Two convolutions of width 3 along the keys (2H, 32, H; leaky ReLU; PyTorch's initial values) read the scaled dot
    products and biases of all heads. What lies in a query's future is zero before each of them. The paper's code
    (chuanyang-Zheng/DAPE, Kerple_DAPEV2) does that before the first alone: a row then depends on how many keys follow.
    """

    title = "Data-adaptive bias with convolutions (DAPE V2) over KERPLE"
    paper = "arXiv:2410.04798"
    family = "contextual"
    formula = (
        r"\ell_{ij} = s_{ij} + b_{ij} + f\big([s_{i,j-2}, \dots, s_{i,j+2}; b_{i,j-2}, \dots, b_{i,j+2}]\big),\quad "
        r"s_{ij} = q_i^\top k_j/\sqrt d,\ b_{ij} = -p\log(1 + a\,(i-j)) \in \mathbb{R}^H"
    )
    relative = True

    hidden = 32
    span = 3

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.kerples = nn.ModuleList(KerpleLog(shape) for _ in range(shape.layers))
        width, edge = (1, self.span), (0, self.span // 2)
        self.convs = nn.ModuleList(
            nn.ModuleList(
                (
                    nn.Conv2d(2 * shape.heads, self.hidden, width, padding=edge),
                    nn.Conv2d(self.hidden, shape.heads, width, padding=edge),
                )
            )
            for _ in range(shape.layers)
        )

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        seen = visible(at, keys)
        # In float32: a logit rounded to bfloat16 may fall on the other side of the kink.
        content = q.float() @ k.float().mT * self.shape.scale
        kerple = cast(KerpleLog, self.kerples[at.layer])
        bias = kerple.by_distance(distance(at.pos, keys.pos), at.layer).movedim(0, -3).expand_as(content)
        first, second = cast(nn.ModuleList, self.convs[at.layer])
        inner = nn.functional.leaky_relu(first(torch.cat([content, bias], dim=1).masked_fill(~seen, 0.0)))
        logits = content + bias + second(inner.masked_fill(~seen, 0.0))
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)
