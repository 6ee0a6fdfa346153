/* The only way to the heap. Sizes are remembered in a header before the block, so that
 * free needs the pointer only; hooks get size, alignment and kind. Never from a pool
 * thread. */
#ifndef RLHF_BASE_ALLOC_H
#define RLHF_BASE_ALLOC_H

#include <rlhf/context.h>

#include "base/error.h"

#define RLHF__ALIGNMENT 64 /* of every block: a cache line, an AVX-512 vector */

/* count * size bytes, zeroed. *out is NULL on failure (NO_MEMORY, message written).
 * A count of 0 gives a valid block. `context` may be NULL (objects that belong to no
 * context, such as samplers): then the C library's allocator serves. */
rlhf_status rlhf__alloc(rlhf_context *context, int64_t count, size_t size,
                        rlhf_memory_kind kind, void *out);
/* As rlhf__alloc, not zeroed. */
rlhf_status rlhf__alloc_raw(rlhf_context *context, int64_t count, size_t size,
                            rlhf_memory_kind kind, void *out);
/* Grows *block (NULL is allowed) to hold `needed` elements, at least doubling;
 * *capacity in elements. On failure block and capacity are as before. Kind GENERAL. */
rlhf_status rlhf__grow(rlhf_context *context, void *block, int64_t *capacity,
                       int64_t needed, size_t size);
void rlhf__free(void *ptr); /* NULL is a no-op */

rlhf_status rlhf__strdup(rlhf_context *context, const char *text, char **out);
rlhf_status rlhf__strndup(rlhf_context *context, const char *text, size_t size,
                          char **out);

/* A growing byte string, always zero-terminated once anything was appended. */
typedef struct rlhf__buffer {
    rlhf_context *context;
    char *data;
    int64_t size;
    int64_t capacity;
} rlhf__buffer;
rlhf_status rlhf__buffer_append(rlhf__buffer *buffer, const void *bytes, int64_t size);
rlhf_status rlhf__buffer_printf(rlhf__buffer *buffer, const char *format, ...)
    RLHF__PRINTF(2, 3); /* numbers are written in the C locale whatever the host's is */
void rlhf__buffer_free(rlhf__buffer *buffer);

#endif
