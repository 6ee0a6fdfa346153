/* Error text of the calling thread, and the way every layer reports a failure.
 * The lowest layer that knows the cause writes the text; upper layers pass the code
 * on. */
#ifndef RLHF_BASE_ERROR_H
#define RLHF_BASE_ERROR_H

#include <rlhf/common.h>

#if defined(__GNUC__)
#define RLHF__PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define RLHF__PRINTF(fmt, args)
#endif

/* Returns from the calling function if `call` fails. Only where nothing is held. */
#define RLHF__TRY(call)                                                                  \
    do {                                                                                 \
        rlhf_status try_status_ = (call);                                                \
        if (try_status_ != RLHF_OK)                                                      \
            return try_status_;                                                          \
    } while (0)

/* Writes the thread's message and returns `status`. Clears file, line, field and
 * errno. */
rlhf_status rlhf__fail(rlhf_status status, const char *format, ...) RLHF__PRINTF(2, 3);

/* INVALID_ARG, naming the argument or field at fault in the info too. */
rlhf_status rlhf__fail_arg(const char *field, const char *format, ...) RLHF__PRINTF(2, 3);

/* As rlhf__fail, naming a place in a file. The message gets the prefix
 * "FILE:LINE:COLUMN: " (parts that are 0 or NULL are left out). */
rlhf_status rlhf__fail_at(rlhf_status status, const char *file, int64_t line,
                          int64_t column, const char *field, const char *format, ...)
    RLHF__PRINTF(6, 7);

/* As rlhf__fail with the errno given; ": " and its strerror text are appended. Maps
 * ENOENT to NOT_FOUND, EEXIST to EXISTS, ENOMEM to NO_MEMORY, all else to IO. */
rlhf_status rlhf__fail_errno(int system_errno, const char *file, const char *format, ...)
    RLHF__PRINTF(3, 4);

/* Out of memory: a fixed text, nothing allocated. */
rlhf_status rlhf__fail_no_memory(size_t size);

/* Records the offending field in the info of the failure just written; returns
 * `status`. */
rlhf_status rlhf__fail_field(rlhf_status status, const char *field);

/* Tells the failure just written anew, as one of a file; its field stays. */
rlhf_status rlhf__fail_in_file(rlhf_status status, const char *file);

/* A static analyser sees one file at a time: elsewhere it would take a failure's status
 * for anything, RLHF_OK included. */
#if defined(__clang_analyzer__) && !defined(RLHF__ERROR_C)
#define rlhf__fail(s, ...)       ((void)rlhf__fail(s, __VA_ARGS__), s)
#define rlhf__fail_arg(...)      ((void)rlhf__fail_arg(__VA_ARGS__), RLHF_ERR_INVALID_ARG)
#define rlhf__fail_at(s, ...)    ((void)rlhf__fail_at(s, __VA_ARGS__), s)
#define rlhf__fail_errno(...)    ((void)rlhf__fail_errno(__VA_ARGS__), RLHF_ERR_IO)
#define rlhf__fail_no_memory(n)  ((void)rlhf__fail_no_memory(n), RLHF_ERR_NO_MEMORY)
#define rlhf__fail_field(s, f)   ((void)rlhf__fail_field(s, f), s)
#define rlhf__fail_in_file(s, f) ((void)rlhf__fail_in_file(s, f), s)
#endif

#endif
