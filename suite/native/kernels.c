/* The inner loops of training on a CPU in float32; suite/native/ops.py says what each of them computes.

   One thread, no state, only the compiler's portable vectors: 16 floats, which it lowers to whatever the machine
   has. In attention the 16 lanes of a vector are 16 queries, so that softmax, masks and path sums are plain
   loops over the keys. Rows of logits live in scratch memory that grows with the number of keys; no matrix of
   queries by keys is ever formed. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define HIDDEN -1e30f /* a logit whose weight is nothing; finite, so that no difference of two is NaN */

typedef float V __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float H __attribute__((vector_size(2 * LANES), aligned(4), may_alias)); /* half as many lanes */

/* One (B, H, T, width) tensor: strides of batch, head and token in floats; the last axis is dense. */
typedef struct {
    float *at;
    int64_t batch, head, token;
} View;

static inline float *row(View x, int64_t b, int64_t h, int64_t t) {
    return x.at + b * x.batch + h * x.head + t * x.token;
}

static inline V fill(float x) { return (V){} + x; }

static inline V choose(I mask, V yes, V no) { return (V)(((I)yes & mask) | ((I)no & ~mask)); }

static inline V larger(V a, V b) { return choose(a > b, a, b); }

static inline V smaller(V a, V b) { return choose(a < b, a, b); }

static float sum(V x) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
}

/* e^x for x <= 88 to 1e-7, 0 below -87: n = round(x / ln 2), f = x - n ln 2, e^x = 2^n e^f. */
static inline V exponential(V x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it drops the fraction */
    I tiny = x < -87.0f;
    x = larger(x, fill(-87.0f));
    V t = x * 1.44269504f + round;
    I n = (I)t - (I)fill(round);
    t -= round;
    V f = x - t * 0.693359375f + t * 2.12194440e-4f;
    V p = f * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.0f;
    return (V)(((I)p + (n << 23)) & ~tiny);
}

/* log(1 + x) for 0 <= x <= 1 to 1e-7: 2 atanh(x / (2 + x)). */
static inline V log_plus_one(V x) {
    V s = x / (x + 2.0f), s2 = s * s;
    V p = s2 * (2.0f / 13) + 2.0f / 11;
    p = p * s2 + 2.0f / 9;
    p = p * s2 + 2.0f / 7;
    p = p * s2 + 2.0f / 5;
    p = p * s2 + 2.0f / 3;
    p = p * s2 + 2.0f;
    return p * s;
}

static inline V absolute(V x) { return (V)((I)x & 0x7fffffff); }

static inline V log_sigmoid(V x) { return smaller(x, fill(0)) - log_plus_one(exponential(-absolute(x))); }

static inline V sigmoid(V x) {
    V e = exponential(-absolute(x));
    return choose(x >= 0.0f, fill(1), e) / (e + 1.0f);
}

/* ---- attention ---- */

/* out[c][lane] = factor * x[lane][c]; lanes beyond `rows` are 0. */
static void turn(const float *x, int64_t stride, int rows, int width, float factor, V *out) {
    float *to = (float *)out;
    if (rows < LANES) memset(out, 0, sizeof(V) * width);
    for (int lane = 0; lane < rows; lane++)
        for (int c = 0; c < width; c++) to[c * LANES + lane] = factor * x[lane * stride + c];
}

/* x[lane][c] = in[c][lane] * factor[lane] */
static void turn_back(const V *in, V factor, int rows, int width, float *x, int64_t stride) {
    for (int c = 0; c < width; c++) {
        V scaled = in[c] * factor;
        for (int lane = 0; lane < rows; lane++) x[lane * stride + c] = scaled[lane];
    }
}

/* s[j][lane] = sum over c of x[c][lane] * k[j][c] */
static void products(const V *x, const float *k, int64_t stride, int n, int width, V *s) {
    int j = 0;
    for (; j + 4 <= n; j += 4) {
        const float *k0 = k + j * stride, *k1 = k0 + stride, *k2 = k1 + stride, *k3 = k2 + stride;
        V a = {}, b = {}, c = {}, d = {};
        for (int i = 0; i < width; i++) {
            V xi = x[i];
            a += xi * k0[i], b += xi * k1[i], c += xi * k2[i], d += xi * k3[i];
        }
        s[j] = a, s[j + 1] = b, s[j + 2] = c, s[j + 3] = d;
    }
    for (; j < n; j++) {
        V a = {};
        for (int i = 0; i < width; i++) a += x[i] * k[j * stride + i];
        s[j] = a;
    }
}

