/* Another library in the process changes no bit of ours, and ours none of it: loaded
 * before us, its symbols first in the global scope (LD_PRELOAD), or after us
 * (RTLD_GLOBAL), and at work on another thread at the same time.
 *
 *     test-beside KIND LIBRARY      KIND: openblas, fast-math
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../api/outcome.h"
#include "flush.h"

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                      \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

enum { SIZE = 150, ROW_MAJOR = 101, AS_IT_IS = 111 };

typedef void (*sgemm_fn)(int order, int turn_a, int turn_b, int m, int n, int k,
                         float alpha, const float *a, int lda, const float *b, int ldb,
                         float beta, float *c, int ldc);

typedef struct blas {
    sgemm_fn sgemm;
    atomic_int stop, runs;
} blas;

/* Small whole numbers: every order of sums gives the exact product. */
static void multiply_exactly(blas *own)
{
    static _Thread_local float a[SIZE * SIZE], b[SIZE * SIZE], c[SIZE * SIZE];

    for (int i = 0; i < SIZE * SIZE; i++) {
        a[i] = (float)(i * 7 % 11 - 5);
        b[i] = (float)(i * 5 % 13 - 6);
    }
    own->sgemm(ROW_MAJOR, AS_IT_IS, AS_IT_IS, SIZE, SIZE, SIZE, 1.0f, a, SIZE, b, SIZE,
               0.0f, c, SIZE);
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            int sum = 0;
            for (int k = 0; k < SIZE; k++)
                sum += (int)a[i * SIZE + k] * (int)b[k * SIZE + j];
            CHECK(c[i * SIZE + j] == (float)sum);
        }
    atomic_fetch_add(&own->runs, 1);
}

static void *multiply_on(void *arg)
{
    blas *own = arg;

    while (!atomic_load(&own->stop))
        multiply_exactly(own);
    return NULL;
}

/* Its products are right before, during and after ours. */
static void compute_beside_blas(outcome *out)
{
    blas own = {.sgemm = NULL};
    pthread_t thread;

    *(void **)&own.sgemm = dlsym(RTLD_DEFAULT, "cblas_sgemm"); /* in the global scope */
    CHECK(own.sgemm);
    multiply_exactly(&own);
    CHECK(pthread_create(&thread, NULL, multiply_on, &own) == 0);
    while (atomic_load(&own.runs) < 2)
        sched_yield();
    outcome_compute(2, out);
    atomic_store(&own.stop, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    multiply_exactly(&own);
}

/* Into standard output: the outcome, with the library there from the start ("first") or
 * loaded when ours has been at work ("later"); or without it. */
static void run_child(const char *kind, const char *library, const char *when)
{
    outcome out;

    if (strcmp(when, "later") == 0) {
        outcome_compute(2, &out);
        CHECK(dlopen(library, RTLD_NOW | RTLD_GLOBAL));
    }
    if (strcmp(when, "alone") == 0) {
        CHECK(!denormals_are_flushed() && !dlsym(RTLD_DEFAULT, "cblas_sgemm"));
        outcome_compute(2, &out);
    } else if (strcmp(kind, "openblas") == 0) {
        compute_beside_blas(&out);
    } else {
        CHECK(dlsym(RTLD_DEFAULT, "fast_math_is_loaded") && denormals_are_flushed());
        outcome_compute(2, &out);
        CHECK(denormals_are_flushed());
    }
    CHECK(fwrite(&out, sizeof out, 1, stdout) == 1);
}

static outcome run(const char *self, const char *kind, const char *library,
                   const char *when)
{
    char command[4096];
    outcome out;
    const bool first = strcmp(when, "first") == 0;

    CHECK(snprintf(command, sizeof command, "LD_PRELOAD='%s' '%s' %s '%s' %s",
                   first ? library : "", self, kind, library,
                   when) < (int)sizeof command);
    FILE *pipe = popen(command, "r");
    CHECK(pipe && fread(&out, sizeof out, 1, pipe) == 1);
    CHECK(pclose(pipe) == 0);
    return out;
}

int main(int argc, char **argv)
{
    if (argc == 4) {
        run_child(argv[1], argv[2], argv[3]);
        return 0;
    }
    CHECK(argc == 3);
    if (!dlopen(argv[2], RTLD_NOW | RTLD_LOCAL)) {
        printf("skipped: %s\n", dlerror());
        return 77;
    }
    const outcome alone = run(argv[0], argv[1], argv[2], "alone");
    const outcome first = run(argv[0], argv[1], argv[2], "first");
    const outcome later = run(argv[0], argv[1], argv[2], "later");
    CHECK(memcmp(&alone, &first, sizeof alone) == 0);
    CHECK(memcmp(&alone, &later, sizeof alone) == 0);
    return 0;
}
