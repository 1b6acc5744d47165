from torch import Tensor

from pebench.encodings.base import At, Keys, distance
from pebench.encodings.local import Local
from pebench.encodings.registry import register
from pebench.encodings.rnope import period


@register("rnope_swa")
class RNoPESWA(Local):
    """Three layers with RoPE in a window, then one without positions that sees all (Yang et al., 2025; Command A).

    The window is half the training length, as 4,096 of 8,192 in the paper's Command models. `swan` puts the plain layer
    first.
    """

    title = "windowed RoPE and global NoPE layers"
    paper = "arXiv:2501.18795"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j/\sqrt d,\ i-j < L/2 \text{ in layers } 1, 2, 3,\quad "
        r"q_i^\top k_j/\sqrt d \text{ in layer } 4"
    )

    def is_plain(self, layer: int) -> bool:
        every = period(self.shape)
        return layer % every == every - 1

    @property
    def window(self) -> int:
        """How many keys a query sees, its own included."""
        return max(1, self.shape.train_length // 2)

    def sight(self, layer: int) -> int | None:
        return self.within_window(layer, self.window)

    def far(self, at: At, keys: Keys) -> Tensor:
        return distance(at.pos, keys.pos) >= self.window
