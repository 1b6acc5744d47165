/* What some encodings declare to attention (encodings/base.py, `columns` and `form`), from the normalised input h or from
   q and k, and the way back; suite/lm/native/declared.py says which. After the products of float32, which it needs.

   h, gh (rows, width); q, k, gq, gk (batches, heads, tokens, head width). `weight`, `bias`, `slope` are parameters, each
   with its gradient `gradient` floats further; `fixed` are constants of the heads. Gradients of h are written, those of
   q, k and of parameters are added to. `kept` is what the way back reads, `room` is for one call. */
typedef struct {
    int64_t batches, tokens, heads, width, features, gradient, of_query, of_key, turns, free;
    float *h, *gh, *q, *k, *gq, *gk, *weight, *bias, *slope, *fixed;
    float *left, *right, *gleft, *gright, *kept, *room, *packed;
} Declared;

/* out (rows, n) = h W^T, for W (n, width). */
static void read_from_h(const Declared *a, int64_t n, float *out) {
    pack_float(a->weight, 1, a->width, a->width, n, 0, a->packed);
    times_float(a->batches * a->tokens, n, a->width, a->h, a->packed, out, 0, n);
}

/* From the gradient g (rows, n) of what `read_from_h` gave. */
static void read_from_h_back(const Declared *a, int64_t n, const float *g) {
    int64_t rows = a->batches * a->tokens;
    gather_float(rows, n, a->width, g, a->h, a->packed, a->weight + a->gradient);
    pack_float(a->weight, a->width, 1, n, a->width, 0, a->packed);
    times_float(rows, a->width, n, g, a->packed, a->gh, 0, a->width);
}

/* FoX: right (batches, heads, tokens) = -the running sum of log sigmoid(w h + bias); `kept` like it. */
void declared_gates(const Declared *a) {
    int64_t heads = a->heads, T = a->tokens, n = a->batches * T * heads, i = 0;
    float *z = a->room, *passed = a->kept;
    read_from_h(a, heads, z);
    for (int64_t row = 0; row < n; row += heads)
        for (int64_t h = 0; h < heads; h++) z[row + h] += a->bias[h];
    for (; i < n; i += LANES) { /* arrays end in room for a vector */
        *(V *)(z + i) = log_sigmoid_with(*(V *)(z + i), (V *)(passed + i));
    }
    for (int64_t b = 0; b < a->batches; b++)
        for (int64_t h = 0; h < heads; h++) {
            double total = 0;
            float *to = a->right + (b * heads + h) * T;
            for (int64_t t = 0; t < T; t++) to[t] = -(total += z[(b * T + t) * heads + h]);
        }
}

void declared_gates_back(const Declared *a) {
    int64_t heads = a->heads, T = a->tokens;
    float *g = a->room;
    for (int64_t b = 0; b < a->batches; b++)
        for (int64_t h = 0; h < heads; h++) {
            const float *gright = a->gright + (b * heads + h) * T;
            double later = 0, total = 0;
            for (int64_t t = T - 1; t >= 0; t--) {
                int64_t at = (b * T + t) * heads + h;
                later += gright[t];
                total += g[at] = -later * a->kept[at];
            }
            a->bias[a->gradient + h] += total;
        }
    read_from_h_back(a, heads, g);
}

/* The sum of products over d numbers, few and mostly a constant. */
INLINE float along(const float *restrict x, const float *restrict y, int64_t d) {
    float sums[4] = {};
    int64_t c = 0;
    for (; c + 4 <= d; c += 4)
        for (int n = 0; n < 4; n++) sums[n] += x[c + n] * y[c + n];
    for (; c < d; c++) sums[0] += x[c] * y[c];
    return sums[0] + sums[1] + (sums[2] + sums[3]);
}

/* GRAPE-AP: left (batches, tokens, heads, features) = h W^T, or over its rms where `of_query`; right is over its rms,
   and its planes turned by one radian a token where `turns`. `kept` holds the features over their rms, then 1 / rms;
   `fixed` the cosines of all tokens, then the sines. */
