/* Products of matrices in one kind of number, for step.c, which includes this once for each kind.

   A product is C = base + A B, or C = A B where base is 0; C and base are float32 and laid out alike, and base may be C.
   A is read number by number, so it may lie in any order. B is read in vectors, along its rows. Before this file come:
   NAME(x)        x with the kind's suffix
   Left, Right    how a number of A and of B is kept
   Sums, SPREAD   a vector of sums, and a number of A in all of its lanes
   WIDTH          numbers in a vector of B
   ROWS, VECTORS  the block of C that stays in registers
   DEPTH, ROUNDS  products that are summed in a vector of sums, and how many of these join C at once
   put            adds such sums, ROWS * VECTORS apart, to a vector of base, or of two where columns remain */
#define PANEL (VECTORS * WIDTH)
#define AHEAD 8 /* tokens: how far a gradient fetches A before it is read */

/* `rows` x `vectors` of C over `depth` products; both are constants once this is inlined. `columns` of C are written,
   in whole vectors of floats. `far`: numbers of A that are multiplied one after the other lie in different lines of the
   cache, where the processor does not foresee them. */
INLINE void NAME(block)(int rows, int vectors, int64_t depth, const Left *a, int64_t row, int64_t column, const Right *b,
                        int64_t b_row, float *c, const float *base, int64_t c_row, int columns, int far) {
    Sums kept[ROUNDS][ROWS][VECTORS];
    int rounds = ROUNDS == 1 ? 1 : (depth + DEPTH - 1) / DEPTH;
    for (int r = 0; r < rounds; r++) {
        int64_t from = r * DEPTH, to = r == rounds - 1 ? depth : from + DEPTH;
        Sums sums[ROWS][VECTORS];
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vectors; v++) sums[i][v] = (Sums){};
        for (int64_t k = from; k < to; k++) {
            if (far) {
                __builtin_prefetch(a + (k + AHEAD) * column);
                __builtin_prefetch(a + (k + AHEAD) * column + ROWS - 1);
            }
            UNROLL for (int i = 0; i < rows; i++) {
                Sums factor = SPREAD(a[i * row + k * column]);
                UNROLL for (int v = 0; v < vectors; v++) sums[i][v] += factor * *(Sums *)(b + k * b_row + v * WIDTH);
            }
        }
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vectors; v++) kept[r][i][v] = sums[i][v];
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vectors; v++) {
        int64_t at = i * c_row + v * WIDTH;
        NAME(put)(&kept[0][i][v], rounds, c + at, base ? base + at : 0, columns - v * WIDTH);
    }
}

/* Some rows and columns of C: `columns`, at most a panel, may end within a vector. */
INLINE void NAME(rows)(int rows, int vectors, int64_t depth, const Left *a, int64_t row, int64_t column, const Right *b,
                       int64_t b_row, float *c, const float *base, int64_t c_row, int columns, int far) {
    /* One call of `block` for both cases: each is unrolled, and they are most of what the compiler has to do. */
    float room[ROWS * PANEL], *to = c;
    const float *from = base;
    int64_t to_row = c_row, written = columns, whole = columns % LANES == 0;
    if (!whole) {
        if (base)
            for (int i = 0; i < rows; i++) memcpy(room + i * PANEL, base + i * c_row, sizeof(float) * columns);
        to = room, from = base ? room : 0, to_row = PANEL, written = PANEL;
    }
    NAME(block)(rows, vectors, depth, a, row, column, b, b_row, to, from, to_row, written, far);
    if (!whole)
        for (int i = 0; i < rows; i++) memcpy(c + i * c_row, room + i * PANEL, sizeof(float) * columns);
}

#define PART(n)                                                                                         \
    for (; m + n <= count; m += n)                                                                      \
        NAME(rows)(n, vectors, depth, a + m * row, row, column, b, b_row, c + m * c_row,                \
                   base ? base + m * c_row : 0, c_row, columns, far);

INLINE void NAME(panel)(int vectors, int64_t count, int64_t depth, const Left *a, int64_t row, int64_t column,
                        const Right *b, int64_t b_row, float *c, const float *base, int64_t c_row, int columns, int far) {
    int64_t m = 0;
    PART(ROWS) PART(4) PART(2) PART(1)
}
#undef PART

/* C (m, n), its rows `c_row` apart, = base + A (m, depth) B (depth, n). Number (i, k) of A is a[i * row + k * column].
   Row k of B begins at b + k * b_row, and each panel of its columns `next` after the one before. */
