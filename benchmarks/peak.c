/* What one core multiplies at most: chains of fused multiply-adds that never leave the registers. */
#include "../suite/lm/native/vectors.h"

#define CHAINS 12 /* enough to hide the latency, few enough for 16 registers */

float peak(int64_t turns, float factor) {
    V x[CHAINS];
    for (int u = 0; u < CHAINS; u++) x[u] = fill(u); /* alike, they would be one chain to the compiler */
    for (int64_t i = 0; i < turns; i++)
#pragma GCC unroll 12
        for (int u = 0; u < CHAINS; u++) x[u] = x[u] * factor + factor;
    for (int u = 1; u < CHAINS; u++) x[0] += x[u];
    return x[0][0];
}

/* Operations of one turn. */
int64_t operations(void) { return 2 * CHAINS * LANES; }
