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

/* y = x W^T. The weights of round after round lie apart, as layers' do. */
static rlhf_status forward(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    int64_t size = rlhf__panels_size(state->context, p->in, p->out);

    return rlhf__matmul(state->context, state->arena, state->source, p->in, p->rows,
                        p->in, p->out, state->source + bench_cold(size, round), NULL,
                        false, state->target, p->out);
}

/* dx = dy W */
static rlhf_status grad_input(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    int64_t size = rlhf__panels_size(state->context, p->out, p->in);

    return rlhf__matmul(state->context, state->arena, state->source, p->out, p->rows,
                        p->out, p->in, state->source + bench_cold(size, round), NULL,
                        false, state->target, p->in);
}

/* dW += dy^T x */
static rlhf_status grad_weight(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    const float *x = state->source, *dy = x + p->rows * p->in;

    return rlhf__matmul_weight_grad(
        state->context, state->arena, dy, p->out, x, p->in, p->rows, p->out, p->in, true,
        state->target + bench_cold(p->out * p->in, round), p->in);
}

/* A weight packed for either direction: what an optimizer step costs besides AdamW. */
static rlhf_status pack(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    int64_t size = rlhf__panels_size(state->context, p->in, p->out);
    const float *weight = state->source + bench_cold(p->out * p->in, round);

    rlhf__pack_panels(state->context, weight, p->in, true, p->in, p->out,
                      state->target + bench_cold(size, round));
    return RLHF_OK;
}

static rlhf_status pack_backward(bench_state *state, const void *arg, int64_t round)
{
    const product *p = arg;
    int64_t size = rlhf__panels_size(state->context, p->out, p->in);
    const float *weight = state->source + bench_cold(p->out * p->in, round);

    rlhf__pack_panels(state->context, weight, p->in, false, p->out, p->in,
                      state->target + bench_cold(size, round));
    return RLHF_OK;
}

void bench_training(bench_state *state)
{
    static const struct {
        const char *name;
        kernel_fn fn;
    } directions[] = {
        {"gemm forward", forward}, {"gemm dx", grad_input}, {"gemm dW", grad_weight}};
    char shape[64];

    for (int64_t d = 0; d < COUNT(directions); d++)
        for (int64_t i = 0; i < COUNT(training); i++) {
            const product *p = &training[i];
            describe(p, shape, sizeof shape);
            bench_kernel(state, directions[d].name, p->job, shape, directions[d].fn, p,
                         BOUND_FLOPS,
                         2.0 * (double)p->rows * (double)p->out * (double)p->in);
        }
    for (int64_t i = 0; i < COUNT(training); i++) {
        const product *p = &training[i];
        if (!strcmp(p->job, "gpt2-124m 4x512"))
            continue; /* the weights of 4x64 */
        describe(p, shape, sizeof shape);
        double bytes = 8.0 * (double)p->out * (double)p->in;
        bench_kernel(state, "pack forward", p->job, shape, pack, p, BOUND_COPY, bytes);
        bench_kernel(state, "pack backward", p->job, shape, pack_backward, p, BOUND_COPY,
                     bytes);
    }
}

void bench_decoding(bench_state *state)
{
    char shape[64];

    for (int64_t i = 0; i < COUNT(decoding); i++) {
        const product *p = &decoding[i];
        double weights = (double)p->out * (double)p->in;
        double flops = 2.0 * weights * (double)p->rows, bytes = 4.0 * weights;
        bool read_bound =
            bytes / state->peak[BOUND_READ] > flops / state->peak[BOUND_FLOPS];
        describe(p, shape, sizeof shape);
        bench_kernel(state, "decode", p->job, shape, forward, p,
                     read_bound ? BOUND_READ : BOUND_FLOPS, read_bound ? bytes : flops);
    }
}
