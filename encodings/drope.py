from torch import Tensor

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies, rotate
from pebench.encodings.registry import register


@register("drope")
class DroPE(Encoding):
    """RoPE for the first 7/8 of the training, and no positions after that (Gelberg et al., 2025).

    The paper trains 14 of its 16 billion tokens with RoPE, and has no gradual change. In texts longer than the
    training's, logits are multiplied by 1 + 0.412 ln s, its factor for models of its own. Here s is how many times
    L a query's own text is, so that a cache serves every length; the paper takes the whole text's. SakanaAI/DroPE
    leaves that factor to its user. The constants 7/8 and 0.412 are from research notes on the paper. Left out are
    the paper's higher rate and its norm of q and k for the second part.
    """

    title = "RoPE, dropped before the end (DroPE)"
    paper = "arXiv:2512.12167"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d \text{ until } 7/8 \text{ of the steps, then } "
        r"\big(1 + 0.412 \ln\max(1, (i+1)/L)\big)\, q_i^\top k_j / \sqrt d"
    )
    relative = True

    share = 0.875
    sharpening = 0.412

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("frequencies", rope_frequencies(shape.head_dim), persistent=False)
        self.frequencies: Tensor

    def angle(self, at: At) -> Tensor:
        """How far each plane has turned, (T, d/2): 0 after the drop."""
        return (at.progress < self.share).float() * at.place * self.frequencies

    def factor(self, at: At) -> Tensor:
        """What multiplies queries, (T, 1): 1 before the drop, and within the training length."""
        longer = ((at.order + 1) / self.shape.train_length).clamp(min=1)
        return 1 + (at.progress >= self.share).float() * self.sharpening * longer.log()[:, None]

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = self.angle(at)
        return rotate((q.float() * self.factor(at)).type_as(q), angle), rotate(k, angle)
