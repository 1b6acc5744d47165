from typing import Self

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys, distance
from pebench.encodings.registry import EncodingError, register
from pebench.encodings.rnope import period
from pebench.encodings.rope import RoPE
from pebench.encodings.wrapper import Wrapper


@register("swan")
class SWAN(Wrapper):
    """No positions in the first of four layers, RoPE in a window in the others (Puvvada et al., 2025, section 2).

    The window is half the training length (512 of 1,024 in the paper). The paper also scales the logits of
    the global layers with the logarithm of the length at inference, by factors fitted to long texts; that is
    left out here, and `swan+ssmax` is near it.
    """

    title = "global NoPE and windowed RoPE layers"
    paper = "arXiv:2504.08719"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d \text{ in layer } 1,\quad "
        r"q_i^\top R\big((j-i)\theta\big)\,k_j/\sqrt d,\ i-j < L/2 \text{ in layers } 2, 3, 4"
    )

    family = "multiplicative"
    relative = True
    norm_preserving = True

    inner_class = RoPE

    def is_plain(self, layer: int) -> bool:
        return layer % period(self.shape) == 0

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        if inner.defines("weights"):
            raise EncodingError(
                f"swan hides keys through a bias, which {inner.title} does not read; use rnope"
            )
        return super().over(inner)

    def bias(self, at: At, keys: Keys) -> Tensor | None:
        if self.is_plain(at.layer):
            return None
        far, bias = distance(at.pos, keys.pos).unsqueeze(-3), super().bias(at, keys)
        shown = torch.zeros_like(far) if bias is None else bias
        return shown.masked_fill(far >= self.shape.train_length // 2, -torch.inf)
