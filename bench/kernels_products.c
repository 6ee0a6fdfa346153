/* bench-kernels: matrix products, of training and of decoding. */
#include <stdio.h>
#include <string.h>

#include "kernels.h"

/* A weight W [out][in] and the rows of a batch. */
typedef struct product {
    const char *job;
    int64_t rows, out, in;
} product;

/* Fused q, k, v; output; up (gate and up); down; the head in a chunk of rows. */
static const product training[] = {
    {"gpt2-124m 4x64", 256, 2304, 768},   {"gpt2-124m 4x64", 256, 768, 768},
    {"gpt2-124m 4x64", 256, 3072, 768},   {"gpt2-124m 4x64", 256, 768, 3072},
    {"gpt2-124m 4x512", 2048, 2304, 768}, {"gpt2-124m 4x512", 2048, 768, 768},
    {"gpt2-124m 4x512", 2048, 3072, 768}, {"gpt2-124m 4x512", 2048, 768, 3072},
    {"gpt2-124m head", 256, 50257, 768},  {"llama-15m 8x256", 2048, 864, 288},
    {"llama-15m 8x256", 2048, 288, 288},  {"llama-15m 8x256", 2048, 1536, 288},
    {"llama-15m 8x256", 2048, 288, 768},  {"llama-15m head", 256, 32000, 288}};

static const product decoding[] = {
    {"gpt2-124m b=1", 1, 2304, 768},   {"gpt2-124m b=1", 1, 768, 768},
    {"gpt2-124m b=1", 1, 3072, 768},   {"gpt2-124m b=1", 1, 768, 3072},
    {"gpt2-124m b=1", 1, 50257, 768},  {"llama-110m b=1", 1, 4096, 768},
    {"llama-110m b=1", 1, 768, 2048},  {"llama-15m b=1", 1, 864, 288},
    {"llama-15m b=1", 1, 1536, 288},   {"llama-15m b=1", 1, 288, 768},
    {"llama-15m b=1", 1, 32000, 288},  {"gpt2-124m b=4", 4, 3072, 768},
    {"gpt2-124m b=4", 4, 50257, 768},  {"gpt2-124m b=32", 32, 2304, 768},
    {"gpt2-124m b=32", 32, 3072, 768}, {"gpt2-124m b=32", 32, 50257, 768},
    {"llama-15m b=32", 32, 1536, 288}, {"llama-15m b=32", 32, 32000, 288}};

#define COUNT(array) (int64_t)(sizeof(array) / sizeof *(array))

static void describe(const product *p, char *shape, size_t size)
{
    snprintf(shape, size, "%lldx%lldx%lld", (long long)p->rows, (long long)p->out,
             (long long)p->in);
}

/* y = x W^T from panels, as decoding has them. The weights of round after round lie
 * apart, as layers' do. */
static rlhf_status decode(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    int64_t size = rlhf__panels_size(state->context, p->in, p->out);

    return rlhf__matmul(state->context, state->arena, rlhf__floats(state->source, p->in),
                        p->rows, p->in, p->out,
                        state->source + bench_cold(state, size, round), NULL, false,
                        state->target, p->out);
}

/* The same from the weights themselves, as in training: packing them is part of it. */
static rlhf_status forward(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    const float *weight = state->source + bench_cold(state, p->out * p->in, round);

    return rlhf__matmul_unpacked(
        state->context, state->arena, rlhf__floats(state->source, p->in), p->rows, p->in,
        p->out, weight, p->in, true, NULL, false, state->target, p->out);
}

/* dx = dy W */
static rlhf_status grad_input(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    const float *weight = state->source + bench_cold(state, p->out * p->in, round);

    return rlhf__matmul_unpacked(
        state->context, state->arena, rlhf__floats(state->source, p->out), p->rows,
        p->out, p->in, weight, p->in, false, NULL, false, state->target, p->in);
}

/* dW += dy^T x */
static rlhf_status grad_weight(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    const float *x = state->source, *dy = x + p->rows * p->in;

    return rlhf__matmul_weight_grad(
        state->context, state->arena, dy, p->out, rlhf__floats(x, p->in), p->rows, p->out,
        p->in, true, state->target + bench_cold(state, p->out * p->in, round), p->in);
}

/* A weight packed for either direction: what an optimizer step costs besides AdamW. */
static rlhf_status pack(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    int64_t size = rlhf__panels_size(state->context, p->in, p->out);
    const float *weight = state->source + bench_cold(state, p->out * p->in, round);

    rlhf__pack_panels(state->context, weight, p->in, true, p->in, p->out,
                      state->target + bench_cold(state, size, round));
    return RLHF_OK;
}

static rlhf_status pack_backward(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    int64_t size = rlhf__panels_size(state->context, p->out, p->in);
    const float *weight = state->source + bench_cold(state, p->out * p->in, round);

    rlhf__pack_panels(state->context, weight, p->in, false, p->out, p->in,
                      state->target + bench_cold(state, size, round));
    return RLHF_OK;
}

static void train(bench_state *state, const char *name, kernel_fn fn, bound kind)
{
    char shape[64];

    for (int64_t i = 0; i < COUNT(training); i++) {
        const product *p = &training[i];
        describe(p, shape, sizeof shape);
        bench_kernel(state, name, p->job, shape, fn, p, kind,
                     2.0 * (double)p->rows * (double)p->out * (double)p->in);
    }
}

void bench_training(bench_state *state, bool bf16)
{
    const bound kind = bf16 ? BOUND_BF16 : BOUND_FLOPS;
    const double bytes = bf16 ? 6 : 8; /* read and written of each weight */
    char shape[64];

    train(state, bf16 ? "bf16 gemm forward" : "gemm forward", forward, kind);
    train(state, bf16 ? "bf16 gemm dx" : "gemm dx", grad_input, kind);
    train(state, bf16 ? "bf16 gemm dW" : "gemm dW", grad_weight, kind);
    for (int64_t i = 0; i < COUNT(training); i++) {
        const product *p = &training[i];
        double moved = bytes * (double)p->out * (double)p->in;
        if (!strcmp(p->job, "gpt2-124m 4x512"))
            continue; /* the weights of 4x64 */
        describe(p, shape, sizeof shape);
        bench_kernel(state, bf16 ? "bf16 pack forward" : "pack forward", p->job, shape,
                     pack, p, BOUND_COPY, moved);
        bench_kernel(state, bf16 ? "bf16 pack backward" : "pack backward", p->job, shape,
                     pack_backward, p, BOUND_COPY, moved);
    }
}

void bench_decoding(bench_state *state, bool bf16)
{
    const bound arithmetic = bf16 ? BOUND_BF16 : BOUND_FLOPS;
    char shape[64];

    for (int64_t i = 0; i < COUNT(decoding); i++) {
        const product *p = &decoding[i];
        double weights = (double)p->out * (double)p->in;
        double flops = 2.0 * weights * (double)p->rows;
        double bytes = (bf16 ? 2.0 : 4.0) * weights;
        bool read_bound =
            bytes / state->peak[BOUND_READ] > flops / state->peak[arithmetic];
        describe(p, shape, sizeof shape);
        bench_kernel(state, bf16 ? "bf16 decode" : "decode", p->job, shape, decode, p,
                     read_bound ? BOUND_READ : arithmetic, read_bound ? bytes : flops);
    }
}
