/* struct rlhf_context: what every layer needs from the host. It is reference-counted, so
 * that handles keep it alive whatever the order in which the host frees them. */
#ifndef RLHF_BASE_CONTEXT_H
#define RLHF_BASE_CONTEXT_H

#include <fenv.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include <rlhf/context.h>

#include "base/error.h"
#include "base/pool.h"

struct rlhf_context {
    atomic_int references;
    atomic_int cancel_requested;
    int32_t cpu_level; /* resolved, never AUTO */
    int32_t log_level;
    pid_t owner_pid; /* the process that made it; another means: after fork */
    rlhf_allocator allocator;
    rlhf_log_fn log;
    void *log_user_data;
    rlhf_progress_fn progress;
    void *progress_user_data;
    rlhf__pool *pool;
    bool map_weights;    /* the option */
    const void *kernels; /* const rlhf__kernels *, set by the api layer at creation */
    bool blis;           /* BLIS's micro-kernel serves, likewise */
    const void *bf16;    /* const rlhf__bf16_kernels *, likewise; NULL: fp32 */
    int32_t dtype;       /* an rlhf_dtype */
    struct rlhf__context_lock *lock; /* queue of calls; see rlhf__context_enter */
    void *freed; /* the api layer's: what callbacks of the call under way freed */
    const char
        *stage; /* static storage: what rlhf__progress told last in this call, or NULL */
    int64_t stage_done, stage_total;
    int64_t last_progress_ns;
    _Atomic int64_t bytes_now[RLHF_MEMORY_KIND_COUNT];
    _Atomic int64_t bytes_peak[RLHF_MEMORY_KIND_COUNT];
    _Atomic int64_t total_now;
    _Atomic int64_t total_peak;
    _Atomic int64_t allocations;
    _Atomic uint64_t last_version; /* of parameters; see rlhf__context_next_version */
};

/* base's part of rlhf_context_create: everything but `kernels`, `blis` and `bf16`.
 * `resolved_level` is checked by the caller. */
rlhf_status rlhf__context_create(const rlhf_context_options *options,
                                 int32_t resolved_level, rlhf_context **out_context);
rlhf_context *rlhf__context_ref(rlhf_context *context);
void rlhf__context_unref(rlhf_context *context); /* NULL is a no-op */

/* State of the calling thread that a public call changes and must put back. */
typedef struct rlhf__entry {
    fenv_t host; /* floating-point environment */
    bool locked;
} rlhf__entry;

/* Begins a public call that computes: refuses after fork (STATE) and re-entry from a
 * callback on the same thread (BUSY), waits for the context's other calls, holds the
 * context, sets C's default floating-point environment. rlhf__context_leave puts the
 * host's back, lets go of the context and passes the status on. A callback may leave
 * another environment behind (a fast-math library that it loads flushes denormals from
 * then on): whoever calls one puts back what was there. */
rlhf_status rlhf__context_enter(rlhf_context *context, rlhf__entry *entry);
rlhf_status rlhf__context_leave(rlhf_context *context, rlhf__entry *entry,
                                rlhf_status status);
/* Whether the calling thread is in a call on this context, so that what asks comes from a
 * callback. */
bool rlhf__context_is_inside(const rlhf_context *context);

/* Has all threads fetch the pages of memory from the system that nobody has written yet.
 * Else two threads that first write to one huge page at once would both clear one. */
rlhf_status rlhf__context_touch(rlhf_context *context, void *memory, int64_t size);

/* Takes back the default allocator's wish for huge pages in a part of a block that will
 * be written here and there: pages that nobody writes take no memory. */
void rlhf__context_use_small_pages(const rlhf_context *context, void *memory,
                                   int64_t size);

#define RLHF__MAX_THREADS 256

/* CPUs' worth of time of a line of cgroup's cpu.max, "QUOTA PERIOD", up to
 * RLHF__MAX_THREADS, which is also what anything else means: "max PERIOD", nothing. */
int32_t rlhf__quota_cpus(const char *text);

/* A number that no parameters of the context had before: equal versions mean equal
 * weights. From 1. */
static inline uint64_t rlhf__context_next_version(rlhf_context *context)
{
    return atomic_fetch_add(&context->last_version, 1) + 1;
}

/* CANCELLED (and the request forgotten) if the host asked for it. Long loops call it at
 * least every 100 ms, on the thread that made the call; it also repeats the progress last
 * told, so that a callback that polls comes as often. */
rlhf_status rlhf__check_cancel(rlhf_context *context);

/* Log line, if `level` is passed on. */
void rlhf__log(rlhf_context *context, int32_t level, const char *format, ...)
    RLHF__PRINTF(3, 4);

/* Tells progress: to the callback at most every 50 ms and always at done == total; then
 * rlhf__check_cancel. `stage` is static storage. */
rlhf_status rlhf__progress(rlhf_context *context, const char *stage, int64_t done,
                           int64_t total);
/* Tells that all of a stage is done, nothing of a total of 0. Whoever cancels now stops
 * the next call. */
void rlhf__progress_end(rlhf_context *context, const char *stage, int64_t total);

#endif
