import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from pebench.encodings.base import At, Memory, Shape, causal_conv, rope_frequencies, running_sum
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned
from pebench.encodings.turning import Turning


@register("selective_rope")
class SelectiveRoPE(Turning, Tuned):
    """RoPE whose planes each have a clock set by the tokens, forwards or backwards (Movahedi et al., 2025).

    The step of a plane is a projection of rank 32 of x (unit norm per head), convolved over four tokens. Steps up
    to and including the token itself are summed. As in the language-model setting of
    timurcarstensen/selective-rope: base 500,000, no gate, no bias, all weights N(0, 0.02), so it starts close to
    NoPE. That setting does not normalise q and k; here, as everywhere in this suite, they come normalised.
    """

    title = "Selective RoPE"
    paper = "arXiv:2511.17388"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((\Phi_j-\Phi_i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\Phi_t = \sum_{s\le t} \mathrm{conv}_4(W_2 W_1 \hat x)_s \in \mathbb{R}^{d/2}"
    )
    relative = True
    norm_preserving = True

    base = 500_000.0
    rank = 32
    conv_width = 4

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim, self.base))
        planes = shape.width // 2
        self.down = nn.Parameter(0.02 * torch.randn(shape.layers, self.rank, shape.width))
        self.up = nn.Parameter(0.02 * torch.randn(shape.layers, planes, self.rank))
        self.conv = nn.Parameter(0.02 * torch.randn(shape.layers, planes, self.conv_width))

    def step(self, x: Tensor, layer: int, memory: Memory) -> Tensor:
        """How far each token of x (B, T, D) turns each clock: (B, T, H * d/2)."""
        x = normalize(x.unflatten(-1, (self.shape.heads, -1)), dim=-1).flatten(-2)
        return causal_conv(
            linear(linear(x, self.down[layer]), self.up[layer]), self.conv[layer], memory, "step"
        )

    def angle(self, at: At) -> Tensor:
        phase = running_sum(self.step(at.x, at.layer, at.memory).mT, at.memory, "phase")  # (B, H * d/2, T)
        return phase.unflatten(1, (self.shape.heads, -1)).mT * self.frequencies  # (B, H, T, d/2)
