/* Causal attention in float32; suite/lm/native/ops.py says what each mode computes. One thread, no state.

   The lanes of a vector are as many queries, so that softmax, masks and sums over the path from a key to its query are
   plain loops over the keys. Rows of logits live in scratch memory that grows with the number of keys; no matrix of
   queries by keys is ever formed. */
#include <stdlib.h>

#include "attention.h"

#define HIDDEN -1e30f /* a logit whose weight is nothing; finite, so that no difference of two is NaN */

/* out[c][lane] = factor * x[lane][c]; lanes beyond `rows` are 0. */
static void turn(const float *x, int64_t stride, int rows, int width, float factor, V *out) {
    float *to = (float *)out;
    int c = 0;
    if (rows < LANES)
        memset(out, 0, sizeof(V) * width);
    else
        for (; c + LANES <= width; c += LANES) {
            V lanes[LANES];
            for (int lane = 0; lane < LANES; lane++) lanes[lane] = *(V *)(x + lane * stride + c) * factor;
            transpose(lanes, out + c);
        }
    for (int lane = 0; lane < rows; lane++)
        for (int i = c; i < width; i++) to[i * LANES + lane] = factor * x[lane * stride + i];
}

/* x[lane][c] = in[c][lane] * factor[lane] */
static void turn_back(const V *in, V factor, int rows, int width, float *x, int64_t stride) {
    int c = 0;
    for (; c + LANES <= width; c += LANES) {
        V channels[LANES], lanes[LANES];
        for (int i = 0; i < LANES; i++) channels[i] = in[c + i] * factor;
        transpose(channels, lanes);
        for (int lane = 0; lane < rows; lane++) *(V *)(x + lane * stride + c) = lanes[lane];
    }
    for (; c < width; c++) {
        V scaled = in[c] * factor;
        for (int lane = 0; lane < rows; lane++) x[lane * stride + c] = scaled[lane];
    }
}

/* Sums that are worked on at once: enough of them to hide the latency of a multiply-add. */
#define SUMS 8

/* s[j][lane] = sum over c of x[c][lane] * k[j][c], for some keys j, a constant once this is inlined. */
INLINE void products_of(int keys, const V *x, const float *k, int64_t stride, int width, V *s) {
    V sums[SUMS] = {};
    for (int c = 0; c < width; c++)
        UNROLL for (int j = 0; j < keys; j++) sums[j] += x[c] * k[j * stride + c];
    UNROLL for (int j = 0; j < keys; j++) s[j] = sums[j];
}

static void products(const V *x, const float *k, int64_t stride, int n, int width, V *s) {
    int j = 0;
    for (; j + SUMS <= n; j += SUMS) products_of(SUMS, x, k + j * stride, stride, width, s + j);
    for (; j < n; j++) products_of(1, x, k + j * stride, stride, width, s + j);
}

/* out[c][lane] = sum over j of s[j][lane] * v[j][c] */
static void mix(const V *s, const float *v, int64_t stride, int n, int width, V *out) {
    int c = 0;
    for (; c + SUMS <= width; c += SUMS) {
        V a[SUMS] = {};
        for (int j = 0; j < n; j++) {
            const float *vj = v + j * stride + c;
            V sj = s[j];
            for (int u = 0; u < SUMS; u++) a[u] += sj * vj[u];
        }
        memcpy(out + c, a, sizeof a);
    }
    for (; c < width; c++) {
        V a[4] = {};
        int j = 0;
        for (; j + 4 <= n; j += 4)
            for (int u = 0; u < 4; u++) a[u] += s[j + u] * v[(j + u) * stride + c];
        for (; j < n; j++) a[0] += s[j] * v[j * stride + c];
        out[c] = a[0] + a[1] + (a[2] + a[3]);
    }
}

