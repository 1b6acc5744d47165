import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pebench.encodings.base import At, Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.tuned import Tuned
from pebench.encodings.turning import Turning


@register("darope")
class DaRoPE(Turning, Tuned):
    """RoPE whose slow planes turn by a place in the training length that the token chooses (Meta, 2026).

    Slow planes turn less than once in L tokens; their place is L sigmoid(w.x + a logit((t + 1/2) / L)) per head, so it
    never leaves (0, L). With w = 0 and a = 1, the initial values here, that is t + 1/2, as in RoPE. Beyond L the logit
    keeps its last value, at L - 1/2. The source could not be read: the formula is from notes on it, and initial values
    and the rule beyond L are ours.
    """

    title = "RoPE with data-dependent slow planes (DaRoPE)"
    paper = "Meta, 2026"
    family = "contextual"
    formula = (
        r"\ell_{ij} = q_i^\top R(\phi_j-\phi_i)\,k_j / \sqrt d,\quad "
        r"\phi_{t,m} = t\,\theta_m \text{ where } L\theta_m \ge 2\pi,\text{ else } "
        r"L\,\sigma\big(w_h^\top x_t + a_h \mathrm{logit}\tfrac{t+1/2}{L}\big)\,\theta_m"
    )
    norm_preserving = True

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))
        fast = self.frequencies * shape.train_length >= 2 * math.pi  # stays where `@` changes the frequencies
        self.register_buffer("fast", fast, persistent=False)
        self.fast: Tensor
        self.weight = nn.Parameter(torch.zeros(shape.layers, shape.heads, shape.width))
        self.slope = nn.Parameter(torch.ones(shape.layers, shape.heads))

    def angle(self, at: At) -> Tensor:
        length = self.shape.train_length
        place = ((at.place + 0.5) / length).clamp(0.5 / length, 1 - 0.5 / length).logit()
        read = linear(at.x, self.weight[at.layer]).float().mT[..., None]  # (B, H, T, 1)
        chosen = length * (read + self.slope[at.layer][:, None, None] * place).sigmoid()
        return torch.where(self.fast, at.place.float(), chosen) * self.frequencies
