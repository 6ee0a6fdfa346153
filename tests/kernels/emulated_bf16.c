/* See emulated.h. */
#include "emulated.h"
#include "emulated_instructions.h"

#define rlhf__bf16_avx512 emulated_bf16
#include "kernels/bf16_avx512.c"
