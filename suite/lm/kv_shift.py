"""KV shift, an option of the standard LM: each key and value is mixed with the one before it.

It is not an encoding: it changes what is read, not where. No profile uses it.
"""

import torch
from torch import Tensor, nn

from pebench.encodings.base import Encoding, causal_conv
from pebench.encodings.streams import stream
from pebench.suite.lm.model import LM, Attention, Size


class ShiftedAttention(Attention):
    """k_t becomes a_h k_t + b_h k_(t-1), and v_t likewise, for each head h (Xu et al., 2024, arXiv:2411.19574).

    Mixed before the norm of k and before the encoding; the first token has zeros before it. The mixes start at
    a uniform in (0, 1) and b = 1 - a.
    """

    def __init__(self, size: Size):
        super().__init__(size)
        self.mix = nn.Parameter(torch.empty(2, size.heads, 2))  # of k and v; for the token before, and itself

    def shifted(self, qkv: Tensor, memory: dict[str, Tensor]) -> Tensor:
        width = qkv.shape[-1] // 3
        q, kv = qkv.split([width, 2 * width], dim=-1)
        weight = self.mix.repeat_interleave(width // self.heads, dim=1).flatten(0, 1)  # (2D, 2)
        return torch.cat([q, causal_conv(kv, weight, memory, "kv_shift")], dim=-1)


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
