import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from pebench.encodings.base import At, Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned
from pebench.encodings.turning import Turning


@register("repo")
class RePo(Turning, Tuned):
    """Each head reads from a token where it stands, a real number that RoPE turns by (Li et al., 2025).

    Of width D/8, with no biases and all weights N(0, 0.02) as in SakanaAI/repo, so that heads start close to NoPE. The
    first third of the layers has RoPE, as the five of sixteen there; a model of two layers has none of these.
    """

    title = "Re-positioned RoPE (RePo)"
    paper = "arXiv:2512.14391"
    family = "contextual"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((z_j-z_i)\theta\big)\,k_j / \sqrt d,\quad "
        r"z_t = W_z\big(\mathrm{silu}(W_g x_t) \odot W_c x_t\big) \in \mathbb{R}^H"
    )
    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))
        self.first = shape.layers // 3
        layers, inner = shape.layers - self.first, max(1, shape.width // 8)
        self.gate, self.content = (
            nn.Parameter(0.02 * torch.randn(layers, inner, shape.width)) for _ in range(2)
        )
        self.place = nn.Parameter(0.02 * torch.randn(layers, shape.heads, inner))

    def angle(self, at: At) -> Tensor:
        layer = at.layer - self.first
        if layer < 0:
            return at.place * self.frequencies
        read = silu(linear(at.x, self.gate[layer])) * linear(at.x, self.content[layer])
        return linear(read, self.place[layer]).float().mT[..., None] * self.frequencies
