#include "rounds.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

typedef struct team {
    pthread_barrier_t barrier;
    const round_fn *rounds;
    int count, way; /* how many, and which is being timed */
    size_t bytes;   /* of each thread's memory */
    int calls;
    double seconds, *best;
} team;

/* What rounds compute goes here. */
static volatile float sink;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Memory in large pages where the system has them, touched by the thread that uses it. */
static float *get_memory(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)memory)[i] = 1.0f;
    return memory;
}

static void work(team *t, bool first)
{
    float *memory = t->bytes ? get_memory(t->bytes) : NULL;
    double end = now() + t->seconds;

    for (;;) {
        pthread_barrier_wait(&t->barrier);
        const int way = t->way;
        if (way == t->count)
            break;
        double begun = now();
        for (int i = 0; i < t->calls; i++)
            sink = t->rounds[way](memory, t->bytes);
        pthread_barrier_wait(&t->barrier);
        if (first) {
            double ended = now();
            if (ended - begun < t->best[way])
                t->best[way] = ended - begun;
            if (ended >= end) {
                t->way++;
                end = ended + t->seconds;
            }
        }
    }
    if (memory)
        munmap(memory, t->bytes);
}

static void *start_worker(void *arg)
{
    work(arg, false);
    return NULL;
}

void bench_best_rounds(const round_fn *rounds, int count, size_t bytes, int calls,
                       int threads, double seconds, double *out_best)
{
    team t = {.rounds = rounds,
              .count = count,
              .bytes = bytes,
              .calls = calls,
              .seconds = seconds / count,
              .best = out_best};
    pthread_t *workers = calloc((size_t)threads, sizeof *workers);

    for (int i = 0; i < count; i++)
        out_best[i] = 1e30;
    pthread_barrier_init(&t.barrier, NULL, (unsigned)threads);
    for (int i = 1; i < threads; i++)
        if (!workers || pthread_create(&workers[i], NULL, start_worker, &t)) {
            fprintf(stderr, "the system starts no more threads\n");
            exit(1);
        }
    work(&t, true);
    for (int i = 1; i < threads; i++)
        pthread_join(workers[i], NULL);
    pthread_barrier_destroy(&t.barrier);
    free(workers);
}
