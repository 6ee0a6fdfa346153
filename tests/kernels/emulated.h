/* The source of AMX's and the AVX-512 levels with the few instructions that it names put
 * in AVX2's and in words: so that it is tested where the CPU lacks them. */
#ifndef TESTS_EMULATED_H
#define TESTS_EMULATED_H

extern const struct rlhf__kernels emulated_kernels;
extern const struct rlhf__bf16_kernels emulated_bf16, emulated_bf16_dot, emulated_amx;

#endif
