"""The only place that picks an attention kernel."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from pebench.encodings.base import Encoding, visible
from pebench.suite.lm.native import ops

# Logits held at once where an encoding needs them all; evaluation goes over the queries in blocks of this size.
BLOCK_ELEMENTS = 2**25


def attend(
    encoding: Encoding, layer: int, q: Tensor, k: Tensor, v: Tensor, q_pos: Tensor, k_pos: Tensor
) -> Tensor:
    """Causal attention of q (B, H, T, e) over k (B, H, S, e) and v (B, H, S, d): (B, H, T, d).

    The queries are the last T of the S tokens; e may exceed d where the encoding appended columns.
    """
    kernel = encoding.kernel()
    if q.shape[-2] == 1 and kernel != "own" and not torch.is_grad_enabled() and ops.usable(q, k, v):
        bias = encoding.bias(q_pos, k_pos, layer) if kernel == "masked" else None
        if bias is None or ops.plain(bias):
            return ops.attention_step(q, k, v, encoding.shape.scale, bias)
    if q.shape[-2] == k.shape[-2] and ops.usable(q, k) and ops.plain(v):
        y = native(encoding, layer, q, k, v.float(), q_pos, k_pos)
        if y is not None:
            return y.type_as(v)
    if kernel == "own":

        def block(q: Tensor, q_pos: Tensor) -> Tensor:
            weights = encoding.weights(q, k, q_pos, k_pos, layer)
            assert weights is not None
            return weights.type_as(v) @ v

        return in_blocks(block, q, q_pos, k.shape[-2])
    if kernel == "masked":

        def block(q: Tensor, q_pos: Tensor) -> Tensor:
            bias = encoding.bias(q_pos, k_pos, layer)
            seen = visible(q_pos, k_pos)
            if bias is None:
                return fused(q, k, v, encoding.shape.scale, seen)
            mask = bias.masked_fill(~seen, -torch.inf).type_as(q)
            return fused(q, k, v, encoding.shape.scale, mask[None])

        return in_blocks(block, q, q_pos, k.shape[-2])
    if q.shape[-2] == k.shape[-2]:
        return fused(q, k, v, encoding.shape.scale, None, causal=True)
    if q.shape[-2] == 1:  # one new token sees the whole cache
        return fused(q, k, v, encoding.shape.scale, None)
    return in_blocks(
        lambda q, q_pos: fused(q, k, v, encoding.shape.scale, visible(q_pos, k_pos)), q, q_pos, k.shape[-2]
    )


def native(
    encoding: Encoding, layer: int, q: Tensor, k: Tensor, v: Tensor, q_pos: Tensor, k_pos: Tensor
) -> Tensor | None:
    """Attention of whole sequences by our own kernel, or None where it has no form of this encoding."""
    kernel, scale = encoding.kernel(), encoding.shape.scale
    if kernel == "fused":
        return ops.attention(q, k, v, scale)
    if kernel == "own":
        form = encoding.form(q, k, layer)
        return None if form is None or not ops.takes(form) else ops.attention(q, k, v, scale, form=form)
    if type(encoding).positions is Encoding.positions:  # then distances are 0, 1, 2 ...
        table = encoding.by_distance(torch.arange(q.shape[2], device=q.device).float(), layer)
        if table is not None and ops.plain(table):
            return ops.attention(q, k, v, scale, table=table)
    if q.shape[1] * q.shape[2] ** 2 > BLOCK_ELEMENTS and not torch.is_grad_enabled():
        return None  # the bias would be large: block by block
    bias = encoding.bias(q_pos, k_pos, layer)
    return ops.attention(q, k, v, scale, bias=bias) if bias is None or ops.plain(bias) else None


def fused(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None, causal: bool = False) -> Tensor:
    """PyTorch's kernel. It is fast for one common width of q, k and v, a multiple of 8, so all are padded to it."""
    if q.shape[-2] == 1 and q.shape[-1] != v.shape[-1]:  # padding would copy the whole cache for each token
        logits = q @ k.mT * scale
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        return (logits.softmax(-1) @ v.type_as(q)).type_as(v)
    width = -(-max(q.shape[-1], v.shape[-1]) // 8) * 8
    q, k, value = (x if x.shape[-1] == width else pad(x, (0, width - x.shape[-1])) for x in (q, k, v))
    y = scaled_dot_product_attention(q, k, value.type_as(q), attn_mask=mask, is_causal=causal, scale=scale)
    return y[..., : v.shape[-1]].type_as(v)


def in_blocks(block: Callable[[Tensor, Tensor], Tensor], q: Tensor, q_pos: Tensor, keys: int) -> Tensor:
    """Apply `block` to all queries at once, or to a few at a time where the logits would not fit."""
    size = max(1, BLOCK_ELEMENTS // (q.shape[0] * q.shape[1] * keys))
    if torch.is_grad_enabled() or size >= q.shape[-2]:
        return block(q, q_pos)
    parts = [block(part, pos) for part, pos in zip(q.split(size, -2), q_pos.split(size), strict=True)]
    return torch.cat(parts, dim=-2)
