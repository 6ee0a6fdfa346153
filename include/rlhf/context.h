/**
 * @file context.h
 * The context: threads, memory, kernels, log. Everything else is created from one.
 *
 * Two contexts share nothing. Calls on one context from several threads queue, except
 * rlhf_context_cancel, which returns at once. Callbacks run on the thread that made the
 * call, and may call rlhf_context_cancel but no other function on the same context.
 */
#ifndef RLHF_CONTEXT_H
#define RLHF_CONTEXT_H

#include <rlhf/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_context rlhf_context;

/** Kernel level. A level picks all kernels together; results are bit-identical within
 * one. */
typedef enum rlhf_cpu_level {
    RLHF_CPU_AUTO = 0,     /**< The best that this CPU can run. */
    RLHF_CPU_PORTABLE = 1, /**< Plain C, no FMA. */
    RLHF_CPU_AVX2 = 2,     /**< x86-64 with AVX2 and FMA. */
    RLHF_CPU_AVX512 = 3    /**< x86-64 with AVX-512 F, BW, DQ and VL. */
} rlhf_cpu_level;

/** What an allocation is for; handed to the allocator hooks. */
typedef enum rlhf_memory_kind {
    RLHF_MEMORY_GENERAL = 0,
    RLHF_MEMORY_WEIGHTS = 1,
    RLHF_MEMORY_GRADIENTS = 2,
    RLHF_MEMORY_MOMENTS = 3,
    RLHF_MEMORY_ACTIVATIONS = 4,
    RLHF_MEMORY_KV_CACHE = 5,
    RLHF_MEMORY_PACKED = 6,
    RLHF_MEMORY_KIND_COUNT = 7
} rlhf_memory_kind;

typedef enum rlhf_log_level {
    RLHF_LOG_DEBUG = 0,
    RLHF_LOG_INFO = 1,
    RLHF_LOG_WARNING = 2,
    RLHF_LOG_OFF = 3
} rlhf_log_level;

/**
 * Allocator hooks. Both slots are required; they may be called from any thread that
 * calls the library, never from a pool thread, and must not call the library.
 */
typedef struct rlhf_allocator {
    size_t struct_size; /**< sizeof(rlhf_allocator) */
    /** `size` bytes at a multiple of `alignment` (a power of two), or NULL. */
    void *(*alloc)(void *user_data, size_t size, size_t alignment, int32_t kind);
    /** Gives back what `alloc` returned, with the same size, alignment and kind. */
    void (*free)(void *user_data, void *ptr, size_t size, size_t alignment, int32_t kind);
    void *user_data;
} rlhf_allocator;

/** One line of log, without a newline. `level` is an rlhf_log_level. */
typedef void (*rlhf_log_fn)(void *user_data, int32_t level, const char *message);

/**
 * Progress of a long call, at least every 100 ms of work: `done` of `total` units.
 * `stage` names the work ("train", "generate", "tokenizer", …). `total` is 0 if unknown.
 */
typedef void (*rlhf_progress_fn)(void *user_data, const char *stage, int64_t done,
                                 int64_t total);

typedef struct rlhf_context_options {
    size_t struct_size;  /**< Set by rlhf_context_options_init. */
    int32_t num_threads; /**< [0, 256]; 0: as many as CPUs the process may use. */
    int32_t cpu_level;   /**< An rlhf_cpu_level. */
    int32_t log_level;   /**< Lowest rlhf_log_level that is passed on. */
    int32_t reserved;    /**< 0. */
    const rlhf_allocator *allocator; /**< Copied; NULL: the C library's. */
    rlhf_log_fn log;                 /**< NULL: no log. */
    void *log_user_data;
    rlhf_progress_fn progress; /**< NULL: no progress. */
    void *progress_user_data;
} rlhf_context_options;

/** Bytes held and the most ever held, by rlhf_memory_kind. Output struct. */
typedef struct rlhf_memory_info {
    size_t struct_size; /**< Set by the caller. */
    int64_t now[7];     /**< Bytes in use now, index rlhf_memory_kind. */
    int64_t peak[7];    /**< Most bytes in use at once, each kind by itself. */
    int64_t total_now;
    int64_t total_peak;  /**< Most bytes in use at once, all kinds together. */
    int64_t allocations; /**< Calls of the allocator's `alloc` since the context was
                              made. */
} rlhf_memory_info;

/**
 * Fills `options` with defaults.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (NULL, or a struct_size no version had).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_context_options_init(rlhf_context_options *options,
                                               size_t struct_size);

/**
 * Makes a context and starts its threads.
 * @param options      NULL: defaults.
 * @param out_context  Owned by the caller; NULL on failure.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_NO_MEMORY; RLHF_ERR_UNSUPPORTED (a
 *         level that this CPU lacks; an option newer than the library).
 * @threads Any.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_context_create(const rlhf_context_options *options, rlhf_context **out_context);

/**
 * Gives the context back. Objects made from it keep what they need alive, so they may be
 * freed later. NULL is a no-op. In a forked child it frees memory and joins no thread.
 * @since 0.1
 */
RLHF_API void rlhf_context_free(rlhf_context *context);

/**
 * Asks the call that runs on the context, or the next one, to stop: it returns
 * RLHF_ERR_CANCELLED and the request is then forgotten. One atomic store: safe from any
 * thread and from a signal handler.
 * @since 0.1
 */
RLHF_API void rlhf_context_cancel(rlhf_context *context);

/**
 * The rlhf_cpu_level in use (never RLHF_CPU_AUTO); 0 for NULL.
 * @since 0.1
 */
RLHF_API int32_t rlhf_context_cpu_level(const rlhf_context *context);

/**
 * Threads that work in a call, the caller's among them; 0 for NULL.
 * @since 0.1
 */
RLHF_API int32_t rlhf_context_num_threads(const rlhf_context *context);

/**
 * Memory that the context's objects hold.
 * @param info  In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any; figures of one instant only if no call runs.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_context_memory(const rlhf_context *context,
                                         rlhf_memory_info *info);

#ifdef __cplusplus
}
#endif

#endif
