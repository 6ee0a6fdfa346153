/**
 * @file common.h
 * Statuses, error text, version, and what holds for every function of the library.
 *
 * Unless an entry says more:
 * - A pointer that is not called optional must not be NULL: RLHF_ERR_INVALID_ARG.
 * - Any call may fail with RLHF_ERR_NO_MEMORY. One on a context, or on an object made
 *   from one, may fail with RLHF_ERR_STATE in a forked child, and with RLHF_ERR_BUSY
 *   when a callback of that same context makes it (context.h lists those that it may
 *   make). Entries list what else may happen.
 * - A failed call has changed nothing. Outputs hold what they held, but for handles
 *   that were to be made: those are NULL. RLHF_ERR_INTERNAL alone promises nothing.
 * - A handle in an `out_` parameter is the caller's, to be given to its _free function,
 *   which takes NULL. A pointer that is returned, or that stands in an output struct,
 *   is borrowed; the entry says from whom and for how long.
 * - Handles hold what they need, so they may be freed in any order.
 * - A struct begins with struct_size. Structs that are given (options, tables) get it
 *   from their _init function or by sizeof; a struct that is filled in by the library
 *   must have it set by sizeof before the call. What an older program's struct lacks
 *   has its default; what a newer one sets and this library does not know is
 *   RLHF_ERR_UNSUPPORTED.
 * - A call puts the thread's floating-point environment back; what it computes and its
 *   callbacks run in C's default one. A host that unloads the library (dlclose) frees
 *   every handle before.
 *
 * @threads Calls on one context, and on the objects made from it, may come from any
 * number of threads: they queue. Entries without @threads are such calls. Freeing an
 * object while another thread has a call on it is the host's mistake; what a callback
 * frees goes when the call ends. docs/threading.md.
 */
#ifndef RLHF_COMMON_H
#define RLHF_COMMON_H

#include <stddef.h>
#include <stdint.h>

#if UINTPTR_MAX != UINT64_MAX
#error "librlhf needs a 64-bit target: sizes and offsets are 64-bit throughout"
#endif

#if defined(_WIN32) || !defined(__GNUC__)
#define RLHF_API
#define RLHF_MUST_CHECK
#else
/** Marks what the library exports. */
#define RLHF_API        __attribute__((visibility("default")))
/** Marks a function whose status must be looked at: the compiler warns otherwise. */
#define RLHF_MUST_CHECK __attribute__((warn_unused_result))
#endif

/** Version of these headers; rlhf_version is that of the library in use. */
#define RLHF_VERSION_MAJOR 0
/** Grows with what is added. */
#define RLHF_VERSION_MINOR 1
/** Grows with corrections. */
#define RLHF_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Result of a call. Values are never reused; new ones may be added below the last.
 * docs/errors.md says of each what it means and what to do.
 */
typedef enum rlhf_status {
    RLHF_OK = 0,               /**< It worked. */
    RLHF_ERR_INVALID_ARG = -1, /**< The caller's mistake: NULL, a shape, a range. */
    RLHF_ERR_NO_MEMORY = -2,   /**< An allocation failed. */
    RLHF_ERR_UNSUPPORTED = -3, /**< Newer than this library, or a feature it lacks. */
    RLHF_ERR_IO = -4,          /**< The operating system refused; errno is in the info. */
    RLHF_ERR_FORMAT = -5,      /**< A malformed file or text. */
    RLHF_ERR_NUMERIC = -6,     /**< A NaN or an infinity appeared. */
    RLHF_ERR_CALLBACK = -7,    /**< A callback of the host failed. */
    RLHF_ERR_CANCELLED = -8,   /**< By rlhf_context_cancel; call again to go on. */
    RLHF_ERR_STATE = -9,       /**< Not now: wrong order of calls, or after fork. */
    RLHF_ERR_BUSY = -10,       /**< Another thread, trainer or process uses the object. */
    RLHF_ERR_LIMIT = -11,      /**< Over a limit that the host or the library set. */
    RLHF_ERR_NOT_FOUND = -12,  /**< No such file, name, or next item. */
    RLHF_ERR_EXISTS = -13,     /**< It is there already. */
    RLHF_ERR_INTERNAL = -14    /**< A bug of the library. */
} rlhf_status;

/** Where and why the calling thread's last failure happened. Output struct. */
typedef struct rlhf_error_info {
    size_t struct_size;   /**< Set by the caller: sizeof(rlhf_error_info). */
    int32_t status;       /**< An rlhf_status. */
    int32_t system_errno; /**< errno of the failing system call; 0 where none. */
    int64_t line;         /**< 1-based line in `file`; 0 where none. */
    int64_t column;       /**< 1-based column in `file`; 0 where none. */
    const char *file;     /**< Path of the offending file, "" where none. Thread-owned. */
    const char *field;   /**< Name of the offending field, "" where none. Thread-owned. */
    const char *message; /**< As rlhf_last_error_message. Thread-owned. */
} rlhf_error_info;

/**
 * Text of the calling thread's last failure: one line, no newline at its end.
 *
 * @return Thread-owned storage, never NULL; valid until the thread's next failing call.
 *         Meaningful only right after a failure. "" before the thread's first.
 * @threads Any.
 * @since 0.1
 */
RLHF_API const char *rlhf_last_error_message(void);

/**
 * The calling thread's last failure in parts, so that no binding parses text.
 *
 * @param info  In: struct_size set. Out: filled; its strings are thread-owned and valid
 *              until the thread's next failing call.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (NULL, or struct_size not set), which leaves the
 *         last failure what it was where `info` is NULL or its size is below 8.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_last_error_info(rlhf_error_info *info);

/**
 * Name of a status, such as "RLHF_ERR_IO".
 *
 * @param status  Any value.
 * @return Static storage; "RLHF_ERR_UNKNOWN" for a value that is not an rlhf_status.
 * @threads Any.
 * @since 0.1
 */
RLHF_API const char *rlhf_status_name(int32_t status);

/**
 * The library's version, "MAJOR.MINOR.PATCH".
 *
 * @return Static storage.
 * @threads Any.
 * @since 0.1
 */
RLHF_API const char *rlhf_version(void);

#ifdef __cplusplus
}
#endif

#endif
