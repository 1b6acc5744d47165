import torch
from torch import Tensor

from pebench.encodings.base import At, Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.rope import Rotary


@register("rope_pp")
class RoPEPlusPlus(Rotary):
    """Each second head reads the imaginary part of the product that the head before it reads (Liu et al., 2025).

    The form of equal heads (EH): both share query, key and value, and the imaginary one turns the query back by a
    quarter. EH has no projections of the second heads; here they are there and go unused. The paper's code
    (OpenMOSS/rope_pp, `imag1`) has the same formula and order of heads. Its form of equal cache (EC) has 2H heads,
    which no hook can add.
    """

    title = "RoPE with imaginary heads (RoPE++), equal heads"
    paper = "arXiv:2512.07525"
    formula = (
        r"\ell^{2p}_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\ell^{2p+1}_{ij} = q_i^\top R\big((j-i)\theta + \pi/2\big)\,k_j / \sqrt d,\quad "
        r"q, k, v \text{ of head } 2p"
    )
    norm_preserving = False  # the second heads' own queries and keys are not read

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))
        heads = torch.arange(shape.heads)
        self.register_buffer("real", heads[::2], persistent=False)
        self.register_buffer("pair", heads // 2, persistent=False)
        self.real: Tensor
        self.pair: Tensor

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        q, k = super().qk(q.index_select(1, self.real), k.index_select(1, self.real), at)
        a, b = q.chunk(2, dim=-1)
        both = torch.stack([q, torch.cat([b, -a], dim=-1)], dim=2).flatten(1, 2)
        return both if both.shape[1] == self.shape.heads else both[:, :-1], k.index_select(1, self.pair)

    def values(self, v: Tensor, at: At) -> Tensor:
        return v.index_select(1, 2 * self.pair)
