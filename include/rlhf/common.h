/**
 * @file common.h
 * Statuses, error text, version, and the marks that every other header uses.
 */
#ifndef RLHF_COMMON_H
#define RLHF_COMMON_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) || !defined(__GNUC__)
#define RLHF_API
#define RLHF_MUST_CHECK
#else
#define RLHF_API        __attribute__((visibility("default")))
#define RLHF_MUST_CHECK __attribute__((warn_unused_result))
#endif

#define RLHF_VERSION_MAJOR 0
#define RLHF_VERSION_MINOR 1
#define RLHF_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/** Result of a call. Values are never reused; new ones may be added below the last. */
typedef enum rlhf_status {
    RLHF_OK = 0,
    RLHF_ERR_INVALID_ARG = -1, /**< The caller's mistake: NULL, a shape, a range. */
    RLHF_ERR_NO_MEMORY = -2,   /**< An allocation failed; nothing changed. */
    RLHF_ERR_UNSUPPORTED = -3, /**< Newer than this library, or a feature it lacks. */
    RLHF_ERR_IO = -4,          /**< The operating system refused; errno is in the info. */
    RLHF_ERR_FORMAT = -5,      /**< A malformed file or text. */
    RLHF_ERR_NUMERIC = -6,     /**< A NaN or an infinity appeared. */
    RLHF_ERR_CALLBACK = -7,    /**< A callback of the host failed. */
    RLHF_ERR_CANCELLED = -8,   /**< By rlhf_context_cancel; call again to go on. */
    RLHF_ERR_STATE = -9,       /**< Not now: wrong order of calls, or after fork. */
    RLHF_ERR_BUSY = -10,       /**< Another thread uses the object. */
    RLHF_ERR_LIMIT = -11,      /**< Over a limit that the host or the library set. */
    RLHF_ERR_NOT_FOUND = -12,  /**< No such file, name, or next item. */
    RLHF_ERR_EXISTS = -13,     /**< It is there already. */
    RLHF_ERR_INTERNAL = -14    /**< A bug of the library. */
} rlhf_status;

/** Where and why the calling thread's last failure happened. Output struct,
 * size-versioned. */
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
 * @return Thread-owned storage, never NULL; valid until the thread's next failing call.
 *         Meaningful only right after a failure.
 * @threads Any.
 * @since 0.1
 */
RLHF_API const char *rlhf_last_error_message(void);

/**
 * The calling thread's last failure in parts, so that no binding parses text.
 * @param info  In: struct_size set. Out: filled; its strings are thread-owned and valid
 *              until the thread's next failing call.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (NULL or a struct_size of 0).
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_last_error_info(rlhf_error_info *info);

/**
 * Name of a status, such as "RLHF_ERR_IO".
 * @return Static storage; "RLHF_ERR_UNKNOWN" for a value that is not an rlhf_status.
 * @threads Any.
 * @since 0.1
 */
RLHF_API const char *rlhf_status_name(int32_t status);

/**
 * The library's version, "MAJOR.MINOR.PATCH".
 * @return Static storage.
 * @threads Any.
 * @since 0.1
 */
RLHF_API const char *rlhf_version(void);

#ifdef __cplusplus
}
#endif

#endif
