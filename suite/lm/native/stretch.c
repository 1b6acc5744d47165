/* Attention of many queries over a stretch of keys that all of them see, in bfloat16 on AMX tiles.

   Scores are computed transposed, keys by queries: a lane of a vector is a query, so maxima and sums need no steps
   across lanes. Keys are read where they lie. Weights and values are rounded to bfloat16, sums are float32. */
#include <stdint.h>

/* The arguments. q is (heads, rows, width), k (heads, keys, width) and v (heads, keys, value_width), all bfloat16 with
   adjacent channels; y is (heads, rows, value_width) and lse (heads, rows), float32. `room` holds what `stretch_room`
   says. */
typedef struct {
    const uint16_t *q, *k, *v;
    float *y, *lse;
    uint8_t *room;
    int64_t q_head, q_row, k_head, k_row, v_head, v_row; /* strides, in numbers */
    int64_t heads, rows, keys, width, value_width;
    float scale; /* of the scores */
} Stretch;

#if defined(__AMX_BF16__) && defined(__AVX512F__) && defined(__linux__)

#include <immintrin.h>
#include <math.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vectors.h"

#define TILE 16 /* rows of a tile; a row has 64 bytes: so many floats, or 32 bfloat16 */
#define PAIR 32 /* queries at a time, keys of a tile of weights, channels of a tile of keys */
#define BLOCK 256 /* keys whose scores are held at once */
#define HIDDEN -1e30f /* the score of a key behind the last one; an infinity would make NaN */

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} __attribute__((packed, aligned(64))) Tiles;

/* Whether this process may use tiles: Linux gives them when asked (ARCH_REQ_XCOMP_PERM of the tile data). */
int stretch_usable(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

static int64_t whole(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

/* The parts of the room, each a multiple of 64 bytes. */
typedef struct {
    uint16_t *queries, *keys, *values, *weights; /* queries of a head; keys and transposed values of a block */
    float *scores, *sums, *top, *total, *part; /* of PAIR queries; (value_width, PAIR) for each PAIR of them */
    int64_t bytes;
} Room;

static Room rooms(uint8_t *at, int64_t rows, int64_t width, int64_t value_width) {
    int64_t all = whole(rows, PAIR), begin = (int64_t)at;
    Room r;
    r.queries = (uint16_t *)at, at += 2 * all * width;
    r.keys = (uint16_t *)at, at += 2 * BLOCK * width;
    r.values = (uint16_t *)at, at += 2 * BLOCK * value_width;
    r.weights = (uint16_t *)at, at += 2 * BLOCK * PAIR;
    r.scores = (float *)at, at += 4 * BLOCK * PAIR;
    r.sums = (float *)at, at += 4 * all * value_width;
    r.part = (float *)at, at += 4 * PAIR * value_width;
    r.top = (float *)at, at += 4 * all;
    r.total = (float *)at, at += 4 * all;
    r.bytes = (int64_t)at - begin;
    return r;
}

int64_t stretch_room(int64_t rows, int64_t width, int64_t value_width) {
    return rooms((uint8_t *)0, rows, width, value_width).bytes;
}

/* Tiles of queries: [query / 16][channel / 32][pair of channels][query][2]. Queries behind the last one are zeros. */
static void pack_queries(const Stretch *s, const uint16_t *q, uint16_t *to) {
    for (int64_t first = 0; first < whole(s->rows, PAIR); first += TILE)
        for (int64_t c = 0; c < s->width; c += PAIR, to += TILE * PAIR) {
            V rows[LANES], turned[LANES];
            for (int n = 0; n < TILE; n++)
                rows[n] = first + n < s->rows ? *(V *)(q + (first + n) * s->q_row + c) : (V){};
            transpose(rows, turned);
            memcpy(to, turned, sizeof turned);
        }
}

/* Values of a block, transposed: [channel][key]. Keys behind the last one are zeros. */
static void pack_values(const Stretch *s, const uint16_t *v, int64_t keys, uint16_t *to) {
    for (int64_t key = 0; key < BLOCK; key += TILE)
        for (int64_t c = 0; c < s->value_width; c += TILE) {
            V rows[LANES], turned[LANES];
            for (int n = 0; n < TILE; n++) rows[n] = key + n < keys ? widen(v + (key + n) * s->v_row + c) : (V){};
            transpose(rows, turned);
            for (int n = 0; n < TILE; n++) narrow(turned[n], to + (c + n) * BLOCK + key);
        }
}

/* Scores (BLOCK, PAIR) of a block of keys and of PAIR queries. */
static void score(const uint16_t *k, int64_t k_row, const uint16_t *q, int64_t width, float *to) {
    int64_t next = width * TILE; /* to the tiles of the next TILE queries */
    for (int64_t key = 0; key < BLOCK; key += PAIR) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t c = 0; c < width; c += PAIR) {
            _tile_loadd(4, k + key * k_row + c, 2 * k_row);
            _tile_loadd(6, q + c * TILE, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, q + next + c * TILE, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, k + (key + TILE) * k_row + c, 2 * k_row);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, to + key * PAIR, 4 * PAIR);
        _tile_stored(1, to + key * PAIR + TILE, 4 * PAIR);
        _tile_stored(2, to + (key + TILE) * PAIR, 4 * PAIR);
        _tile_stored(3, to + (key + TILE) * PAIR + TILE, 4 * PAIR);
    }
}

