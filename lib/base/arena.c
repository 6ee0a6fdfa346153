/* A bump allocator over a list of blocks. */
#include "base/arena.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

#define FIRST_BLOCK ((size_t)1 << 20)

typedef struct arena_block {
    char *data;
    size_t size;
    size_t used;
} arena_block;

struct rlhf__arena {
    rlhf_context *context;
    rlhf_memory_kind kind;
    arena_block *blocks;
    int64_t num_blocks, capacity;
    int64_t current; /* block in use, -1: none */
    size_t before;   /* bytes used in the blocks before it */
    /* Since the last reset: the highest block in use, the most bytes in use at once. */
    int64_t most_used;
    size_t high;
};

static void forget(rlhf__arena *arena)
{
    arena->current = -1;
    arena->most_used = -1;
    arena->before = arena->high = 0;
}

rlhf_status rlhf__arena_create(rlhf_context *context, rlhf_memory_kind kind,
                               rlhf__arena **out_arena)
{
    rlhf__arena *arena = NULL;

    *out_arena = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *arena, RLHF_MEMORY_GENERAL, &arena));
    arena->context = context;
    arena->kind = kind;
    forget(arena);
    *out_arena = arena;
    return RLHF_OK;
}

static void free_blocks(rlhf__arena *arena)
{
    for (int64_t i = 0; i < arena->num_blocks; i++)
        rlhf__free(arena->blocks[i].data);
    arena->num_blocks = 0;
    forget(arena);
}

void rlhf__arena_free(rlhf__arena *arena)
{
    if (!arena)
        return;
    free_blocks(arena);
    rlhf__free(arena->blocks);
    rlhf__free(arena);
}

static rlhf_status add_block(rlhf__arena *arena, size_t size)
{
    char *data = NULL;

    RLHF__TRY(rlhf__grow(arena->context, &arena->blocks, &arena->capacity,
                         arena->num_blocks + 1, sizeof *arena->blocks));
    RLHF__TRY(rlhf__alloc_raw(arena->context, (int64_t)size, 1, arena->kind, &data));
    arena->blocks[arena->num_blocks++] = (arena_block){data, size, 0};
    return RLHF_OK;
}

static size_t room_left(const arena_block *block)
{
    return block->size - block->used;
}

/* A quarter of what is there already: few blocks, and little that is never used. */
static size_t new_block_size(const rlhf__arena *arena, size_t bytes)
{
    size_t size = 0;

    for (int64_t i = 0; i < arena->num_blocks; i++)
        size += arena->blocks[i].size / 4;
    size = size > FIRST_BLOCK ? size : FIRST_BLOCK;
    return size > bytes ? size : bytes;
}

/* Makes a block with room for `bytes` current: a later one that is there already, or a
 * new one. */
static rlhf_status next_block(rlhf__arena *arena, size_t bytes)
{
    int64_t next = arena->current + 1;

    while (next < arena->num_blocks && arena->blocks[next].size < bytes)
        arena->blocks[next++].used = 0;
    if (next == arena->num_blocks)
        RLHF__TRY(add_block(arena, new_block_size(arena, bytes)));
    if (arena->current >= 0)
        arena->before += arena->blocks[arena->current].used;
    arena->blocks[next].used = 0;
    arena->current = next;
    arena->most_used = rlhf__max_i64(arena->most_used, next);
    return RLHF_OK;
}

rlhf_status rlhf__arena_alloc(rlhf__arena *arena, int64_t count, size_t size, void *out)
{
    size_t bytes = 0;

    *(void **)out = NULL;
    if (count < 0 || !rlhf__size_mul((size_t)count, size, &bytes) ||
        bytes > PTRDIFF_MAX - RLHF__ALIGNMENT)
        return rlhf__fail_no_memory(SIZE_MAX);
    bytes = (bytes + RLHF__ALIGNMENT - 1) / RLHF__ALIGNMENT * RLHF__ALIGNMENT;
    if (arena->current < 0 || room_left(&arena->blocks[arena->current]) < bytes)
        RLHF__TRY(next_block(arena, bytes));
    arena_block *block = &arena->blocks[arena->current];
    *(void **)out = block->data + block->used;
    block->used += bytes;
    if (arena->before + block->used > arena->high)
        arena->high = arena->before + block->used;
    return RLHF_OK;
}

rlhf_status rlhf__arena_zalloc(rlhf__arena *arena, int64_t count, size_t size, void *out)
{
    RLHF__TRY(rlhf__arena_alloc(arena, count, size, out));
    memset(*(void **)out, 0, (size_t)count * size);
    return RLHF_OK;
}

rlhf__arena_mark rlhf__arena_get_mark(const rlhf__arena *arena)
{
    rlhf__arena_mark mark = {arena->current, 0};

    if (arena->current >= 0)
        mark.used = arena->blocks[arena->current].used;
    return mark;
}

void rlhf__arena_release(rlhf__arena *arena, rlhf__arena_mark mark)
{
    arena->current = mark.block;
    arena->before = 0;
    if (mark.block >= 0)
        arena->blocks[mark.block].used = mark.used;
    for (int64_t i = 0; i < mark.block; i++)
        arena->before += arena->blocks[i].used;
}

void rlhf__arena_reset(rlhf__arena *arena)
{
    /* Several blocks were in use: one with room for all of it serves next time. */
    if (arena->most_used > 0) {
        const size_t high = arena->high;
        free_blocks(arena);
        if (add_block(arena, high) != RLHF_OK)
            arena->num_blocks = 0; /* the next allocation asks again, and tells */
    }
    forget(arena);
}
