import torch
from torch import Tensor, nn

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import register


@register("learned_ape")
class LearnedAPE(Encoding):
    """One learned vector per position, added to the token embeddings (Gehring et al., 2017; GPT-2).

    Undefined beyond the training length, and says so. Initial values N(0, 0.02), as for the embeddings.
    """

    title = "Learned absolute positions"
    paper = "arXiv:1705.03122"
    family = "absolute"
    formula = r"x_t \leftarrow x_t + P_t,\quad P \in \mathbb{R}^{L \times D}"

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.max_length = shape.train_length
        self.table = nn.Parameter(0.02 * torch.randn(shape.train_length, shape.width))

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + self.table[pos].type_as(x)
