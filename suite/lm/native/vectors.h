/* Vectors of floats, as wide as the machine's registers, and functions of them. Wider ones the compiler would take apart
   lane by lane, through memory: five to eight times slower. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

typedef float V __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float H __attribute__((vector_size(2 * LANES), aligned(4), may_alias)); /* half as many lanes */

typedef uint32_t U __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t B __attribute__((vector_size(2 * LANES), aligned(2), may_alias)); /* bfloat16: the upper half of a float */

static inline V fill(float x) { return x - (V){}; } /* x + 0 would be an addition */

static inline V choose(I mask, V yes, V no) { return (V)(((I)yes & mask) | ((I)no & ~mask)); }

/* b where one of them is not a number. Compilers do not find these instructions in a comparison and a choice. */
#if LANES == 16
static inline V larger(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
static inline V smaller(V a, V b) { return (V)_mm512_min_ps((__m512)a, (__m512)b); }
#elif LANES == 8
static inline V larger(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
static inline V smaller(V a, V b) { return (V)_mm256_min_ps((__m256)a, (__m256)b); }
#else
static inline V larger(V a, V b) { return choose(a > b, a, b); }
static inline V smaller(V a, V b) { return choose(a < b, a, b); }
#endif

/* 1 / x to 1e-7, for finite x whose reciprocal is normal. */
static inline V reciprocal(V x) {
#if LANES == 16 /* a division of so many lanes holds a port for as long as 16 products */
    V guess = (V)_mm512_rcp14_ps((__m512)x);
    return guess + guess * (1.0f - x * guess);
#else
    return 1.0f / x;
#endif
}

#if !defined(__clang__) /* which has no __builtin_shuffle */
/* A riffle of all numbers of LANES vectors: those of the first half of them between those of the second. */
static inline void riffle(const V *x, V *y) {
#define LOW(n) n, n + LANES
#define HIGH(n) n + LANES / 2, n + LANES + LANES / 2
#if LANES == 16
    const I low = {LOW(0), LOW(1), LOW(2), LOW(3), LOW(4), LOW(5), LOW(6), LOW(7)};
    const I high = {HIGH(0), HIGH(1), HIGH(2), HIGH(3), HIGH(4), HIGH(5), HIGH(6), HIGH(7)};
#elif LANES == 8
    const I low = {LOW(0), LOW(1), LOW(2), LOW(3)}, high = {HIGH(0), HIGH(1), HIGH(2), HIGH(3)};
#else
    const I low = {LOW(0), LOW(1)}, high = {HIGH(0), HIGH(1)};
#endif
#undef LOW
#undef HIGH
#pragma GCC unroll 16
    for (int i = 0; i < LANES / 2; i++) {
        y[2 * i] = __builtin_shuffle(x[i], x[i + LANES / 2], low);
        y[2 * i + 1] = __builtin_shuffle(x[i], x[i + LANES / 2], high);
    }
}

#endif

/* y[lane][i] = x[i][lane]: as many riffles as LANES is a power of two. */
static inline void transpose(const V *x, V *y) {
#if defined(__clang__)
    for (int i = 0; i < LANES; i++)
        for (int lane = 0; lane < LANES; lane++) y[lane][i] = x[i][lane];
#elif LANES == 4
    V z[LANES];
    riffle(x, z), riffle(z, y);
#else
    V z[LANES], u[LANES];
    riffle(x, z), riffle(z, u);
#if LANES == 8
    riffle(u, y);
#else
    riffle(u, z), riffle(z, y);
#endif
#endif
}

static inline V widen(const uint16_t *x) { return (V)(__builtin_convertvector(*(B *)x, U) << 16); }

/* To 16 bits, ties to even; NaN stays NaN. */
static inline void narrow(V x, uint16_t *to) {
    U bits = (U)x, odd = (U)((bits & 0x7fffffff) > 0x7f800000);
    U rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    *(B *)to = __builtin_convertvector((rounded & ~odd) | (odd & 0x7fc0), B);
}

static inline float sum(V x) {
    H h = ((H *)&x)[0] + ((H *)&x)[1];
    for (int n = LANES / 4; n > 0; n /= 2)
        for (int lane = 0; lane < n; lane++) h[lane] += h[lane + n];
    return h[0];
}

static inline float greatest(V x) {
    float top = x[0];
    for (int lane = 1; lane < LANES; lane++) top = x[lane] > top ? x[lane] : top;
    return top;
}

static inline float dot(const float *x, const float *y, int64_t width) {
    V a = {}, b = {};
    int64_t c = 0;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        a += *(V *)(x + c) * *(V *)(y + c);
        b += *(V *)(x + c + LANES) * *(V *)(y + c + LANES);
    }
    for (; c + LANES <= width; c += LANES) a += *(V *)(x + c) * *(V *)(y + c);
    float total = sum(a + b);
    for (; c < width; c++) total += x[c] * y[c];
    return total;
}

/* e^x for x <= 88 to 1e-7, 0 below -87, NaN of NaN: n = round(x / ln 2), f = x - n ln 2, e^x = 2^n e^f, where e^f is a
   polynomial of least relative error, 3e-9. */
static inline V exponential(V x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it drops the fraction */
    I tiny = x < -87.0f;
    V t = x * 1.44269504f + round;
    V power = (V)(((I)t << 23) + (127 << 23)); /* the shift drops `round` */
    t -= round;
    V f = x - t * 0.693359375f + t * 2.12194440e-4f;
    V p = f * 1.381454007e-3f + 8.368745108e-3f;
    p = p * f + 4.166839079e-2f;
    p = p * f + 1.666652040e-1f;
    p = p * f + 4.999999343e-1f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    return (V)((I)(p * power) & ~tiny);
}

/* The square root of a finite x >= 0 to 2e-7, of x below 1e-37 at most 1e-18. */
static inline V root(V x) {
    V y;
#if LANES == 16 /* slower than a division; see `reciprocal` */
    y = (V)_mm512_rsqrt14_ps((__m512)larger(x, fill(1e-37f)));
    y = x * (y * (1.5f - 0.5f * x * y * y));
#else
    for (int lane = 0; lane < LANES; lane++) y[lane] = sqrtf(x[lane]);
#endif
    return y;
}

/* log(1 + x) for 0 <= x <= 1 to 1e-7: 2 atanh(x / (2 + x)), a polynomial of least relative error, 4e-9. */
static inline V log_plus_one(V x) {
    V s = x * reciprocal(x + 2.0f), s2 = s * s;
    V p = s2 * 2.817833522e-1f + 2.796060268e-1f;
    p = p * s2 + 4.002491029e-1f;
    p = p * s2 + 6.666631468e-1f;
    p = p * s2 + 2.0f;
    return p * s;
}

static inline V absolute(V x) { return (V)((I)x & 0x7fffffff); }

static inline V log_sigmoid(V x) { return smaller(x, fill(0)) - log_plus_one(exponential(-absolute(x))); }

/* 1 / (1 + e^-x), at least 1e-38. */
static inline V sigmoid(V x) { return reciprocal(exponential(smaller(fill(87), -x)) + 1.0f); }

/* log sigmoid(x), and its derivative, sigmoid(-x), with one exponential for both. */
static inline V log_sigmoid_with(V x, V *derivative) {
    V e = exponential(-absolute(x));
    *derivative = choose(x < 0.0f, fill(1), e) * reciprocal(e + 1.0f);
    return smaller(x, fill(0)) - log_plus_one(e);
}
