import torch
from torch import Tensor

from pebench.encodings.base import At, Keys, Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned


@register("sandwich")
class Sandwich(Tuned):
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
        # The paper counts planes from 1.
        super().__init__(shape, rope_frequencies(self.width) * 10_000 ** (-2 / self.width))
        self.register_buffer("ratio", shape.heads / (8 * torch.arange(1, shape.heads + 1)), persistent=False)
        self.ratio: Tensor

    def bias(self, at: At, keys: Keys) -> Tensor:
        origin = keys.pos[..., :1]  # only differences matter, and sines of small numbers are exact
        q, k = (self.sinusoids(pos - origin) for pos in (at.pos, keys.pos))
        return self.ratio[:, None, None] * (q @ k.mT - self.width / 2).unsqueeze(-3)

    def sinusoids(self, pos: Tensor) -> Tensor:
        """Sines and cosines (..., T, 128) of positions (..., T)."""
        angle = pos[..., None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=-1)
