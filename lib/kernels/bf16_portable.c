/* bf16 functions in plain C, no FMA. */
#define LANES         4
#define TILE_ROWS     6
#define PANEL_VECTORS 2

#include "kernels/bf16_level.h"

const rlhf__bf16_kernels rlhf__bf16_portable = BF16_TABLE;
