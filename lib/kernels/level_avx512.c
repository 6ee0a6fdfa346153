/* The row functions for AVX-512. */
#define LANES         16
#define TILE_ROWS     12
#define PANEL_VECTORS 2

#include "kernels/level.h"

const rlhf__kernels rlhf__kernels_avx512 = LEVEL_TABLE;
