/* bf16 functions for AVX2 and FMA. */
#define LANES         8
#define TILE_ROWS     6
#define PANEL_VECTORS 2

#include "kernels/bf16_level.h"

const rlhf__bf16_kernels rlhf__bf16_avx2 = BF16_TABLE;
