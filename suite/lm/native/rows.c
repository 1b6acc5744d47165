/* What lies between two matrix products, row by row: norms, the split of qkv, gates. One thread, no state.

   suite/lm/native/ops.py says what each of them computes. */
#include "vectors.h"

/* Rows may be bfloat16 (`brief`): what matrix products read and write.
   `n` numbers of x from `at` on: where they lie, or widened into `room`. */
static const float *row_of(const void *x, int64_t at, int n, int64_t brief, float *room) {
    if (!brief) return (const float *)x + at;
    const uint16_t *from = (const uint16_t *)x + at;
    int c = 0;
    for (; c + LANES <= n; c += LANES) *(V *)(room + c) = widen(from + c);
    if (c < n) {
        uint16_t last[LANES] = {};
        memcpy(last, from + c, sizeof(uint16_t) * (n - c));
        V wide = widen(last);
        memcpy(room + c, &wide, sizeof(float) * (n - c));
    }
    return room;
}

/* Where to write a row of x: in place, or in `room`, from which `finish` rounds it. */
static float *room_for(void *x, int64_t at, int64_t brief, float *room) { return brief ? room : (float *)x + at; }

static void finish(const float *room, void *x, int64_t at, int n, int64_t brief) {
    if (!brief) return;
    uint16_t *to = (uint16_t *)x + at;
    int c = 0;
    for (; c + LANES <= n; c += LANES) narrow(*(V *)(room + c), to + c);
    if (c < n) {
        float last[LANES] = {};
        uint16_t rounded[LANES];
        memcpy(last, room + c, sizeof(float) * (n - c));
        narrow(*(V *)last, rounded);
        memcpy(to + c, rounded, sizeof(uint16_t) * (n - c));
    }
}

/* A vector of x, from `at` on. */
static inline V load(const void *x, int64_t at, int64_t brief) {
    return brief ? widen((const uint16_t *)x + at) : *(V *)((const float *)x + at);
}

static inline void store(V y, void *x, int64_t at, int64_t brief) {
    if (brief)
        narrow(y, (uint16_t *)x + at);
    else
        *(V *)((float *)x + at) = y;
}

/* y = x * gain / rms(x); `inverse` keeps 1 / rms. */
int norm_forward(const float *x, const float *gain, void *y, float *inverse, int64_t n, int64_t width, int64_t brief,
                 float eps) {
    float room[width];
    for (int64_t i = 0; i < n; i++, x += width) {
        float r = inverse[i] = 1.0f / sqrtf(dot(x, x, width) / width + eps);
        float *out = room_for(y, i * width, brief, room);
        for (int c = 0; c < width; c++) out[c] = x[c] * r * gain[c];
        finish(room, y, i * width, width, brief);
    }
    return 0;
}

/* gx is the gradient of x by way of y, plus `more` if there is any; `ggain` is added to. */
int norm_backward(const void *gy, const float *x, const float *gain, const float *inverse, const float *more, float *gx,
                  float *ggain, int64_t n, int64_t width, int64_t brief) {
    float room[width], work[width];
    for (int64_t i = 0; i < n; i++, x += width, gx += width) {
        const float *g = row_of(gy, i * width, width, brief, room);
        float r = inverse[i];
        for (int c = 0; c < width; c++) {
            work[c] = g[c] * gain[c];
            ggain[c] += g[c] * x[c] * r;
        }
        float back = dot(work, x, width) * r * r / width;
        for (int c = 0; c < width; c++) gx[c] = r * (work[c] - x[c] * back);
        if (!more) continue;
        for (int c = 0; c < width; c++) gx[c] += more[c];
        more += width;
    }
    return 0;
}

/* qkv (batches, tokens, 3, heads, d) to q, k, v (batches, heads, tokens, d): q and k over their rms, q times a number
   for each head. */
int split_forward(const void *qkv, const float *temperature, float *q, float *k, float *v, float *inverse,
                  int64_t batches, int64_t tokens, int64_t heads, int64_t d, int64_t brief, float eps) {
    int width = 3 * heads * d;
    float room[width];
    for (int64_t b = 0; b < batches; b++)
        for (int64_t t = 0; t < tokens; t++) {
            const float *all = row_of(qkv, (b * tokens + t) * width, width, brief, room);
            for (int64_t h = 0; h < heads; h++, inverse += 2) {
                const float *x = all + h * d, *y = x + heads * d, *z = y + heads * d;
                int64_t to = ((b * heads + h) * tokens + t) * d;
                float r = inverse[0] = 1.0f / sqrtf(dot(x, x, d) / d + eps), rt = r * temperature[h];
                float s = inverse[1] = 1.0f / sqrtf(dot(y, y, d) / d + eps);
                for (int c = 0; c < d; c++) q[to + c] = x[c] * rt;
                for (int c = 0; c < d; c++) k[to + c] = y[c] * s;
                memcpy(v + to, z, sizeof(float) * d);
            }
        }
    return 0;
}

int split_backward(const float *gq, const float *gk, const float *gv, const void *qkv, const float *temperature,
                   const float *inverse, void *gqkv, float *gtemperature, int64_t batches, int64_t tokens,
                   int64_t heads, int64_t d, int64_t brief) {
    int width = 3 * heads * d;
    float room[width], groom[width];
    for (int64_t b = 0; b < batches; b++)
        for (int64_t t = 0; t < tokens; t++) {
            int64_t at = (b * tokens + t) * width;
            const float *all = row_of(qkv, at, width, brief, room);
            float *gall = room_for(gqkv, at, brief, groom);
            for (int64_t h = 0; h < heads; h++, inverse += 2) {
                const float *x = all + h * d, *y = x + heads * d;
                float *gx = gall + h * d, *gy = gx + heads * d, *gz = gy + heads * d;
                int64_t from = ((b * heads + h) * tokens + t) * d;
                float along = dot(gq + from, x, d), r = inverse[0], s = inverse[1], rt = r * temperature[h];
                gtemperature[h] += along * r;
                float back = along * r * r / d;
                for (int c = 0; c < d; c++) gx[c] = rt * (gq[from + c] - x[c] * back);
                back = dot(gk + from, y, d) * s * s / d;
                for (int c = 0; c < d; c++) gy[c] = s * (gk[from + c] - y[c] * back);
                memcpy(gz, gv + from, sizeof(float) * d);
            }
            finish(groom, gqkv, at, width, brief);
        }
    return 0;
}

/* y = silu(gate) * up for x = (gate, up), (n, 2 * width); `width` is a multiple of 16. */
int swiglu_forward(const void *x, void *y, int64_t n, int64_t width, int64_t brief) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < width; c += LANES) {
            V gate = load(x, 2 * i * width + c, brief), up = load(x, (2 * i + 1) * width + c, brief);
            store(gate * sigmoid(gate) * up, y, i * width + c, brief);
        }
    return 0;
}

int swiglu_backward(const void *gy, const void *x, void *gx, int64_t n, int64_t width, int64_t brief) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < width; c += LANES) {
            int64_t first = 2 * i * width + c, second = first + width;
            V gate = load(x, first, brief), up = load(x, second, brief), g = load(gy, i * width + c, brief);
            V s = sigmoid(gate);
            store(g * up * s * (1.0f + gate * (1.0f - s)), gx, first, brief);
            store(g * gate * s, gx, second, brief);
        }
    return 0;
}

/* y (n) = w (n, width) x: one token, whose cost is the reading of w, once and in order. */
int product_step(const float *w, const float *x, float *y, int64_t n, int64_t width) {
    for (int64_t i = 0; i < n; i++) y[i] = dot(w + i * width, x, width);
    return 0;
}
