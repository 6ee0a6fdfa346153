/* bench-kernels: attention, and what works along rows. */
#include <stdio.h>
#include <string.h>

#include "kernels.h"

/* --- attention ---------------------------------------------------------------------- */

#define MAX_SEQS 32

typedef struct attending {
    const char *job;
    int64_t seqs, length, heads, head_dim; /* decoding: `length` keys are there before */
} attending;

static const attending training[] = {{"gpt2-124m 4x64", 4, 64, 12, 64},
                                     {"gpt2-124m 4x512", 4, 512, 12, 64},
                                     {"llama-15m 8x256", 8, 256, 6, 48}};
static const attending decoding[] = {{"gpt2-124m b=32", 32, 448, 12, 64},
                                     {"llama-15m b=32", 32, 960, 6, 48}};

/* q, k and v of a batch side by side; `seqs` sequences of `length` new tokens. */
static rlhf__attention attention_of(const attending *a, const float *qkv, int64_t length,
                                    int64_t *cu_seqlens)
{
    int64_t width = a->heads * a->head_dim;

    for (int64_t s = 0; s <= a->seqs; s++)
        cu_seqlens[s] = s * length;
    return (rlhf__attention){.q = qkv,
                             .k = qkv + width,
                             .v = qkv + 2 * width,
                             .ldq = 3 * width,
                             .ldk = 3 * width,
                             .ldv = 3 * width,
                             .num_seqs = a->seqs,
                             .cu_seqlens = cu_seqlens,
                             .num_heads = a->heads,
                             .num_kv_heads = a->heads,
                             .head_dim = a->head_dim,
                             .scale = 0.125f};
}

static rlhf_status attention_forward(bench_state *state, const void *arg, int64_t round)
{
    const attending *a = arg;
    int64_t cu_seqlens[MAX_SEQS + 1], width = a->heads * a->head_dim;
    int64_t tokens = a->seqs * a->length;
    const float *qkv = state->source + bench_cold(state, 3 * tokens * width, round);
    rlhf__attention args = attention_of(a, qkv, a->length, cu_seqlens);

    return rlhf__attention_forward(state->context, state->arena, &args, state->target,
                                   width, state->target + tokens * width);
}

/* Of the forward pass it only takes log-sum-exps that keep exp within range. */
static rlhf_status attention_grad(bench_state *state, const void *arg, int64_t round)
{
    const attending *a = arg;
    int64_t cu_seqlens[MAX_SEQS + 1], width = a->heads * a->head_dim;
    int64_t tokens = a->seqs * a->length;
    const float *qkv = state->source + bench_cold(state, 5 * tokens * width, round);
    const float *out = qkv + 3 * tokens * width, *dout = out + tokens * width;
    const float *lse = state->source;
    float *dqkv = state->target;
    rlhf__attention args = attention_of(a, qkv, a->length, cu_seqlens);

    return rlhf__attention_grad(state->context, state->arena, &args, out, width, dout,
                                width, lse, dqkv, dqkv + width, dqkv + 2 * width);
}

/* One new token a sequence. */
static rlhf_status attention_decode(bench_state *state, const void *arg, int64_t round)
{
    const attending *a = arg;
    int64_t cu_seqlens[MAX_SEQS + 1], past[MAX_SEQS], width = a->heads * a->head_dim;
    int64_t capacity = a->length + RLHF__ATTENTION_BLOCK;
    int64_t size = rlhf__kv_size(capacity, a->heads, a->head_dim);
    void *caches[MAX_SEQS];
    float *target = state->target, *cache = target + MAX_SEQS * width;
    rlhf__attention args = attention_of(a, state->source, 1, cu_seqlens);

    cache += bench_cold(state, MAX_SEQS * (width + size), round);
    for (int64_t s = 0; s < a->seqs; s++) {
        caches[s] = cache + s * size;
        past[s] = a->length;
    }
    return rlhf__attention_cached(state->context, state->arena, &args, caches, past,
                                  capacity, target, width);
}