/* out[j][c] += sum over lanes of s[j][lane] * x[lane][c]; `width` is a multiple of 8, n of 4. */
#define SPREAD(name, T)                                                                                     \
    INLINE void name##_of(int keys, const float *w, const float *x, int width, float *out) {                \
        T sums[SUMS];                                                                                       \
        UNROLL for (int j = 0; j < keys; j++) sums[j] = *(T *)(out + (int64_t)j * width);                   \
        for (int lane = 0; lane < LANES; lane++)                                                            \
            UNROLL for (int j = 0; j < keys; j++) sums[j] += *(const T *)(x + lane * width) * w[j * LANES + lane]; \
        UNROLL for (int j = 0; j < keys; j++) *(T *)(out + (int64_t)j * width) = sums[j];                   \
    }                                                                                                       \
    static void name(const V *s, const float *x, int n, int width, float *out) {                           \
        int j = 0;                                                                                          \
        for (; j + SUMS <= n; j += SUMS) name##_of(SUMS, (float *)(s + j), x, width, out + (int64_t)j * width); \
        for (; j < n; j += 4) name##_of(4, (float *)(s + j), x, width, out + (int64_t)j * width);            \
    }
SPREAD(spread_whole, V)
SPREAD(spread_half, H)

static void spread(const V *s, const float *x, int n, int width, float *out) {
    int c = 0;
    for (; c + LANES <= width; c += LANES) spread_whole(s, x + c, n, width, out + c);
    if (c < width) spread_half(s, x + c, n, width, out + c);
}

/* The rows of some queries, dense and padded with zeros to `padded` columns. */
static void rows_of(const float *x, int64_t stride, int rows, int width, int padded, float factor, float *out) {
    memset(out, 0, sizeof(float) * LANES * padded);
    for (int lane = 0; lane < rows; lane++)
        for (int c = 0; c < width; c++) out[lane * padded + c] = factor * x[lane * stride + c];
}

/* For LANES queries: logits and then weights, their gradients, products, counts; rows of tensors, turned. For all keys of
   a head: gradients that the queries add to. */
typedef struct {
    V *s, *g, *z, *count, *q, *gq, *p, *y, *gy, *e, *ge, *c, *gc;
    float *rows, *gk, *gv, *gr, *gw, *gbeta, *gkc;
} Scratch;

#if LANES == 16
static const I LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif LANES == 8
static const I LANE = {0, 1, 2, 3, 4, 5, 6, 7};
#else
static const I LANE = {0, 1, 2, 3};
#endif

/* To how many queries a bias and a table are padded. */
int lanes(void) { return LANES; }

/* x where the lane's query sees key j, else 0; the first query is `first`. */
static inline V seen(V x, int j, int first) { return j > first ? choose(LANE >= j - first, x, fill(0)) : x; }

static void add_columns(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    turn(row(a->qc, b, h, first), a->qc.token, rows, a->columns, 1, w->c);
    for (int j = 0; j < n; j++) {
        const float *key = row(a->kc, b, h, j);
        for (int c = 0; c < a->columns; c++) w->s[j] += w->c[c] * key[c];
    }
}

static void columns_backward(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    if (a->gkc.at)
        for (int j = 0; j < n; j++)
            for (int c = 0; c < a->columns; c++) w->gkc[j * a->columns + c] += sum(w->g[j] * w->c[c]);
    if (!a->gqc.at) return;
    memset(w->gc, 0, sizeof(V) * a->columns);
    for (int j = 0; j < n; j++) {
        const float *key = row(a->kc, b, h, j);
        for (int c = 0; c < a->columns; c++) w->gc[c] += w->g[j] * key[c];
    }
    turn_back(w->gc, fill(1), rows, a->columns, row(a->gqc, b, h, first), a->gqc.token);
}

static void add_path(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    turn(row(a->p, b, h, first), a->p.token, rows, a->path_width, a->path_scale, w->p);
    products(w->p, row(a->r, b, h, 0), a->r.token, n, a->path_width, w->z);
    V path = {};
    for (int j = n - 1; j >= 0; j--) {
        w->s[j] += path;
        V passed;
        path += seen(log_sigmoid_with(w->z[j], &passed) * a->slopes[h], j, first);
        w->z[j] = passed;
    }
}

