import torch
from torch import Tensor

from pebench.encodings.base import At, Keys, Shape, rope_frequencies, spread, visible
from pebench.encodings.registry import register
from pebench.encodings.rope import Rotary


class Fading(Rotary):
    """RoPE in which each plane also fades with distance, fast planes most (Sun et al., 2023).

    The decay's exponent is the distance over `scale_base`. As a factor of q and k the decay overflows float32
    near position 36,000 (with 512). So keys are cached rotated but unscaled, and both sides are scaled when
    they meet, measured from the last query of the call. Keys only shrink, and a query grows by the decay over
    one call at most. The queries of a call must lie within 36,000 positions; the text need not. The authors'
    code, microsoft/torchscale, measures from the middle of the text, which moves as the text grows, so that its
    cached keys go stale. In longer texts the paper also cuts attention to blocks of half the training length
    and the block before (section 3.3). Here every key is seen.
    """

    paper = "arXiv:2212.10554"
    norm_preserving = False

    def __init__(self, shape: Shape, scale_base: int):
        super().__init__(shape, rope_frequencies(shape.head_dim))
        self.scale_base = scale_base
        ramp = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        self.register_buffer("decay", ((ramp + 0.4) / 1.4).repeat(2), persistent=False)
        self.decay: Tensor

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        last = at.pos[..., -1:]
        q = q.float() * self.decay ** (spread(at.pos - last) / self.scale_base)
        # Beyond float32's range a key fades to zero; a key of the future is masked, and must not overflow.
        k = k.float() * self.decay ** (spread((last - keys.pos).clamp(min=0)) / self.scale_base)
        logits = (q @ k.mT) * self.shape.scale
        return logits.masked_fill(~visible(at, keys), -torch.inf).softmax(-1)


@register("xpos")
class XPos(Fading):
    """xPos that fades over 512 positions, the paper's number."""

    title = "xPos"
    formula = (
        r"\ell_{ij} = q_i^\top \zeta^{(i-j)/512} R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\zeta_m = \frac{2m/d + 0.4}{1.4}"
    )

    def __init__(self, shape: Shape):
        super().__init__(shape, 512)


@register("xpos_scaled")
class ScaledXPos(Fading):
    """xPos that fades over half the training length, as 512 is of the paper's 1,024 (Sun et al., 2023).

    Queries of one call must lie within 36 L positions. This form is ours, not the paper's.
    """

    title = "xPos, decay by the training length"
    formula = (
        r"\ell_{ij} = q_i^\top \zeta^{2(i-j)/L} R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\zeta_m = \frac{2m/d + 0.4}{1.4}"
    )

    def __init__(self, shape: Shape):
        super().__init__(shape, max(1, shape.train_length // 2))
