/* The parts of a training step between which an encoding comes in, in one kind of number; see step.c.

   Tokens go through a part in tiles, so that what lies between two products stays in the cache. */

/* Rows of floats to what products read: to A's kind, or to B's. */
INLINE void NAME(to_left)(const float *x, int64_t n, Left *to) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) NAME(left)(*(V *)(x + i), to + i);
    for (; i < n; i++) to[i] = NAME(one_left)(x[i]);
}

INLINE void NAME(to_right)(const float *x, int64_t n, Right *to) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) NAME(right)(*(V *)(x + i), to + i);
    for (; i < n; i++) to[i] = x[i];
}

/* h = x * gain / rms(x) of a row, which it also writes as A and as B; returns 1 / rms. */
INLINE float NAME(norm)(const float *restrict x, const float *restrict gain, int64_t width, float *restrict h, Left *left,
                        Right *right) {
    float inverse = 1.0f / sqrtf(dot(x, x, width) / width + EPS);
    for (int64_t c = 0; c < width; c++) h[c] = x[c] * inverse * gain[c];
    NAME(to_left)(h, width, left);
    NAME(to_right)(h, width, right);
    return inverse;
}

/* Pack the matrices of a block, each for its product and for that of the gradient. */
void NAME(step_pack)(const Block *b) {
    int64_t w = b->width, hidden = b->hidden;
    NAME(pack)(b->qkv, 1, w, w, 3 * w, 0, b->qkv_forth);
    NAME(pack)(b->qkv, w, 1, 3 * w, w, 0, b->qkv_back);
    NAME(pack)(b->out, 1, w, w, w, 0, b->out_forth);
    NAME(pack)(b->out, w, 1, w, w, 0, b->out_back);
    NAME(pack)(b->gate_up, 1, w, w, 2 * hidden, hidden, b->gate_up_forth);
    NAME(pack)(b->gate_up, w, 1, 2 * hidden, w, 0, b->gate_up_back);
    NAME(pack)(b->down, 1, hidden, hidden, w, 0, b->down_forth);
    NAME(pack)(b->down, hidden, 1, w, hidden, 0, b->down_back);
}

/* From the block's input to q, k and v. */
void NAME(step_read)(const Block *b) {
    int64_t w = b->width;
    for (int64_t from = 0; from < b->rows; from += TILE) {
        int64_t n = least(TILE, b->rows - from);
        Left *left = b->room_left;
        for (int64_t i = 0; i < n; i++) {
            float *h = b->h ? b->h + (from + i) * w : b->room;
            b->inverse1[from + i] = NAME(norm)(b->x + (from + i) * w, b->gain1, w, h, left + i * w,
                                               (Right *)b->h1 + (from + i) * w);
        }
        NAME(times)(n, 3 * w, w, left, b->qkv_forth, b->all + from * 3 * w, 0, 3 * w);
        split(b, from, n);
    }
}

/* From what attention read to the next block's input. The first product of the feed-forward goes panel by panel, so that
   SwiGLU reads it from the first cache. `up` keeps these panels, tile by tile: LANES gates and as many of what they gate
   in turn, all of it in the order in which the way back reads it. */
void NAME(step_write)(const Block *b) {
    int64_t w = b->width, hidden = b->hidden;
    Left *left = b->room_left, *mid = left + TILE * w;
    for (int64_t from = 0; from < b->rows; from += TILE) {
        int64_t n = least(TILE, b->rows - from);
        float *x1 = b->x1 + from * w;
        NAME(to_left)(b->y + from * w, n * w, left);
        NAME(times)(n, w, w, left, b->out_forth, x1, b->x + from * w, w);
        for (int64_t i = 0; i < n; i++)
            b->inverse2[from + i] = NAME(norm)(x1 + i * w, b->gain2, w, b->room, left + i * w,
                                               (Right *)b->h2 + (from + i) * w);
        for (int64_t first = 0; first < 2 * hidden; first += PANEL) {
            int64_t columns = least(PANEL, 2 * hidden - first);
            Right *kept = (Right *)b->up + from * 2 * hidden + first * n;
            int exact = sizeof(Right) == sizeof(float);
            float *up = exact ? (float *)kept : b->room;
            NAME(times)(n, columns, w, left, b->gate_up_forth + first * w * sizeof(Right), up, 0, columns);
            for (int64_t i = 0; i < n; i++)
                for (int64_t c = 0; c < columns; c += 2 * LANES) {
                    V gate = *(V *)(up + i * columns + c), above = *(V *)(up + i * columns + c + LANES);
                    NAME(left)(gate * sigmoid(gate) * above, mid + i * hidden + (first + c) / 2);
                    if (exact) continue;
                    NAME(right)(gate, kept + i * columns + c);
                    NAME(right)(above, kept + i * columns + c + LANES);
                }
        }
        NAME(times)(n, w, hidden, mid, b->down_forth, b->next + from * w, x1, w);
    }
}

