/* Attention over short sequences: a lane of a vector is a (sequence, head), where in attention.c it is a query. So no
   lane idles, however short the sequences. For plain attention with columns, a table or a path sum; see attention.h. */
#include <stdlib.h>

#include "attention.h"

#define BLOCK 4 /* queries, keys and channels that are worked on at once */

/* LANES heads: where the rows of each begin, and room for all of their tokens. */
typedef struct {
    int64_t first, live, whole; /* the first head, how many there are, and the tokens, in whole blocks */
    V *q, *k, *v, *gy, *gq, *gk, *g, *turned;
    V *weights, *passed; /* kept for the backward: weights, and the sigmoids of path sums */
} Group;

/* to[t][from + c][lane] = factor * x[lane][t][c]; lanes without a head repeat the last one. */
static void load(const Attention *a, const Group *w, View x, int width, float factor, int row_width, int from, V *to) {
    const float *rows[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        int64_t at = w->first + (lane < w->live ? lane : w->live - 1);
        rows[lane] = row(x, at / a->heads, at % a->heads, 0);
    }
    for (int64_t t = 0; t < a->tokens; t++) {
        V *out = to + t * row_width + from;
        int c = 0;
        for (; c + LANES <= width; c += LANES) {
            V heads[LANES];
            for (int lane = 0; lane < LANES; lane++) heads[lane] = *(V *)(rows[lane] + t * x.token + c) * factor;
            transpose(heads, out + c);
        }
        for (; c < width; c++)
            for (int lane = 0; lane < LANES; lane++) out[c][lane] = rows[lane][t * x.token + c] * factor;
    }
    memset(to + a->tokens * row_width, 0, sizeof(V) * (w->whole - a->tokens) * row_width);
}

static void store(const Attention *a, const Group *w, const V *from, int row_width, int width, float factor, View x) {
    if (!x.at) return;
    float *rows[LANES];
    for (int lane = 0; lane < w->live; lane++)
        rows[lane] = row(x, (w->first + lane) / a->heads, (w->first + lane) % a->heads, 0);
    for (int64_t t = 0; t < a->tokens; t++) {
        const V *in = from + t * row_width;
        int c = 0;
        for (; c + LANES <= width; c += LANES) {
            V channels[LANES], heads[LANES];
            for (int i = 0; i < LANES; i++) channels[i] = in[c + i] * factor;
            transpose(channels, heads);
            for (int lane = 0; lane < w->live; lane++) *(V *)(rows[lane] + t * x.token + c) = heads[lane];
        }
        for (; c < width; c++)
            for (int lane = 0; lane < w->live; lane++) rows[lane][t * x.token + c] = in[c][lane] * factor;
    }
}

/* s[i][j] = x_i . z_j for j up to i, in whole blocks. */
static void products(const V *x, const V *z, int width, int64_t whole, V *s) {
    for (int64_t i = 0; i < whole; i += BLOCK)
        for (int64_t j = 0; j <= i; j += BLOCK) {
            V sums[BLOCK][BLOCK] = {};
            for (int c = 0; c < width; c++)
                for (int m = 0; m < BLOCK; m++)
                    for (int n = 0; n < BLOCK; n++) sums[m][n] += x[(i + m) * width + c] * z[(j + n) * width + c];
            for (int m = 0; m < BLOCK; m++) memcpy(s + (i + m) * whole + j, sums[m], sizeof sums[m]);
        }
}

