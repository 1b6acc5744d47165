"""The only place that picks an attention kernel: by what the encoding's hooks return."""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from pebench.encodings.base import NOTHING, At, Columns, Encoding, Keys, Memory, visible
from pebench.suite.lm.gpu import choice as gpu
from pebench.suite.lm.native import ops

# Logits held at once where an encoding needs them all; beyond it the queries are taken in blocks.
BLOCK_ELEMENTS = 2**25
# The same while gradients are on: a block is computed again in the backward pass, with all that its graph holds.
LEARNING_ELEMENTS = 2**24
LEARNING_BLOCK = 2**21


class LayerCache:
    """What decoding remembers of one layer: keys and values (B, H, S, *) in buffers that double when full."""

    def __init__(self) -> None:
        self.k: Tensor | None = None
        self.v: Tensor | None = None
        self.columns: Tensor | None = None  # beside the keys of an encoding with `weights`
        self.memory: Memory = {}

    def append(self, k: Tensor, v: Tensor, columns: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Store the new vectors from token `start` on; return all so far."""
        self.k, self.v = stored(self.k, k, start), stored(self.v, v, start)
        end = start + k.shape[-2]
        if columns.numel():
            self.columns = stored(self.columns, columns.expand(*k.shape[:-1], -1), start)
            columns = self.columns[..., :end, :]
        return self.k[..., :end, :], self.v[..., :end, :], columns


def stored(buffer: Tensor | None, new: Tensor, start: int) -> Tensor:
    """The buffer, or a larger one with the same beginning, with the new rows at `start`."""
    end = start + new.shape[-2]
    if buffer is None or buffer.shape[-2] < end:
        room = new.new_empty(*new.shape[:-2], max(64, 2 * end), new.shape[-1])
        if buffer is not None:
            room[..., :start, :] = buffer[..., :start, :]
        buffer = room
    buffer[..., start:end, :] = new
    return buffer


def layer(
    encoding: Encoding,
    at: At,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: Keys | None = None,
    cache: LayerCache | None = None,
) -> Tensor:
    """All hooks of one layer and its attention: (B, H, T, d) out of q, k and v of the tokens at `at`.

    With a cache, `keys` says where all tokens so far are.
    """
    return encoding.output(attended(encoding, at, q, k, encoding.values(v, at), keys, cache), at)


def attended(
    encoding: Encoding,
    at: At,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: Keys | None = None,
    cache: LayerCache | None = None,
) -> Tensor:
    """`layer` without the hooks `values` and `output`: with a unit matrix as v, the weights themselves."""
    columns = encoding.columns(q, k, at)
    q, k = encoding.qk(q, k, at)
    keys = keys or Keys(at.order, at.pos)
    if columns is not None and cache and encoding.kernel() != "own" and not gpu.serves(q):
        # Beside k, not to be copied for each token; a GPU's kernels take the two apart.
        q, k = lifted(q, k, columns, encoding.shape.scale)
        columns = None
    beside = NOTHING if columns is None else columns.k.float()
    if cache:
        k, v, beside = cache.append(k, v, beside, keys.order.shape[0] - k.shape[-2])
    if columns is not None:
        at, keys = at._replace(columns=columns.q.float()), keys._replace(columns=beside)
    return attend(encoding, at, q, k, v, keys)


def lifted(q: Tensor, k: Tensor, columns: Columns, scale: float) -> tuple[Tensor, Tensor]:
    """q (B, H, T, e) and k (B, H, S, e) with columns appended, so that q.k * scale gains their product.

    This is the homogeneous lift of GRAPE (section 4): a bias of low rank rides on the plain fused kernel. The
    result is float32, as is the attention that follows, because bfloat16 would round positions above 256. Even
    exact columns would leave the gradient of a gate, a difference of large sums, to the kernel's rounding.
    """
    q_cols, k_cols = (
        side.float().expand(*x.shape[:-1], -1) for side, x in ((columns.q / scale, q), (columns.k, k))
    )
    return torch.cat([q.float(), q_cols], dim=-1), torch.cat([k.float(), k_cols], dim=-1)


def attend(encoding: Encoding, at: At, q: Tensor, k: Tensor, v: Tensor, keys: Keys) -> Tensor:
    """Causal attention of q (B, H, T, e) over k (B, H, S, e) and v (B, H, S, d): (B, H, T, d).

    The queries are the last T of the S tokens; e may differ from d.
    """
    scale, whole = encoding.shape.scale, q.shape[-2] == k.shape[-2]
    own = encoding.kernel() == "own"
    columns = Columns(at.columns, keys.columns) if keys.columns.numel() and not own else None
    if gpu.serves(q) and (y := gpu.attention(encoding, at, q, k, v, keys, columns)) is not None:
        return y
    one = q.shape[-2] == 1 and not own and not torch.is_grad_enabled()
    if whole and not one and ops.usable(q, k) and ops.plain(v):
        y = native(encoding, at, q, k, v.float(), keys, columns)
        if y is not None:
            return y.type_as(v)
    if columns is not None:
        q, k = lifted(q, k, columns, scale)
    if one and ops.usable(q, k, v):
        bias = encoding.bias(at, keys)
        if bias is None or (bias.dim() == 3 and ops.plain(bias)):
            return ops.attention_step(q, k, v, scale, bias)

    def rows(q: Tensor, at: At, seen: int) -> Tensor | None:
        weights = encoding.weights(q, k[..., :seen, :].type_as(q), at, first(keys, seen))
        return None if weights is None else weights.type_as(v) @ v[..., :seen, :]

    def masked(q: Tensor, at: At, seen: int) -> Tensor | None:
        here = first(keys, seen)
        bias = encoding.bias(at, here)
        if bias is None:
            return None
        mask = bias.masked_fill(~visible(at, here), -torch.inf).type_as(q)
        return fused(q, k[..., :seen, :], v[..., :seen, :], scale, mask)

    def plain(q: Tensor, at: At, seen: int) -> Tensor:
        mask = visible(at, first(keys, seen))
        return fused(q, k[..., :seen, :], v[..., :seen, :], scale, mask)

    if own and (y := in_blocks(rows, q, at, k.shape[-2])) is not None:
        return y
    if encoding.kernel() != "fused" and (y := in_blocks(masked, q, at, k.shape[-2])) is not None:
        return y
    if whole:
        return fused(q, k, v, scale, None, causal=True)
    if q.shape[-2] == 1:  # one new token sees the whole cache
        return fused(q, k, v, scale, None)
    y = in_blocks(plain, q, at, k.shape[-2])
    assert y is not None
    return y


def native(
    encoding: Encoding, at: At, q: Tensor, k: Tensor, v: Tensor, keys: Keys, columns: Columns | None
) -> Tensor | None:
    """Attention of whole sequences by our own kernel, or None where it has no form of this encoding."""
    kernel, scale = encoding.kernel(), encoding.shape.scale
    if kernel == "own":
        form = encoding.valid_form(q, k, at, keys)
        return None if form is None or not ops.takes(form) else ops.attention(q, k, v, scale, form=form)
    if kernel == "fused":
        return ops.attention(q, k, v, scale, columns=columns)
    if (
        at.pos.dim() == 1
        and bool((at.pos.diff() == 1).all())
        and not encoding.overruled("by_distance", "bias")
    ):
        table = encoding.by_distance(torch.arange(q.shape[2], device=q.device).float(), at.layer)
        if table is not None and ops.plain(table):
            return ops.attention(q, k, v, scale, table=table, columns=columns)
    if q.shape[1] * q.shape[2] ** 2 > (LEARNING_ELEMENTS if torch.is_grad_enabled() else BLOCK_ELEMENTS):
        return None  # the bias would be large: block by block
    bias = encoding.bias(at, keys)
    return (
        ops.attention(q, k, v, scale, bias=bias, columns=columns)
        if bias is None or (bias.dim() == 3 and ops.plain(bias))
        else None
    )


def fused(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None, causal: bool = False) -> Tensor:
    """PyTorch's kernel. It is fast for one common width of q, k and v, a multiple of 8, so all are padded to it."""
    if q.shape[-2] == 1 and q.shape[-1] != v.shape[-1]:  # padding would copy the whole cache for each token
        logits = q @ k.mT * scale
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        return (logits.softmax(-1) @ v.type_as(q)).type_as(v)
    width = -(-max(q.shape[-1], v.shape[-1]) // 8) * 8
    q, k, value = (x if x.shape[-1] == width else pad(x, (0, width - x.shape[-1])) for x in (q, k, v))
    mask = mask[None] if mask is not None and mask.dim() == 3 else mask
    y = scaled_dot_product_attention(q, k, value.type_as(q), attn_mask=mask, is_causal=causal, scale=scale)
    return y[..., : v.shape[-1]].type_as(v)


Block = Callable[[Tensor, At, int], Tensor | None]


def in_blocks(block: Block, q: Tensor, at: At, keys: int) -> Tensor | None:
    """Apply `block` to all queries at once, or to a few at a time where the logits would not fit. None: it gives none.

    `block` is given queries, their place, and the number of keys up to the last of them. While gradients are on, a
    block keeps nothing for the backward pass but its inputs, and is computed again there.
    """
    learning, pairs, tokens = torch.is_grad_enabled(), q.shape[0] * q.shape[1], q.shape[-2]
    most, some = (LEARNING_ELEMENTS, LEARNING_BLOCK) if learning else (BLOCK_ELEMENTS, BLOCK_ELEMENTS)
    if q.is_cuda:  # small blocks would leave a GPU idle
        most, some = gpu.ELEMENTS, gpu.ELEMENTS
    if pairs * tokens * keys <= most:
        return block(q, at, keys)
    room = some / pairs
    parts, start = list[Tensor](), 0
    while start < tokens:
        before = keys - tokens + start
        size = max(
            1, int((math.sqrt(before * before + 4 * room) - before) / 2)
        )  # size * (before + size) <= room
        end = min(tokens, start + size)
        part = (q[..., start:end, :], queries(at, slice(start, end)), keys - tokens + end)
        y = recomputed(block, *part) if learning else block(*part)
        if y is None:
            return None
        parts.append(y)
        start = end
    return torch.cat(parts, dim=-2)


def first(keys: Keys, seen: int) -> Keys:
    """The first of the keys."""
    return Keys(
        keys.order[:seen],
        keys.pos[:seen] if keys.pos.dim() == 1 else keys.pos[:, :seen],
        keys.columns[..., :seen, :] if keys.columns.dim() > 1 else keys.columns,
    )


def queries(at: At, here: slice) -> At:
    """Some of the tokens of `at`, with its memory."""
    return at._replace(
        x=at.x[:, here],
        v=at.v[..., here, :],
        order=at.order[here],
        pos=at.pos[here] if at.pos.dim() == 1 else at.pos[:, here],
        columns=at.columns[..., here, :] if at.columns.dim() > 1 else at.columns,
    )


def recomputed(block: Block, q: Tensor, at: At, seen: int) -> Tensor | None:
    """block(q, at, seen); the backward pass computes all but its inputs again, from the same memory."""
    before, after = copied(at.memory), list[Memory]()

    def run(q: Tensor) -> Tensor | None:
        memory = copied(before)
        y = block(q, at._replace(memory=memory), seen)
        after.append(memory)
        return y

    y = checkpoint(run, q, use_reentrant=False)
    at.memory.update(after[0])
    return cast(Tensor | None, y)


def copied(memory: Memory) -> Memory:
    """The same tensors in dicts of its own."""
    return {name: copied(x) if isinstance(x, dict) else x for name, x in memory.items()}