void bench_attention(bench_state *state)
{
    char shape[64];

    for (size_t i = 0; i < sizeof training / sizeof *training; i++) {
        const attending *a = &training[i];
        double pairs = (double)(a->seqs * a->heads) * (double)a->length *
                       (double)(a->length + 1) / 2;
        double product = 2 * pairs * (double)a->head_dim;
        snprintf(shape, sizeof shape, "%lldx%lld %lldx%lld", (long long)a->seqs,
                 (long long)a->length, (long long)a->heads, (long long)a->head_dim);
        bench_kernel(state, "attention forward", a->job, shape, attention_forward, a,
                     BOUND_FLOPS, 2 * product);
        bench_kernel(state, "attention grad", a->job, shape, attention_grad, a,
                     BOUND_FLOPS, 5 * product);
    }
    for (size_t i = 0; i < sizeof decoding / sizeof *decoding; i++) {
        const attending *a = &decoding[i];
        snprintf(shape, sizeof shape, "%lldx%lld %lldx%lld", (long long)a->seqs,
                 (long long)a->length, (long long)a->heads, (long long)a->head_dim);
        bench_kernel(
            state, "attention decode", a->job, shape, attention_decode, a, BOUND_READ,
            8.0 * (double)(a->seqs * a->length) * (double)(a->heads * a->head_dim));
    }
}

/* --- rows --------------------------------------------------------------------------- */

/* A function on [rows][width]; `floats` are how many it reads and writes for each of
 * them, counting its own inputs and outputs once. */
typedef struct along_rows {
    const char *name, *job;
    kernel_fn fn;
    int64_t rows, width, floats;
    bound kind;
} along_rows;

static const along_rows *rows_of(bench_state *state, const void *arg, int64_t round,
                                 int64_t inputs, const float **x, float **y)
{
    const along_rows *r = arg;
    int64_t count = r->rows * r->width;

    *x = state->source + bench_cold(state, inputs * count, round);
    *y = state->target + bench_cold(state, 2 * count, round);
    return r;
}

/* With a residual: the sum in the place of one side, and its norm. */
static rlhf_status add_layernorm(bench_state *state, const void *arg, int64_t round)
{
    const float *x, *w = state->source;
    float *y;
    const along_rows *r = rows_of(state, arg, round, 1, &x, &y);

    return rlhf__layernorm(state->context, NULL, y + r->rows * r->width, x, r->rows,
                           r->width, w, w, 1e-5f, rlhf__to_floats(y), NULL, NULL);
}

static rlhf_status layernorm_grad(bench_state *state, const void *arg, int64_t round)
{
    const float *dy, *w = state->source;
    float *dx;
    const along_rows *r = rows_of(state, arg, round, 2, &dy, &dx);
    float *dweight = dx + r->rows * r->width;

    return rlhf__layernorm_grad(state->context, state->arena, dy, dy + r->rows * r->width,
                                w, w, w, r->rows, r->width, dx, dweight,
                                dweight + r->width);
}

static rlhf_status add_rmsnorm(bench_state *state, const void *arg, int64_t round)
{
    const float *x, *w = state->source;
    float *y;
    const along_rows *r = rows_of(state, arg, round, 1, &x, &y);

    return rlhf__rmsnorm(state->context, NULL, y + r->rows * r->width, x, r->rows,
                         r->width, w, 1e-5f, rlhf__to_floats(y), NULL);
}

static rlhf_status rmsnorm_grad(bench_state *state, const void *arg, int64_t round)
{
    const float *dy, *w = state->source;
    float *dx;
    const along_rows *r = rows_of(state, arg, round, 2, &dy, &dx);

    return rlhf__rmsnorm_grad(state->context, state->arena, dy, dy + r->rows * r->width,
                              w, w, r->rows, r->width, dx, dx + r->rows * r->width);
}

static rlhf_status gelu(bench_state *state, const void *arg, int64_t round)
{
    const float *x;
    float *y;
    const along_rows *r = rows_of(state, arg, round, 1, &x, &y);

    return rlhf__activation_forward(state->context, NULL, RLHF__GELU_TANH, x, r->rows,
                                    r->width, rlhf__to_floats(y));
}

static rlhf_status gelu_grad(bench_state *state, const void *arg, int64_t round)
{
    const float *dy;
    float *dx;
    const along_rows *r = rows_of(state, arg, round, 2, &dy, &dx);

    rlhf__activation_grad(state->context, RLHF__GELU_TANH, dy, dy + r->rows * r->width,
                          r->rows, r->width, dx);
    return RLHF_OK;
}

static rlhf_status swiglu(bench_state *state, const void *arg, int64_t round)
{
    const float *x;
    float *y;
    const along_rows *r = rows_of(state, arg, round, 2, &x, &y);

    return rlhf__activation_forward(state->context, NULL, RLHF__SWIGLU, x, r->rows,
                                    r->width, rlhf__to_floats(y));
}

static rlhf_status swiglu_grad(bench_state *state, const void *arg, int64_t round)
{
    const float *dy;
    float *dx;
    const along_rows *r = rows_of(state, arg, round, 3, &dy, &dx);

    rlhf__activation_grad(state->context, RLHF__SWIGLU, dy, dy + r->rows * r->width,
                          r->rows, r->width, dx);
    return RLHF_OK;
}

