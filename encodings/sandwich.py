import torch
from torch import Tensor

from pebench.encodings.base import Encoding, Shape, rope_frequencies
from pebench.encodings.registry import register


@register("sandwich")
class Sandwich(Encoding):
    """The inner product of two absolute sinusoids as a bias, weaker in later heads (Chi et al., 2023).

    Width 128 and no parameters. The sum of cosines of distance is one matrix product of the sinusoids of
    query and key; 64 is taken off so that the bias of a token to itself is 0.
    """

    title = "Sandwich"
    paper = "arXiv:2212.10356"
    family = "additive"
    formula = (
        r"\ell_{ij} = q_i^\top k_j / \sqrt d + \frac{H}{8h}\Big(\sum_{m=1}^{64} "
        r"\cos\big((i-j)\,10000^{-m/64}\big) - 64\Big)"
    )
    relative = True

    width = 128

    def __init__(self, shape: Shape):
        super().__init__(shape)
        frequencies = rope_frequencies(self.width) * 10_000 ** (-2 / self.width)  # the paper counts from 1
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor
        self.register_buffer("ratio", shape.heads / (8 * torch.arange(1, shape.heads + 1)), persistent=False)
        self.ratio: Tensor

    def bias(self, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor:
        origin = k_pos[0]  # only differences matter, and sines of small numbers are exact
        q, k = (self.sinusoids(pos - origin) for pos in (q_pos, k_pos))
        return self.ratio[:, None, None] * (q @ k.mT - self.width / 2)

    def sinusoids(self, pos: Tensor) -> Tensor:
        """Sines and cosines (T, 128) of positions (T,)."""
        angle = pos[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=-1)