INLINE void path(const Declared *a, int64_t f) {
    int64_t T = a->tokens, n = a->batches * T * a->heads;
    for (int64_t i = 0; i < n; i++) {
        float *p = a->left + i * f, *unit = a->kept + i * f, *r = a->right + i * f;
        const float *turn = a->fixed + i / a->heads % T;
        float inverse = a->kept[n * f + i] = 1.0f / sqrtf(along(p, p, f) / f + EPS), c = turn[0], s = turn[T];
        for (int64_t m = 0; m < f; m++) unit[m] = p[m] * inverse;
        if (a->of_query) memcpy(p, unit, sizeof(float) * f);
        if (!a->turns) memcpy(r, unit, sizeof(float) * f);
        else
            for (int64_t m = 0; m < f / 2; m++) {
                r[m] = unit[m] * c - unit[m + f / 2] * s;
                r[m + f / 2] = unit[m] * s + unit[m + f / 2] * c;
            }
    }
}

/* From `gleft` and `gright` to the gradient of h W^T, in `gleft`. */
INLINE void path_back(const Declared *a, int64_t f) {
    int64_t T = a->tokens, n = a->batches * T * a->heads;
    for (int64_t i = 0; i < n; i++) {
        float *gp = a->gleft + i * f, *gr = a->gright + i * f;
        const float *unit = a->kept + i * f, *turn = a->fixed + i / a->heads % T;
        float inverse = a->kept[n * f + i], c = turn[0], s = turn[T];
        if (a->turns)
            for (int64_t m = 0; m < f / 2; m++) {
                float x = gr[m], y = gr[m + f / 2];
                gr[m] = x * c + y * s;
                gr[m + f / 2] = y * c - x * s;
            }
        if (a->of_query)
            for (int64_t m = 0; m < f; m++) gr[m] += gp[m], gp[m] = 0;
        float back = along(gr, unit, f) / f;
        for (int64_t m = 0; m < f; m++) gp[m] += inverse * (gr[m] - unit[m] * back);
    }
}

void declared_path(const Declared *a) {
    read_from_h(a, a->heads * a->features, a->left);
    if (a->features == 8) path(a, 8);
    else path(a, a->features);
}

void declared_path_back(const Declared *a) {
    if (a->features == 8) path_back(a, 8);
    else path_back(a, a->features);
    read_from_h_back(a, a->heads * a->features, a->gleft);
}

/* GRAPE-A: what gates a head's slope is softplus(gate . x / sqrt(d)), for x = q (side 0, gates `weight`) or k (side 1,
   gates `bias`). The slope itself is softplus(`slope`) * `fixed`; a gate is over its norm, unless `free`. For a token at
   t with the gated slopes s of q and z of k, `left` is [s] [1, -t] and `right` [t] [t z, z]: the first where `of_query`,
   the second where `of_key`. `kept` holds the scores gate . x / sqrt(d). */
static float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); }

/* The direction of a gate; returns its norm. */
INLINE float direction(const Declared *a, const float *gate, int64_t d, float *to) {
    float norm = a->free ? 1 : fmaxf(sqrtf(along(gate, gate, d)), 1e-12f);
    for (int64_t c = 0; c < d; c++) to[c] = gate[c] / norm;
    return norm;
}

/* score[t] = factor * x_t . unit. LANES tokens at once where vectors hold a row; up to LANES scores more are written. */
INLINE void scores(const float *x, const float *unit, int64_t d, int64_t tokens, float factor, float *score) {
    if (d % LANES) {
        for (int64_t t = 0; t < tokens; t++) score[t] = along(x + t * d, unit, d) * factor;
        return;
    }
    for (int64_t t = 0; t < tokens; t += LANES) {
        V rows[LANES], columns[LANES], total = {};
        for (int64_t i = 0; i < LANES; i++) {
            const float *at = x + least(t + i, tokens - 1) * d;
            rows[i] = *(V *)at * *(V *)unit;
            for (int64_t c = LANES; c < d; c += LANES) rows[i] += *(V *)(at + c) * *(V *)(unit + c);
        }
        transpose(rows, columns);
        for (int i = 0; i < LANES; i++) total += columns[i];
        *(V *)(score + t) = total * factor;
    }
}

