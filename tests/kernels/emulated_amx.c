/* See emulated.h. */
#include "emulated.h"
#include "emulated_instructions.h"

#define rlhf__bf16_amx emulated_amx
#include "kernels/bf16_amx.c"