/* 2^x for x <= 0, to 3e-6: 2^x = 2^n 2^f with n the nearest whole number. Rounding a weight changes 2e-3. */
static inline __m512 power(__m512 x) {
    __m512 n = _mm512_roundscale_ps(x, 8), f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(9.57010191e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.59178603e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40247448e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93121815e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.99999261e-1f));
    return _mm512_scalef_ps(p, n);
}

/* Weights of TILE queries out of their scores: [key / 2][query][2]. Adds to their totals; returns the factor by which
   what was summed before shrinks, as the largest score so far has grown. `unit` is the scale in powers of two. */
static __m512 weigh(const float *scores, float unit, float *top, float *total, uint16_t *to) {
    __m512 factor = _mm512_set1_ps(unit), before = _mm512_loadu_ps(top), best[4];
    for (int n = 0; n < 4; n++) best[n] = _mm512_loadu_ps(scores + n * PAIR);
    for (int64_t key = 4; key < BLOCK; key += 4)
        for (int n = 0; n < 4; n++) best[n] = _mm512_max_ps(best[n], _mm512_loadu_ps(scores + (key + n) * PAIR));
    best[0] = _mm512_max_ps(_mm512_max_ps(best[0], best[1]), _mm512_max_ps(best[2], best[3]));
    __m512 now = _mm512_max_ps(before, _mm512_mul_ps(factor, best[0]));
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(0xffff0000);
    for (int64_t key = 0; key < BLOCK; key += 2) {
        __m512 a = power(_mm512_fmsub_ps(factor, _mm512_loadu_ps(scores + key * PAIR), now));
        __m512 b = power(_mm512_fmsub_ps(factor, _mm512_loadu_ps(scores + (key + 1) * PAIR), now));
        sums[0] = _mm512_add_ps(sums[0], a), sums[1] = _mm512_add_ps(sums[1], b);
        /* Rounded to bfloat16 and joined in three steps; the instruction for it leaves them apart. */
        __m512i low = _mm512_srli_epi32(_mm512_add_epi32((__m512i)a, half), 16);
        __m512i high = _mm512_and_epi32(_mm512_add_epi32((__m512i)b, half), upper);
        _mm512_storeu_si512(to + key * TILE, _mm512_or_epi32(low, high));
    }
    __m512 shrink = power(_mm512_sub_ps(before, now));
    __m512 summed = _mm512_fmadd_ps(_mm512_loadu_ps(total), shrink, _mm512_add_ps(sums[0], sums[1]));
    _mm512_storeu_ps(top, now), _mm512_storeu_ps(total, summed);
    return shrink;
}