static rlhf_status add(bench_state *state, const void *arg, int64_t round)
{
    const float *x;
    float *y;
    const along_rows *r = rows_of(state, arg, round, 2, &x, &y);

    rlhf__add(state->context, x, x + r->rows * r->width, r->rows * r->width, y);
    return RLHF_OK;
}

/* log p of token 1, entropy and lse of each row. */
static rlhf_status logprob(bench_state *state, const void *arg, int64_t round)
{
    static int32_t targets[4096];
    const float *z;
    float *y;
    const along_rows *r = rows_of(state, arg, round, 1, &z, &y);

    rlhf__logprob(state->context, z, r->width, r->rows, r->width, targets, 1.0f, y,
                  y + r->rows, y + 2 * r->rows);
    return RLHF_OK;
}

static rlhf_status logprob_grad(bench_state *state, const void *arg, int64_t round)
{
    static int32_t targets[4096];
    const float *ones = state->source;
    float *z;
    const along_rows *r = rows_of(state, arg, round, 1, &ones, &z);

    rlhf__logprob_grad(state->context, z, r->width, r->rows, r->width, targets, 1.0f,
                       state->source, state->source, state->source, state->source);
    return RLHF_OK;
}

static rlhf_status adamw(bench_state *state, const void *arg, int64_t round)
{
    const rlhf__adamw_args args = {0.9f, 0.999f, 1e-4f, 1.0f, 1e-8f, 0.0f, 1.0f};
    const along_rows *r = arg;
    int64_t count = r->rows * r->width;
    float *values = state->target + bench_cold(state, 3 * count, round);

    rlhf__adamw_update(state->context, &args, count,
                       state->source + bench_cold(state, count, round), values,
                       values + count, values + 2 * count);
    return RLHF_OK;
}

static rlhf_status sum_squares(bench_state *state, const void *arg, int64_t round)
{
    const along_rows *r = arg;
    int64_t count = r->rows * r->width;

    return rlhf__sum_squares(state->context,
                             state->source + bench_cold(state, count, round), count) > 0
               ? RLHF_OK
               : RLHF_ERR_NUMERIC;
}

static const along_rows kernels[] = {
    {"adamw", "16M parameters", adamw, 1 << 12, 1 << 12, 7, BOUND_COPY},
    {"sum squares", "16M parameters", sum_squares, 1 << 12, 1 << 12, 1, BOUND_READ},
    {"add layernorm", "gpt2-124m 4x512", add_layernorm, 2048, 768, 4, BOUND_COPY},
    {"layernorm grad", "gpt2-124m 4x512", layernorm_grad, 2048, 768, 4, BOUND_COPY},
    {"add rmsnorm", "llama-15m 8x256", add_rmsnorm, 2048, 288, 4, BOUND_COPY},
    {"rmsnorm grad", "llama-15m 8x256", rmsnorm_grad, 2048, 288, 4, BOUND_COPY},
    {"gelu", "gpt2-124m 4x512", gelu, 2048, 3072, 2, BOUND_COPY},
    {"gelu grad", "gpt2-124m 4x512", gelu_grad, 2048, 3072, 3, BOUND_COPY},
    {"swiglu", "llama-15m 8x256", swiglu, 2048, 768, 3, BOUND_COPY},
    {"swiglu grad", "llama-15m 8x256", swiglu_grad, 2048, 768, 5, BOUND_COPY},
    {"residual add", "gpt2-124m 4x512", add, 2048, 768, 3, BOUND_COPY},
    {"logprob", "gpt2-124m head", logprob, 256, 50257, 1, BOUND_READ},
    {"logprob grad", "gpt2-124m head", logprob_grad, 256, 50257, 2, BOUND_COPY},
    {"logprob", "llama-15m head", logprob, 256, 32000, 1, BOUND_READ},
    {"logprob grad", "llama-15m head", logprob_grad, 256, 32000, 2, BOUND_COPY}};

void bench_rows(bench_state *state)
{
    char shape[64];

    /* Adam's second moments are never negative. */
    memset(state->target, 0, (size_t)state->cold_floats * sizeof *state->target);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        const along_rows *r = &kernels[i];
        snprintf(shape, sizeof shape, "%lldx%lld", (long long)r->rows,
                 (long long)r->width);
        bench_kernel(state, r->name, r->job, shape, r->fn, r, r->kind,
                     4.0 * (double)(r->floats * r->rows) * (double)r->width);
    }
}
