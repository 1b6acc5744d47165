/* A training step of the standard block in parts, each from one place where an encoding may come in to the next.
   suite/lm/step.py calls them in order. One thread, no state.

   Values and sums are float32. What products read is float32, or half precision where the processor multiplies it. */
#include "vectors.h"

#define TILE 96 /* tokens; a multiple of the rows that a product keeps in registers */
#define EPS 1e-6f

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* One block: parameters, each with its gradient `gradient` floats further; what one step keeps of `rows` tokens; and
   room for a tile. `h` and `gh` only where an encoding reads the normalised input; `turns` only with a rotation. */
typedef struct {
    int64_t batches, tokens, rows, width, heads, hidden, gradient;
    float *gain1, *qkv, *temperature, *out, *gain2, *gate_up, *down;
    void *qkv_forth, *qkv_back, *out_forth, *out_back, *gate_up_forth, *gate_up_back, *down_forth, *down_back;
    float *x, *x1, *next, *all, *q, *k, *v, *y, *inverse1, *inverse2, *ratio, *h;
    void *h1, *h2, *up;
    float *gx, *gq, *gk, *gv, *gy, *gh, *turns;
    float *room;
    void *room_left, *room_right;
} Block;

/* The embedding, also the matrix of the logits, with the final norm. `asked` counts the targets of the whole batch. */
typedef struct {
    int64_t rows, width, vocab, asked, ignored, gradient;
    const int64_t *tokens, *targets;
    float *embedding, *gain;
    void *forth, *back;
    float *first, *x, *gx;
    float *room;
    void *room_left, *room_right;
    float scale, loss;
} Head;

/* A part of a step and what it works on; `attend` says with 1 that it found no memory. */
typedef struct {
    void (*run)(const void *);
    int (*attend)(const void *);
    const void *on;
} Part;

/* Parts in their order; 1 where one found no memory. */
int step_run(const Part *parts, int64_t n) {
    for (const Part *part = parts; part < parts + n; part++) {
        if (!part->attend) part->run(part->on);
        else if (part->attend(part->on)) return 1;
    }
    return 0;
}

/* How many of n tokens have a target; -1 where one of either is not in the vocabulary. */
int64_t step_asked(const int64_t *tokens, const int64_t *targets, int64_t n, int64_t vocab, int64_t ignored) {
    int64_t asked = 0;
    for (int64_t i = 0; i < n; i++) {
        int read = targets[i] != ignored;
        if (tokens[i] < 0 || tokens[i] >= vocab || (read && (targets[i] < 0 || targets[i] >= vocab))) return -1;
        asked += read;
    }
    return asked;
}

void step_embed(const Head *a) {
    for (int64_t i = 0; i < a->rows; i++)
        memcpy(a->first + i * a->width, a->embedding + a->tokens[i] * a->width, sizeof(float) * a->width);
}

void step_embed_back(const Head *a) {
    for (int64_t i = 0; i < a->rows; i++) {
        float *to = a->embedding + a->gradient + a->tokens[i] * a->width;
        for (int64_t c = 0; c < a->width; c++) to[c] += a->gx[i * a->width + c];
    }
}

/* out = x * factor, its planes (m, m + d/2) rotated by the angles whose cosines and sines `turn` holds. */
INLINE void rotated(const float *restrict x, float factor, const float *restrict turn, int64_t d, float *restrict out) {
    const float *sine = turn + d / 2, *y = x + d / 2;
    for (int64_t m = 0; m < d / 2; m++) {
        float a = x[m] * factor, b = y[m] * factor;
        out[m] = a * turn[m] - b * sine[m];
        out[m + d / 2] = a * sine[m] + b * turn[m];
    }
}

INLINE void rotated_back(const float *restrict g, const float *restrict turn, int64_t d, float *restrict out) {
    const float *sine = turn + d / 2, *f = g + d / 2;
    for (int64_t m = 0; m < d / 2; m++) {
        out[m] = g[m] * turn[m] + f[m] * sine[m];
        out[m + d / 2] = f[m] * turn[m] - g[m] * sine[m];
    }
}