/* The weighted sums (value_width, PAIR) of a block's values. */
static void mix(const uint16_t *values, const uint16_t *weights, int64_t value_width, float *to) {
    for (int64_t c = 0; c < value_width; c += PAIR) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t key = 0; key < BLOCK; key += PAIR) {
            _tile_loadd(4, values + c * BLOCK + key, 2 * BLOCK);
            _tile_loadd(6, weights + key * TILE, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, weights + (BLOCK + key) * TILE, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, values + (c + TILE) * BLOCK + key, 2 * BLOCK);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, to + c * PAIR, 4 * PAIR);
        _tile_stored(1, to + c * PAIR + TILE, 4 * PAIR);
        _tile_stored(2, to + (c + TILE) * PAIR, 4 * PAIR);
        _tile_stored(3, to + (c + TILE) * PAIR + TILE, 4 * PAIR);
    }
}

/* Adds what PAIR queries see in a block. `keys` of it are real, the others zeros. */
static void look(const Stretch *s, const Room *r, const uint16_t *k, int64_t k_row, int64_t keys, int64_t first) {
    score(k, k_row, r->queries + first * s->width, s->width, r->scores);
    for (int64_t key = keys; key < BLOCK; key++)
        for (int n = 0; n < PAIR; n++) r->scores[key * PAIR + n] = HIDDEN;
    float unit = s->scale * 1.44269504f, *sums = r->sums + first * s->value_width;
    __m512 shrink[2];
    for (int half = 0; half < 2; half++) {
        int64_t at = first + half * TILE;
        shrink[half] = weigh(
            r->scores + half * TILE, unit, r->top + at, r->total + at, r->weights + half * BLOCK * TILE);
    }
    mix(r->values, r->weights, s->value_width, r->part);
    for (int64_t n = 0; n < s->value_width * PAIR; n += TILE) {
        __m512 old = _mm512_loadu_ps(sums + n);
        _mm512_storeu_ps(sums + n, _mm512_fmadd_ps(old, shrink[n / TILE % 2], _mm512_loadu_ps(r->part + n)));
    }
}

static void finish(const Stretch *s, const Room *r, float *y, float *lse) {
    for (int64_t row = 0; row < s->rows; row++) {
        const float *sums = r->sums + row / PAIR * PAIR * s->value_width + row % PAIR;
        float share = 1.0f / r->total[row];
        for (int64_t c = 0; c < s->value_width; c++) y[row * s->value_width + c] = sums[c * PAIR] * share;
        lse[row] = (r->top[row] + log2f(r->total[row])) * 0.693147181f;
    }
}

/* y and lse of all heads. Widths are multiples of 32, the strides of keys too. */
void stretch(const Stretch *s) {
    Tiles before, ours = {.palette = 1};
    for (int n = 0; n < 8; n++) ours.bytes[n] = 64, ours.rows[n] = TILE;
    _tile_storeconfig(&before); /* oneDNN may count on the configuration that it set */
    _tile_loadconfig(&ours);
    Room r = rooms(s->room, s->rows, s->width, s->value_width);
    int64_t all = whole(s->rows, PAIR);
    for (int64_t head = 0; head < s->heads; head++) {
        pack_queries(s, s->q + head * s->q_head, r.queries);
        memset(r.sums, 0, 4 * all * s->value_width);
        for (int64_t n = 0; n < all; n++) r.top[n] = HIDDEN, r.total[n] = 0.0f;
        for (int64_t key = 0; key < s->keys; key += BLOCK) {
            const uint16_t *k = s->k + head * s->k_head + key * s->k_row;
            int64_t keys = s->keys - key < BLOCK ? s->keys - key : BLOCK, k_row = s->k_row;
            if (keys < BLOCK) { /* tiles would reach behind the last key */
                memset(r.keys, 0, 2 * BLOCK * s->width);
                for (int64_t n = 0; n < keys; n++) memcpy(r.keys + n * s->width, k + n * k_row, 2 * s->width);
                k = r.keys, k_row = s->width;
            }
            pack_values(s, s->v + head * s->v_head + key * s->v_row, keys, r.values);
            for (int64_t first = 0; first < all; first += PAIR) look(s, &r, k, k_row, keys, first);
        }
        finish(s, &r, s->y + head * s->rows * s->value_width, s->lse + head * s->rows);
    }
    if (before.palette)
        _tile_loadconfig(&before);
    else
        _tile_release();
}

#else

int stretch_usable(void) { return 0; }

int64_t stretch_room(int64_t rows, int64_t width, int64_t value_width) { return 0; }

void stretch(const Stretch *s) {}

#endif
