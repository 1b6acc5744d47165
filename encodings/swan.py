from abc import abstractmethod

from torch import Tensor

from pebench.encodings.base import At, Keys, distance
from pebench.encodings.local import Local
from pebench.encodings.registry import register
from pebench.encodings.rnope import period


class FirstPlain(Local):
    """The first of four layers is plain; in the others a window hides what lies further back than its width."""

    @property
    @abstractmethod
    def window(self) -> int:
        """How many keys a query sees, its own included."""

    def is_plain(self, layer: int) -> bool:
        return layer % period(self.shape) == 0

    def sight(self, layer: int) -> int | None:
        return self.within_window(layer, self.window)

    def far(self, at: At, keys: Keys) -> Tensor:
        return distance(at.pos, keys.pos) >= self.window


@register("swan")
class SWAN(FirstPlain):
    """No positions in the first of four layers, RoPE in a window in the others (Puvvada et al., 2025, section 2).

    The window is half the training length (512 of 1,024 in the paper); `swan_512` has the paper's number. The
    paper also scales the logits of the global layers with the logarithm of the length at inference, by factors
    fitted to long texts. That is left out here; `swan+ssmax` scales the windowed layers too.
    """

    title = "global NoPE and windowed RoPE layers"
    paper = "arXiv:2504.08719"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d \text{ in layer } 1,\quad "
        r"q_i^\top R\big((j-i)\theta\big)\,k_j/\sqrt d,\ i-j < L/2 \text{ in layers } 2, 3, 4"
    )

    @property
    def window(self) -> int:
        return max(1, self.shape.train_length // 2)


@register("swan_512")
class SWAN512(FirstPlain):
    """SWAN with the paper's window of 512 tokens, whatever the training length (Puvvada et al., 2025, section 2).

    Trained on texts of at most 512 tokens, it has never hidden a key before it reads a longer one.
    """

    title = "global NoPE and RoPE layers with a window of 512"
    paper = "arXiv:2504.08719"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d \text{ in layer } 1,\quad "
        r"q_i^\top R\big((j-i)\theta\big)\,k_j/\sqrt d,\ i-j < 512 \text{ in layers } 2, 3, 4"
    )

    window = 512