/* out[i] = the sum over j of s[i * across + j * along] z_j, for the j before the end of i's block, or from its beginning. */
static void mix(const V *s, int64_t across, int64_t along, const V *z, int width, int64_t whole, int before, V *out) {
    for (int64_t i = 0; i < whole; i += BLOCK) {
        int64_t from = before ? 0 : i, to = before ? i + BLOCK : whole;
        int c = 0;
        for (; c + BLOCK <= width; c += BLOCK) {
            V sums[BLOCK][BLOCK] = {};
            for (int64_t j = from; j < to; j++)
                for (int m = 0; m < BLOCK; m++)
                    for (int n = 0; n < BLOCK; n++)
                        sums[m][n] += s[(i + m) * across + j * along] * z[j * width + c + n];
            for (int m = 0; m < BLOCK; m++) memcpy(out + (i + m) * width + c, sums[m], sizeof sums[m]);
        }
        for (; c < width; c++) {
            V sums[BLOCK] = {};
            for (int64_t j = from; j < to; j++)
                for (int m = 0; m < BLOCK; m++) sums[m] += s[(i + m) * across + j * along] * z[j * width + c];
            for (int m = 0; m < BLOCK; m++) out[(i + m) * width + c] = sums[m];
        }
    }
}

/* What each lane's head has at `place` of a row of `x` for each head. */
static V of_heads(const Attention *a, const Group *w, const float *x, int64_t row_width, int64_t place) {
    V found;
    for (int lane = 0; lane < LANES; lane++) found[lane] = x[(w->first + lane) % a->heads * row_width + place];
    return found;
}

static int64_t table_width(const Attention *a) { return LANES + up(a->tokens, LANES); }

/* From the logits of query i to its weights. */
static void softmax(V *s, int64_t i, int64_t whole) {
    V top = s[0], total = {};
    for (int64_t j = 1; j <= i; j++) top = larger(top, s[j]);
    for (int64_t j = 0; j <= i; j++) total += s[j] = exponential(s[j] - top);
    V share = 1.0f / total;
    for (int64_t j = 0; j <= i; j++) s[j] *= share;
    for (int64_t j = i + 1; j < whole && j < i + BLOCK; j++) s[j] = fill(0);
}

static int reserve(const Attention *a, Group *w, char **memory) {
    int64_t whole = w->whole = up(a->tokens, BLOCK), e = a->width + a->columns, f = a->path_width, d = a->value_width;
    int64_t wide = e > d ? (e > f ? e : f) : (d > f ? d : f);
    *memory = malloc(sizeof(V) * (1 + whole * (2 * e + 2 * d + 3 * wide + whole) + whole));
    if (!*memory) return 1;
    w->q = (V *)up_to_vector(*memory);
    w->k = w->q + whole * e;
    w->v = w->k + whole * e;
    w->gy = w->v + whole * d;
    w->gq = w->gy + whole * d;
    w->gk = w->gq + whole * wide;
    w->turned = w->gk + whole * wide;
    w->g = w->turned + whole * wide;
    return 0;
}

/* Move to a group of heads: load its q, k and v, columns with them. */
static void enter(const Attention *a, Group *w, int64_t first) {
    int64_t all = a->batches * a->heads, size = w->whole * w->whole, e = a->width + a->columns;
    w->first = first;
    w->live = all - first < LANES ? all - first : LANES;
    w->weights = (V *)a->kept + first / LANES * size * (a->p.at ? 2 : 1);
    w->passed = w->weights + size;
    load(a, w, a->q, a->width, a->scale, e, 0, w->q);
    load(a, w, a->k, a->width, 1, e, 0, w->k);
    load(a, w, a->v, a->value_width, 1, a->value_width, 0, w->v);
    if (a->columns) {
        load(a, w, a->qc, a->columns, 1, e, a->width, w->q);
        load(a, w, a->kc, a->columns, 1, e, a->width, w->k);
    }
}

/* Floats that `kept` has to hold. */
int64_t short_kept(int64_t heads, int64_t tokens, int64_t path) {
    int64_t whole = up(tokens, BLOCK);
    return up(heads, LANES) * whole * whole * (path ? 2 : 1);
}

