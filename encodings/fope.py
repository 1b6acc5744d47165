import math

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies
from pebench.encodings.registry import register


@register("fope")
class FoPE(Encoding):
    """Each plane's cosine and sine is a mix of all frequencies' (Hua et al., 2025).

    Frequencies below 2 pi / L are dropped. At most d/4 planes are mixed, per head, for cosines and sines apart. The mix
    is the identity plus Xavier noise of gain 0.3, and is not trained: the defaults of
    TsinghuaC3I/Fourier-Position-Embedding. All other planes stay still. That code has a sine of 1 for them, which turns
    them and doubles their logits; the paper has 0. A mix of angles does not depend on i - j alone.
    """

    title = "Fourier position embedding (FoPE)"
    paper = "arXiv:2412.17739"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = (M_i q_i)^\top M_j k_j / \sqrt d,\quad M_{t,m} = \sum_n "
        r"\begin{pmatrix} a_{hnm}\cos t\theta_n & -b_{hnm}\sin t\theta_n \\ "
        r"b_{hnm}\sin t\theta_n & a_{hnm}\cos t\theta_n \end{pmatrix},\quad \theta_n \ge 2\pi/L"
    )

    gain = 0.3

    def __init__(self, shape: Shape):
        super().__init__(shape)
        frequencies = rope_frequencies(shape.head_dim)
        self.register_buffer(
            "frequencies", frequencies[frequencies >= 2 * math.pi / shape.train_length], persistent=False
        )
        self.frequencies: Tensor
        known = len(self.frequencies)
        mixed = min(known, max(1, shape.head_dim // 4))
        noise = torch.zeros(2, shape.heads, known, mixed)
        for side in noise if known else ():
            nn.init.xavier_normal_(side, gain=self.gain)
        every = math.ceil(known / max(1, mixed))  # where more is known than mixed, every n-th is
        picked = torch.arange(known)[:, None] == every * torch.arange(mixed)
        self.register_buffer("mix", noise + picked.float())
        self.mix: Tensor

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.place * self.frequencies  # (T, n), or (B, 1, T, n)
        still = self.shape.head_dim // 2 - self.mix.shape[-1]
        cosine, sine = (
            nn.functional.pad(wave @ mix, (0, still), value=value)
            for wave, mix, value in zip((angle.cos(), angle.sin()), self.mix, (1.0, 0.0), strict=True)
        )
        return turned(q, cosine, sine), turned(k, cosine, sine)


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The planes (m, m + d/2) of x (B, H, T, d) under these cosines and sines (H, T, d/2)."""
    full = x.float()
    across = full.roll(full.shape[-1] // 2, dims=-1) * torch.cat([-sine, sine], dim=-1)
    return (full * torch.cat([cosine, cosine], dim=-1) + across).type_as(x)
