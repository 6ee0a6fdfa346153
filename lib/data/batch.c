/* Rows held for an optimizer step, and their cut into micro-batches. */
#include "data/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

void rlhf__rows_init(rlhf__rows *rows, rlhf_context *context, int32_t kind)
{
    memset(rows, 0, sizeof *rows);
    rows->context = context;
    rows->kind = kind;
}

void rlhf__rows_free(rlhf__rows *rows)
{
    rlhf__free(rows->tokens);
    rlhf__free(rows->cu_seqlens);
    rlhf__free(rows->prompt_lengths);
    rlhf__free(rows->margins);
    rlhf__free(rows->ids);
    rlhf__rows_init(rows, rows->context, rows->kind);
}

void rlhf__rows_clear(rlhf__rows *rows)
{
    rows->num_rows = 0;
    rows->num_seqs = 0;
}

int64_t rlhf__rows_num_tokens(const rlhf__rows *rows)
{
    return rows->num_seqs > 0 ? rows->cu_seqlens[rows->num_seqs] : 0;
}

static int64_t seqs_per_row(const rlhf__rows *rows)
{
    return rows->kind == RLHF_DATASET_PREFERENCE ? 2 : 1;
}

rlhf_status rlhf__rows_add(rlhf__rows *rows, const rlhf_example *example)
{
    const bool pair = rows->kind == RLHF_DATASET_PREFERENCE;
    const int64_t first = rlhf__rows_num_tokens(rows);
    const int64_t num_rejected = pair ? example->num_rejected : 0;
    const int64_t n = rows->num_rows, s = rows->num_seqs;
    rlhf_context *context = rows->context;

    RLHF__TRY(rlhf__grow(context, &rows->tokens, &rows->tokens_capacity,
                         first + example->num_tokens + num_rejected,
                         sizeof *rows->tokens));
    RLHF__TRY(rlhf__grow(context, &rows->cu_seqlens, &rows->seqs_capacity,
                         s + seqs_per_row(rows) + 1, sizeof *rows->cu_seqlens));
    RLHF__TRY(rlhf__grow(context, &rows->prompt_lengths, &rows->prompts_capacity, n + 1,
                         sizeof *rows->prompt_lengths));
    RLHF__TRY(rlhf__grow(context, &rows->margins, &rows->margins_capacity, n + 1,
                         sizeof *rows->margins));
    RLHF__TRY(
        rlhf__grow(context, &rows->ids, &rows->ids_capacity, n + 1, sizeof *rows->ids));
    if (example->num_tokens > 0)
        memcpy(rows->tokens + first, example->tokens,
               (size_t)example->num_tokens * sizeof(int32_t));
    rows->cu_seqlens[0] = 0;
    rows->cu_seqlens[s + 1] = first + example->num_tokens;
    if (pair) {
        if (num_rejected > 0)
            memcpy(rows->tokens + rows->cu_seqlens[s + 1], example->rejected,
                   (size_t)num_rejected * sizeof(int32_t));
        rows->cu_seqlens[s + 2] = rows->cu_seqlens[s + 1] + num_rejected;
    }
    rows->prompt_lengths[n] = example->prompt_length;
    rows->margins[n] = example->margin;
    rows->ids[n] = example->id;
    rows->num_rows = n + 1;
    rows->num_seqs = s + seqs_per_row(rows);
    return RLHF_OK;
}

void rlhf__rows_drop(rlhf__rows *rows, int64_t row)
{
    const int64_t per_row = seqs_per_row(rows);
    const int64_t seq = row * per_row, after = seq + per_row;
    const int64_t first = rows->cu_seqlens[seq], end = rows->cu_seqlens[after];
    const size_t rest = (size_t)(rows->num_rows - row - 1);

    memmove(rows->tokens + first, rows->tokens + end,
            (size_t)(rlhf__rows_num_tokens(rows) - end) * sizeof *rows->tokens);
    for (int64_t s = after; s <= rows->num_seqs; s++)
        rows->cu_seqlens[s - per_row] = rows->cu_seqlens[s] - (end - first);
    memmove(rows->prompt_lengths + row, rows->prompt_lengths + row + 1,
            rest * sizeof *rows->prompt_lengths);
    memmove(rows->margins + row, rows->margins + row + 1, rest * sizeof *rows->margins);
    memmove(rows->ids + row, rows->ids + row + 1, rest * sizeof *rows->ids);
    rows->num_rows--;
    rows->num_seqs -= per_row;
}

