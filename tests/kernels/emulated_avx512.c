/* See emulated.h. */
#include "emulated.h"
#include "emulated_instructions.h"

#define rlhf__kernels_avx512 emulated_kernels
#include "kernels/level_avx512.c"
