/* The row functions for AVX2 and FMA. */
#define LANES         8
#define TILE_ROWS     6
#define PANEL_VECTORS 2

#include "kernels/level.h"

const rlhf__kernels rlhf__kernels_avx2 = LEVEL_TABLE;
