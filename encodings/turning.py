from abc import abstractmethod

from torch import Tensor

from pebench.encodings.base import At, Encoding, rotate


class Turning(Encoding):
    """An encoding that turns q and k by one angle a token and plane, and does no more to them.

    The native training step rotates by these angles itself (suite/lm/native/declared.py).
    """

    @abstractmethod
    def angle(self, at: At) -> Tensor:
        """How far each plane has turned: float32 (T, d/2), (H, T, d/2), or (B, 1 or H, T, d/2)."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = self.angle(at)
        return rotate(q, angle), rotate(k, angle)
