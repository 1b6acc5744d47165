"""Layers that see only near keys, among layers without positions."""

from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys
from pebench.encodings.registry import EncodingError
from pebench.encodings.rope import RoPE
from pebench.encodings.wrapper import Wrapper


class Local(Wrapper):
    """A pattern over the layers: plain ones see all keys, the others those that are not `far`."""

    family = "multiplicative"
    relative = True
    norm_preserving = True

    inner_class = RoPE

    @abstractmethod
    def far(self, at: At, keys: Keys) -> Tensor:
        """Which keys are hidden from each query: bool (T, S) or (B, T, S)."""

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        if inner.defines("weights"):
            raise EncodingError(
                f"a window hides keys through a bias, which {inner.title} does not read; use rnope"
            )
        return super().over(inner)

    def within_window(self, layer: int, width: int) -> int | None:
        """`sight` of a pattern whose other layers see windows of this width."""
        other = self.inner_class.kernel() != "fused" or self.overruled("sight", "far")
        return None if other or self.is_plain(layer) else width

    def bias(self, at: At, keys: Keys) -> Tensor | None:
        if self.is_plain(at.layer):
            return None
        far, bias = self.far(at, keys).unsqueeze(-3), super().bias(at, keys)
        shown = torch.zeros_like(far, dtype=torch.float32) if bias is None else bias
        return shown.masked_fill(far, -torch.inf)
