"""Attention with a score of two positions, by torch's flex attention: no matrix of scores is formed."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys
from pebench.encodings.scores import Scored

LEAST = 16  # numbers of a head
VERSIONS = 64  # compiled at most: one for each layer, and for each kind of lengths


def takes(encoding: Encoding, at: At, q: Tensor) -> bool:
    """Whether flex attention serves this encoding.

    The gradients of learned scores are summed by atomics there, in no fixed order: such an encoding learns in blocks.
    """
    learned = torch.is_grad_enabled() and any(p.requires_grad for p in encoding.parameters())
    return (
        isinstance(encoding, Scored)
        and encoding.kernel() == "masked"
        and not encoding.overruled("score", "bias")
        and not learned
        and at.pos.dim() <= 2
        and q.shape[-1] >= LEAST
    )


def attention(encoding: Scored, at: At, q: Tensor, k: Tensor, v: Tensor, keys: Keys) -> Tensor:
    """Causal attention of q (B, H, T, e), the last T of S tokens, over k (B, H, S, e) and v (B, H, S, d)."""
    from torch.nn.attention.flex_attention import create_block_mask  # seconds to import

    before, layer = k.shape[-2] - q.shape[-2], at.layer
    i_pos, j_pos = at.pos.float(), keys.pos.float()

    if at.pos.dim() == 1:

        def score(x: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return x + encoding.score(layer, h, i_pos[i], torch.minimum(j_pos[j], i_pos[i]))

    else:

        def score(x: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return x + encoding.score(layer, h, i_pos[b, i], torch.minimum(j_pos[b, j], i_pos[b, i]))

    def seen(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return j <= i + before

    mask = create_block_mask(seen, None, None, q.shape[-2], k.shape[-2], device=q.device)
    with torch._dynamo.config.patch(recompile_limit=VERSIONS):
        y: Tensor = compiled()(q, k, v, score_mod=score, block_mask=mask, scale=encoding.shape.scale)
    return y


@functools.cache
def compiled() -> Callable[..., Any]:
    """Flex attention by inductor; on a CPU, where this only shows what it computes, without."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, backend="inductor" if torch.cuda.is_available() else "aot_eager")
