"""KV shift, an option of the standard LM: each key and value is mixed with the one before it.

It is not an encoding: it changes what is read, not where. No profile uses it.
"""

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, causal_conv
from pebench.encodings.streams import stream
from pebench.suite.attention import attend
from pebench.suite.model import LM, Attention, LayerCache, Size
from pebench.suite.native import ops


class ShiftedAttention(Attention):
    """k_t becomes a_h k_t + b_h k_(t-1), and v_t likewise, for each head h (Xu et al., 2024, arXiv:2411.19574).

    Mixed before the norm of k and before the encoding; the first token has zeros before it. The mixes start at
    a uniform in (0, 1) and b = 1 - a.
    """

    def __init__(self, size: Size):
        super().__init__(size)
        self.mix = nn.Parameter(torch.empty(2, size.heads, 2))  # of k and v; for the token before, and itself

    def forward(
        self,
        x: Tensor,
        encoding: Encoding,
        layer: int,
        q_pos: Tensor,
        k_pos: Tensor,
        cache: LayerCache | None,
        start: int,
    ) -> Tensor:
        width, memory = x.shape[-1], cache.memory if cache else {}
        q, kv = self.qkv(x).split([width, 2 * width], dim=-1)
        weight = self.mix.repeat_interleave(width // self.heads, dim=1).flatten(0, 1)  # (2D, 2)
        kv = causal_conv(kv, weight, memory, "kv_shift")
        q, k, v = ops.split_qkv(torch.cat([q, kv], dim=-1), self.temperature)
        with torch.autocast(x.device.type, enabled=False):
            q, k = encoding.qk(q, k, At(layer, x, v, q_pos, memory))
            if cache:
                k, v = cache.append(k, v, start)
            y = attend(encoding, layer, q, k, v, q_pos, k_pos)
        return self.out(y.transpose(1, 2).flatten(2))


class ShiftedLM(LM):
    """The standard LM with KV shift; every weight that both have is the same."""

    def __init__(self, size: Size, encoding: type[Encoding], train_length: int, seed: int):
        super().__init__(size, encoding, train_length, seed)
        for layer, block in enumerate(self.blocks):
            plain, shifted = block.attention, ShiftedAttention(size)
            assert isinstance(plain, Attention)
            shifted.load_state_dict(plain.state_dict(), strict=False)
            rng = torch.Generator().manual_seed(stream(seed, f"blocks.{layer}.attention.mix"))
            own = torch.rand(2, size.heads, generator=rng)
            shifted.mix.data.copy_(torch.stack([1 - own, own], dim=-1))
            block.attention = shifted
