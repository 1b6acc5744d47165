from typing import Self

import torch
from torch import Tensor

from pebench.encodings.base import Encoding
from pebench.encodings.learned_ape import LearnedAPE
from pebench.encodings.parts import part
from pebench.encodings.randomized import Drawn
from pebench.encodings.registry import EncodingError, register


@register("random_floats")
class RandomFloats(Drawn):
    """Train on random real positions from one range, which longer texts fill more densely (Shimizu et al., 2026).

    Each training step draws T sorted positions of [0, L), the same for all layers and examples. The paper draws in
    evaluation too, from the same range. As with `randomized` no cache can follow that, so one draw of 16 L
    positions, made with the model, serves every text. For 16 L tokens that is the paper's law; shorter texts lie
    denser than in training. Only the beginning of the paper could be read: the range is our choice.
    """

    title = "random float positions (RFS)"
    paper = "arXiv:2602.14050"
    formula = (
        r"t \mapsto r_t,\quad \{r_0 < r_1 < \dots < r_{T-1}\} \subset [0, L) \text{ uniform in } \mathbb{R}"
    )

    span = 1

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        if found := part(inner, LearnedAPE):
            raise EncodingError(
                f"{found.title} have no vector between two positions; randomized draws whole ones"
            )
        return super().over(inner)

    def draw(self, count: int, device: torch.device) -> Tensor:
        return (self.range * torch.rand(count, device=device)).sort().values