INLINE void scaled(const float *restrict x, float factor, int64_t d, float *restrict out) {
    for (int64_t c = 0; c < d; c++) out[c] = x[c] * factor;
}

/* The gradient of x by way of x * factor / rms(x), from that of x / rms(x); `back` is their product over d and rms^2. */
INLINE void normed_back(const float *restrict g, const float *restrict x, float factor, float back, int64_t d,
                        float *restrict gx) {
    for (int64_t c = 0; c < d; c++) gx[c] = factor * (g[c] - x[c] * back);
}

/* (rows, 3, heads, d) to q, k, v (batches, heads, tokens, d): q and k over their rms, q times a number for each head. */
INLINE void split_heads(const Block *b, int64_t from, int64_t n, int64_t d) {
    int64_t w = b->width, T = b->tokens;
    for (int64_t i = from; i < from + n; i++) {
        float *ratio = b->ratio + 2 * i * b->heads;
        int64_t place = i / T * b->heads * T + i % T;
        const float *turn = b->turns ? b->turns + i % T * d : 0;
        for (int64_t h = 0; h < b->heads; h++, ratio += 2) {
            const float *x = b->all + 3 * i * w + h * d, *y = x + w;
            int64_t to = (place + h * T) * d;
            ratio[0] = 1.0f / sqrtf(dot(x, x, d) / d + EPS);
            ratio[1] = 1.0f / sqrtf(dot(y, y, d) / d + EPS);
            float rq = ratio[0] * b->temperature[h], rk = ratio[1];
            if (turn) {
                rotated(x, rq, turn, d, b->q + to);
                rotated(y, rk, turn, d, b->k + to);
            } else {
                scaled(x, rq, d, b->q + to);
                scaled(y, rk, d, b->k + to);
            }
            memcpy(b->v + to, y + w, sizeof(float) * d);
        }
    }
}

INLINE void split_heads_back(const Block *b, int64_t from, int64_t n, float *gall, int64_t d) {
    int64_t w = b->width, T = b->tokens;
    float *gtemperature = b->temperature + b->gradient, gq[d], gk[d];
    for (int64_t i = from; i < from + n; i++, gall += 3 * w) {
        const float *ratio = b->ratio + 2 * i * b->heads;
        int64_t place = i / T * b->heads * T + i % T;
        const float *turn = b->turns ? b->turns + i % T * d : 0;
        for (int64_t h = 0; h < b->heads; h++, ratio += 2) {
            const float *x = b->all + 3 * i * w + h * d, *y = x + w;
            float *gx = gall + h * d, *gy = gx + w;
            int64_t at = (place + h * T) * d;
            if (turn) {
                rotated_back(b->gq + at, turn, d, gq);
                rotated_back(b->gk + at, turn, d, gk);
            } else {
                memcpy(gq, b->gq + at, sizeof gq);
                memcpy(gk, b->gk + at, sizeof gk);
            }
            float along = dot(gq, x, d), r = ratio[0], s = ratio[1], rt = r * b->temperature[h];
            gtemperature[h] += along * r;
            float back = along * r * r / d, other = dot(gk, y, d) * s * s / d;
            normed_back(gq, x, rt, back, d, gx);
            normed_back(gk, y, s, other, d, gy);
            memcpy(gy + w, b->gv + at, sizeof(float) * d);
        }
    }
}

/* The usual head widths as constants: their loops become a few vectors. */
#define BY_WIDTH(call, ...)                          \
    switch (b->width / b->heads) {                   \
    case 16: call(__VA_ARGS__, 16); break;           \
    case 32: call(__VA_ARGS__, 32); break;           \
    case 64: call(__VA_ARGS__, 64); break;           \
    default: call(__VA_ARGS__, b->width / b->heads); \
    }

static void split(const Block *b, int64_t from, int64_t n) { BY_WIDTH(split_heads, b, from, n) }

static void split_back(const Block *b, int64_t from, int64_t n, float *gall) {
    BY_WIDTH(split_heads_back, b, from, n, gall)
}

