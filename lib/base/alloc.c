/* Heap blocks with a header, growing buffers. */
#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/context.h"
#include "base/number.h"
#include "base/size.h"

/* In the RLHF__ALIGNMENT bytes before each block. */
typedef struct block_header {
    rlhf_context *context;
    size_t total; /* bytes asked of the allocator */
    int32_t kind;
} block_header;

static void raise_peak(_Atomic int64_t *peak, int64_t value)
{
    int64_t seen = atomic_load_explicit(peak, memory_order_relaxed);

    while (value > seen && !atomic_compare_exchange_weak(peak, &seen, value))
        ;
}

static void count_block(rlhf_context *context, int32_t kind, int64_t bytes)
{
    int64_t now = atomic_fetch_add(&context->bytes_now[kind], bytes) + bytes;
    int64_t total = atomic_fetch_add(&context->total_now, bytes) + bytes;

    if (bytes > 0) {
        atomic_fetch_add(&context->allocations, 1);
        raise_peak(&context->bytes_peak[kind], now);
        raise_peak(&context->total_peak, total);
    }
}

rlhf_status rlhf__alloc_raw(rlhf_context *context, int64_t count, size_t size,
                            rlhf_memory_kind kind, void *out)
{
    size_t bytes = 0, total = 0;
    char *raw;

    *(void **)out = NULL;
    if (count < 0 || !rlhf__size_mul((size_t)count, size, &bytes) ||
        !rlhf__size_add(bytes, 2 * RLHF__ALIGNMENT, &total) || total > PTRDIFF_MAX)
        return rlhf__fail_no_memory(SIZE_MAX);
    total -= total % RLHF__ALIGNMENT;
    if (context)
        raw = context->allocator.alloc(context->allocator.user_data, total,
                                       RLHF__ALIGNMENT, kind);
    else
        raw = aligned_alloc(RLHF__ALIGNMENT, total);
    if (!raw)
        return rlhf__fail_no_memory(total);
    block_header *header = (block_header *)raw;
    header->context = context;
    header->total = total;
    header->kind = (int32_t)kind;
    if (context)
        count_block(context, (int32_t)kind, (int64_t)total);
    *(void **)out = raw + RLHF__ALIGNMENT;
    return RLHF_OK;
}

rlhf_status rlhf__alloc(rlhf_context *context, int64_t count, size_t size,
                        rlhf_memory_kind kind, void *out)
{
    RLHF__TRY(rlhf__alloc_raw(context, count, size, kind, out));
    memset(*(void **)out, 0, (size_t)count * size);
    return RLHF_OK;
}

void rlhf__free(void *ptr)
{
    if (!ptr)
        return;
    char *raw = (char *)ptr - RLHF__ALIGNMENT;
    block_header header = *(block_header *)raw;
    if (!header.context) {
        free(raw);
        return;
    }
    count_block(header.context, header.kind, -(int64_t)header.total);
    header.context->allocator.free(header.context->allocator.user_data, raw, header.total,
                                   RLHF__ALIGNMENT, header.kind);
}

rlhf_status rlhf__grow(rlhf_context *context, void *block, int64_t *capacity,
                       int64_t needed, size_t size)
{
    void *old = *(void **)block, *grown = NULL;
    int64_t target;

    if (needed <= *capacity)
        return RLHF_OK;
    target = *capacity > INT64_MAX / 4 ? needed : rlhf__max_i64(2 * *capacity, needed);
    target = rlhf__max_i64(target, 16);
    RLHF__TRY(rlhf__alloc_raw(context, target, size, RLHF_MEMORY_GENERAL, &grown));
    if (old)
        memcpy(grown, old, (size_t)*capacity * size);
    rlhf__free(old);
    *(void **)block = grown;
    *capacity = target;
    return RLHF_OK;
}

rlhf_status rlhf__strndup(rlhf_context *context, const char *text, size_t size,
                          char **out)
{
    char *copy = NULL;

    *out = NULL;
    if (size >= PTRDIFF_MAX)
        return rlhf__fail_no_memory(size);
    RLHF__TRY(rlhf__alloc_raw(context, (int64_t)size + 1, 1, RLHF_MEMORY_GENERAL, &copy));
    if (size)
        memcpy(copy, text, size);
    copy[size] = '\0';
    *out = copy;
    return RLHF_OK;
}

rlhf_status rlhf__strdup(rlhf_context *context, const char *text, char **out)
{
    return rlhf__strndup(context, text, strlen(text), out);
}

rlhf_status rlhf__buffer_append(rlhf__buffer *buffer, const void *bytes, int64_t size)
{
    if (size < 0 || size > INT64_MAX / 4 - buffer->size)
        return rlhf__fail_no_memory((size_t)size);
    RLHF__TRY(rlhf__grow(buffer->context, &buffer->data, &buffer->capacity,
                         buffer->size + size + 1, 1));
    if (size)
        memcpy(buffer->data + buffer->size, bytes, (size_t)size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
    return RLHF_OK;
}

rlhf_status rlhf__buffer_printf(rlhf__buffer *buffer, const char *format, ...)
{
    va_list args;
    int needed;

    rlhf__c_locale scope = rlhf__c_locale_begin();
    va_start(args, format);
    needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    rlhf_status status =
        needed < 0 ? rlhf__fail(RLHF_ERR_INTERNAL, "bad format") : RLHF_OK;
    if (status == RLHF_OK)
        status = rlhf__grow(buffer->context, &buffer->data, &buffer->capacity,
                            buffer->size + needed + 1, 1);
    if (status == RLHF_OK) {
        va_start(args, format);
        vsnprintf(buffer->data + buffer->size, (size_t)needed + 1, format, args);
        va_end(args);
        buffer->size += needed;
    }
    rlhf__c_locale_end(scope);
    return status;
}

void rlhf__buffer_free(rlhf__buffer *buffer)
{
    rlhf__free(buffer->data);
    buffer->data = NULL;
    buffer->size = 0;
    buffer->capacity = 0;
}
