/* The row functions for plain C, no FMA. */
#define LANES         4
#define TILE_ROWS     6
#define PANEL_VECTORS 2

#include "kernels/level.h"

const rlhf__kernels rlhf__kernels_portable = LEVEL_TABLE;
