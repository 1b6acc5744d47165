from typing import Self

import torch
from torch import Tensor

from pebench.encodings.base import Encoding, Kernel, distance
from pebench.encodings.registry import EncodingError, register
from pebench.encodings.rnope import RNoPE


@register("swan")
class SWAN(RNoPE):
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

    def is_plain(self, layer: int) -> bool:
        return layer % self.every == 0

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        if inner.kernel() == "own":
            raise EncodingError(
                f"swan hides keys through a bias, which {inner.title} does not read; use rnope"
            )
        return super().over(inner)

    def bias(self, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        if self.is_plain(layer):
            return None
        far = distance(q_pos, k_pos)[None]
        bias = super().bias(q_pos, k_pos, layer)
        shown = torch.zeros_like(far) if bias is None else bias
        return shown.masked_fill(far >= self.shape.train_length // 2, -torch.inf)

    @classmethod
    def kernel(cls) -> Kernel:
        return "masked"