/* The whole numbers around `at`, and the share of the higher one. */
static inline V around(V at, I *low, I *high) {
    *low = __builtin_convertvector(at, I);
    V share = at - __builtin_convertvector(*low, V);
    *high = *low - (share > 0.0f); /* true is -1 */
    return share;
}

static inline V look_up(const V *table, I number) {
    V found;
    for (int lane = 0; lane < LANES; lane++) found[lane] = table[number[lane]][lane];
    return found;
}

static void add_counted(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    turn(row(a->e, b, h, first), a->e.token, rows, a->known, 1, w->e);
    V count = {};
    for (int j = n - 1; j >= 0; j--) {
        w->z[j] = w->s[j];
        w->count[j] = count += seen(sigmoid(w->z[j]), j, first);
        I low, high;
        V share = around(smaller(count, fill(a->known - 1)), &low, &high);
        w->s[j] += look_up(w->e, low) * (1.0f - share) + look_up(w->e, high) * share;
    }
}

/* The gradient of what `add_counted` added, and of the counts, joins that of the products. */
static void counted_backward(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    memset(w->ge, 0, sizeof(V) * a->known);
    V gate = {};
    for (int j = 0; j < n; j++) { /* gate j bears on the counts of all keys up to it */
        V at = smaller(w->count[j], fill(a->known - 1)), g = w->g[j], s = sigmoid(w->z[j]);
        I low, high;
        V share = around(at, &low, &high);
        for (int lane = 0; lane < LANES; lane++) {
            w->ge[low[lane]][lane] += g[lane] * (1.0f - share[lane]);
            w->ge[high[lane]][lane] += g[lane] * share[lane];
        }
        V slope = g * (look_up(w->e, high) - look_up(w->e, low));
        gate += choose(w->count[j] <= at, slope, fill(0));
        w->g[j] += seen(gate * s * (1.0f - s), j, first);
    }
    turn_back(w->ge, fill(1), rows, a->known, row(a->ge, b, h, first), a->ge.token);
}

/* Logits of queries that are reflected on their way back; w->z keeps w . x, and w->q ends as what came out. */
static void walk(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int n) {
    for (int j = n - 1; j >= 0; j--) {
        const float *k = row(a->k, b, h, j), *plane = row(a->w, b, h, j);
        V logit[2] = {}, met[2] = {};
        for (int c = 0; c < a->width; c++) {
            logit[c & 1] += w->q[c] * k[c];
            met[c & 1] += w->q[c] * plane[c];
        }
        w->s[j] = logit[0] + logit[1];
        w->z[j] = seen(met[0] + met[1], j, first);
        V back = w->z[j] * *row(a->beta, b, h, j);
        for (int c = 0; c < a->width; c++) w->q[c] -= back * plane[c];
    }
}

/* The way forth again: w->q becomes what met key j, and w->gq its gradient. */
static void walk_backward(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    memset(w->gq, 0, sizeof(V) * a->width);
    for (int j = 0; j < n; j++) {
        const float *k = row(a->k, b, h, j), *plane = row(a->w, b, h, j);
        float beta = *row(a->beta, b, h, j), *gk = w->gk + (int64_t)j * up(a->width, 8);
        float *gw = w->gw + (int64_t)j * a->width;
        V back = w->z[j] * beta, against = {};
        for (int c = 0; c < a->width; c++) against -= w->gq[c] * plane[c];
        w->gbeta[j] += sum(against * w->z[j]);
        V met = seen(against * beta, j, first);
        for (int c = 0; c < a->width; c++) {
            w->q[c] += back * plane[c];
            gw[c] += sum(met * w->q[c] - back * w->gq[c]);
            gk[c] += sum(w->g[j] * w->q[c]);
            w->gq[c] += met * plane[c] + w->g[j] * k[c];
        }
    }
    turn_back(w->gq, fill(a->scale), rows, a->width, row(a->gq, b, h, first), a->gq.token);
}

