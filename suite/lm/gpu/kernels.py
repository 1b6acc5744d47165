"""Attention by one walk over tiles of keys, in Triton: forward, and backward by rows of queries and by rows of keys.

To the scaled products of q and k a walk adds the product of declared float32 vectors, a table by distance, and sums
along the row from the diagonal to the past. There are no atomics: each number is written by one program.

Matrices are (B * H * rows, width) with dense rows; a tensor of a cache has more rows a head than are filled. Query m of
T stands at place m + S - T of the S keys. In a bias of `KIND` 0 there are no sums; 1 is a path, 2 counts, 3 the rest of
a stick. Under Triton's interpreter products are float32, for it multiplies the bits of bfloat16.
"""

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
# Lengths grow with every token that is decoded, and no address depends on what divides them.
LENGTHS = ["T", "S", "H", "RK", "RV", "RKC", "RR", "WINDOW", "NS", "SPLIT", "CHUNK"]


@triton.jit
def dot(a, b):
    """The product of two tiles, float32. Products of float32 tiles are exact to about 2^-22."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, input_precision="tf32x3")


@triton.jit
def gate_dot(a, b, model: tl.constexpr):
    """The product of float32 tiles of a path's gradients, exact to about 2^-16 where the model is not float32."""
    if INTERPRETED:
        return tl.dot(a, b, input_precision="ieee")
    if model == tl.float32:
        return tl.dot(a, b, input_precision="tf32x3")
    return tl.dot(a, b, input_precision="bf16x3")


@triton.jit
def inside(n, count, W: tl.constexpr, WP: tl.constexpr, start: tl.constexpr):
    """Where WP numbers of rows n of a matrix lie from its head's first number on, and which of them it has."""
    c = start + tl.arange(0, WP)[None, :]
    there = n[:, None] < count
    if start + WP > W:
        there = there & (c < W)
    return n[:, None] * W + c, there


@triton.jit
def rows(X, head, each, n, count, W: tl.constexpr, WP: tl.constexpr, start: tl.constexpr = 0):
    """WP numbers of rows n of a head's matrix, W wide, zero behind that and from `count` rows on."""
    at, there = inside(n, count, W, WP, start)
    return tl.load(X + (head * each).to(tl.int64) * W + at, mask=there, other=0.0)


@triton.jit
def put(X, x, head, n, count, W: tl.constexpr, WP: tl.constexpr):
    """Write rows n of a head's matrix of `count` rows."""
    at, there = inside(n, count, W, WP, 0)
    tl.store(X + (head * count).to(tl.int64) * W + at, x.to(X.dtype.element_ty), mask=there)


