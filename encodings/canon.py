import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Shape, causal_conv
from pebench.encodings.registry import register
from pebench.encodings.rope import RoPE
from pebench.encodings.wrapper import Wrapper


@register("canon")
class Canon(Wrapper):
    """Queries, keys and values each gain a causal convolution over four tokens, channel by channel (Allen-Zhu, 2025).

    This is Canon-B of the paper's four places: A, C and D lie outside of attention. As in facebookresearch/PhysicsLM4
    the convolution follows the norm of q and k and comes before the rotation, has no bias and no activation, and
    starts at PyTorch's U(-1/2, 1/2). Gates of the inner encoding read q and k without it.
    """

    title = "Canon convolutions"
    paper = "arXiv:2512.17351"
    family = "multiplicative"
    formula = r"z_t \leftarrow z_t + \sum_{n=0}^{3} c_n \odot z_{t-n} \text{ for } z \in \{q, k, v\}"
    relative = True

    inner_class = RoPE
    span = 4

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.conv = nn.Parameter(torch.rand(3, shape.layers, shape.width, self.span) - 0.5)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return super().qk(self.mixed(q, 0, at), self.mixed(k, 1, at), at)

    def values(self, v: Tensor, at: At) -> Tensor:
        return super().values(self.mixed(v, 2, at), at)

    def mixed(self, x: Tensor, side: int, at: At) -> Tensor:
        """Queries (side 0), keys (1) or values (2) (B, H, T, d), each with a mix of the last four."""
        flat = x.transpose(1, 2).flatten(2).float()
        mix = causal_conv(flat, self.conv[side, at.layer], at.memory, f"canon {side}")
        return (flat + mix).unflatten(2, (self.shape.heads, -1)).transpose(1, 2).type_as(x)
