/* Shared by attention.c and attention_grad.c. */
#ifndef RLHF_KERNELS_ATTENTION_H
#define RLHF_KERNELS_ATTENTION_H

#include <assert.h>

#include "base/size.h"
#include "kernels/table.h"

#define BLOCK RLHF__ATTENTION_BLOCK
#define STRIP 12

/* Rows of values are padded with zeros to a multiple of every level's lanes. */
static inline int64_t rlhf__attention_padded(int64_t head_dim)
{
    return rlhf__ceil_div(head_dim, 16) * 16;
}

/* From one copied row of queries to the next: a constant where that is little memory. */
static inline int64_t rlhf__attention_stride(int64_t head_dim)
{
    int64_t padded = rlhf__attention_padded(head_dim);

    return padded > BLOCK / 2 ? rlhf__max_i64(padded, BLOCK) : padded;
}

/* Floats of one head's packed keys and values. */
static inline int64_t rlhf__attention_head_size(int64_t capacity, int64_t head_dim)
{
    return capacity * (head_dim + rlhf__attention_padded(head_dim));
}

static inline int64_t rlhf__attention_first_key(int64_t position, int64_t window)
{
    return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

/* Keys [*first, *last) of block b that a query at `position` sees. */
static inline void rlhf__attention_range(int64_t position, int64_t window, int64_t b,
                                         int64_t *first, int64_t *last)
{
    *first = rlhf__max_i64(rlhf__attention_first_key(position, window) - b * BLOCK, 0);
    *last = rlhf__min_i64(position + 1 - b * BLOCK, BLOCK);
}

/* Where rows end that are multiplied at once from r on, of `rows`: few where the last key
 * that they see moves on with them (r sees keys up to `last`), so that what none of them
 * sees is left out. At a multiple of every level's tile_rows, wherever they begin. */
static inline int64_t rlhf__attention_strip(int64_t r, int64_t rows, int64_t last)
{
    return last == BLOCK ? rows : rlhf__min_i64(r / STRIP * STRIP + STRIP, rows);
}

/* The first of a sequence's new tokens whose output is wanted. */
static inline int64_t rlhf__attention_from(const rlhf__attention *a, int64_t seq)
{
    return a->from ? a->from[seq] : 0;
}

/* How many tokens a sequence shares with its leader. */
static inline int64_t rlhf__attention_shared(const rlhf__attention *a, int64_t seq)
{
    return a->shared ? a->shared[seq].length : 0;
}

/* The first row of those: the leader's (its own, if it has none). */
static inline int64_t rlhf__attention_shared_row(const rlhf__attention *a, int64_t seq)
{
    int64_t shared = rlhf__attention_shared(a, seq);
    int64_t leader = shared > 0 ? a->shared[seq].leader : seq;

    assert(leader <= seq && (leader == seq || !rlhf__attention_shared(a, leader)));
    assert(shared <= a->cu_seqlens[leader + 1] - a->cu_seqlens[leader]);
    return a->cu_seqlens[leader];
}

/* Columns of a block that hold the first `seen` keys, in whole vectors. */
static inline int64_t rlhf__attention_cols(const rlhf__kernels *table, int64_t seen)
{
    return rlhf__ceil_div(seen, table->lanes) * table->lanes;
}

/* Writes keys and values of tokens [first, first + count) of one kv head into a packed
 * head, as positions past, past + 1, …. */
void rlhf__attention_pack(const rlhf__kernels *table, const rlhf__attention *a,
                          int64_t first, int64_t count, int64_t head, int64_t past,
                          int64_t capacity, float *out);

/* ln of a softmax's sum, > 0; kernels/softmax.c. */
float rlhf__attention_log(float sum);

#endif
