import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Keys, Shape, rope_frequencies, spread, visible
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned


@register("transformer_xl")
class TransformerXL(Tuned):
    """The query meets a learned image of the sinusoid of each distance (Dai et al., 2019, section 3.3).

    W_R per layer, and u and v shared by all layers as in the authors' code (kimiyoung/transformer-xl), all
    N(0, 0.02). The sinusoid of i - j splits into those of i and j, so no table of distances is built. It
    could ride on the kernel as D extra columns per head, which for D > d costs more than the logits
    themselves.
    """

    title = "Transformer-XL relative positions"
    paper = "arXiv:1901.02860"
    family = "additive"
    formula = (
        r"\ell_{ij} = \big[(q_i+u_h)^\top k_j + (q_i+v_h)^\top W_h r_{i-j}\big]/\sqrt d,\quad "
        r"r_\Delta = [\sin(\Delta\omega), \cos(\Delta\omega)]"
    )
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.width))
        self.content = nn.Parameter(0.02 * torch.randn(shape.heads, 1, shape.head_dim))
        self.position = nn.Parameter(0.02 * torch.randn(shape.heads, 1, shape.head_dim))
        self.weight = nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.head_dim, shape.width))

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        q, origin = (
            q.float(),
            keys.pos[..., :1],
        )  # only differences matter, and sines of small numbers are exact
        i, j = (spread(pos - origin) * self.frequencies for pos in (at.pos, keys.pos))  # (T, D/2), (S, D/2)
        sine, cosine = ((q + self.position) @ self.weight[at.layer]).chunk(2, dim=-1)  # (B, H, T, D/2)
        turned = torch.cat([sine * i.sin() + cosine * i.cos(), cosine * i.sin() - sine * i.cos()], dim=-1)
        logits = (q + self.content) @ k.float().mT + turned @ torch.cat([j.cos(), j.sin()], dim=-1).mT
        return (logits * self.shape.scale).masked_fill(~visible(at, keys), -torch.inf).softmax(-1)