/* out[c][lane] = sum over j of s[j][lane] * v[j][c] */
static void mix(const V *s, const float *v, int64_t stride, int n, int width, V *out) {
    int c = 0;
    for (; c + 8 <= width; c += 8) {
        V a[8] = {};
        for (int j = 0; j < n; j++) {
            const float *vj = v + j * stride + c;
            V sj = s[j];
            for (int u = 0; u < 8; u++) a[u] += sj * vj[u];
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
#define SPREAD(name, T)                                                                               \
    static void name(const V *s, const float *x, int n, int width, int c, float *out) {                \
        for (int j = 0; j < n; j += 4) {                                                              \
            const float *w = (const float *)(s + j);                                                  \
            float *o = out + (int64_t)j * width + c;                                                  \
            T a = *(T *)o, b = *(T *)(o + width), d = *(T *)(o + 2 * width), e = *(T *)(o + 3 * width); \
            for (int lane = 0; lane < LANES; lane++) {                                                \
                T xl = *(const T *)(x + lane * width + c);                                            \
                a += xl * w[lane], b += xl * w[LANES + lane];                                         \
                d += xl * w[2 * LANES + lane], e += xl * w[3 * LANES + lane];                         \
            }                                                                                         \
            *(T *)o = a, *(T *)(o + width) = b, *(T *)(o + 2 * width) = d, *(T *)(o + 3 * width) = e;  \
        }                                                                                             \
    }
SPREAD(spread_whole, V)
SPREAD(spread_half, H)

static void spread(const V *s, const float *x, int n, int width, float *out) {
    int c = 0;
    for (; c + LANES <= width; c += LANES) spread_whole(s, x, n, width, c, out);
    if (c < width) spread_half(s, x, n, width, c, out);
}

static int up(int n, int to) { return (n + to - 1) / to * to; }

/* The rows of 16 queries, dense and padded with zeros to `padded` columns. */
static void rows_of(const float *x, int64_t stride, int rows, int width, int padded, float factor, float *out) {
    memset(out, 0, sizeof(float) * LANES * padded);
    for (int lane = 0; lane < rows; lane++)
        for (int c = 0; c < width; c++) out[lane * padded + c] = factor * x[lane * stride + c];
}

/* What one call works on. `bias` (H, S, up(T, 16)) holds keys first; `p`, `r` and `slopes` are the features of a
   path sum: the bias of key j is the sum over j < l <= i of slope * log sigmoid(p_i . r_l * path_scale). */
typedef struct {
    View q, k, v, y, gy, gq, gk, gv, p, r, gp, gr;
    float *lse, *bias, *gbias, *slopes;
    int64_t batches, heads, tokens, width, value_width, path_width;
    float scale, path_scale;
} Attention;

typedef struct {
    V *s, *g, *z, *q, *p, *y, *gy; /* logits and then weights; their gradients; path features' products; rows */
    float *rows, *gk, *gv, *gr;
} Scratch;

static const I LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Logits of 16 queries from `first` on over the keys before `n`, the future hidden. */
static void logits(const Attention *a, Scratch *w, int64_t b, int64_t h, int first, int rows, int n) {
    int padded = up(a->tokens, LANES);
    turn(row(a->q, b, h, first), a->q.token, rows, a->width, a->scale, w->q);
    products(w->q, row(a->k, b, h, 0), a->k.token, n, a->width, w->s);
    if (a->bias)
        for (int j = 0; j < n; j++) w->s[j] += *(V *)(a->bias + (h * a->tokens + j) * padded + first);
    if (a->p.at) {
        turn(row(a->p, b, h, first), a->p.token, rows, a->path_width, a->path_scale, w->p);
        products(w->p, row(a->r, b, h, 0), a->r.token, n, a->path_width, w->z);
        V path = {};
        for (int j = n - 1; j >= 0; j--) {
            w->s[j] += path;
            V step = log_sigmoid(w->z[j]) * a->slopes[h];
            path += j > first ? choose(LANE >= j - first, step, fill(0)) : step;
        }
    }
    for (int j = first; j < n; j++) w->s[j] = choose(LANE >= j - first, w->s[j], fill(HIDDEN));
}

static int reserve(const Attention *a, Scratch *w, char **memory) {
    int keys = up(a->tokens, LANES), e = up(a->width, 8), d = up(a->value_width, 8), f = up(a->path_width, 8);
    size_t vectors = 3 * (size_t)keys + e + f + 2 * d + 1;
    size_t floats = (size_t)keys * (e + d + f) + LANES * (e > d ? (e > f ? e : f) : (d > f ? d : f));
    *memory = malloc(vectors * sizeof(V) + floats * sizeof(float));
    if (!*memory) return 1;
    w->s = (V *)(((uintptr_t)*memory + sizeof(V) - 1) & ~(uintptr_t)(sizeof(V) - 1));
    w->g = w->s + keys;
    w->z = w->g + keys;
    w->q = w->z + keys;
    w->p = w->q + e;
    w->y = w->p + f;
    w->gy = w->y + d;
    w->gk = (float *)(w->gy + d);
    w->gv = w->gk + (size_t)keys * e;
    w->gr = w->gv + (size_t)keys * d;
    w->rows = w->gr + (size_t)keys * f;
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
                V top = w.s[0], total = {};
                for (int j = 1; j < n; j++) top = larger(top, w.s[j]);
                for (int j = 0; j < n; j++) {
                    w.s[j] = exponential(w.s[j] - top);
                    total += w.s[j];
                }
                mix(w.s, row(a->v, b, h, 0), a->v.token, n, a->value_width, w.y);
                turn_back(w.y, 1.0f / total, rows, a->value_width, row(a->y, b, h, first), a->y.token);
                float *lse = a->lse + (b * a->heads + h) * a->tokens + first;
                for (int lane = 0; lane < rows; lane++) lse[lane] = top[lane] + logf(total[lane]);
            }
    free(memory);
    return 0;
}

static void give(const float *from, int padded, int width, int n, float *to, int64_t stride) {
    for (int j = 0; j < n; j++) memcpy(to + j * stride, from + (int64_t)j * padded, sizeof(float) * width);
}

int attention_backward(const Attention *a) {
    Scratch w;
    char *memory;
    if (reserve(a, &w, &memory)) return 1;
    int tokens = a->tokens, keys = up(tokens, LANES);
    int e = up(a->width, 8), d = up(a->value_width, 8), f = up(a->path_width, 8);
    for (int64_t b = 0; b < a->batches; b++)
        for (int64_t h = 0; h < a->heads; h++) {
            memset(w.gk, 0, sizeof(float) * keys * (e + d + f)); /* gv and gr follow */
            for (int first = 0; first < tokens; first += LANES) {
                int n = first + LANES < tokens ? first + LANES : tokens, rows = n - first, fours = up(n, 4);
                logits(a, &w, b, h, first, rows, n);
                V lse = {}, against = {};
                memcpy(&lse, a->lse + (b * a->heads + h) * tokens + first, sizeof(float) * rows);
                turn(row(a->y, b, h, first), a->y.token, rows, a->value_width, 1, w.y);
                turn(row(a->gy, b, h, first), a->gy.token, rows, a->value_width, 1, w.gy);
                for (int c = 0; c < a->value_width; c++) against += w.y[c] * w.gy[c];
                products(w.gy, row(a->v, b, h, 0), a->v.token, n, a->value_width, w.g);
                I live = LANE < rows;
                for (int j = 0; j < n; j++) {
                    w.s[j] = choose(live, exponential(w.s[j] - lse), fill(0));
                    w.g[j] = w.s[j] * (w.g[j] - against);
                }
                for (int j = n; j < fours; j++) w.s[j] = w.g[j] = fill(0);
                rows_of(row(a->gy, b, h, first), a->gy.token, rows, a->value_width, d, 1, w.rows);
                spread(w.s, w.rows, fours, d, w.gv);
                if (a->gbias)
                    for (int j = 0; j < n; j++) *(V *)(a->gbias + (h * tokens + j) * keys + first) += w.g[j];
                rows_of(row(a->q, b, h, first), a->q.token, rows, a->width, e, a->scale, w.rows);
                spread(w.g, w.rows, fours, e, w.gk);
                mix(w.g, row(a->k, b, h, 0), a->k.token, n, a->width, w.q);
                turn_back(w.q, fill(a->scale), rows, a->width, row(a->gq, b, h, first), a->gq.token);
                if (!a->p.at) continue;
                V before = {};
                for (int j = 0; j < n; j++) { /* step j bears on all keys before it */
                    V slope = before * a->slopes[h] * sigmoid(-w.z[j]);
                    before += w.g[j];
                    w.g[j] = j > first ? choose(LANE >= j - first, slope, fill(0)) : slope;
                }
                for (int j = n; j < fours; j++) w.g[j] = fill(0);
                rows_of(row(a->p, b, h, first), a->p.token, rows, a->path_width, f, a->path_scale, w.rows);
                spread(w.g, w.rows, fours, f, w.gr);
                mix(w.g, row(a->r, b, h, 0), a->r.token, n, a->path_width, w.p);
                turn_back(w.p, fill(a->path_scale), rows, a->path_width, row(a->gp, b, h, first), a->gp.token);
            }
            give(w.gk, e, a->width, tokens, row(a->gk, b, h, 0), a->gk.token);
            give(w.gv, d, a->value_width, tokens, row(a->gv, b, h, 0), a->gv.token);
            if (a->p.at) give(w.gr, f, a->path_width, tokens, row(a->gr, b, h, 0), a->gr.token);
        }
    free(memory);
    return 0;
}

/* ---- norms and gates: `n` rows of `width` ---- */

static float dot(const float *x, const float *y, int width) {
    V a = {};
    int c = 0;
    for (; c + LANES <= width; c += LANES) a += *(V *)(x + c) * *(V *)(y + c);
    float total = sum(a);
    for (; c < width; c++) total += x[c] * y[c];
    return total;
}

/* y = x * gain / rms(x); `inverse` keeps 1 / rms. */
int norm_forward(const float *x, const float *gain, float *y, float *inverse, int64_t n, int64_t width, float eps) {
    for (int64_t i = 0; i < n; i++, x += width, y += width) {
        float r = inverse[i] = 1.0f / sqrtf(dot(x, x, width) / width + eps);
        for (int c = 0; c < width; c++) y[c] = x[c] * r * gain[c];
    }
    return 0;
}

/* `ggain` is added to, `work` holds `width` floats. */
int norm_backward(const float *gy, const float *x, const float *gain, const float *inverse, float *gx, float *ggain,
                   float *work, int64_t n, int64_t width) {
    for (int64_t i = 0; i < n; i++, x += width, gy += width, gx += width) {
        float r = inverse[i];
        for (int c = 0; c < width; c++) {
            work[c] = gy[c] * gain[c];
            ggain[c] += gy[c] * x[c] * r;
        }
        float back = dot(work, x, width) * r * r / width;
        for (int c = 0; c < width; c++) gx[c] = r * (work[c] - x[c] * back);
    }
    return 0;
}

/* qkv (n, 3, heads, d) to q, k, v (n, heads, d): q and k over their rms, q times a number for each head. */
int split_forward(const float *qkv, const float *temperature, float *q, float *k, float *v, float *inverse,
                   int64_t n, int64_t heads, int64_t d, float eps) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t h = 0; h < heads; h++, q += d, k += d, inverse += 2) {
            const float *x = qkv + h * d, *y = x + heads * d;
            inverse[0] = 1.0f / sqrtf(dot(x, x, d) / d + eps);
            inverse[1] = 1.0f / sqrtf(dot(y, y, d) / d + eps);
            for (int c = 0; c < d; c++) q[c] = x[c] * inverse[0] * temperature[h];
            for (int c = 0; c < d; c++) k[c] = y[c] * inverse[1];
        }
        memcpy(v, qkv + 2 * heads * d, sizeof(float) * heads * d);
        v += heads * d, qkv += 3 * heads * d;
    }
    return 0;
}

