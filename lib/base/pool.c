/* A small pool: workers sleep on a condition variable after a short spin; a run
 * publishes a job, and whoever comes takes tiles, first of a share that is always the
 * same. What one pass left in a core's cache is then there for the next: from another
 * core's it comes as slowly as from memory. A run is over when its tiles are: it does not
 * wait for a worker that the system has not let run meanwhile. */
#include "base/pool.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/alloc.h"
#include "base/context.h"

#define SPINS      4000 /* of a pause each: about 20 us to 100 us */
#define CACHE_LINE 64

typedef struct pool_worker {
    rlhf__pool *pool;
    pthread_t thread;
    int32_t index;
} pool_worker;

/* Tiles of a job that a thread takes first; who has no more takes another's. */
typedef struct share {
    _Atomic int64_t next;
    int64_t end;
    char own_line[CACHE_LINE - 2 * sizeof(int64_t)];
} share;

struct rlhf__pool {
    int32_t num_threads; /* the caller among them */
    int32_t num_started;
    pid_t owner_pid;
    pool_worker *workers; /* [num_threads - 1] */
    share *shares;        /* [num_threads] */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    /* The job's number, whether it can be entered, and how many workers are inside. */
    _Alignas(CACHE_LINE) _Atomic uint64_t job;
    /* Written while nobody is inside, and read inside. */
    _Alignas(CACHE_LINE) rlhf__tile_fn fn;
    void *arg;
    atomic_int quit;
    _Alignas(CACHE_LINE) atomic_int sleeping;
};

#define INSIDE   UINT64_C(0xffff) /* of job: the number of workers */
#define OPEN     UINT64_C(0x10000)
#define NEXT_JOB UINT64_C(0x20000)

static void relax(int spin)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
    if (spin % 256 == 255)
        sched_yield();
}

static void take_tiles(rlhf__pool *pool, int32_t thread)
{
    for (int32_t i = 0; i < pool->num_threads; i++) {
        share *from = &pool->shares[(thread + i) % pool->num_threads];
        for (;;) {
            int64_t tile =
                atomic_fetch_add_explicit(&from->next, 1, memory_order_relaxed);
            if (tile >= from->end)
                break;
            pool->fn(pool->arg, tile, thread);
        }
    }
}

/* Fixed by the numbers of tiles and of threads alone. */
static void share_out(rlhf__pool *pool, int64_t num_tiles)
{
    const int64_t each = num_tiles / pool->num_threads;
    const int64_t rest = num_tiles % pool->num_threads;
    int64_t next = 0;

    for (int32_t i = 0; i < pool->num_threads; i++) {
        atomic_store_explicit(&pool->shares[i].next, next, memory_order_relaxed);
        next += each + (i < rest);
        pool->shares[i].end = next;
    }
}

/* Enters a job that is open, and not the one that was seen last; false: there is none. */
static bool enter(rlhf__pool *pool, uint64_t *seen)
{
    uint64_t job = atomic_load(&pool->job);

    while ((job & OPEN) && job / NEXT_JOB != *seen)
        if (atomic_compare_exchange_weak(&pool->job, &job, job + 1)) {
            *seen = job / NEXT_JOB;
            return true;
        }
    return false;
}

static void wait_for_job(rlhf__pool *pool, uint64_t *seen)
{
    for (bool entered = false; !entered;) {
        for (int spin = 0; spin < SPINS; spin++) {
            if (enter(pool, seen))
                return;
            relax(spin);
        }
        pthread_mutex_lock(&pool->mutex);
        atomic_fetch_add(&pool->sleeping, 1);
        entered = enter(pool, seen);
        if (!entered) /* one that comes late stays awake a while for the next job */
            pthread_cond_wait(&pool->wake, &pool->mutex);
        atomic_fetch_sub(&pool->sleeping, 1);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *work(void *arg)
{
    pool_worker *worker = arg;
    rlhf__pool *pool = worker->pool;
    uint64_t seen = 0;

    fesetenv(FE_DFL_ENV); /* that of the thread that started it was inherited */
    for (;;) {
        wait_for_job(pool, &seen);
        if (atomic_load(&pool->quit))
            return NULL;
        take_tiles(pool, worker->index);
        atomic_fetch_sub_explicit(&pool->job, 1, memory_order_release);
    }
}

/* Opens the next job, and wakes who sleeps, as many as are `wanted`. */
static void publish(rlhf__pool *pool, int64_t wanted)
{
    const uint64_t last = atomic_load_explicit(&pool->job, memory_order_relaxed);

    atomic_store(&pool->job, (last / NEXT_JOB + 1) * NEXT_JOB | OPEN);
    if (atomic_load(&pool->sleeping) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    if (wanted >= atomic_load(&pool->sleeping))
        pthread_cond_broadcast(&pool->wake);
    else
        for (int64_t i = 0; i < wanted; i++)
            pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

/* Starts the workers with all signals blocked: the host's handlers run on the host's
 * threads. */
static int start_workers(rlhf__pool *pool)
{
    sigset_t all, previous;
    int error = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    for (int32_t i = 0; i < pool->num_threads - 1 && !error; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].index = i + 1;
        error = pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]);
        if (!error)
            pool->num_started++;
    }
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    return error;
}

rlhf_status rlhf__pool_create(struct rlhf_context *context, int32_t num_threads,
                              rlhf__pool **out_pool)
{
    rlhf__pool *pool = NULL;
    rlhf_status status;

    *out_pool = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *pool, RLHF_MEMORY_GENERAL, &pool));
    pool->num_threads = num_threads;
    pool->owner_pid = getpid();
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    status = rlhf__alloc(context, num_threads, sizeof *pool->workers, RLHF_MEMORY_GENERAL,
                         &pool->workers);
    if (status == RLHF_OK)
        status = rlhf__alloc(context, num_threads, sizeof *pool->shares,
                             RLHF_MEMORY_GENERAL, &pool->shares);
    if (status == RLHF_OK) {
        int error = start_workers(pool);
        if (error)
            status =
                rlhf__fail_errno(error, NULL, "cannot start %d threads", num_threads - 1);
    }
    if (status != RLHF_OK) {
        rlhf__pool_free(pool);
        return status;
    }
    *out_pool = pool;
    return RLHF_OK;
}

void rlhf__pool_free(rlhf__pool *pool)
{
    if (!pool)
        return;
    if (getpid() == pool->owner_pid) {
        atomic_store(&pool->quit, 1);
        publish(pool, pool->num_threads);
        for (int32_t i = 0; i < pool->num_started; i++)
            pthread_join(pool->workers[i].thread, NULL);
        pthread_cond_destroy(&pool->wake);
        pthread_mutex_destroy(&pool->mutex);
    }
    rlhf__free(pool->workers);
    rlhf__free(pool->shares);
    rlhf__free(pool);
}

void rlhf__pool_run(rlhf__pool *pool, int64_t num_tiles, rlhf__tile_fn fn, void *arg)
{
    if (num_tiles <= 1 || pool->num_threads == 1) {
        for (int64_t tile = 0; tile < num_tiles; tile++)
            fn(arg, tile, 0);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    share_out(pool, num_tiles);
    publish(pool, num_tiles - 1);
    take_tiles(pool, 0);
    atomic_fetch_and(&pool->job, ~OPEN);
    for (int spin = 0;
         (atomic_load_explicit(&pool->job, memory_order_acquire) & INSIDE) > 0; spin++)
        relax(spin);
}

int32_t rlhf__pool_num_threads(const rlhf__pool *pool)
{
    return pool->num_threads;
}