/* Logits become logarithms of weights that need no softmax. */
static void break_stick(Scratch *w, int first, int n) {
    V left = {};
    for (int j = n - 1; j >= 0; j--) {
        V z = w->z[j] = w->s[j], taken = log_sigmoid(z);
        I before = LANE > j - first;
        w->s[j] = choose(before, taken + left, fill(HIDDEN));
        left += choose(before, taken - z, fill(0));
    }
}

static void stick_backward(Scratch *w, int first, int n) {
    V farther = {};
    for (int j = 0; j < n; j++) { /* what key j takes, all before it lack */
        V s = sigmoid(w->z[j]), own = w->g[j];
        w->g[j] = choose(LANE > j - first, own - s * (own + farther), fill(0));
        farther += own;
    }
}

/* Logits of LANES queries from `first` on over the keys before `n`, the future hidden; w->s. */
static void logits(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    int padded = up(a->tokens, LANES);
    turn(row(a->q, b, h, first), a->q.token, rows, a->width, a->scale, w->q);
    if (a->w.at)
        walk(a, w, b, h, first, n);
    else
        products(w->q, row(a->k, b, h, 0), a->k.token, n, a->width, w->s);
    if (a->columns) add_columns(a, w, b, h, first, rows, n);
    if (a->bias)
        for (int j = 0; j < n; j++) w->s[j] += *(V *)(a->bias + (h * a->tokens + j) * padded + first);
    if (a->table)
        for (int j = 0; j < n; j++) w->s[j] += *(V *)(a->table + h * (LANES + padded) + LANES + first - j);
    if (a->p.at) add_path(a, w, b, h, first, rows, n);
    if (a->e.at) add_counted(a, w, b, h, first, rows, n);
    if (a->stick)
        break_stick(w, first, n);
    else
        for (int j = first; j < n; j++) w->s[j] = choose(LANE >= j - first, w->s[j], fill(HIDDEN));
}

static int reserve(const Attention *a, Scratch *w, char **memory) {
    int keys = up(a->tokens, LANES), e = up(a->width, 8), d = up(a->value_width, 8), f = up(a->path_width, 8);
    size_t vectors = 4 * (size_t)keys + 2 * e + f + 2 * d + 2 * a->known + 2 * a->columns;
    size_t floats = (size_t)keys * (e + d + f + a->width + 1 + a->columns) + LANES * (e > d ? (e > f ? e : f) : (d > f ? d : f));
    *memory = malloc((vectors + 1) * sizeof(V) + floats * sizeof(float));
    if (!*memory) return 1;
    w->s = (V *)up_to_vector(*memory);
    w->g = w->s + keys;
    w->z = w->g + keys;
    w->count = w->z + keys;
    w->q = w->count + keys;
    w->gq = w->q + e;
    w->p = w->gq + e;
    w->y = w->p + f;
    w->gy = w->y + d;
    w->e = w->gy + d;
    w->ge = w->e + a->known;
    w->c = w->ge + a->known;
    w->gc = w->c + a->columns;
    w->gk = (float *)(w->gc + a->columns);
    w->gv = w->gk + (size_t)keys * e;
    w->gr = w->gv + (size_t)keys * d;
    w->gw = w->gr + (size_t)keys * f;
    w->gbeta = w->gw + (size_t)keys * a->width;
    w->gkc = w->gbeta + keys;
    w->rows = w->gkc + (size_t)keys * a->columns;
    return 0;
}