int split_backward(const float *gq, const float *gk, const float *gv, const float *qkv, const float *temperature,
                    const float *inverse, float *gqkv, float *gtemperature, int64_t n, int64_t heads, int64_t d) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t h = 0; h < heads; h++, gq += d, gk += d, inverse += 2) {
            const float *x = qkv + h * d, *y = x + heads * d;
            float *gx = gqkv + h * d, *gy = gx + heads * d;
            float along = dot(gq, x, d), r = inverse[0], s = inverse[1], t = temperature[h];
            gtemperature[h] += along * r;
            float back = along * r * r / d;
            for (int c = 0; c < d; c++) gx[c] = t * r * (gq[c] - x[c] * back);
            back = dot(gk, y, d) * s * s / d;
            for (int c = 0; c < d; c++) gy[c] = s * (gk[c] - y[c] * back);
        }
        memcpy(gqkv + 2 * heads * d, gv, sizeof(float) * heads * d);
        gv += heads * d, qkv += 3 * heads * d, gqkv += 3 * heads * d;
    }
    return 0;
}

/* y = silu(gate) * up for x = (gate, up), (n, 2 * width); `width` is a multiple of 16. */
int swiglu_forward(const float *x, float *y, int64_t n, int64_t width) {
    for (int64_t i = 0; i < n; i++, x += 2 * width, y += width)
        for (int c = 0; c < width; c += LANES) {
            V gate = *(V *)(x + c);
            *(V *)(y + c) = gate * sigmoid(gate) * *(V *)(x + width + c);
        }
    return 0;
}

int swiglu_backward(const float *gy, const float *x, float *gx, int64_t n, int64_t width) {
    for (int64_t i = 0; i < n; i++, x += 2 * width, gx += 2 * width, gy += width)
        for (int c = 0; c < width; c += LANES) {
            V gate = *(V *)(x + c), g = *(V *)(gy + c), s = sigmoid(gate);
            *(V *)(gx + c) = g * *(V *)(x + width + c) * s * (1.0f + gate * (1.0f - s));
            *(V *)(gx + width + c) = g * gate * s;
        }
    return 0;
}
