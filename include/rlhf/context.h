/**
 * @file context.h
 * The context: threads, memory, kernels, log. Everything else is created from one.
 *
 * Two contexts share nothing. Callbacks (log, progress, and those of samplers, sources
 * and text) run on the thread that made the call, with the context's queue held. What
 * would queue on the same context returns RLHF_ERR_BUSY there. A callback may call:
 * - rlhf_context_cancel, and figures of the context (_cpu_level, _dtype, _num_threads,
 *   _memory);
 * - what only reads a tokenizer: _encode, _decode, ids and sizes; and text streams;
 * - of models and reward models _get_config, _num_parameters, _num_parameter_names and
 *   _parameter_info; of trainers _num_steps, _num_iterations and _is_current; of
 *   generators and rollouts _num_sequences and _get;
 * - what is on no context: _options_init and the like, samplers, error texts, names;
 * - the _free of any object, the call's own among them: it goes when the call ends (a
 *   text stream, and a sampler that nothing else holds, at once);
 * - anything on another context.
 *
 * @threads Any, unless an entry says more.
 */
#ifndef RLHF_CONTEXT_H
#define RLHF_CONTEXT_H

#include <rlhf/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Threads, memory, kernels and log of all that is made from it. */
typedef struct rlhf_context rlhf_context;

/** Kernel level. A level picks all kernels together; results are bit-identical within
 * one, from RLHF_CPU_AVX512 on in fp32 across them, and so they are between
 * RLHF_CPU_AVX512 and RLHF_CPU_AVX512_BF16 in bf16. */
typedef enum rlhf_cpu_level {
    RLHF_CPU_AUTO = 0,        /**< The best that this CPU can run; RLHF_CPU_AMX only where
                                  dtype is RLHF_DTYPE_BF16. */
    RLHF_CPU_PORTABLE = 1,    /**< Plain C, no FMA. */
    RLHF_CPU_AVX2 = 2,        /**< x86-64 with AVX2 and FMA. */
    RLHF_CPU_AVX512 = 3,      /**< x86-64 with AVX-512 F, BW, DQ and VL, and FMA. */
    RLHF_CPU_AVX512_BF16 = 4, /**< The same with AVX512_BF16: faster where dtype is
                                  RLHF_DTYPE_BF16. */
    RLHF_CPU_AMX = 5 /**< The same with AMX's tiles: many times faster where dtype is
                          RLHF_DTYPE_BF16. Linux gives the tiles' 8 KB of state to a
                          process that asks for it, which creating the context does. From
                          then on a thread's alternate signal stack has to have room for
                          it: sigaltstack refuses one below sysconf(_SC_MINSIGSTKSZ), and
                          where a thread already has such a stack, or the system refuses
                          for any other reason, this level cannot be run. */
} rlhf_cpu_level;

/**
 * Compute dtype. Weights, gradients and moments are fp32 with either, and files too.
 * With RLHF_DTYPE_BF16 every product with a weight, gradients among them, rounds both of
 * its operands to bf16 (8 bits of precision) and sums in fp32; token embeddings, keys
 * and values are rounded too. Attention, norms, softmax, log-probabilities, losses and
 * the optimizer stay fp32. Its products have the same bits on every level but
 * RLHF_CPU_AMX; all else has those of the level.
 */
typedef enum rlhf_dtype {
    RLHF_DTYPE_FP32 = 0, /**< All of it in fp32. */
    RLHF_DTYPE_BF16 =
        1 /**< Half the weight traffic; made for CPUs with AMX or AVX512_BF16. */
} rlhf_dtype;

/** What an allocation is for; handed to the allocator hooks. */
typedef enum rlhf_memory_kind {
    RLHF_MEMORY_GENERAL = 0,     /**< What is none of the others. */
    RLHF_MEMORY_WEIGHTS = 1,     /**< Parameters. */
    RLHF_MEMORY_GRADIENTS = 2,   /**< Of parameters. */
    RLHF_MEMORY_MOMENTS = 3,     /**< Adam's m and v. */
    RLHF_MEMORY_ACTIVATIONS = 4, /**< Tapes: values, gradients of values, scratch. */
    RLHF_MEMORY_KV_CACHE = 5,    /**< Keys and values of sequences being answered. */
    RLHF_MEMORY_PACKED = 6,      /**< Weights again, as the matrix products read them. */
    RLHF_MEMORY_KIND_COUNT = 7   /**< How many kinds there are. */
} rlhf_memory_kind;

/** Levels of the log, ascending. */
typedef enum rlhf_log_level {
    RLHF_LOG_DEBUG = 0,   /**< For who looks into the library. */
    RLHF_LOG_INFO = 1,    /**< What was read and kept. */
    RLHF_LOG_WARNING = 2, /**< What the host ought to know. */
    RLHF_LOG_OFF = 3      /**< Nothing. */
} rlhf_log_level;

/**
 * Allocator hooks. Both slots are required. They are called from threads that call the
 * library, never from a pool thread, and by several of them at once where the host
 * encodes text, or frees objects, on several; so they must be safe for that. They must
 * not call the library.
 */
