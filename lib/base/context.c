/* The context: references, the queue of calls, floating-point state, cancellation,
 * log. */
#include "base/context.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/number.h"
#include "base/size.h"
#include "base/versioned_struct.h"

#define PROGRESS_INTERVAL_NS 50000000
#define HUGE_PAGE            ((size_t)1 << 21)
#define LARGE                (4 * HUGE_PAGE)
#define TOUCH_AT_ONCE        128 /* huge pages between two looks at cancellation */
#define MAPPED               ((int64_t)32 << 20) /* malloc maps such blocks one by one */

struct rlhf__context_lock {
    pthread_mutex_t mutex;
    _Atomic(pthread_t) owner;
    atomic_int owned;
};

/* Blocks from LARGE on begin at a huge page and ask for such pages: weights, moments and
 * activations are streamed, and each small page would cost a fault and later a miss of
 * the TLB. A system that grants none gives small ones. */
static void *default_alloc(void *user_data, size_t size, size_t alignment, int32_t kind)
{
    (void)user_data;
    (void)kind;
#ifdef MADV_HUGEPAGE
    if (size >= LARGE) {
        void *block = NULL; /* aligned_alloc wants a size of whole pages */
        if (posix_memalign(&block, HUGE_PAGE, size) != 0)
            return NULL;
        (void)madvise(block, size, MADV_HUGEPAGE);
        return block;
    }
#endif
    return aligned_alloc(alignment, size);
}

static void default_free(void *user_data, void *ptr, size_t size, size_t alignment,
                         int32_t kind)
{
    (void)user_data;
    (void)size;
    (void)alignment;
    (void)kind;
    free(ptr);
}

static rlhf_status choose_allocator(const rlhf_allocator *given, rlhf_allocator *out)
{
    *out = (rlhf_allocator){sizeof *out, default_alloc, default_free, NULL};
    if (!given)
        return RLHF_OK;
    RLHF__TRY(
        rlhf__struct_copy_in(given, sizeof *given, sizeof *out, out, "rlhf_allocator"));
    if (!out->alloc || !out->free)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "rlhf_allocator.%s is NULL",
                          out->alloc ? "free" : "alloc");
    return RLHF_OK;
}

static void touch_page(void *arg, int64_t tile, int32_t thread)
{
    volatile char *page = arg;

    (void)thread;
    page[tile * (int64_t)HUGE_PAGE] = 0;
}

rlhf_status rlhf__context_touch(rlhf_context *context, void *memory, int64_t size)
{
    const int64_t page = (int64_t)HUGE_PAGE, step = TOUCH_AT_ONCE * page;

    for (int64_t at = 0; at < size; at += step) {
        const int64_t now = rlhf__min_i64(step, size - at);
        rlhf__pool_run(context->pool, rlhf__ceil_div(now, page), touch_page,
                       (char *)memory + at);
        RLHF__TRY(rlhf__check_cancel(context));
    }
    return RLHF_OK;
}

void rlhf__context_use_small_pages(const rlhf_context *context, void *memory,
                                   int64_t size)
{
#ifdef MADV_NOHUGEPAGE
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)memory;
    const uintptr_t skip = (page - at % page) % page;

    if (context->allocator.alloc == default_alloc && size >= MAPPED)
        (void)madvise((char *)memory + skip, ((uintptr_t)size - skip) / page * page,
                      MADV_NOHUGEPAGE);
#else
    (void)context, (void)memory, (void)size;
#endif
}

int32_t rlhf__quota_cpus(const char *text)
{
    char *end = NULL;
    const long long quota = strtoll(text, &end, 10);
    const long long period = end == text ? 0 : strtoll(end, NULL, 10);

    if (quota <= 0 || period <= 0 || quota / period >= RLHF__MAX_THREADS)
        return RLHF__MAX_THREADS;
    return (int32_t)(quota / period + (quota % period != 0));
}

/* What a container may use at once, where it is limited. */
static int32_t granted_cpus(void)
{
    char text[64] = "";
    const int file = open("/sys/fs/cgroup/cpu.max", O_RDONLY | O_CLOEXEC);

    if (file < 0)
        return RLHF__MAX_THREADS;
    if (read(file, text, sizeof text - 1) <= 0)
        text[0] = '\0';
    close(file);
    return rlhf__quota_cpus(text);
}

static int32_t usable_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (int32_t)rlhf__min_i64(CPU_COUNT(&set), granted_cpus());
    return 1;
}

