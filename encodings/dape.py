from typing import cast

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Keys, Shape, distance, visible
from pebench.encodings.kerple_log import KerpleLog
from pebench.encodings.registry import register


@register("dape")
class DAPE(Encoding):
    """An MLP that sees the logits of all heads corrects a static bias (Zheng et al., 2024), here KERPLE.

    For each pair of query and key the MLP (2H, 32, H; leaky ReLU; PyTorch's initial values) reads the scaled
    dot products and the biases of all heads. Each layer has an MLP and a KERPLE of its own, as in
    chuanyang-Zheng/DAPE.
    """

    title = "Data-adaptive bias (DAPE) over KERPLE"
    paper = "arXiv:2405.14722"
    family = "contextual"
    formula = (
        r"\ell_{ij} = s_{ij} + b_{ij} + f\big([s_{ij}; b_{ij}]\big),\quad "
        r"s_{ij} = q_i^\top k_j/\sqrt d,\ b_{ij} = -p\log(1 + a\,(i-j)) \in \mathbb{R}^H"
    )

    relative = True

    hidden = 32

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.kerples = nn.ModuleList(KerpleLog(shape) for _ in range(shape.layers))
        # Over the heads, the first axis after the batch, a linear layer is a 1 x 1 convolution.
        self.mlps = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * shape.heads, self.hidden, 1),
                nn.LeakyReLU(),
                nn.Conv2d(self.hidden, shape.heads, 1),
            )
            for _ in range(shape.layers)
        )

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        # In float32: a logit rounded to bfloat16 may fall on the other side of the kink.
        content = q.float() @ k.float().mT * self.shape.scale
        kerple = cast(KerpleLog, self.kerples[at.layer])
        bias = kerple.by_distance(distance(at.pos, keys.pos), at.layer).movedim(0, -3).expand_as(content)
        logits = content + bias + self.mlps[at.layer](torch.cat([content, bias], dim=1))
        return logits.masked_fill(~visible(at, keys), -torch.inf).softmax(-1)