int attention_forward(const Attention *a) {
    Scratch w;
    char *memory;
    if (reserve(a, &w, &memory)) return 1;
    for (int64_t b = 0; b < a->batches; b++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int first = 0; first < a->tokens; first += LANES) {
                int n = first + LANES < a->tokens ? first + LANES : a->tokens, rows = n - first;
                logits(a, &w, b, h, first, rows, n);
                V top = {}, total = {};
                if (!a->stick) {
                    top = w.s[0];
                    for (int j = 1; j < n; j++) top = larger(top, w.s[j]);
                }
                for (int j = 0; j < n; j++) {
                    w.s[j] = exponential(w.s[j] - top);
                    total += w.s[j];
                }
                if (a->stick) total = fill(1);
                mix(w.s, row(a->v, b, h, 0), a->v.token, n, a->value_width, w.y);
                turn_back(w.y, 1.0f / total, rows, a->value_width, row(a->y, b, h, first), a->y.token);
                float *lse = a->lse + (b * a->heads + h) * a->tokens + first;
                for (int lane = 0; lane < rows; lane++) lse[lane] = top[lane] + logf(total[lane]);
            }
    free(memory);
    return 0;
}

static void give(const float *from, int padded, int width, int n, View x, int64_t b, int64_t h) {
    for (int j = 0; j < n; j++) memcpy(row(x, b, h, j), from + (int64_t)j * padded, sizeof(float) * width);
}

/* From the gradient of the logits, w->g, to that of the products' factors. */
static void products_backward(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    int padded = up(a->width, 8);
    rows_of(row(a->q, b, h, first), a->q.token, rows, a->width, padded, a->scale, w->rows);
    spread(w->g, w->rows, up(n, 4), padded, w->gk);
    mix(w->g, row(a->k, b, h, 0), a->k.token, n, a->width, w->q);
    turn_back(w->q, fill(a->scale), rows, a->width, row(a->gq, b, h, first), a->gq.token);
}

static void path_backward(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    int padded = up(a->path_width, 8);
    V before = {};
    for (int j = 0; j < n; j++) { /* step j bears on all keys before it */
        V slope = before * a->slopes[h] * w->z[j];
        before += w->g[j];
        w->g[j] = seen(slope, j, first);
    }
    rows_of(row(a->p, b, h, first), a->p.token, rows, a->path_width, padded, a->path_scale, w->rows);
    spread(w->g, w->rows, up(n, 4), padded, w->gr);
    mix(w->g, row(a->r, b, h, 0), a->r.token, n, a->path_width, w->p);
    turn_back(w->p, fill(a->path_scale), rows, a->path_width, row(a->gp, b, h, first), a->gp.token);
}

int attention_backward(const Attention *a) {
    Scratch w;
    char *memory;
    if (reserve(a, &w, &memory)) return 1;
    int tokens = a->tokens, keys = up(tokens, LANES);
    int e = up(a->width, 8), d = up(a->value_width, 8), f = up(a->path_width, 8);
    for (int64_t b = 0; b < a->batches; b++)
        for (int64_t h = 0; h < a->heads; h++) {
            memset(w.gk, 0, sizeof(float) * keys * (e + d + f + a->width + 1 + a->columns)); /* gv and so on follow */
            for (int first = 0; first < tokens; first += LANES) {
                int n = first + LANES < tokens ? first + LANES : tokens, rows = n - first;
                logits(a, &w, b, h, first, rows, n);
                V lse = {}, against = {};
                memcpy(&lse, a->lse + (b * a->heads + h) * tokens + first, sizeof(float) * rows);
                turn(row(a->gy, b, h, first), a->gy.token, rows, a->value_width, 1, w.gy);
                if (!a->stick) { /* a softmax: the weights sum to one */
                    turn(row(a->y, b, h, first), a->y.token, rows, a->value_width, 1, w.y);
                    for (int c = 0; c < a->value_width; c++) against += w.y[c] * w.gy[c];
                }
                products(w.gy, row(a->v, b, h, 0), a->v.token, n, a->value_width, w.g);
                I live = LANE < rows;
                for (int j = 0; j < n; j++) {
                    w.s[j] = (V)((I)exponential(w.s[j] - lse) & live);
                    w.g[j] = w.s[j] * (w.g[j] - against);
                }
                for (int j = n; j < up(n, 4); j++) w.s[j] = w.g[j] = fill(0);
                rows_of(row(a->gy, b, h, first), a->gy.token, rows, a->value_width, d, 1, w.rows);
                spread(w.s, w.rows, up(n, 4), d, w.gv);
                if (a->gbias)
                    for (int j = 0; j < n; j++) *(V *)(a->gbias + (h * tokens + j) * keys + first) += w.g[j];
                if (a->gtable)
                    for (int j = 0; j < n; j++) *(V *)(a->gtable + h * (LANES + keys) + LANES + first - j) += w.g[j];
                if (a->stick) stick_backward(&w, first, n);
                if (a->e.at) counted_backward(a, &w, b, h, first, rows, n);
                if (a->w.at)
                    walk_backward(a, &w, b, h, first, rows, n);
                else
                    products_backward(a, &w, b, h, first, rows, n);
                if (a->columns) columns_backward(a, &w, b, h, first, rows, n);
                if (a->p.at) path_backward(a, &w, b, h, first, rows, n);
            }
            give(w.gk, e, a->width, tokens, a->gk, b, h);
            give(w.gv, d, a->value_width, tokens, a->gv, b, h);
            if (a->p.at) give(w.gr, f, a->path_width, tokens, a->gr, b, h);
            if (a->gkc.at) give(w.gkc, a->columns, a->columns, tokens, a->gkc, b, h);
            if (a->w.at) {
                give(w.gw, a->width, a->width, tokens, a->gw, b, h);
                give(w.gbeta, 1, 1, tokens, a->gbeta, b, h);
            }
        }
    free(memory);
    return 0;
}

