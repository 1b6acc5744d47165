"""The kernels of this room as operators of torch: attention of whole texts, with gradients, and over a cache.

All that is declared beside q, k and v is float32. Memory grows as T ** 1.5 at most: sums along the row are kept for one
part of the keys at a time, and after each part.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from pebench.suite.lm.gpu import kernels
from pebench.suite.lm.gpu.bias import BROKEN, Bias
from pebench.suite.lm.gpu.tiles import INTERPRETED, Plan, Tile, chip_of, planned
from pebench.suite.lm.native.ops import REMEDY, eager


def plan(q: Tensor, v: Tensor, kind: int) -> Plan:
    """The tiles for q and v like these."""
    if kernels.INTERPRETED.value:
        return INTERPRETED
    return planned(max(q.shape[-1], v.shape[-1]), kind, q.dtype, chip_of(q.device))


def widths(q: Tensor, v: Tensor, bias: Bias) -> dict[str, int]:
    """The widths of the matrices, and the powers of two to which a kernel pads them."""
    d, dv = q.shape[-1], v.shape[-1]
    n = 0 if bias.qc is None else bias.qc.shape[-1]
    f = 1 if bias.p is None else bias.p.shape[-1]
    known = 1 if bias.e is None else bias.e.shape[-1]
    return {
        "D": d, "DP": padded(d), "DV": dv, "DVP": padded(dv), "N": n, "NP": power(max(1, n)), "F": f, "FP": padded(f),
        "KNOWN": known,
    }  # fmt: skip


def power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << (n - 1).bit_length()


def padded(n: int) -> int:
    """What a matrix product takes for a width n."""
    return max(16, power(n))


def flat(x: Tensor) -> tuple[Tensor, int]:
    """x (B, H, n, w) as the kernels read it, and how many rows each head has in memory: a cache has room for more."""
    _, h, n, w = x.shape
    each = x.stride(1) // w
    if each >= n and x.stride() == (h * each * w, each * w, w, 1):
        return x, each
    return x.contiguous(), n


def chosen(options: dict[str, int], names: str) -> dict[str, int]:
    """Those of the options that a kernel has."""
    return {name: options[name] for name in names.split()}


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Bias,
    parts: int,
    later: Tensor,
    tile: Tile,
    part: int,
) -> tuple[Tensor, Tensor]:
    """Outputs (parts, B, H, T, d) and logarithms of sums (parts, B, H, T) over parts of the keys.

    With one part, the walk over all keys, `later` (B, H, T, n) is filled; else it holds the sums after each part.
    """
    b, h, t, _ = q.shape
    s, dv = k.shape[2], v.shape[-1]
    (k, rk), (v, rv) = flat(k), flat(v)
    kc, rkc = (q, t) if bias.kc is None else flat(bias.kc)
    r, rr = (q, t) if bias.r is None else flat(bias.r)
    q = q.contiguous()
    others = (bias.qc, bias.table, bias.p, bias.e, bias.slopes)
    qc, table, p, e, slopes = (q if x is None else x.contiguous() for x in others)
    y = v.new_empty(parts, b, h, t, dv, dtype=v.dtype if parts == 1 else torch.float32)
    lse = q.new_empty(parts, b, h, t, dtype=torch.float32)
    kernels.forward[(-(-t // tile.queries), b * h, parts)](
        q, k, v, qc, kc, table, p, r, e, slopes, y, lse, later, scale, t, s, h, rk, rv, rkc, rr, bias.window,
        later.shape[-1], part, KIND=bias.kind, TABLED=bias.table is not None, KEEP=parts == 1, **tile.options(),
        **chosen(widths(q, v, bias), "D DP DV DVP N F FP KNOWN"),
    )  # fmt: skip
    return y, lse


def totals(
    q: Tensor, k: Tensor, scale: float, bias: Bias, out: Tensor, tile: Tile, part: int, chunk: int = 0,
    after: Tensor | None = None,
) -> None:  # fmt: skip
    """The sums of the gates in each part of the keys, or those after each tile of one part, beginning with `after`."""
    b, h, t, _ = q.shape
    k, rk = flat(k)
    r, rr = (q, t) if bias.r is None else flat(bias.r)
    q = q.contiguous()
    p, slopes = (q if x is None else x.contiguous() for x in (bias.p, bias.slopes))
    parts = out.shape[-1] if after is None else 1
    kernels.totals[(-(-t // tile.queries), b * h, parts)](
        q, k, p, r, slopes, q if after is None else after, out, scale, t, k.shape[2], h, rk, rr, bias.window,
        out.shape[-1] if after is None else after.shape[-1], part, chunk, KIND=bias.kind, TILES=after is not None,
        **tile.options(), **chosen(widths(q, q, bias), "D DP F FP"),
    )  # fmt: skip


def over_cache(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Bias) -> Tensor:
    """Attention of q (B, H, T, e), the last T of S tokens, over k (B, H, S, e) and v (B, H, S, d), without gradients.

    Few queries leave a GPU idle, so the keys are shared among programs and their results are joined.
    """
    b, h, t, _ = q.shape
    tiles = plan(q, v, bias.kind)
    tile, count = tiles.forward, -(-k.shape[2] // tiles.forward.keys)
    part = max(tiles.part // 4, -(-count // 64))  # tiles of keys
    parts = -(-count // part)
    if parts == 1 or -(-t // tile.queries) * b * h >= 256:
        later = q.new_empty(b, h, t, -(-count // tiles.part) if bias.kind else 1, dtype=torch.float32)
        return forward(q, k, v, scale, bias, 1, later, tile, tiles.part)[0][0]
    later = q.new_zeros(b, h, t, parts, dtype=torch.float32)
    if bias.kind:
        totals(q, k, scale, bias, later, tile, part)
        later = pad(later.flip(-1)[..., :-1].cumsum(-1), (1, 0)).flip(-1).contiguous()
    y, lse = forward(q, k, v, scale, bias, parts, later, tile, part)
    if bias.kind == BROKEN:
        return y.sum(0).type_as(v)
    share = lse.softmax(0)[..., None]
    return (y * share).sum(0).type_as(v)


def whole(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Bias) -> Tensor:
    """Causal attention of q and k (B, H, T, e) over v (B, H, T, d): (B, H, T, d), of v's dtype. Once differentiable."""
    y: Tensor = Walk.apply(scale, bias.kind, bias.window, q, k, v, *bias.tensors())
    return y


class Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scale: float, kind: int, window: int, q: Tensor, k: Tensor, v: Tensor, *rest: Any
    ) -> Tensor:
        bias, tiles = Bias(kind, window, *rest), plan(q, v, kind)
        b, h, t, _ = q.shape
        parts = -(-t // (tiles.forward.keys * tiles.part)) if kind else 1
        later = q.new_zeros(b, h, t, parts, dtype=torch.float32)
        y, lse = forward(q, k, v, scale, bias, 1, later, tiles.forward, tiles.part)
        ctx.save_for_backward(lse[0], later, q, k, v, *rest)
        ctx.numbers = scale, kind, window
        return y[0]

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"the kernels of a GPU have no second derivative (create_graph=True); {REMEDY}"
            )
        if not eager() or torch._C._functorch.is_legacy_batchedtensor(gy):
            raise RuntimeError(
                f"the kernels of a GPU cannot be traced, batched or watched in backward; {REMEDY}"
            )
        lse, later, q, k, v, *rest = ctx.saved_tensors
        scale, kind, window = ctx.numbers
        bias = Bias(kind, window, *rest)
        with torch.autocast(q.device.type, enabled=False):
            found = gradients(q, k, v, scale, bias, lse, later, gy)
        needed = ctx.needs_input_grad[3:]
        return None, None, None, *(g if need else None for g, need in zip(found, needed, strict=True))


def gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Bias,
    lse: Tensor,
    later: Tensor,
    gy: Tensor,
) -> tuple[Tensor | None, ...]:
    """Those of q, k, v and the bias's tensors; none of the slopes."""
    b, h, t, _ = q.shape
    tiles, options = plan(q, v, bias.kind), widths(q, v, bias)
    tile, key_tile = tiles.queries, tiles.keys
    q, k, v, gy, later = (x.contiguous() for x in (q, k, v, gy.type_as(v), later))
    qc, kc, table, p, r, e, slopes = (q if x is None else x.contiguous() for x in bias.tensors())
    delta = torch.zeros_like(lse)
    if bias.kind != BROKEN:
        kernels.row_sums[(-(-t // tile.queries), b * h)](
            q, k, v, gy, qc, kc, table, p, r, e, slopes, lse, delta, scale, t, h, bias.window, KIND=bias.kind,
            TABLED=bias.table is not None, **tile.options(), **chosen(options, "D DP DV DVP N F FP KNOWN"),
        )  # fmt: skip
    gq = torch.zeros_like(q, dtype=torch.float32)
    gk, gv = torch.empty_like(k), torch.empty_like(v)
    gqc, gkc, gp, gr, ge = (
        None if x is None else torch.zeros(x.shape, dtype=torch.float32, device=q.device)
        for x in (bias.qc, bias.kc, bias.p, bias.r, bias.e)
    )
    part, key_part, chunks = -(-t // tile.keys), -(-t // key_tile.keys), 1
    if bias.kind:  # parts of as many keys as in the forward pass, whose sums after each are known
        part = key_part = tiles.forward.keys * tiles.part // tile.keys
        chunks = later.shape[-1]
    sums, fronts = (q.new_empty(b, h, t, part if bias.kind else 1, dtype=torch.float32) for _ in range(2))
    front = q.new_zeros(b, h, t, dtype=torch.float32)
    # q stands where a kernel writes nothing.
    on_queries, on_keys = ([q if x is None else x for x in side] for side in ((gqc, gp, ge), (gkc, gr)))
    for chunk in range(chunks):
        if bias.kind:
            totals(q, k, scale, bias, sums, tile, part, chunk, later)
        common = {
            "KIND": bias.kind, "TABLED": bias.table is not None,
            **chosen(options, "D DP DV DVP N NP F FP KNOWN"),
        }  # fmt: skip
        kernels.backward_queries[(-(-t // tile.queries), b * h)](
            q, k, v, gy, qc, kc, table, p, r, e, slopes, lse, delta, sums, front, fronts, gq, *on_queries, scale, t, h,
            bias.window, part, chunk, **common, **tile.options(),
        )  # fmt: skip
        kernels.backward_keys[(min(key_part, -(-t // key_tile.keys) - chunk * key_part), b * h)](
            q, k, v, gy, qc, kc, table, p, r, e, slopes, lse, delta, sums, fronts, gk, gv, *on_keys, scale, t, h,
            bias.window, key_part, chunk, **common, **key_tile.options(),
        )  # fmt: skip
    gtable = None
    if bias.table is not None:
        square = tiles.table
        each = q.new_empty(b, h, t, dtype=torch.float32)
        kernels.backward_table[(-(-t // square.keys), b * h)](
            q, k, v, gy, qc, kc, table, lse, delta, each, scale, t, h, bias.window, B=square.keys,
            DEPTH=square.depth, num_warps=square.warps, num_stages=square.stages,
            **chosen(options, "D DP DV DVP N"),
        )  # fmt: skip
        gtable = each.sum(0)
    return gq.type_as(q), gk, gv, gqc, gkc, gtable, gp, gr, ge, None