static void NAME(product)(int64_t m, int64_t n, int64_t depth, const Left *a, int64_t row, int64_t column, const Right *b,
                          int64_t b_row, int64_t next, float *c, const float *base, int64_t c_row, int far) {
    /* What of a panel stays in the first cache, or of its sums on the stack. */
    const int64_t most = ROUNDS == 1 ? 32768 / (PANEL * sizeof(Right)) : ROUNDS * DEPTH;
    for (int64_t k = 0; k < depth; k += most) {
        int64_t deep = depth - k < most ? depth - k : most;
        const Left *ak = a + k * column;
        for (int64_t p = 0; p * PANEL < n; p++) {
            int columns = n - p * PANEL < PANEL ? n - p * PANEL : PANEL;
            const Right *bp = b + p * next + k * b_row;
            float *cp = c + p * PANEL;
            const float *before = k ? cp : base ? base + p * PANEL : 0;
            switch ((columns + WIDTH - 1) / WIDTH) {
            case 1: NAME(panel)(1, m, deep, ak, row, column, bp, b_row, cp, before, c_row, columns, far); break;
            case 2: NAME(panel)(2, m, deep, ak, row, column, bp, b_row, cp, before, c_row, columns, far); break;
#if VECTORS > 2
            case 3: NAME(panel)(3, m, deep, ak, row, column, bp, b_row, cp, before, c_row, columns, far); break;
            case 4: NAME(panel)(4, m, deep, ak, row, column, bp, b_row, cp, before, c_row, columns, far); break;
#endif
            }
        }
    }
}

/* C = base + A B for rows a (m, depth), dense, and a packed B. */
static void NAME(times)(int64_t m, int64_t n, int64_t depth, const Left *a, const Right *packed, float *c,
                        const float *base, int64_t c_row) {
    NAME(product)(m, n, depth, a, depth, 1, packed, PANEL, depth * PANEL, c, base, c_row, 0);
}

/* C (width, n) += A^T B, the gradient of a matrix: for A (tokens, width) and B (tokens, n), both dense. Where the rows of
   B are so far apart that they contend for lines of the cache, panels of it are copied to `room`. */
static void NAME(gather)(int64_t tokens, int64_t width, int64_t n, const Left *a, const Right *b, Right *room, float *c) {
    if (n * sizeof(Right) % 1024) {
        NAME(product)(width, n, tokens, a, 1, width, b, n, PANEL, c, c, n, 1);
        return;
    }
    for (int64_t from = 0; from < n; from += PANEL) {
        int64_t columns = n - from < PANEL ? n - from : PANEL;
        for (int64_t k = 0; k < tokens; k++) memcpy(room + k * PANEL, b + k * n + from, sizeof(Right) * columns);
        NAME(product)(width, columns, tokens, a, 1, width, room, PANEL, 0, c + from, c + from, n, 1);
    }
}

/* The panels of B (depth, n) whose number (k, j) is x[k * row + j * column]; where a panel ends beyond n, it ends in
   zeros. With `second`, B has two parts of n / 2 columns, the other one `second` columns further in x, and LANES columns
   of either come in turn, so that a number and its partner are in one panel. */
static void NAME(pack)(const float *x, int64_t row, int64_t column, int64_t depth, int64_t n, int64_t second, Right *to) {
    for (int64_t from = 0; from < (n + PANEL - 1) / PANEL * PANEL; from += LANES) {
        int64_t place = second ? from / (2 * LANES) * LANES + from / LANES % 2 * second : from;
        int64_t columns = n - from < LANES ? n - from : LANES, k = 0;
        const float *at = x + place * column;
        Right *out = to + from / PANEL * PANEL * depth + from % PANEL;
        if (columns == LANES && column == 1)
            for (; k < depth; k++) NAME(right)(*(V *)(at + k * row), out + k * PANEL);
        if (columns == LANES && row == 1)
            for (; k + LANES <= depth; k += LANES) {
                V lines[LANES], turned[LANES];
                for (int j = 0; j < LANES; j++) lines[j] = *(V *)(at + k + j * column);
                transpose(lines, turned);
                for (int i = 0; i < LANES; i++) NAME(right)(turned[i], out + (k + i) * PANEL);
            }
        for (; k < depth; k++)
            for (int64_t j = 0; j < LANES; j++) out[k * PANEL + j] = j < columns ? at[k * row + j * column] : 0;
    }
}
