/* Each kernel by itself, on the shapes of the jobs, as a percentage of what the machine
 * can do: arithmetic of the multiply-add peak, what only reads of the read bandwidth,
 * what writes as well of the copy bandwidth. Data that a training step finds in memory
 * comes from memory here, too.
 *
 *     kernels [PART OF A KERNEL'S NAME]
 *
 * One JSON line a kernel. BENCH_SECONDS is how long to run each (default 0.3). */
#include "kernels.h"
#include "base/alloc.h"
#include "bench.h"
#include "limits.h"

bool bench_wanted(const bench_state *state, const char *name)
{
    return !state->only || strstr(name, state->only);
}

#define MAX_RESULTS 256
#define SAMPLE      0.01 /* seconds of calls, as long as a round of the limits' */

typedef struct result {
    const char *name, *job;
    char shape[32];
    bound kind;
    double seconds, rate; /* of a call; a second */
} result;

static result results[MAX_RESULTS];
static int num_results;

void bench_kernel(bench_state *state, const char *name, const char *job,
                  const char *shape, kernel_fn fn, const void *arg, bound kind,
                  double work)
{
    double best = 1e30, start = bench_now();
    int64_t round = 0;

    if (!bench_wanted(state, name) || num_results == MAX_RESULTS)
        return;
    bench_check(fn(state, arg, round++), name); /* warms up, and takes memory */
    for (int sample = 0; sample < 2 || bench_now() - start < state->seconds; sample++) {
        double begun = bench_now(), ended = begun;
        int64_t calls = 0;
        while (ended - begun < SAMPLE) {
            rlhf__arena_reset(state->arena);
            bench_check(fn(state, arg, round++), name);
            calls++;
            ended = bench_now();
        }
        double seconds = (ended - begun) / (double)calls;
        best = seconds < best ? seconds : best;
    }
    result *r = &results[num_results++];
    *r = (result){name, job, "", kind, best, work / best};
    snprintf(r->shape, sizeof r->shape, "%s", shape);
}

static void print_results(const bench_state *state)
{
    static const char *const units[] = {"gflops", "gflops", "read_gb_per_s",
                                        "copy_gb_per_s"};

    for (const result *r = results; r < results + num_results; r++)
        printf("{\"bench\": \"kernels\", \"kernel\": \"%s\",%*s \"job\": \"%s\",%*s "
               "\"shape\": \"%s\",%*s \"ms\": %9.4f, \"%s\": %7.1f,%*s "
               "\"percent_of_limit\": %5.1f}\n",
               r->name, (int)(18 - strlen(r->name)), "", r->job,
               (int)(16 - strlen(r->job)), "", r->shape, (int)(16 - strlen(r->shape)), "",
               r->seconds * 1e3, units[r->kind], r->rate / 1e9,
               (int)(13 - strlen(units[r->kind])), "",
               100 * r->rate / state->peak[r->kind]);
}

/* The limits again: memory has better and worse moments on shared machines, and the best
 * are the limit. */
static void measure_limits(bench_state *state)
{
    const int level = rlhf_context_cpu_level(state->context);
    const int threads = rlhf_context_num_threads(state->context);
    const double rates[BOUND_COUNT] = {
        bench_fp32_gflops(level, threads, state->seconds / 3),
        bench_bf16_gflops(threads, state->seconds / 3),
        bench_read_gb_per_s(threads, state->seconds, 0),
        bench_copy_gb_per_s(threads, state->seconds)};

    for (int i = 0; i < BOUND_COUNT; i++)
        if (rates[i] * 1e9 > state->peak[i])
            state->peak[i] = rates[i] * 1e9;
}

/* Random floats in [-0.5, 0.5); both halves of each are such a number in bf16. */
static void fill(float *x, int64_t count)
{
    uint32_t bits = 1;

    for (int64_t i = 0; i < count; i++) {
        bits = bits * 1664525u + 1013904223u;
        float value = (float)(bits >> 8) * 0x1p-24f - 0.5f;
        uint32_t word;
        memcpy(&word, &value, sizeof word);
        word = (word & 0xffff0000u) | word >> 16;
        memcpy(&x[i], &word, sizeof word);
    }
}

static void make_operands(bench_state *state)
{
    state->cold_floats = (int64_t)(bench_cold_bytes() / sizeof(float));
    bench_check(rlhf__alloc_raw(state->context, state->cold_floats, sizeof(float),
                                RLHF_MEMORY_GENERAL, &state->source),
                "operands");
    bench_check(rlhf__alloc_raw(state->context, state->cold_floats, sizeof(float),
                                RLHF_MEMORY_GENERAL, &state->target),
                "operands");
    fill(state->source, state->cold_floats);
    fill(state->target, state->cold_floats);
}

/* Products in a context of bf16, where the CPU has instructions for them. */
static void bench_bf16(bench_state *state)
{
    bench_state own = *state;

    if (state->peak[BOUND_BF16] == 0)
        return;
    own.context = bench_context(true);
    bench_check(rlhf__arena_create(own.context, RLHF_MEMORY_ACTIVATIONS, &own.arena),
                "arena");
    bench_training(&own, true);
    bench_decoding(&own, true);
    rlhf__arena_free(own.arena);
    rlhf_context_free(own.context);
}

int main(int argc, char **argv)
{
    const char *seconds = getenv("BENCH_SECONDS");
    bench_state state = {.only = argc == 2 ? argv[1] : NULL,
                         .seconds = seconds ? atof(seconds) : 0.3};

    if (argc > 2) {
        fprintf(stderr, "usage: kernels [PART OF A KERNEL'S NAME]\n");
        return 2;
    }
    state.context = bench_context(false);
    measure_limits(&state);
    bench_check(rlhf__arena_create(state.context, RLHF_MEMORY_ACTIVATIONS, &state.arena),
                "arena");
    make_operands(&state);
    bench_training(&state, false);
    measure_limits(&state);
    bench_decoding(&state, false);
    bench_attention(&state);
    bench_bf16(&state);
    measure_limits(&state);
    bench_rows(&state);
    measure_limits(&state);
    print_results(&state);
    rlhf__free(state.source);
    rlhf__free(state.target);
    rlhf__arena_free(state.arena);
    rlhf_context_free(state.context);
    return 0;
}