rlhf_status rlhf__rows_draw(rlhf__rows *rows, rlhf__dataset *dataset, int64_t count)
{
    rlhf_example example;

    while (rows->num_rows < count) {
        rlhf_status status = rlhf__dataset_next(dataset, &example);
        if (status == RLHF_ERR_NOT_FOUND && rows->num_rows > 0)
            return RLHF_OK;
        if (status != RLHF_OK)
            return status;
        status = rlhf__rows_add(rows, &example);
        if (status != RLHF_OK) {
            rlhf__dataset_put_back(dataset, &example);
            return status;
        }
    }
    return RLHF_OK;
}

static int64_t row_tokens(const rlhf__rows *rows, int64_t row)
{
    const int64_t per_row = seqs_per_row(rows);
    return rows->cu_seqlens[(row + 1) * per_row] - rows->cu_seqlens[row * per_row];
}

int64_t rlhf__rows_num_targets(const rlhf__rows *rows, int64_t first, int64_t count)
{
    int64_t total = 0;

    for (int64_t row = first; row < first + count; row++) {
        const int64_t untrained = rlhf__max_i64(rows->prompt_lengths[row], 1);
        total += row_tokens(rows, row) - seqs_per_row(rows) * untrained;
    }
    return total;
}

typedef struct sort_key {
    int64_t tokens;
    int64_t row;
} sort_key;

static int longer_first(const void *a, const void *b)
{
    const sort_key *x = a, *y = b;

    if (x->tokens != y->tokens)
        return x->tokens < y->tokens ? 1 : -1;
    return (x->row > y->row) - (x->row < y->row);
}

static rlhf_status sort_by_length(const rlhf__rows *rows, int64_t *order)
{
    sort_key *keys = NULL;

    RLHF__TRY(rlhf__alloc(rows->context, rows->num_rows, sizeof *keys,
                          RLHF_MEMORY_GENERAL, &keys));
    for (int64_t i = 0; i < rows->num_rows; i++)
        keys[i] = (sort_key){row_tokens(rows, i), i};
    qsort(keys, (size_t)rows->num_rows, sizeof *keys, longer_first);
    for (int64_t i = 0; i < rows->num_rows; i++)
        order[i] = keys[i].row;
    rlhf__free(keys);
    return RLHF_OK;
}

rlhf_status rlhf__rows_cut(const rlhf__rows *rows, int64_t budget, bool by_length,
                           rlhf__cut *cut)
{
    const int64_t count = rows->num_rows;
    int64_t used = 0, num_micro = 0;

    cut->num_micro = 0;
    RLHF__TRY(rlhf__grow(rows->context, &cut->order, &cut->order_capacity, count,
                         sizeof *cut->order));
    RLHF__TRY(rlhf__grow(rows->context, &cut->starts, &cut->starts_capacity, count + 1,
                         sizeof *cut->starts));
    for (int64_t i = 0; i < count; i++)
        cut->order[i] = i;
    if (by_length)
        RLHF__TRY(sort_by_length(rows, cut->order));
    for (int64_t i = 0; i < count; i++) {
        const int64_t tokens = row_tokens(rows, cut->order[i]);
        if (i == 0 || tokens > budget - used) {
            cut->starts[num_micro++] = i;
            used = 0;
        }
        used += tokens;
    }
    cut->starts[num_micro] = count;
    cut->num_micro = num_micro;
    return RLHF_OK;
}

void rlhf__cut_free(rlhf__cut *cut)
{
    rlhf__free(cut->order);
    rlhf__free(cut->starts);
    *cut = (rlhf__cut){0};
}

rlhf_status rlhf__rows_gather(const rlhf__rows *rows, const rlhf__cut *cut, int64_t micro,
                              rlhf__rows *out)
{
    const int64_t per_row = seqs_per_row(rows);

    rlhf__rows_clear(out);
    for (int64_t i = cut->starts[micro]; i < cut->starts[micro + 1]; i++) {
        const int64_t row = cut->order[i];
        const int64_t *ends = rows->cu_seqlens + row * per_row;
        rlhf_example example = {.struct_size = sizeof example,
                                .tokens = rows->tokens + ends[0],
                                .num_tokens = ends[1] - ends[0],
                                .prompt_length = rows->prompt_lengths[row],
                                .margin = rows->margins[row],
                                .id = rows->ids[row]};
        if (per_row == 2) {
            example.rejected = rows->tokens + ends[1];
            example.num_rejected = ends[2] - ends[1];
        }
        RLHF__TRY(rlhf__rows_add(out, &example));
    }
    return RLHF_OK;
}
