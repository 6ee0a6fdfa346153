/* bf16 functions for AVX-512 without vdpbf16ps. */
#define LANES         16
#define TILE_ROWS     12
#define PANEL_VECTORS 2

#include "kernels/bf16_level.h"

const rlhf__bf16_kernels rlhf__bf16_avx512 = BF16_TABLE;