/* y[c] = factor * the sum over j of s[j] * v[j][c] */
static void mix_one(const float *s, const float *v, int64_t stride, int64_t n, int width, float factor, float *y) {
    int c = 0;
    for (; c + 4 * LANES <= width; c += 4 * LANES) {
        V a[4] = {};
        for (int64_t j = 0; j < n; j++)
            for (int u = 0; u < 4; u++) a[u] += *(V *)(v + j * stride + c + u * LANES) * s[j];
        for (int u = 0; u < 4; u++) *(V *)(y + c + u * LANES) = a[u] * factor;
    }
    for (; c + LANES <= width; c += LANES) {
        V a = {};
        for (int64_t j = 0; j < n; j++) a += *(V *)(v + j * stride + c) * s[j];
        *(V *)(y + c) = a * factor;
    }
    for (; c < width; c++) {
        float a = 0;
        for (int64_t j = 0; j < n; j++) a += v[j * stride + c] * s[j];
        y[c] = a * factor;
    }
}

/* One query for each head over `tokens` keys, all of which it sees, in plain mode; `bias` is (H, S). What it costs is
   the reading of keys and values, once and in order. */
int attention_step(const Attention *a) {
    int64_t n = a->tokens, whole = (n + LANES - 1) / LANES * LANES;
    float *s = malloc(sizeof(float) * whole);
    if (!s) return 1;
    for (int64_t b = 0; b < a->batches; b++)
        for (int64_t h = 0; h < a->heads; h++) {
            for (int64_t j = 0; j < n; j++) s[j] = a->scale * dot(row(a->q, b, h, 0), row(a->k, b, h, j), a->width);
            if (a->bias)
                for (int64_t j = 0; j < n; j++) s[j] += a->bias[h * n + j];
            for (int64_t j = n; j < whole; j++) s[j] = HIDDEN;
            V tops = fill(HIDDEN), total = {};
            for (int64_t j = 0; j < whole; j += LANES) tops = larger(tops, *(V *)(s + j));
            float top = HIDDEN;
            for (int lane = 0; lane < LANES; lane++) top = tops[lane] > top ? tops[lane] : top;
            for (int64_t j = 0; j < whole; j += LANES) {
                *(V *)(s + j) = exponential(*(V *)(s + j) - top);
                total += *(V *)(s + j);
            }
            mix_one(s, row(a->v, b, h, 0), a->v.token, n, a->value_width, 1 / sum(total), row(a->y, b, h, 0));
        }
    free(s);
    return 0;
}
