from abc import abstractmethod

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Keys, Shape, distance
from pebench.encodings.registry import register


class Interpolated(Encoding):
    """An MLP of how far back a key lies, as a share of how far back the text goes, both log-scaled."""

    paper = "arXiv:2310.04418"
    family = "additive"
    relative = True

    hidden = 32

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.rate = nn.Parameter(torch.full((shape.layers,), 0.1))
        self.threshold = nn.Parameter(torch.ones(shape.layers))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(1, self.hidden), nn.ReLU(), nn.Linear(self.hidden, shape.heads))
            for _ in range(shape.layers)
        )

    @property
    @abstractmethod
    def shortest(self) -> float:
        """The text length in tokens from which distances are shares of the text's own, at first."""

    def bias(self, at: At, keys: Keys) -> Tensor:
        layer = at.layer
        rate, threshold = self.rate[layer].abs(), self.threshold[layer].abs() * self.shortest
        far = distance(at.pos, keys.pos)
        longest = torch.maximum((at.pos - keys.pos[..., :1]).float(), threshold)[..., None]  # (T, 1)
        share = torch.log1p(rate * far) / (torch.log1p(rate * longest) + 1e-6)
        return self.mlps[layer](share[..., None]).movedim(-1, -3)


@register("fire")
class FIRE(Interpolated):
    """An MLP of how far back a key lies, as a share of how far back the text goes (Li et al., 2024).

    A log-scaled distance is divided by the log-scaled distance of the query's first key (progressive
    interpolation), or by the threshold's if that is larger. So the MLP never meets an input above 1. One MLP (1,
    32, H) with PyTorch's initial values, one rate c = 0.1 and one threshold multiplier 1 per layer, as in
    chuanyang-Zheng/DAPE. The threshold starts at a quarter of the training length, as the paper's 512 is of 2048:
    so progressive interpolation is trained. Not a function of i - j alone once the text is longer than it.
    """

    title = "Functional interpolation (FIRE)"
    formula = (
        r"\ell_{ij} = q_i^\top k_j / \sqrt d + \mathrm{MLP}_h\!\left("
        r"\frac{\log(1 + c\,(i-j))}{\log(1 + c\,\max(i, \mu L/4))}\right)"
    )

    @property
    def shortest(self) -> float:
        return self.shape.train_length / 4


@register("fire_512")
class FIRE512(Interpolated):
    """FIRE with the paper's threshold of 512 tokens, whatever the training length (Li et al., 2024).

    Trained on texts of at most 512 tokens, it interpolates for the first time when it reads a longer one.
    """

    title = "Functional interpolation (FIRE), threshold 512"
    formula = (
        r"\ell_{ij} = q_i^\top k_j / \sqrt d + \mathrm{MLP}_h\!\left("
        r"\frac{\log(1 + c\,(i-j))}{\log(1 + c\,\max(i, 512\mu))}\right)"
    )

    shortest = 512.0