int short_forward(const Attention *a) {
    Group w;
    char *memory;
    if (reserve(a, &w, &memory)) return 1;
    int64_t whole = w.whole, e = a->width + a->columns, f = a->path_width;
    for (int64_t first = 0; first < a->batches * a->heads; first += LANES) {
        enter(a, &w, first);
        products(w.q, w.k, e, whole, w.weights);
        if (a->table)
            for (int64_t far = 0; far < a->tokens; far++) {
                V added = of_heads(a, &w, a->table, table_width(a), LANES + far);
                for (int64_t i = far; i < a->tokens; i++) w.weights[i * whole + i - far] += added;
            }
        if (a->p.at) {
            load(a, &w, a->p, f, a->path_scale, f, 0, w.gq);
            load(a, &w, a->r, f, 1, f, 0, w.gk);
            products(w.gq, w.gk, f, whole, w.passed);
            V slope = of_heads(a, &w, a->slopes, 1, 0);
            for (int64_t i = 0; i < a->tokens; i++) {
                V path = {}, *z = w.passed + i * whole;
                for (int64_t j = i; j >= 0; j--) {
                    w.weights[i * whole + j] += path;
                    V passed;
                    path += log_sigmoid_with(z[j], &passed) * slope;
                    z[j] = passed * slope;
                }
            }
        }
        for (int64_t i = 0; i < whole; i++) softmax(w.weights + i * whole, i, whole);
        mix(w.weights, whole, 1, w.v, a->value_width, whole, 1, w.gy);
        store(a, &w, w.gy, a->value_width, a->value_width, 1, a->y);
    }
    free(memory);
    return 0;
}

int short_backward(const Attention *a) {
    Group w;
    char *memory;
    if (reserve(a, &w, &memory)) return 1;
    int64_t whole = w.whole, e = a->width + a->columns, d = a->value_width, f = a->path_width;
    for (int64_t first = 0; first < a->batches * a->heads; first += LANES) {
        enter(a, &w, first);
        load(a, &w, a->gy, d, 1, d, 0, w.gy);
        mix(w.weights, 1, whole, w.gy, d, whole, 0, w.turned);
        store(a, &w, w.turned, d, d, 1, a->gv);
        products(w.gy, w.v, d, whole, w.g);
        for (int64_t i = 0; i < whole; i++) {
            V against = {}, *s = w.weights + i * whole, *g = w.g + i * whole;
            for (int64_t j = 0; j <= i; j++) against += s[j] * g[j];
            for (int64_t j = 0; j < whole && j < i + BLOCK; j++) g[j] = s[j] * (g[j] - against);
        }
        mix(w.g, whole, 1, w.k, e, whole, 1, w.gq);
        store(a, &w, w.gq, e, a->width, a->scale, a->gq);
        mix(w.g, 1, whole, w.q, e, whole, 0, w.gk);
        store(a, &w, w.gk, e, a->width, 1, a->gk);
        if (a->columns) {
            store(a, &w, w.gq + a->width, e, a->columns, 1, a->gqc);
            store(a, &w, w.gk + a->width, e, a->columns, 1, a->gkc);
        }
        if (a->gtable)
            for (int64_t far = 0; far < a->tokens; far++) {
                V total = {};
                for (int64_t i = far; i < a->tokens; i++) total += w.g[i * whole + i - far];
                for (int64_t lane = 0; lane < w.live; lane++)
                    a->gtable[(first + lane) % a->heads * table_width(a) + LANES + far] += total[lane];
            }
        if (a->p.at) {
            for (int64_t i = 0; i < whole; i++) {
                V before = {}, *g = w.g + i * whole, *passed = w.passed + i * whole;
                for (int64_t j = 0; j <= i; j++) { /* step j bears on all keys before it */
                    V own = g[j];
                    g[j] = before * passed[j];
                    before += own;
                }
            }
            load(a, &w, a->p, f, a->path_scale, f, 0, w.gq);
            load(a, &w, a->r, f, 1, f, 0, w.gk);
            mix(w.g, whole, 1, w.gk, f, whole, 1, w.turned);
            store(a, &w, w.turned, f, f, a->path_scale, a->gp);
            mix(w.g, 1, whole, w.gq, f, whole, 0, w.turned);
            store(a, &w, w.turned, f, f, 1, a->gr);
        }
    }
    free(memory);
    return 0;
}