@triton.jit
def product(
    a, b, A, B, head, m, T, n, S, RB, W: tl.constexpr, WP: tl.constexpr, DEPTH: tl.constexpr
):  # fmt: skip
    """a @ b.T, of rows m of A (B * H * T, W) and n of B, DEPTH numbers of them at a time.

    Where DEPTH is less than the width, both are read from memory again, for registers hold no more of them.
    """
    if DEPTH >= WP:
        return dot(a, tl.trans(b))
    z = tl.zeros([m.shape[0], n.shape[0]], tl.float32)
    for c in tl.static_range(WP // DEPTH):
        tl.debug_barrier()  # else the compiler reads what a loop does not change before it, into registers
        left, right = (
            rows(A, head, T, m, T, W, DEPTH, c * DEPTH),
            rows(B, head, RB, n, S, W, DEPTH, c * DEPTH),
        )
        z += dot(left, tl.trans(right))
    return z


@triton.jit
def column(X, head, each, n, count, c, N: tl.constexpr):
    """Number c of each row n of a head's matrix, N wide."""
    return tl.load(X + (head * each).to(tl.int64) * N + n * N + c, mask=n < count, other=0.0)


@triton.jit
def log_sigmoid(x):
    return tl.minimum(x, 0.0) - tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def visible(place, n, keys, WINDOW, KIND: tl.constexpr):
    """Which keys n a query sees at its place: not its own where a stick is broken."""
    far = place[:, None] - n[None, :]
    seen = (far > 0) if KIND == 3 else (far >= 0)
    return seen & (far < WINDOW) & (n[None, :] < keys)


@triton.jit
def gates(z, turn, slope, later, seen, KIND: tl.constexpr):
    """Sums of the gates from each key to the query, without its own gate but in counts, and sums over the tile."""
    if KIND == 1:
        gate = slope * log_sigmoid(turn)
    elif KIND == 2:
        gate = sigmoid(z)
    else:
        gate = log_sigmoid(-z)
    gate = tl.where(seen, gate, 0.0)
    after = tl.cumsum(gate, 1, reverse=True) + later[:, None]
    if KIND != 2:
        after = after - gate
    return after, tl.sum(gate, 1)


@triton.jit
def counted(E, head, m, T, after, seen, KNOWN: tl.constexpr):
    """The logits of the two positions around each count, the count and how far it lies above the lower one."""
    count = tl.minimum(after, KNOWN - 1.0)
    low = tl.floor(count)
    at = E + (head * T).to(tl.int64) * KNOWN + m[:, None] * KNOWN
    here = seen & (m[:, None] < T)
    below = tl.load(at + low.to(tl.int32), mask=here, other=0.0)
    above = tl.load(at + tl.ceil(count).to(tl.int32), mask=here, other=0.0)
    return below, above, count, count - low


@triton.jit
def added(z, QC, KC, TABLE, head, place, m, n, T, S, RKC, H, N: tl.constexpr, TABLED: tl.constexpr):
    """Logits z with the product of the columns and the table's entries."""
    for c in tl.static_range(N):
        z += column(QC, head, T, m, T, c, N)[:, None] * column(KC, head, RKC, n, S, c, N)[None, :]
    if TABLED:
        far = place[:, None] - n[None, :]
        z += tl.load(TABLE + (head % H) * S + far, mask=(far >= 0) & (far < S), other=0.0)
    return z


@triton.jit
def biased(
    z, p, r, later, QC, KC, TABLE, E, slope, head, place, m, n, seen, T, S, RKC, H,
    N: tl.constexpr, F: tl.constexpr, KNOWN: tl.constexpr, KIND: tl.constexpr, TABLED: tl.constexpr,
):  # fmt: skip
    """A tile's logits: z = q.k and what the bias adds. Then the gates' arguments, their sums from each key to the query
    and over the tile, each count, and the slope of the logits between the two positions around it.
    """
    turn, after, more, count, rise = z, z, later, z, z
    if KIND == 0:
        x = added(z, QC, KC, TABLE, head, place, m, n, T, S, RKC, H, N, TABLED)
    else:
        if KIND == 1:
            turn = dot(p, tl.trans(r)) / F
        after, more = gates(z, turn, slope, later, seen, KIND)
        if KIND == 1:
            x = z + after
        elif KIND == 2:
            below, above, count, share = counted(E, head, m, T, after, seen, KNOWN)
            x, rise = z + below * (1.0 - share) + above * share, above - below
        else:
            x = log_sigmoid(z) + after
    return x, turn, after, more, count, rise


@triton.jit(do_not_specialize=LENGTHS)
def forward(
    Q, K, V, QC, KC, TABLE, P, R, E, SLOPES, Y, LSE, LATER, scale, T, S, H, RK, RV, RKC, RR, WINDOW, NS, SPLIT,
    D: tl.constexpr, DP: tl.constexpr, DV: tl.constexpr, DVP: tl.constexpr, N: tl.constexpr, F: tl.constexpr,
    FP: tl.constexpr, KNOWN: tl.constexpr, KIND: tl.constexpr, TABLED: tl.constexpr, KEEP: tl.constexpr,
    DEPTH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Rows of outputs and the logarithms of their sums of exponentials, over one of several parts of the keys.

    LATER (B * H * T, NS) holds the sum of the gates after each part, of SPLIT tiles; with KEEP the walk over all keys
    writes it.
    """
    head, part = tl.program_id(1), tl.program_id(2)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    place = m + S - T
    first = tl.program_id(0) * BM + S - T
    end = tl.cdiv(tl.minimum(first + BM, S), BN)
    start = tl.maximum(first - WINDOW + 1, 0) // BN
    if not KEEP:
        start = tl.maximum(start, part * SPLIT)
        end = tl.minimum(end, (part + 1) * SPLIT)
    q = rows(Q, head, T, m, T, D, DP)
    top = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    y = tl.zeros([BM, DVP], tl.float32)
    later, slope, p = tl.zeros([BM], tl.float32), 1.0, q
    kept = LATER + (head * T + m).to(tl.int64) * NS
    if KIND == 1:
        slope = tl.load(SLOPES + head % H)
        p = rows(P, head, T, m, T, F, FP)
    if KIND != 0 and not KEEP:
        later = tl.load(kept + part, mask=m < T, other=0.0)
    for t in range(start, end):
        b = end - 1 - t + start
        n = b * BN + tl.arange(0, BN)
        seen = visible(place, n, S, WINDOW, KIND)
        k = rows(K, head, RK, n, S, D, DP)
        z = product(q, k, Q, K, head, m, T, n, S, RK, D, DP, DEPTH) * scale
        if KIND != 0 and KEEP and (b + 1) % SPLIT == 0:
            tl.store(kept + b // SPLIT, later, mask=m < T)
        r = rows(R, head, RR, n, S, F, FP) if KIND == 1 else z
        x, _turn, _after, more, _count, _rise = biased(
            z,
            p,
            r,
            later,
            QC,
            KC,
            TABLE,
            E,
            slope,
            head,
            place,
            m,
            n,
            seen,
            T,
            S,
            RKC,
            H,
            N,
            F,
            KNOWN,
            KIND,
            TABLED,
        )
        if KIND != 0:
            later += more
        x = tl.where(seen, x, float("-inf"))
        if KIND == 3:
            w = tl.exp(x)
        else:
            new = tl.maximum(top, tl.max(x, 1))
            new = tl.where(new == float("-inf"), 0.0, new)
            w, keep = tl.exp(x - new[:, None]), tl.exp(top - new)
            total = total * keep + tl.sum(w, 1)
            y = y * keep[:, None]
            top = new
        v = rows(V, head, RV, n, S, DV, DVP)
        y += dot(w.to(v.dtype), v)
    if KIND != 3:
        y = y / tl.where(total == 0.0, 1.0, total)[:, None]
    put(Y + part.to(tl.int64) * tl.num_programs(1) * T * DV, y, head, m, T, DV, DVP)
    lse = tl.where(total == 0.0, float("-inf"), top + tl.log(tl.where(total == 0.0, 1.0, total)))
    if KIND == 3:
        lse = tl.zeros([BM], tl.float32)
    tl.store(LSE + (part * tl.num_programs(1) + head) * T + m, lse, mask=m < T)


@triton.jit(do_not_specialize=LENGTHS)
def totals(
    Q, K, P, R, SLOPES, FROM, OUT, scale, T, S, H, RK, RR, WINDOW, NS, SPLIT, CHUNK,
    D: tl.constexpr, DP: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, KIND: tl.constexpr, TILES: tl.constexpr,
    DEPTH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """The gates of each query. OUT (B * H * T, NS) gets their sum in each part of SPLIT tiles of keys; with TILES,
    (B * H * T, SPLIT), the sum after each tile of part CHUNK, FROM (B * H * T, NS) holding the sum after the part.
    """
    head, part = tl.program_id(1), tl.program_id(2) + CHUNK
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    place = m + S - T
    last = tl.cdiv(tl.minimum(tl.program_id(0) * BM + S - T + BM, S), BN)
    start, end = part * SPLIT, tl.minimum(last, (part + 1) * SPLIT)
    q = rows(Q, head, T, m, T, D, DP)
    sums, slope = tl.zeros([BM], tl.float32), 1.0
    row = (head * T + m).to(tl.int64)
    if TILES:
        sums = tl.load(FROM + row * NS + part, mask=m < T, other=0.0)
    if KIND == 1:
        slope = tl.load(SLOPES + head % H)
        p = rows(P, head, T, m, T, F, FP)
    for t in range(start, end):
        b = end - 1 - t + start
        n = b * BN + tl.arange(0, BN)
        seen = visible(place, n, S, WINDOW, KIND)
        if TILES:
            tl.store(OUT + row * SPLIT + b - start, sums, mask=m < T)
        if KIND == 1:
            z = dot(p, tl.trans(rows(R, head, RR, n, S, F, FP))) / F
        else:
            k = rows(K, head, RK, n, S, D, DP)
            z = product(q, k, Q, K, head, m, T, n, S, RK, D, DP, DEPTH) * scale
        _after, more = gates(z, z, slope, sums, seen, KIND)
        sums += more
    if not TILES:
        tl.store(OUT + row * NS + part, sums, mask=m < T)


@triton.jit
def slopes_of(
    q, k, v, dy, p, r, lse, delta, later, front, Q, K, V, DY, QC, KC, TABLE, E, slope, head, m, n, scale, T, H, WINDOW,
    D: tl.constexpr, DP: tl.constexpr, DV: tl.constexpr, DVP: tl.constexpr, N: tl.constexpr, F: tl.constexpr,
    KNOWN: tl.constexpr, KIND: tl.constexpr, TABLED: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """A tile's weights; its gradients of the logits, q.k, p.r and the sums along the row; counts; sums of gates."""
    seen = visible(m, n, T, WINDOW, KIND) & (m[:, None] < T)
    z = product(q, k, Q, K, head, m, T, n, T, T, D, DP, DEPTH) * scale
    x, turn, after, more, count, rise = biased(
        z, p, r, later, QC, KC, TABLE, E, slope, head, m, m, n, seen, T, T, T, H, N, F, KNOWN, KIND, TABLED
    )
    w = tl.where(seen, tl.exp(tl.where(seen, x - lse[:, None], 0.0)), 0.0)
    dx = w * (product(dy, v, DY, V, head, m, T, n, T, T, DV, DVP, DEPTH) - delta[:, None])
    dz, dturn, dsum = dx, dx, dx
    if KIND == 2:
        dsum = tl.where(after < KNOWN - 1.0, dx * rise, 0.0)
        dgate = tl.cumsum(dsum, 1) + front[:, None]
        dz = tl.where(seen, dx + dgate * sigmoid(z) * sigmoid(-z), 0.0)
    elif KIND != 0:
        dgate = tl.cumsum(dx, 1) - dx + front[:, None]
        if KIND == 1:
            dturn = tl.where(seen, slope * dgate * sigmoid(-turn), 0.0) / F
        else:
            dz = tl.where(seen, dx * sigmoid(-z) - dgate * sigmoid(z), 0.0)
    return w, dx, dz * scale, dturn, dsum, count, more


@triton.jit(do_not_specialize=LENGTHS)
def row_sums(
    Q, K, V, DY, QC, KC, TABLE, P, R, E, SLOPES, LSE, DELTA, scale, T, H, WINDOW,
    D: tl.constexpr, DP: tl.constexpr, DV: tl.constexpr, DVP: tl.constexpr, N: tl.constexpr, F: tl.constexpr,
    FP: tl.constexpr, KNOWN: tl.constexpr, KIND: tl.constexpr, TABLED: tl.constexpr,
    DEPTH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """The mean of dy.v in each row, which its gradients are relative to.

    It is y.dy too, but rounded otherwise than the rows: then they do not sum to zero, and a gate, whose gradient sums
    over rows of rows, learns noise.
    """
    head = tl.program_id(1)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    start = tl.maximum(tl.program_id(0) * BM - WINDOW + 1, 0) // BN
    end = tl.cdiv(tl.minimum((tl.program_id(0) + 1) * BM, T), BN)
    row = (head * T + m).to(tl.int64)
    q, dy = rows(Q, head, T, m, T, D, DP), rows(DY, head, T, m, T, DV, DVP)
    lse = tl.load(LSE + row, mask=m < T, other=0.0)
    none, later, above, below = (tl.zeros([BM], tl.float32), tl.zeros([BM], tl.float32), tl.zeros([BM], tl.float32),
                                 tl.zeros([BM], tl.float32))  # fmt: skip
    p, slope = q, 1.0
    if KIND == 1:
        slope = tl.load(SLOPES + head % H)
        p = rows(P, head, T, m, T, F, FP)
    for t in range(start, end):
        n = (end - 1 - t + start) * BN + tl.arange(0, BN)
        k, v = rows(K, head, T, n, T, D, DP), rows(V, head, T, n, T, DV, DVP)
        r = rows(R, head, T, n, T, F, FP) if KIND == 1 else k
        w, dx, _dz, _dturn, _dsum, _count, more = slopes_of(
            q, k, v, dy, p, r, lse, none, later, none, Q, K, V, DY, QC, KC, TABLE, E, slope, head, m, n, scale,
            T, H, WINDOW, D, DP, DV, DVP, N, F, KNOWN, KIND, TABLED, DEPTH,
        )  # fmt: skip
        above += tl.sum(dx, 1)
        below += tl.sum(w, 1)
        if KIND != 0:
            later += more
    tl.store(DELTA + row, above / tl.where(below == 0.0, 1.0, below), mask=m < T)


@triton.jit(do_not_specialize=LENGTHS)
def backward_queries(
    Q, K, V, DY, QC, KC, TABLE, P, R, E, SLOPES, LSE, DELTA, LATER, FRONT, FRONTS, DQ, DQC, DPATH, DE,
    scale, T, H, WINDOW, SPLIT, CHUNK,
    D: tl.constexpr, DP: tl.constexpr, DV: tl.constexpr, DVP: tl.constexpr, N: tl.constexpr, NP: tl.constexpr,
    F: tl.constexpr, FP: tl.constexpr, KNOWN: tl.constexpr, KIND: tl.constexpr, TABLED: tl.constexpr,
    DEPTH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Gradients of the queries' side, added to over part CHUNK of the keys, from the past to the diagonal.

    FRONT (B * H * T) is the sum of the row's gradients before the part, and after the call that behind it; FRONTS
    (B * H * T, SPLIT) gets those before each tile.
    """
    head = tl.program_id(1)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    start = tl.maximum(tl.maximum(tl.program_id(0) * BM - WINDOW + 1, 0) // BN, CHUNK * SPLIT)
    end = tl.minimum(tl.cdiv(tl.minimum((tl.program_id(0) + 1) * BM, T), BN), (CHUNK + 1) * SPLIT)
    row = (head * T + m).to(tl.int64)
    q, dy = rows(Q, head, T, m, T, D, DP), rows(DY, head, T, m, T, DV, DVP)
    lse = tl.load(LSE + row, mask=m < T, other=0.0)
    delta = tl.load(DELTA + row, mask=m < T, other=0.0)
    dq = rows(DQ, head, T, m, T, D, DP)
    p, slope, later, front = q, 1.0, delta, delta
    columns = tl.arange(0, NP)[None, :]
    dqc = tl.zeros([BM, NP], tl.float32)
    if KIND != 0:
        front = tl.load(FRONT + row, mask=m < T, other=0.0)
    if KIND == 1:
        slope = tl.load(SLOPES + head % H)
        p, dp = rows(P, head, T, m, T, F, FP), rows(DPATH, head, T, m, T, F, FP)
    for b in range(start, end):
        n = b * BN + tl.arange(0, BN)
        k, v = rows(K, head, T, n, T, D, DP), rows(V, head, T, n, T, DV, DVP)
        if KIND != 0:
            tl.store(FRONTS + row * SPLIT + b - CHUNK * SPLIT, front, mask=m < T)
            later = tl.load(LATER + row * SPLIT + b - CHUNK * SPLIT, mask=m < T, other=0.0)
        r = rows(R, head, T, n, T, F, FP) if KIND == 1 else k
        _w, dx, dz, dturn, dsum, count, _more = slopes_of(
            q, k, v, dy, p, r, lse, delta, later, front, Q, K, V, DY, QC, KC, TABLE, E, slope, head, m, n, scale,
            T, H, WINDOW, D, DP, DV, DVP, N, F, KNOWN, KIND, TABLED, DEPTH,
        )  # fmt: skip
        dq += dot(dz.to(k.dtype), k)
        for c in tl.static_range(N):
            share = tl.sum(dx * column(KC, head, T, n, T, c, N)[None, :], 1)
            dqc += tl.where(columns == c, share[:, None], 0.0)
        if KIND != 0:
            front += tl.sum(dsum, 1)
        if KIND == 1:
            dp += gate_dot(dturn, r, q.dtype)
        if KIND == 2:
            seen = visible(m, n, T, WINDOW, KIND) & (m[:, None] < T)
            lowest = tl.min(tl.min(tl.where(seen, tl.floor(count), KNOWN - 1.0), 1), 0).to(tl.int32)
            highest = tl.max(tl.max(tl.where(seen, tl.ceil(count), 0.0), 1), 0).to(tl.int32)
            for c in range(lowest, highest + 1):
                share = tl.sum(dx * tl.maximum(1.0 - tl.abs(count - c), 0.0), 1)
                at = DE + row * KNOWN + c
                tl.store(at, tl.load(at, mask=m < T, other=0.0) + share, mask=m < T)
                tl.debug_barrier()
    put(DQ, dq, head, m, T, D, DP)
    if N > 0:
        put(DQC, dqc, head, m, T, N, NP)
    if KIND != 0:
        tl.store(FRONT + row, front, mask=m < T)
    if KIND == 1:
        put(DPATH, dp, head, m, T, F, FP)


@triton.jit(do_not_specialize=LENGTHS)
def backward_keys(
    Q, K, V, DY, QC, KC, TABLE, P, R, E, SLOPES, LSE, DELTA, LATER, FRONTS, DK, DV_, DKC, DR,
    scale, T, H, WINDOW, SPLIT, CHUNK,
    D: tl.constexpr, DP: tl.constexpr, DV: tl.constexpr, DVP: tl.constexpr, N: tl.constexpr, NP: tl.constexpr,
    F: tl.constexpr, FP: tl.constexpr, KNOWN: tl.constexpr, KIND: tl.constexpr, TABLED: tl.constexpr,
    DEPTH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Gradients of the keys' side, of the tiles of part CHUNK of the keys."""
    FPK: tl.constexpr = FP if FP > BN else 2 * BN  # wider than high, as dk and dv are
    head, b = tl.program_id(1), tl.program_id(0) + CHUNK * SPLIT
    n = b * BN + tl.arange(0, BN)
    k, v = rows(K, head, T, n, T, D, DP), rows(V, head, T, n, T, DV, DVP)
    dk, dv = tl.zeros([BN, DP], tl.float32), tl.zeros([BN, DVP], tl.float32)
    columns = tl.arange(0, NP)[None, :]
    dkc = tl.zeros([BN, NP], tl.float32)
    r, slope = k, 1.0
    if KIND == 1:
        slope = tl.load(SLOPES + head % H)
        r, dr = rows(R, head, T, n, T, F, FP), tl.zeros([BN, FPK], tl.float32)
    end = tl.cdiv(tl.minimum((b + 1) * BN - 1 + WINDOW, T), BM)
    for a in range(b * BN // BM, end):
        m = a * BM + tl.arange(0, BM)
        row = (head * T + m).to(tl.int64)
        q, dy = rows(Q, head, T, m, T, D, DP), rows(DY, head, T, m, T, DV, DVP)
        lse = tl.load(LSE + row, mask=m < T, other=0.0)
        delta = tl.load(DELTA + row, mask=m < T, other=0.0)
        later, front = delta, delta
        if KIND != 0:
            later = tl.load(LATER + row * SPLIT + b - CHUNK * SPLIT, mask=m < T, other=0.0)
            front = tl.load(FRONTS + row * SPLIT + b - CHUNK * SPLIT, mask=m < T, other=0.0)
        p = rows(P, head, T, m, T, F, FP) if KIND == 1 else q
        w, dx, dz, dturn, _dsum, _count, _more = slopes_of(
            q, k, v, dy, p, r, lse, delta, later, front, Q, K, V, DY, QC, KC, TABLE, E, slope, head, m, n, scale,
            T, H, WINDOW, D, DP, DV, DVP, N, F, KNOWN, KIND, TABLED, DEPTH,
        )  # fmt: skip
        tl.debug_barrier()  # read again: products that share a tile get one layout, here one that repeats the work
        dv += dot(tl.trans(w).to(dy.dtype), rows(DY, head, T, m, T, DV, DVP))
        dk += dot(tl.trans(dz).to(q.dtype), rows(Q, head, T, m, T, D, DP))
        for c in tl.static_range(N):
            share = tl.sum(dx * column(QC, head, T, m, T, c, N)[:, None], 0)
            dkc += tl.where(columns == c, share[:, None], 0.0)
        if KIND == 1:
            dr += gate_dot(tl.trans(dturn), rows(P, head, T, m, T, F, FPK), q.dtype)
    put(DK, dk, head, n, T, D, DP)
    put(DV_, dv, head, n, T, DV, DVP)
    if N > 0:
        put(DKC, dkc, head, n, T, N, NP)
    if KIND == 1:
        put(DR, dr, head, n, T, F, FPK)


@triton.jit(do_not_specialize=LENGTHS)
def backward_table(
    Q, K, V, DY, QC, KC, TABLE, LSE, DELTA, OUT, scale, T, H, WINDOW,
    D: tl.constexpr, DP: tl.constexpr, DV: tl.constexpr, DVP: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Gradients of B distances, for one example and head: OUT (B * H, T). Tiles are square, B by B.

    In row i of a tile the distance of key j is B * (tiles apart) + i - j. Turning row i by i puts equal distances into
    one column. Columns c <= i belong to this distance of tiles, the others to the distance before.
    """
    head, apart = tl.program_id(1), tl.program_id(0)
    i, c = tl.arange(0, B)[:, None], tl.arange(0, B)[None, :]
    turned, near = (i - c + B) % B, c <= i
    sums = tl.zeros([B], tl.float32)
    for a in range(apart, tl.cdiv(T, B)):
        m = a * B + tl.arange(0, B)
        row = (head * T + m).to(tl.int64)
        q, dy = rows(Q, head, T, m, T, D, DP), rows(DY, head, T, m, T, DV, DVP)
        lse = tl.load(LSE + row, mask=m < T, other=0.0)
        delta = tl.load(DELTA + row, mask=m < T, other=0.0)
        for side in tl.static_range(2):
            b = a - apart - side
            if b >= 0:
                n = b * B + tl.arange(0, B)
                k, v = rows(K, head, T, n, T, D, DP), rows(V, head, T, n, T, DV, DVP)
                _w, dx, _dz, _dturn, _dsum, _count, _more = slopes_of(
                    q, k, v, dy, q, q, lse, delta, delta, delta, Q, K, V, DY, QC, KC, TABLE, QC, 1.0, head, m, n,
                    scale, T, H, WINDOW, D, DP, DV, DVP, N, 1, 1, 0, True, DEPTH,
                )  # fmt: skip
                by_distance = tl.gather(dx, turned, 1)
                sums += tl.sum(tl.where(near if side == 0 else ~near, by_distance, 0.0), 0)
    far = apart * B + tl.arange(0, B)
    tl.store(OUT + head * T + far, sums, mask=far < T)
