import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from pebench.encodings.base import At, Encoding, Keys, Shape, distance, visible
from pebench.encodings.nape import NAPE
from pebench.encodings.registry import register


@register("asentmax")
class ASEntmax(Encoding):
    """Sparse rows by 1.5-entmax, sharper in longer texts, over NAPE (Vasylenko et al., 2025).

    The heads without positions multiply their logits by 1 + softplus(w.x) (log n)^(2 tanh(u.x)), where n is the
    number of keys and one. The others have NAPE's slopes. alpha is 1.5 and delta is 1, as in deep-spin/asentmax.
    Weights start at N(0, 0.02).
    """

    title = "Adaptive-scalable entmax (ASEntmax) over NAPE"
    paper = "arXiv:2506.16640"
    family = "contextual"
    formula = (
        r"A_i = 1.5\text{-entmax}_j\Big(\big(1 + \mathrm{sp}(w_h^\top x_i) (\log n_i)^{2\tanh(u_h^\top x_i)}\big)\,"
        r"q_i^\top k_j/\sqrt d\Big) \text{ for } h > H/2,\text{ else } "
        r"1.5\text{-entmax}_j\big(q_i^\top k_j/\sqrt d - (i-j)/h\big)"
    )
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.nape = NAPE(shape)
        self.scaled = shape.heads - shape.heads // 2
        self.strength, self.growth = (
            nn.Parameter(0.02 * torch.randn(shape.layers, self.scaled, shape.width)) for _ in range(2)
        )

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        content = (q @ k.mT).float() * self.shape.scale
        strength, growth = (linear(at.x, w[at.layer]).float().mT for w in (self.strength, self.growth))
        n = (at.order + 2).log()
        factor = 1 + softplus(strength) * n ** (2 * growth.tanh())  # (B, scaled heads, T)
        factor = nn.functional.pad(factor, (0, 0, self.shape.heads // 2, 0), value=1.0)
        fading = self.nape.slopes[:, None, None] * distance(at.pos, keys.pos).unsqueeze(-3)
        return entmax15(content * factor[..., None] - fading, visible(at, keys))


def entmax15(logits: Tensor, seen: Tensor) -> Tensor:
    """The 1.5-entmax of rows (..., S) over `seen` keys: max(0, z/2 - t)^2, with t so that a row sums to one.

    Peters et al., 2019, algorithm 2: the support is found by sorting; t follows from its mean and variance, which is
    what gradients pass through.

    >>> entmax15(torch.tensor([0.0, 0.0, -9.0]), torch.tensor([True, True, True]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    half = logits.masked_fill(~seen, -torch.inf) / 2
    half = half - half.detach().amax(-1, keepdim=True)
    with torch.no_grad():
        ordered = half.masked_fill(~seen, -1e4).sort(-1, descending=True).values
        among = ordered.clamp(min=-2)  # none below -1 is in the support
        count = torch.arange(1, half.shape[-1] + 1, device=half.device)
        mean = among.cumsum(-1) / count
        spread = (among.square().cumsum(-1) - count * mean.square()).clamp(min=0)
        edge = mean - ((1 - spread).clamp(min=0) / count).sqrt()
        size = (edge <= ordered).sum(-1, keepdim=True)
        support = half >= ordered.gather(-1, size - 1)
    inside = half.masked_fill(~support, 0.0)
    size = support.sum(-1, keepdim=True)
    mean = inside.sum(-1, keepdim=True) / size
    spread = (inside - mean).masked_fill(~support, 0.0).square().sum(-1, keepdim=True)
    threshold = mean - ((1 - spread).clamp(min=1e-12) / size).sqrt()
    return (inside - threshold).clamp(min=0).square().masked_fill(~support, 0.0)