/* The first n of LANES numbers, then zeros. */
INLINE V within(const float *x, int64_t n) {
    V found = {};
    memcpy(&found, x, sizeof(float) * n);
    return found;
}

INLINE void add(const float *restrict x, float factor, int64_t d, float *restrict to) {
    for (int64_t c = 0; c < d; c++) to[c] += factor * x[c];
}

/* The sum of all rows of x, each times its weight, is added to `to`. */
INLINE void weighted(const float *x, const float *weight, int64_t rows, int64_t d, float *to) {
    int64_t c = 0;
    for (; c + LANES <= d; c += LANES) {
        V even = {}, odd = {};
        int64_t t = 0;
        for (; t + 2 <= rows; t += 2) {
            even += *(V *)(x + t * d + c) * weight[t];
            odd += *(V *)(x + (t + 1) * d + c) * weight[t + 1];
        }
        if (t < rows) even += *(V *)(x + t * d + c) * weight[t];
        *(V *)(to + c) += even + odd;
    }
    for (; c < d; c++)
        for (int64_t t = 0; t < rows; t++) to[c] += x[t * d + c] * weight[t];
}

/* Where the scores of one side and one (sequence, head) begin. */
INLINE float *scores_of(const Declared *a, int side, int64_t i) {
    return a->kept + (side * a->batches * a->heads + i) * (a->tokens + LANES);
}

INLINE void slopes(const Declared *a, int64_t d) {
    int64_t T = a->tokens, columns = a->of_query + 2 * a->of_key;
    float unit[d], root = 1 / sqrtf(d), *s = a->room;
    for (int64_t h = 0; h < a->heads; h++)
        for (int side = !a->of_query; side < 1 + a->of_key; side++) {
            float slope = softplus(a->slope[h]) * a->fixed[h];
            direction(a, (side ? a->bias : a->weight) + h * d, d, unit);
            for (int64_t i = h; i < a->batches * a->heads; i += a->heads) {
                float *score = scores_of(a, side, i), *left = a->left + i * T * columns, *right = a->right + i * T * columns;
                scores((side ? a->k : a->q) + i * T * d, unit, d, T, root, score);
                for (int64_t t = 0; t < T; t += LANES) *(V *)(s + t) = -slope * log_sigmoid(-*(V *)(score + t));
                if (side) left += a->of_query, right += a->of_query;
                for (int64_t t = 0; t < T; t++, left += columns, right += columns) {
                    if (side) left[0] = 1, left[1] = -t, right[0] = t * s[t], right[1] = s[t];
                    else left[0] = s[t], right[0] = t;
                }
            }
        }
}

