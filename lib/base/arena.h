/* A bump allocator: memory of one step, given back all at once. After the first step of a
 * shape the same step allocates nothing from the heap. One thread at a time. */
#ifndef RLHF_BASE_ARENA_H
#define RLHF_BASE_ARENA_H

#include <rlhf/context.h>

#include "base/error.h"

typedef struct rlhf__arena rlhf__arena;
typedef struct rlhf__arena_mark {
    int64_t block;
    size_t used;
} rlhf__arena_mark;

rlhf_status rlhf__arena_create(rlhf_context *context, rlhf_memory_kind kind,
                               rlhf__arena **out_arena);
void rlhf__arena_free(rlhf__arena *arena);
/* 64-byte aligned, not zeroed (alloc) or zeroed (zalloc). `out` is a pointer to a
 * pointer. */
rlhf_status rlhf__arena_alloc(rlhf__arena *arena, int64_t count, size_t size, void *out);
rlhf_status rlhf__arena_zalloc(rlhf__arena *arena, int64_t count, size_t size, void *out);
rlhf__arena_mark rlhf__arena_get_mark(const rlhf__arena *arena);
/* Forgets everything allocated since the mark; blocks are kept for reuse. */
void rlhf__arena_release(rlhf__arena *arena, rlhf__arena_mark mark);
/* Forgets everything. Where more than one block was in use, one as large as the most that
 * was held at once takes their place: the steady state is one block without waste. */
void rlhf__arena_reset(rlhf__arena *arena);

#endif
