import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Shape, causal_conv
from pebench.encodings.registry import register
from pebench.encodings.rope import RoPE
from pebench.encodings.wrapper import Wrapper


@register("kv_shift")
class KVShift(Wrapper):
    """Each key and value is mixed with the one before it (Xu et al., 2024).

    Two mixes a head, of keys and of values, start at a uniform in (0, 1) and its complement; the first token has zeros
    before it. Keys are mixed after their norm, so that q.k is the mix of two products, as in the paper, which has no
    norm. The mix stands before a rotation; gates of the inner encoding read the keys unmixed.
    """

    title = "KV shift"
    paper = "arXiv:2411.19574"
    family = "multiplicative"
    formula = (
        r"k_t \leftarrow \alpha_h k_t + \beta_h k_{t-1},\quad v_t \leftarrow \alpha'_h v_t + \beta'_h v_{t-1}"
    )
    relative = True

    inner_class = RoPE

    def __init__(self, shape: Shape):
        super().__init__(shape)
        own = torch.rand(2, shape.layers, shape.heads)
        # Of keys and of values; for the token before, and itself.
        self.mix = nn.Parameter(torch.stack([1 - own, own], dim=-1))

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return super().qk(q, self.mixed(k, 0, at), at)

    def values(self, v: Tensor, at: At) -> Tensor:
        return super().values(self.mixed(v, 1, at), at)

    def mixed(self, x: Tensor, side: int, at: At) -> Tensor:
        """Keys (side 0) or values (side 1) (B, H, T, d), each with the one before it."""
        channels = self.mix[side, at.layer].repeat_interleave(x.shape[-1], dim=0)  # (D, 2)
        flat = causal_conv(x.transpose(1, 2).flatten(2).float(), channels, at.memory, f"shift {side}")
        return flat.unflatten(2, (self.shape.heads, -1)).transpose(1, 2).type_as(x)