/* The loss of one token; its logits become their gradient times `factor`. */
static float cross_entropy(float *z, int64_t vocab, int64_t padded, int64_t target, float factor) {
    for (int64_t c = vocab; c < padded; c++) z[c] = -1e30f;
    V tops = *(V *)z, all = {};
    for (int64_t c = LANES; c < padded; c += LANES) tops = larger(tops, *(V *)(z + c));
    float top = greatest(tops), wanted = z[target];
    for (int64_t c = 0; c < padded; c += LANES) all += *(V *)(z + c) = exponential(*(V *)(z + c) - top);
    float total = sum(all);
    for (int64_t c = 0; c < padded; c += LANES) *(V *)(z + c) *= factor / total;
    z[target] -= factor;
    return logf(total) + top - wanted;
}

#define NAME(x) x##_float
#define Left float
#define Right float
#define Sums V
#define SPREAD(x) ((x) - (V){}) /* not x + 0: that is another number for -0, and an addition */
#define WIDTH LANES
#if LANES == 16
#define ROWS 6
#define VECTORS 4
#else /* half as many registers */
#define ROWS 4
#define VECTORS 2
#endif
#define DEPTH INT64_C(0) /* all products at once */
#define ROUNDS 1

INLINE void put_float(const V *sums, int rounds, float *c, const float *base, int columns) {
    *(V *)c = base ? (V)(*(V *)base + *sums) : *sums;
}
INLINE void left_float(V x, float *to) { *(V *)to = x; }
INLINE void right_float(V x, float *to) { *(V *)to = x; }
INLINE V wide_float(const float *x) { return *(V *)x; }
INLINE float one_left_float(float x) { return x; }

#include "products.h"
/**/
#include "block.h"
/**/
#include "declared.h"

/* The head multiplies in float32 in any case. The gradients of a token's logits sum to 0, and the rows of the embedding
   have much in common. Sums in half precision lose what is left: as much as 3 % of a gradient (rope, QUICK's language). */
void step_pack_head(const Head *a) {
    pack_float(a->embedding, 1, a->width, a->width, a->vocab, 0, a->forth);
    pack_float(a->embedding, a->width, 1, a->vocab, a->width, 0, a->back);
}

/* The final norm, the logits of the tokens with a target, cross-entropy, and the way back to gx; `loss` is what these
   tokens add to the mean. Gradients are multiplied by `scale`. */
void step_head(Head *a) {
    int64_t w = a->width, vocab = a->vocab, padded = (vocab + LANES - 1) / LANES * LANES, g = a->gradient;
    double loss = 0;
    float *left = a->room_left, *h = a->room_right, *panel = h + TILE * w;
    float *logits = a->room, *room = logits + TILE * (padded > w ? padded : w), inverse[TILE];
    int64_t at[TILE];
    memset(a->gx, 0, sizeof(float) * a->rows * w);
    for (int64_t next = 0; next < a->rows;) {
        int64_t n = 0;
        for (; next < a->rows && n < TILE; next++)
            if (a->targets[next] != a->ignored) at[n++] = next;
        for (int64_t i = 0; i < n; i++)
            inverse[i] = norm_float(a->x + at[i] * w, a->gain, w, room, left + i * w, h + i * w);
        times_float(n, vocab, w, left, a->forth, logits, 0, padded);
        for (int64_t i = 0; i < n; i++) {
            float *z = logits + i * padded;
            loss += cross_entropy(z, vocab, padded, a->targets[at[i]], a->scale / a->asked);
            to_left_float(z, vocab, left + i * vocab);
        }
        float *gh = logits;
        times_float(n, w, vocab, left, a->back, gh, 0, w);
        gather_float(n, vocab, w, left, h, panel, a->embedding + g);
        for (int64_t i = 0; i < n; i++)
            norm_back_float(gh + i * w, a->x + at[i] * w, a->gain, inverse[i], w, room, a->gx + at[i] * w, a->gain + g);
    }
    a->loss = loss / a->asked;
}

#if defined(__AVX512FP16__)
#undef NAME
#undef Left
#undef Right
#undef Sums
#undef SPREAD
#undef WIDTH
#undef ROWS
#undef VECTORS
#undef DEPTH
#undef ROUNDS
#undef PANEL