INLINE void slopes_back(const Declared *a, int64_t d) {
    int64_t T = a->tokens, columns = a->of_query + 2 * a->of_key;
    float unit[d], gunit[d], root = 1 / sqrtf(d), *gs = a->room;
    for (int64_t h = 0; h < a->heads; h++)
        for (int side = !a->of_query; side < 1 + a->of_key; side++) {
            float slope = softplus(a->slope[h]) * a->fixed[h], *gate = (side ? a->bias : a->weight) + h * d;
            float norm = direction(a, gate, d, unit);
            V gslope = {};
            memset(gunit, 0, sizeof gunit);
            for (int64_t i = h; i < a->batches * a->heads; i += a->heads) {
                const float *x = (side ? a->k : a->q) + i * T * d, *score = scores_of(a, side, i);
                const float *g = (side ? a->gright + a->of_query : a->gleft) + i * T * columns;
                float *gx = (side ? a->gk : a->gq) + i * T * d;
                for (int64_t t = 0; t < T; t++, g += columns) gs[t] = side ? t * g[0] + g[1] : g[0];
                memset(gs + T, 0, sizeof(V)); /* what stands there counts for nothing */
                for (int64_t t = 0; t < T; t += LANES) {
                    V z = t + LANES > T ? within(score + t, T - t) : *(V *)(score + t), *to = (V *)(gs + t);
                    V passed;
                    gslope -= *to * log_sigmoid_with(-z, &passed);
                    *to *= passed * (slope * root);
                }
                weighted(x, gs, T, d, gunit);
                for (int64_t t = 0; t < T; t++) add(unit, gs[t], d, gx + t * d);
            }
            float back = a->free ? 0 : along(gunit, unit, d);
            for (int64_t c = 0; c < d; c++) gate[a->gradient + c] += (gunit[c] - unit[c] * back) / norm;
            a->slope[a->gradient + h] += sum(gslope) * a->fixed[h] / (1 + expf(-a->slope[h]));
        }
}

void declared_slopes(const Declared *a) {
    if (a->width == 16 * a->heads) slopes(a, 16);
    else slopes(a, a->width / a->heads);
}

void declared_slopes_back(const Declared *a) {
    if (a->width == 16 * a->heads) slopes_back(a, 16);
    else slopes_back(a, a->width / a->heads);
}

/* Rotations in place: q and k by the cosines `left` and the sines `right` of each plane (tokens, width / 2), of as many
   texts as `of_query` and as many heads as `of_key` say, or of one for all. */
static int64_t table_of(const Declared *a, int64_t b, int64_t h) {
    int64_t text = a->of_query > 1 ? b : 0, head = a->of_key > 1 ? h : 0;
    return (text * a->of_key + head) * a->tokens * (a->width / a->heads / 2);
}

/* The planes (m, m + half) of x turned by these cosines, and these sines times `way`: 1 forward, -1 back. */
static inline void turned(float *x, const float *c, const float *s, int64_t half, float way) {
    float *y = x + half;
    for (int64_t m = 0; m < half; m++) {
        float u = x[m], v = y[m], sine = way * s[m];
        x[m] = u * c[m] - v * sine;
        y[m] = v * c[m] + u * sine;
    }
}

void declared_turn(const Declared *a) {
    int64_t d = a->width / a->heads, half = d / 2, T = a->tokens;
    for (int64_t i = 0; i < a->batches * a->heads; i++) {
        int64_t table = table_of(a, i / a->heads, i % a->heads);
        for (int64_t t = 0; t < T; t++) {
            const float *c = a->left + table + t * half, *s = a->right + table + t * half;
            turned(a->q + (i * T + t) * d, c, s, half, 1);
            turned(a->k + (i * T + t) * d, c, s, half, 1);
        }
    }
}

/* Turns gq and gk back; adds to `gleft`, laid out as `left`, the gradient of the angles, where it is asked for. */
void declared_turn_back(const Declared *a) {
    int64_t d = a->width / a->heads, half = d / 2, T = a->tokens;
    for (int64_t i = 0; i < a->batches * a->heads; i++) {
        int64_t table = table_of(a, i / a->heads, i % a->heads);
        for (int64_t t = 0; t < T; t++) {
            const float *c = a->left + table + t * half, *s = a->right + table + t * half;
            for (int side = 0; side < 2; side++) {
                const float *x = (side ? a->k : a->q) + (i * T + t) * d, *y = x + half;
                float *g = (side ? a->gk : a->gq) + (i * T + t) * d, *f = g + half;
                if (a->gleft)
                    for (int64_t m = 0; m < half; m++) a->gleft[table + t * half + m] += f[m] * x[m] - g[m] * y[m];
                turned(g, c, s, half, -1);
            }
        }
    }
}
