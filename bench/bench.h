/* Shared by the benchmarks: one job a program, one JSON line as its result, the same
 * arguments and fields as the peers' scripts. Token ids are random: no tokenizer is
 * needed. */
#ifndef BENCH_H
#define BENCH_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <rlhf/rlhf.h>

#include "work.h"

#define BENCH_MAX_RUNS 256

static inline void bench_check(rlhf_status status, const char *what)
{
    if (status == RLHF_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, rlhf_status_name(status),
            rlhf_last_error_message());
    exit(1);
}

static inline double bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The integer argument `text`, from `least` to `most`. */
static inline int64_t bench_integer(const char *text, const char *name, int64_t least,
                                    int64_t most)
{
    char *end;
    long long value = strtoll(text, &end, 10);

    if (*text && !*end && value >= least && value <= most)
        return value;
    fprintf(stderr, "%s must be an integer from %" PRId64 " to %" PRId64 ", got \"%s\"\n",
            name, least, most, text);
    exit(2);
}

/* The same, at least 1. */
static inline int64_t bench_count(const char *text, const char *name)
{
    return bench_integer(text, name, 1, 1 << 24);
}

static inline const char *bench_level_name(int32_t level)
{
    static const char *const names[] = {"auto",   "portable",    "avx2",
                                        "avx512", "avx512_bf16", "amx"};

    return level >= 0 && level < (int32_t)(sizeof names / sizeof *names) ? names[level]
                                                                         : "unknown";
}

/* Whether the last of `argc` arguments is "bf16", which then counts no more. */
static inline bool bench_takes_bf16(int *argc, char **argv)
{
    if (*argc < 2 || strcmp(argv[*argc - 1], "bf16") != 0)
        return false;
    --*argc;
    return true;
}

/* Two threads as the peers; BENCH_THREADS and BENCH_CPU_LEVEL (an rlhf_cpu_level)
 * override. */
static inline rlhf_context *bench_context(bool bf16)
{
    const char *threads = getenv("BENCH_THREADS");
    const char *level = getenv("BENCH_CPU_LEVEL");
    rlhf_context_options options;
    rlhf_context *context;

    bench_check(rlhf_context_options_init(&options, sizeof options), "options");
    options.num_threads = threads ? atoi(threads) : 2;
    options.cpu_level = level ? atoi(level) : RLHF_CPU_AUTO;
    options.dtype = bf16 ? RLHF_DTYPE_BF16 : RLHF_DTYPE_FP32;
    bench_check(rlhf_context_create(&options, &context), "context");
    return context;
}

/* Seconds, sorted: the minimum and the median. */
typedef struct bench_times {
    double seconds[BENCH_MAX_RUNS];
    int count;
} bench_times;

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline void bench_sort(bench_times *times)
{
    qsort(times->seconds, (size_t)times->count, sizeof times->seconds[0], bench_compare);
}

static inline const char *bench_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* Random ids in [3, vocab), the same every run. */
static inline int32_t *bench_ids(int64_t count, int32_t vocab)
{
    int32_t *ids = malloc((size_t)count * sizeof *ids);
    uint64_t state = 88172645463325252u;

    if (!ids) {
        fprintf(stderr, "no memory for %" PRId64 " ids\n", count);
        exit(1);
    }
    for (int64_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ids[i] = vocab > 4 ? 3 + (int32_t)(state % (uint64_t)(vocab - 3)) : 0;
    }
    return ids;
}

/* Where each of `batch` sequences of one length begins, and the last one ends. */
static inline int64_t *bench_offsets(int64_t batch, int64_t length)
{
    int64_t *offsets = malloc(((size_t)batch + 1) * sizeof *offsets);

    if (!offsets) {
        fprintf(stderr, "no memory for %" PRId64 " offsets\n", batch);
        exit(1);
    }
    for (int64_t b = 0; b <= batch; b++)
        offsets[b] = b * length;
    return offsets;
}

/* Of the job: what is taken after the first call of this no longer counts. */
static inline double bench_peak_rss_mib(void)
{
    static double peak;
    struct rusage usage;

    if (peak == 0) {
        getrusage(RUSAGE_SELF, &usage);
        peak = (double)usage.ru_maxrss / 1024;
    }
    return peak;
}

/* Seconds of `work` at the machine's limits, which are measured when first asked for. */
static inline double bench_limit(const rlhf_context *context, bool bf16,
                                 const bench_work *work)
{
    static bench_limits limits;

    bench_peak_rss_mib();
    if (limits.flops == 0)
        limits =
            bench_measure_limits(rlhf_context_cpu_level(context),
                                 rlhf_context_num_threads(context), bf16, work->read_set);
    return bench_limit_seconds(work, &limits);
}

/* {"peer": "librlhf", "bench": …, <fields>, "seconds_min": …, "percent_of_limit": …}: the
 * times are those that `work` took. */
static inline void bench_report(const rlhf_context *context, const char *bench,
                                const char *model, bool bf16, const bench_work *work,
                                bench_times *times, const char *format, ...)
{
    const double limit = bench_limit(context, bf16, work);
    const bench_phase total = bench_total(work);
    va_list args;

    bench_sort(times);
    const double seconds = times->seconds[0];
    printf("{\"peer\": \"librlhf\", \"bench\": \"%s\", \"model\": \"%s\", "
           "\"bf16\": %s, ",
           bench, bench_base_name(model), bf16 ? "true" : "false");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(", \"seconds_min\": %.6f, \"seconds_median\": %.6f, \"peak_rss_mib\": %.1f, ",
           seconds, times->seconds[times->count / 2], bench_peak_rss_mib());
    printf("\"level\": \"%s\", \"threads\": %d, \"gflop\": %.4g, \"read_gb\": %.4g, "
           "\"copy_gb\": %.4g, \"limit_seconds\": %.6f, \"percent_of_limit\": %.1f}\n",
           bench_level_name(rlhf_context_cpu_level(context)),
           rlhf_context_num_threads(context), total.flops / 1e9, total.read_bytes / 1e9,
           total.copy_bytes / 1e9, limit, 100 * limit / seconds);
}

#endif