typedef struct rlhf_allocator {
    size_t struct_size; /**< sizeof(rlhf_allocator) */
    /** `size` bytes (a multiple of `alignment`) at a multiple of `alignment` (a power of
     *  two), or NULL. `kind` is an rlhf_memory_kind. */
    void *(*alloc)(void *user_data, size_t size, size_t alignment, int32_t kind);
    /** Gives back what `alloc` returned, with the same size, alignment and kind. */
    void (*free)(void *user_data, void *ptr, size_t size, size_t alignment, int32_t kind);
    void *user_data; /**< First argument of both; must live as long as the context. */
} rlhf_allocator;

/** One line of log, without a newline, valid during the call. `level`: an rlhf_log_level.
 */
typedef void (*rlhf_log_fn)(void *user_data, int32_t level, const char *message);

/**
 * Progress of a long call: `done` of `total` units (`total` 0: not known). Calls come
 * some 50 ms apart or more, and once at the end of each pass over the work, where done ==
 * total. `stage` names the work: "dataset", "evaluate", "feedback", "generate", "load",
 * "logits", "logprobs", "resume", "save", "score", "tokenizer", "train"; valid during the
 * call.
 */
typedef void (*rlhf_progress_fn)(void *user_data, const char *stage, int64_t done,
                                 int64_t total);

/** How a context is made. */
typedef struct rlhf_context_options {
    size_t struct_size;  /**< Set by rlhf_context_options_init. */
    int32_t num_threads; /**< [0, 256]; 0: as many as CPUs the process may use, by its
                              affinity and its container's quota (cgroup v2). */
    int32_t cpu_level;   /**< An rlhf_cpu_level. */
    int32_t log_level;   /**< Lowest rlhf_log_level that is passed on. */
    int32_t dtype;       /**< An rlhf_dtype. */
    const rlhf_allocator *allocator; /**< Copied; NULL: the C library's. */
    rlhf_log_fn log;                 /**< NULL: no log. */
    void *log_user_data;             /**< Its first argument. */
    rlhf_progress_fn progress;       /**< NULL: no progress. */
    void *progress_user_data;        /**< Its first argument. */
    int32_t map_weights; /**< 0: weights are read from their files into memory. 1: those
                            that a file holds as the network does stay in the file,
                            mapped read-only, until they are written first; then they
                            are copied. Whoever cuts the file short meanwhile ends the
                            process by SIGBUS (docs/memory.md). */
    int32_t reserved;    /**< 0 */
} rlhf_context_options;

/** Bytes held and the most ever held, by rlhf_memory_kind. Output struct. */
typedef struct rlhf_memory_info {
    size_t struct_size; /**< Set by the caller. */
    int64_t now[7];     /**< Bytes in use now, index rlhf_memory_kind. */
    int64_t peak[7];    /**< Most bytes in use at once, each kind by itself. */
    int64_t total_now;  /**< Bytes in use now, all kinds together. */
    int64_t total_peak; /**< Most bytes in use at once, all kinds together. */
    int64_t
        allocations; /**< Calls of the allocator's `alloc` since the context was made. */
} rlhf_memory_info;

/**
 * Fills `options` with defaults: all CPUs, the best level, fp32, log from RLHF_LOG_INFO
 * on, the C library's allocator, no callbacks, weights read into memory.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_context_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (NULL, or a struct_size below the first
 *         version's).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_context_options_init(rlhf_context_options *options,
                                               size_t struct_size);

/**
 * Makes a context and starts its threads.
 *
 * @param options      NULL: defaults.
 * @param out_context  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (a field, named with bound and value; a slot of
 *         the allocator); RLHF_ERR_NO_MEMORY; RLHF_ERR_UNSUPPORTED (a level that this
 *         CPU lacks); RLHF_ERR_IO (the system starts no more threads).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_context_create(const rlhf_context_options *options, rlhf_context **out_context);

/**
 * Gives the caller's hold back. Objects made from the context keep it alive, so they may
 * be freed later. In a forked child it frees memory and joins no thread.
 *
 * @param context  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_context_free(rlhf_context *context);

/**
 * Asks the call that works on the context, or the next one that looks, to stop: it
 * returns RLHF_ERR_CANCELLED and the request is then forgotten. Long calls look at least
 * every 100 ms; short ones never do. One atomic store.
 *
 * @param context  NULL is a no-op.
 * @threads Any; also from a callback and from a signal handler.
 * @since 0.1
 */
RLHF_API void rlhf_context_cancel(rlhf_context *context);

/**
 * The kernel level in use.
 *
 * @param context  NULL gives 0.
 * @return An rlhf_cpu_level, never RLHF_CPU_AUTO.
 * @since 0.1
 */
RLHF_API int32_t rlhf_context_cpu_level(const rlhf_context *context);

/**
 * The compute dtype.
 *
 * @param context  NULL gives 0.
 * @return An rlhf_dtype.
 * @since 0.1
 */
RLHF_API int32_t rlhf_context_dtype(const rlhf_context *context);

/**
 * Threads that work in a call, the caller's among them.
 *
 * @param context  NULL gives 0.
 * @return At least 1.
 * @since 0.1
 */
RLHF_API int32_t rlhf_context_num_threads(const rlhf_context *context);

/**
 * Memory of the context's allocator that it and its objects hold. Samplers belong to no
 * context and are not in it.
 *
 * @param context  The context.
 * @param info     In: struct_size set. Out: filled.
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