/* The gradient of x by way of h = x * gain / rms(x) is added to gx, and the gain's to `ggain`. */
INLINE void NAME(norm_back)(const float *restrict gh, const float *restrict x, const float *restrict gain, float inverse,
                            int64_t width, float *restrict room, float *restrict gx, float *restrict ggain) {
    for (int64_t c = 0; c < width; c++) {
        room[c] = gh[c] * gain[c];
        ggain[c] += gh[c] * x[c] * inverse;
    }
    float back = dot(room, x, width) * inverse * inverse / width;
    for (int64_t c = 0; c < width; c++) gx[c] += inverse * (room[c] - x[c] * back);
}

/* From gx, the gradient of the next block's input, to gy, that of what attention read; gx becomes that of x1. */
void NAME(step_write_back)(const Block *b) {
    int64_t w = b->width, hidden = b->hidden, g = b->gradient;
    Left *left = b->room_left, *gup = left + TILE * w;
    Right *mid = b->room_right, *panel = mid + TILE * hidden;
    for (int64_t from = 0; from < b->rows; from += TILE) {
        int64_t n = least(TILE, b->rows - from);
        float *gx = b->gx + from * w, *gmid = b->room, *gh = b->room;
        const Right *up = (Right *)b->up + from * 2 * hidden, *h2 = (Right *)b->h2 + from * w;
        NAME(to_left)(gx, n * w, left);
        for (int64_t first = 0; first < hidden; first += PANEL) {
            int64_t columns = least(PANEL, hidden - first);
            NAME(times)(n, columns, w, left, b->down_back + first * w * sizeof(Right), gmid, 0, PANEL);
            for (int64_t half = first; half < first + columns; half += PANEL / 2) { /* what is in one panel of `up` */
                const Right *at = up + 2 * half * n;
                int64_t end = half + least(PANEL / 2, first + columns - half);
                for (int64_t i = 0; i < n; i++)
                    for (int64_t c = half; c < end; c += LANES, at += 2 * LANES) {
                        V gate = NAME(wide)(at), above = NAME(wide)(at + LANES), gm = *(V *)(gmid + i * PANEL + c - first);
                        V s = sigmoid(gate), passed = gate * s;
                        NAME(right)(passed * above, mid + i * hidden + c);
                        NAME(left)(gm * above * s * (1.0f + gate * (1.0f - s)), gup + 2 * i * hidden + c);
                        NAME(left)(gm * passed, gup + (2 * i + 1) * hidden + c);
                    }
            }
        }
        NAME(gather)(n, w, hidden, left, mid, panel, b->down + g);
        NAME(times)(n, w, 2 * hidden, gup, b->gate_up_back, gh, 0, w);
        NAME(gather)(n, 2 * hidden, w, gup, h2, panel, b->gate_up + g);
        for (int64_t i = 0; i < n; i++)
            NAME(norm_back)(gh + i * w, b->x1 + (from + i) * w, b->gain2, b->inverse2[from + i], w, b->room + TILE * w,
                            gx + i * w, b->gain2 + g);
        NAME(to_left)(gx, n * w, left);
        NAME(times)(n, w, w, left, b->out_back, b->gy + from * w, 0, w);
        NAME(to_right)(b->y + from * w, n * w, mid);
        NAME(gather)(n, w, w, left, mid, panel, b->out + g);
    }
}

/* From the gradients of q, k, v and h, where an encoding read h, to that of the block's input. */
void NAME(step_read_back)(const Block *b) {
    int64_t w = b->width, g = b->gradient;
    Left *left = b->room_left;
    for (int64_t from = 0; from < b->rows; from += TILE) {
        int64_t n = least(TILE, b->rows - from);
        float *gall = b->room, *gh = gall + TILE * 3 * w;
        split_back(b, from, n, gall);
        NAME(to_left)(gall, n * 3 * w, left);
        NAME(times)(n, w, 3 * w, left, b->qkv_back, gh, b->gh ? b->gh + from * w : 0, w);
        NAME(gather)(n, 3 * w, w, left, (Right *)b->h1 + from * w, b->room_right, b->qkv + g);
        for (int64_t i = 0; i < n; i++)
            NAME(norm_back)(gh + i * w, b->x + (from + i) * w, b->gain1, b->inverse1[from + i], w, gall,
                            b->gx + (from + i) * w, b->gain1 + g);
    }
}
