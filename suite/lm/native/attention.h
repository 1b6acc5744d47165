/* What the attention kernels are called with: suite/lm/native/ops.py fills it in. */
#pragma once

#include "vectors.h"

/* One (B, H, T, width) tensor: strides of batch, head and token in floats; the last axis is dense. */
typedef struct {
    float *at;
    int64_t batch, head, token;
} View;

static inline float *row(View x, int64_t b, int64_t h, int64_t t) {
    return x.at + b * x.batch + h * x.head + t * x.token;
}

/* What one call works on; a mode is asked for by its tensors.
   bias (H, S, up(T, LANES)), keys first, is added to the logits.
   table (H, LANES + up(T, LANES)): key j gains what stands at LANES + i - j.
   p, r, slopes: a path sum; key j gains the sum over j < l <= i of slope * log sigmoid(p_i . r_l * path_scale).
   e (B, H, T, known): CoPE; key j gains e_i at c = the sum over j <= l <= i of sigmoid(logit_l), between whole numbers
   in proportion, at most known - 1.
   w, beta: PaTH; key j meets the query that tokens i, i - 1, ... j + 1 have reflected, x -= beta_l (w_l . x) w_l.
   qc, kc: columns; key j gains qc_i . kc_j. A gradient of them that nobody asks for has no place.
   stick: no softmax; the weight of key j < i is sigmoid(logit_j) times the product of 1 - sigmoid(logit_l), j < l < i.
   Gradients of q, k, v are written, those of all else too. `kept` is what a short call keeps for its backward. */
typedef struct {
    View q, k, v, y, gy, gq, gk, gv, p, r, gp, gr, e, ge, w, beta, gw, gbeta, qc, kc, gqc, gkc;
    float *lse, *bias, *gbias, *table, *gtable, *slopes, *kept;
    int64_t batches, heads, tokens, width, value_width, path_width, known, stick, columns;
    float scale, path_scale;
} Attention;

static inline int up(int n, int to) { return (n + to - 1) / to * to; }

static inline float *up_to_vector(char *memory) {
    return (float *)(((uintptr_t)memory + sizeof(V) - 1) & ~(uintptr_t)(sizeof(V) - 1));
}