rlhf_status rlhf__context_create(const rlhf_context_options *options,
                                 int32_t resolved_level, rlhf_context **out_context)
{
    rlhf_allocator allocator;
    rlhf_context *context;
    rlhf_status status;

    *out_context = NULL;
    RLHF__TRY(choose_allocator(options->allocator, &allocator));
    size_t size =
        (sizeof *context + RLHF__ALIGNMENT - 1) / RLHF__ALIGNMENT * RLHF__ALIGNMENT;
    context =
        allocator.alloc(allocator.user_data, size, RLHF__ALIGNMENT, RLHF_MEMORY_GENERAL);
    if (!context)
        return rlhf__fail_no_memory(size);
    *context = (rlhf_context){.cpu_level = resolved_level,
                              .log_level = options->log_level,
                              .dtype = options->dtype,
                              .map_weights = options->map_weights != 0,
                              .owner_pid = getpid(),
                              .allocator = allocator,
                              .log = options->log,
                              .log_user_data = options->log_user_data,
                              .progress = options->progress,
                              .progress_user_data = options->progress_user_data};
    atomic_init(&context->references, 1);
    status = rlhf__alloc(context, 1, sizeof *context->lock, RLHF_MEMORY_GENERAL,
                         &context->lock);
    if (status == RLHF_OK)
        pthread_mutex_init(&context->lock->mutex, NULL);
    if (status == RLHF_OK)
        status = rlhf__pool_create(
            context, options->num_threads > 0 ? options->num_threads : usable_cpus(),
            &context->pool);
    if (status != RLHF_OK) {
        rlhf__context_unref(context);
        return status;
    }
    *out_context = context;
    return RLHF_OK;
}

rlhf_context *rlhf__context_ref(rlhf_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void rlhf__context_unref(rlhf_context *context)
{
    if (!context ||
        atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1)
        return;
    rlhf__pool_free(context->pool);
    if (context->lock && getpid() == context->owner_pid)
        pthread_mutex_destroy(&context->lock->mutex);
    rlhf__free(context->lock);
    rlhf_allocator allocator = context->allocator;
    size_t size =
        (sizeof *context + RLHF__ALIGNMENT - 1) / RLHF__ALIGNMENT * RLHF__ALIGNMENT;
    allocator.free(allocator.user_data, context, size, RLHF__ALIGNMENT,
                   RLHF_MEMORY_GENERAL);
}

bool rlhf__context_is_inside(const rlhf_context *context)
{
    struct rlhf__context_lock *lock = context->lock;

    return atomic_load(&lock->owned) &&
           pthread_equal(atomic_load(&lock->owner), pthread_self());
}

rlhf_status rlhf__context_enter(rlhf_context *context, rlhf__entry *entry)
{
    struct rlhf__context_lock *lock = context->lock;

    *entry = (rlhf__entry){0};
    if (getpid() != context->owner_pid)
        return rlhf__fail(RLHF_ERR_STATE,
                          "the context belongs to process %ld, not to its "
                          "forked child",
                          (long)context->owner_pid);
    if (rlhf__context_is_inside(context))
        return rlhf__fail(RLHF_ERR_BUSY,
                          "a callback called the library on its own context");
    pthread_mutex_lock(&lock->mutex);
    atomic_store(&lock->owner, pthread_self());
    atomic_store(&lock->owned, 1);
    entry->locked = true;
    rlhf__context_ref(context); /* a callback may free the host's */
    context->stage = NULL;
    fegetenv(&entry->host);
    fesetenv(FE_DFL_ENV); /* round to nearest, denormals kept, exceptions masked */
    return RLHF_OK;
}

rlhf_status rlhf__context_leave(rlhf_context *context, rlhf__entry *entry,
                                rlhf_status status)
{
    if (!entry->locked)
        return status;
    /* The host's flags of past exceptions are its own; ours are dropped. */
    fesetenv(&entry->host);
    atomic_store(&context->lock->owned, 0);
    pthread_mutex_unlock(&context->lock->mutex);
    entry->locked = false;
    rlhf__context_unref(context);
    return status;
}

void rlhf__log(rlhf_context *context, int32_t level, const char *format, ...)
{
    char line[1024];
    va_list args;
    fenv_t own;

    if (!context || !context->log || level < context->log_level)
        return;
    rlhf__c_locale scope = rlhf__c_locale_begin();
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rlhf__c_locale_end(scope);
    fegetenv(&own);
    context->log(context->log_user_data, level, line);
    fesetenv(&own);
}

/* Calls the progress callback with the stage's latest figures, if it is due; the end is
 * shown once, `always`. */
static void show_progress(rlhf_context *context, bool always)
{
    struct timespec t;
    fenv_t own;

    if (!context->progress || !context->stage)
        return;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    const bool told = context->stage_total > 0 && /* 0: not known */
                      context->stage_done == context->stage_total;
    if (!always && (told || now - context->last_progress_ns < PROGRESS_INTERVAL_NS))
        return;
    context->last_progress_ns = now;
    fegetenv(&own);
    context->progress(context->progress_user_data, context->stage, context->stage_done,
                      context->stage_total);
    fesetenv(&own);
}

rlhf_status rlhf__check_cancel(rlhf_context *context)
{
    show_progress(context, false);
    if (!atomic_load_explicit(&context->cancel_requested, memory_order_relaxed))
        return RLHF_OK;
    atomic_store(&context->cancel_requested, 0);
    return rlhf__fail(RLHF_ERR_CANCELLED, "cancelled by rlhf_context_cancel");
}

rlhf_status rlhf__progress(rlhf_context *context, const char *stage, int64_t done,
                           int64_t total)
{
    context->stage = stage;
    context->stage_done = done;
    context->stage_total = total;
    if (done == total && total > 0)
        show_progress(context, true);
    return rlhf__check_cancel(context);
}

void rlhf__progress_end(rlhf_context *context, const char *stage, int64_t total)
{
    context->stage = stage;
    context->stage_done = context->stage_total = total;
    if (total > 0)
        show_progress(context, true);
}
