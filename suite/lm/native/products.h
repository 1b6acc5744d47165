/* Products of matrices in one kind of number, for step.c, which includes this once for each kind.

   A product is C = A B or C += A B, with C in float32. A is read number by number, so it may lie in any order. B is read
   in vectors, along its rows. Before this file come:
   NAME(x)        x with the kind's suffix
   Left, Right    how a number of A and of B is kept
   Sums, SPREAD   a vector of sums, and a number of A in all of its lanes
   WIDTH          numbers in a vector of B
   ROWS, VECTORS  the block of C that stays in registers
   DEPTH          products that are summed before the sum joins C
   put            adds a vector of sums to C, or writes it there */
#define PANEL (VECTORS * WIDTH)

/* `rows` x `vectors` of C over `depth` products; both are constants once this is inlined. */
INLINE void NAME(block)(int rows, int vectors, int64_t depth, const Left *a, int64_t row, int64_t column, const Right *b,
                        int64_t b_row, float *c, int64_t c_row, int add) {
    for (int64_t from = 0; from < depth; from += DEPTH) {
        int64_t to = from + DEPTH < depth ? from + DEPTH : depth;
        Sums sums[ROWS][VECTORS];
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vectors; v++) sums[i][v] = (Sums){};
        for (int64_t k = from; k < to; k++) {
            UNROLL for (int i = 0; i < rows; i++) {
                Sums factor = SPREAD(a[i * row + k * column]);
                UNROLL for (int v = 0; v < vectors; v++) sums[i][v] += factor * *(Sums *)(b + k * b_row + v * WIDTH);
            }
        }
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < vectors; v++)
            NAME(put)(sums[i][v], c + i * c_row + v * WIDTH, add || from);
    }
}

/* Some rows and columns of C: `columns`, at most a panel, may end within a vector. */
INLINE void NAME(rows)(int rows, int vectors, int64_t depth, const Left *a, int64_t row, int64_t column, const Right *b,
                       int64_t b_row, float *c, int64_t c_row, int columns, int add) {
    /* One call of `block` for both cases: each is unrolled, and they are most of what the compiler has to do. */
    int whole = columns == vectors * WIDTH;
    float room[ROWS * PANEL], *to = whole ? c : room;
    if (!whole && add)
        for (int i = 0; i < rows; i++) memcpy(room + i * PANEL, c + i * c_row, sizeof(float) * columns);
    NAME(block)(rows, vectors, depth, a, row, column, b, b_row, to, whole ? c_row : PANEL, add);
    if (!whole)
        for (int i = 0; i < rows; i++) memcpy(c + i * c_row, room + i * PANEL, sizeof(float) * columns);
}

#define PART(n)                                                                                          \
    for (; m + n <= count; m += n)                                                                       \
        NAME(rows)(n, vectors, depth, a + m * row, row, column, b, b_row, c + m * c_row, c_row, columns, add);

INLINE void NAME(panel)(int vectors, int64_t count, int64_t depth, const Left *a, int64_t row, int64_t column,
                        const Right *b, int64_t b_row, float *c, int64_t c_row, int columns, int add) {
    int64_t m = 0;
    PART(ROWS) PART(4) PART(2) PART(1)
}
#undef PART

/* C (m, n), its rows `c_row` apart, = or += A (m, depth) B (depth, n). Number (i, k) of A is a[i * row + k * column].
   Row k of B begins at b + k * b_row, and each panel of its columns `next` after the one before. */
static void NAME(product)(int64_t m, int64_t n, int64_t depth, const Left *a, int64_t row, int64_t column, const Right *b,
                          int64_t b_row, int64_t next, float *c, int64_t c_row, int add) {
    const int64_t most = 32768 / (PANEL * sizeof(Right)); /* what of a panel stays in the first cache */
    for (int64_t k = 0; k < depth; k += most) {
        int64_t deep = depth - k < most ? depth - k : most;
        const Left *ak = a + k * column;
        for (int64_t p = 0; p * PANEL < n; p++) {
            int columns = n - p * PANEL < PANEL ? n - p * PANEL : PANEL, also = add || k;
            const Right *bp = b + p * next + k * b_row;
            float *cp = c + p * PANEL;
            switch ((columns + WIDTH - 1) / WIDTH) {
            case 1: NAME(panel)(1, m, deep, ak, row, column, bp, b_row, cp, c_row, columns, also); break;
            case 2: NAME(panel)(2, m, deep, ak, row, column, bp, b_row, cp, c_row, columns, also); break;
#if VECTORS > 2
            case 3: NAME(panel)(3, m, deep, ak, row, column, bp, b_row, cp, c_row, columns, also); break;
            case 4: NAME(panel)(4, m, deep, ak, row, column, bp, b_row, cp, c_row, columns, also); break;
#endif
            }
        }
    }
}

/* C = or += A B for rows a (m, depth), dense, and a packed B. */
static void NAME(times)(int64_t m, int64_t n, int64_t depth, const Left *a, const Right *packed, float *c, int64_t c_row,
                        int add) {
    NAME(product)(m, n, depth, a, depth, 1, packed, PANEL, depth * PANEL, c, c_row, add);
}

/* C (width, n) += A^T B, the gradient of a matrix: for A (tokens, width) and B (tokens, n), both dense. Where the rows of
   B are so far apart that they contend for lines of the cache, panels of it are copied to `room`. */
static void NAME(gather)(int64_t tokens, int64_t width, int64_t n, const Left *a, const Right *b, Right *room, float *c) {
    if (n * sizeof(Right) <= 512) {
        NAME(product)(width, n, tokens, a, 1, width, b, n, PANEL, c, n, 1);
        return;
    }
    for (int64_t from = 0; from < n; from += PANEL) {
        int64_t columns = n - from < PANEL ? n - from : PANEL;
        for (int64_t k = 0; k < tokens; k++) memcpy(room + k * PANEL, b + k * n + from, sizeof(Right) * columns);
        NAME(product)(width, columns, tokens, a, 1, width, room, PANEL, 0, c + from, n, 1);
    }
}

/* The panels of B (depth, n) whose number (k, j) is x[k * row + j * column]; where a panel ends beyond n, it ends in zeros. */
static void NAME(pack)(const float *x, int64_t row, int64_t column, int64_t depth, int64_t n, Right *to) {
    for (int64_t from = 0; from < n; from += PANEL)
        for (int64_t k = 0; k < depth; k++, to += PANEL) {
            int64_t columns = n - from < PANEL ? n - from : PANEL;
            const float *at = x + k * row + from * column;
            int64_t j = 0;
            if (column == 1)
                for (; j + LANES <= columns; j += LANES) NAME(right)(*(V *)(at + j), to + j);
            for (; j < columns; j++) to[j] = at[j * column];
            for (; j < PANEL; j++) to[j] = 0;
        }
}