typedef _Float16 Half __attribute__((vector_size(64), aligned(2), may_alias));

/* Sums of 32 products in half precision, twice as fast as in float32; then they join a float32. A number of A is kept
   twice, side by side: to broadcast 32 bits is part of a load, to broadcast 16 is not. */
#define NAME(x) x##_half
#define Left uint32_t
#define Right _Float16
#define Sums Half
#define SPREAD(x) ((Half)((x) - (U){}))
#define WIDTH 32
#define ROWS 12
#define VECTORS 2
#define DEPTH 32
#define ROUNDS 8

/* Compilers convert vectors of halves number by number. */
INLINE V wide_half(const _Float16 *x) { return (V)_mm512_cvtph_ps(_mm256_loadu_si256((__m256i *)x)); }
INLINE __m256i halves(V x) { return _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT); }
INLINE void put_half(const Half *sums, int rounds, float *c, const float *base, int columns) {
    V low = base ? *(V *)base : (V){}, high = base && columns > LANES ? *(V *)(base + LANES) : (V){};
    for (int r = 0; r < rounds; r++, sums += ROWS * VECTORS) {
        low += wide_half((_Float16 *)sums);
        high += wide_half((_Float16 *)sums + LANES);
    }
    *(V *)c = low;
    if (columns > LANES) *(V *)(c + LANES) = high;
}
INLINE void right_half(V x, _Float16 *to) { _mm256_storeu_si256((__m256i *)to, halves(x)); }
INLINE void left_half(V x, uint32_t *to) {
    const U twice = (U){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} * 0x10001;
    *(U *)to = (U)_mm512_permutexvar_epi16((__m512i)twice, _mm512_castsi256_si512(halves(x)));
}
INLINE uint32_t one_left_half(float x) {
    _Float16 rounded = x;
    uint16_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    return bits | (uint32_t)bits << 16;
}

#include "products.h"
/**/
#include "block.h"
#endif

/* Which kinds of number this processor multiplies fast. */
int step_half(void) {
#if defined(__AVX512FP16__)
    return 1;
#else
    return 0;
#endif
}

/* n is a multiple of 16, as suite/lm/step.py lays parameters out. */
static void adamw(float *p, const float *g, float *mean, float *square, int64_t n, float factor, float rate, float scale,
                  float keep, float beta1, float beta2, float eps) {
    for (int64_t i = 0; i < n; i += LANES) {
        V grad = *(V *)(g + i) * factor;
        V m = *(V *)(mean + i) = beta1 * *(V *)(mean + i) + (1 - beta1) * grad;
        V s = *(V *)(square + i) = beta2 * *(V *)(square + i) + (1 - beta2) * grad * grad;
        *(V *)(p + i) = *(V *)(p + i) * keep - rate * m * reciprocal(root(s) * scale + eps);
    }
}

/* Clip the gradients of n parameters to `clip` and take a step of AdamW: p -= rate * mean / (root * sqrt(square) + eps),
   where rate and root hold the corrections of the running means. The first `decayed` parameters are first multiplied by
   `keep`. Returns the norm; where it is not finite, nothing changes. */
float step_update(float *p, const float *g, float *mean, float *square, int64_t n, int64_t decayed, float scale,
                  float clip, float rate, float root, float keep, float beta1, float beta2, float eps) {
    double squares = 0;
    for (int64_t i = 0; i < n; i += 4096) {
        V a = {};
        int64_t end = least(n, i + 4096), j = i;
        for (; j + LANES <= end; j += LANES) a += *(V *)(g + j) * *(V *)(g + j);
        squares += sum(a);
        for (; j < end; j++) squares += (double)g[j] * g[j];
    }
    float norm = sqrt(squares) / scale, factor = clip / (norm + 1e-6f);
    if (!isfinite(norm)) return norm;
    factor = (factor < 1 ? factor : 1) / scale;
    adamw(p, g, mean, square, decayed, factor, rate, root, keep, beta1, beta2, eps);
    adamw(p + decayed, g + decayed, mean + decayed, square + decayed, n - decayed, factor, rate, root, 1, beta1, beta2, eps);
    return norm;
}
