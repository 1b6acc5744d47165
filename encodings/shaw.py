import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Keys, Shape, distance, visible
from pebench.encodings.registry import register


class Clipped(Encoding):
    """The query meets a learned vector for each distance, up to `clip` (Shaw et al., 2018, eq. 4).

    One table per layer, shared by its heads, initially N(0, 0.02); larger distances share the last vector.
    The paper's second table, added to the values, is left out (its own ablation finds it without effect).
    """

    paper = "arXiv:1803.02155"
    family = "additive"
    relative = True

    def __init__(self, shape: Shape, clip: int):
        super().__init__(shape)
        self.clip = clip
        self.table = nn.Parameter(0.02 * torch.randn(shape.layers, self.clip + 1, shape.head_dim))

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        far = distance(at.pos, keys.pos).clamp(max=self.clip).long()
        by_distance = q @ self.table[at.layer].type_as(q).mT  # (B, H, T, clip + 1)
        position = by_distance.gather(
            -1, (far if far.dim() == 2 else far[:, None]).expand(*q.shape[:2], -1, -1)
        )
        logits = (q @ k.mT + position).float() * self.shape.scale
        return logits.masked_fill(~visible(at, keys), -torch.inf).softmax(-1)


@register("shaw")
class Shaw(Clipped):
    """Shaw's vectors for each distance up to 16, the paper's number.

    Its base model, which has that number, has a table for each head (section 4.1).
    """

    title = "Relative positions in the keys"
    formula = r"\ell_{ij} = q_i^\top \big(k_j + a_{\min(i-j,\,16)}\big) / \sqrt d"

    def __init__(self, shape: Shape):
        super().__init__(shape, 16)


@register("shaw_scaled")
class ScaledShaw(Clipped):
    """Shaw's vectors for each distance up to a quarter of the training length.

    This form is ours: the paper has 16 for the sentences of its translations.
    """

    title = "Relative positions in the keys, up to a quarter of the training length"
    formula = r"\ell_{ij} = q_i^\top \big(k_j + a_{\min(i-j,\,L/4)}\big) / \sqrt d"

    def __init__(self, shape: Shape):
        super().__init__(shape, max(1, shape.train_length // 4))
