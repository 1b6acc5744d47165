import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys, Shape, distance, visible
from pebench.encodings.registry import register


class Wavelets(Encoding):
    """The query meets a Ricker wavelet of the distance in each channel, of its own scale and shift (Oka et al., 2025).

    Relative positions in the keys (`shaw`) with a fixed table in the place of a learned one. Eight scales from 1 to
    `largest`, log-spaced, have d/8 shifts 0, 1, 2 ... each. Only the paper's abstract could be read: this grid is from
    memory. Beyond eight of the largest scales wavelets are below 1e-12, and 0 here.
    """

    paper = "arXiv:2502.02004"
    family = "additive"
    formula = (
        r"\ell_{ij} = q_i^\top \big(k_j + p_{i-j}\big) / \sqrt d,\quad "
        r"p_{\Delta,c} = \frac{1}{\sqrt{a_c}} \psi\Big(\frac{\Delta - b_c}{a_c}\Big),\quad "
        r"\psi(t) = \frac{2}{\sqrt 3\,\pi^{1/4}} (1 - t^2)\, e^{-t^2/2}"
    )
    relative = True

    scales = 8

    def __init__(self, shape: Shape, largest: float):
        super().__init__(shape)
        shifts = -(-shape.head_dim // self.scales)
        channel = torch.arange(shape.head_dim)
        scale = largest ** ((channel // shifts) / (self.scales - 1))
        shift = channel % shifts
        self.last = int(8 * largest) + shifts
        t = (torch.arange(self.last + 1)[:, None] - shift) / scale
        wave = 2 / (3**0.5 * torch.pi**0.25) * (1 - t.square()) * (-t.square() / 2).exp() / scale.sqrt()
        wave[-1] = 0.0
        self.register_buffer("table", wave, persistent=False)
        self.table: Tensor

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        far = distance(at.pos, keys.pos).clamp(max=self.last).long()
        by_distance = q.float() @ self.table.mT  # (B, H, T, last + 1)
        position = by_distance.gather(
            -1, (far if far.dim() == 2 else far[:, None]).expand(*q.shape[:2], -1, -1)
        )
        logits = ((q @ k.mT).float() + position) * self.shape.scale
        return logits.masked_fill(~visible(at, keys), -torch.inf).softmax(-1)


@register("wavelet")
class Wavelet(Wavelets):
    """Wavelets of the scales 1, 2 ... 128."""

    title = "Wavelets of the distance in the keys"

    def __init__(self, shape: Shape):
        super().__init__(shape, 128.0)


@register("wavelet_scaled")
class ScaledWavelet(Wavelets):
    """Wavelets of scales from 1 to a quarter of the training length, log-spaced. This form is ours, not the paper's."""

    title = "Wavelets of the distance in the keys, scales by the training length"

    def __init__(self, shape: Shape):
        super().__init__(shape, max(2.0, shape.train_length / 4))
