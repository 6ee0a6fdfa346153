/* See emulated.h. */
#include "emulated.h"
#include "emulated_instructions.h"

#define rlhf__bf16_avx512_bf16 emulated_bf16_dot
#include "kernels/bf16_avx512_bf16.c"
