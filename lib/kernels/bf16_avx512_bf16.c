/* bf16 functions for AVX-512 with vdpbf16ps. */
#define LANES         16
#define TILE_ROWS     12
#define PANEL_VECTORS 2
#define HAS_BF16

#include "kernels/bf16_level.h"

const rlhf__bf16_kernels rlhf__bf16_avx512_bf16 = BF16_TABLE;
