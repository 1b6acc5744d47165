import torch
from torch import Tensor

from pebench.encodings.base import Encoding, one_number, rope_frequencies
from pebench.encodings.registry import register


@register("sinusoidal")
class Sinusoidal(Encoding):
    """Sines and cosines added to the token embeddings (Vaswani et al., 2017, section 3.5).

    The paper scales the embeddings up by sqrt(D); here the sinusoids are scaled down by it. The sum is the same up
    to one factor, and the rest of the model stays as for every other encoding. Embeddings start at 0.02 here, not
    at D^-1/2: beside the sinusoids they are at first smaller than in the paper.
    """

    title = "Absolute sinusoids"
    paper = "arXiv:1706.03762"
    family = "absolute"
    formula = r"x_t \leftarrow x_t + D^{-1/2}\,[\sin(t\,\omega_m), \cos(t\,\omega_m)]_m,\quad \omega_m = 10000^{-2m/D}"

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        width = x.shape[-1]
        angle = one_number(pos)[..., None] * rope_frequencies(width).to(x.device)
        sinusoids = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        return x + (sinusoids * width**-0.5).type_as(x)
