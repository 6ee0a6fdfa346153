/* Each kernel by itself, on the shapes of the jobs, as a percentage of what the machine
 * can do: arithmetic of the multiply-add peak, what only reads of the read bandwidth,
 * what writes as well of the copy bandwidth. Data that a training step finds in memory
 * comes from memory here, too.
 *
 *     kernels [PART OF A KERNEL'S NAME]
 *
 * One JSON line a kernel. BENCH_SECONDS is how long to run each (default 0.3). */
#include "kernels.h"
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
    static const char *const units[] = {"gflops", "read_gb_per_s", "copy_gb_per_s"};

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
    double rates[3] = {bench_fp32_gflops(level, threads, state->seconds / 3),
                       bench_read_gb_per_s(threads, state->seconds),
                       bench_copy_gb_per_s(threads, state->seconds)};

    for (int i = 0; i < 3; i++)
        if (rates[i] * 1e9 > state->peak[i])
            state->peak[i] = rates[i] * 1e9;
}

static float *random_floats(int64_t count)
{
    float *x = aligned_alloc(64, (size_t)count * sizeof *x);
    uint32_t bits = 1;

    if (!x) {
        fprintf(stderr, "no memory for %" PRId64 " floats\n", count);
        exit(1);
    }
    for (int64_t i = 0; i < count; i++) {
        bits = bits * 1664525u + 1013904223u;
        x[i] = (float)(bits >> 8) * 0x1p-24f - 0.5f;
    }
    return x;
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
    state.source = random_floats(COLD_FLOATS);
    state.target = random_floats(COLD_FLOATS);
    bench_training(&state);
    measure_limits(&state);
    bench_decoding(&state);
    bench_attention(&state);
    measure_limits(&state);
    bench_rows(&state);
    measure_limits(&state);
    print_results(&state);
    rlhf__arena_free(state.arena);
    rlhf_context_free(state.context);
    free(state.source);
    free(state.target);
    return 0;
}
