/* Rows that a trainer holds: copied out of a dataset, kept until the optimizer step that
 * they belong to is applied, and cut into micro-batches by a budget of tokens. Ragged,
 * never padded. */
#ifndef RLHF_DATA_BATCH_H
#define RLHF_DATA_BATCH_H

#include <stdbool.h>

#include "data/dataset.h"

/* An owned ragged set. Row i is sequence i; of a preference, sequences 2i (chosen) and
 * 2i + 1 (rejected), which begin with the same prompt_lengths[i] tokens. tokens,
 * cu_seqlens and num_seqs are what rlhf__batch of the transformer wants. Set up by
 * rlhf__rows_init. */
typedef struct rlhf__rows {
    rlhf_context *context;
    int32_t kind; /* an rlhf_dataset_kind */
    int64_t num_rows;
    int64_t num_seqs;        /* num_rows, or twice that for preferences */
    int32_t *tokens;         /* [cu_seqlens[num_seqs]] */
    int64_t *cu_seqlens;     /* [num_seqs + 1], from 0; NULL while there is no row */
    int64_t *prompt_lengths; /* [num_rows] */
    double *margins;         /* [num_rows] */
    int64_t *ids;            /* [num_rows] */
    int64_t tokens_capacity, seqs_capacity, prompts_capacity, margins_capacity,
        ids_capacity;
} rlhf__rows;

void rlhf__rows_init(rlhf__rows *rows, rlhf_context *context, int32_t kind);
void rlhf__rows_free(rlhf__rows *rows);  /* accepts a zeroed struct; may be used again */
void rlhf__rows_clear(rlhf__rows *rows); /* no rows; memory kept */
int64_t rlhf__rows_num_tokens(const rlhf__rows *rows);
/* Copies a row to the end; on failure the set is as before. */
rlhf_status rlhf__rows_add(rlhf__rows *rows, const rlhf_example *example);
/* Takes row `row` out; those after it move up. */
void rlhf__rows_drop(rlhf__rows *rows, int64_t row);
/* Draws until the set holds `count` rows. Fewer at the stream's end; NOT_FOUND if there
 * is none at all. After another failure the rows drawn so far stay, and the same call
 * goes on. */
rlhf_status rlhf__rows_draw(rlhf__rows *rows, rlhf__dataset *dataset, int64_t count);
/* Targets of rows [first, first + count): tokens that have a token before them and are
 * not of a prompt; for both sides of a preference. */
int64_t rlhf__rows_num_targets(const rlhf__rows *rows, int64_t first, int64_t count);

/* A partition of the rows into micro-batches of at most `budget` tokens, at least one row
 * each. The same rows, budget and order give the same cut on every machine. */
typedef struct rlhf__cut {
    int64_t *order; /* [num_rows] */
    int64_t
        *starts; /* [num_micro + 1]; micro-batch m: order[starts[m] .. starts[m + 1]) */
    int64_t num_micro;
    int64_t order_capacity, starts_capacity;
} rlhf__cut;
/* by_length: longest rows first (ties by row), so that each micro-batch holds rows of
 * about one length and the first one shows the most memory that is needed; otherwise the
 * rows' order. */
/* `cut` is zeroed, or one made before, whose memory is used again; on failure it has no
 * micro-batch. */
rlhf_status rlhf__rows_cut(const rlhf__rows *rows, int64_t budget, bool by_length,
                           rlhf__cut *cut);
void rlhf__cut_free(rlhf__cut *cut); /* accepts a zeroed struct */
/* Micro-batch `micro` as a set of its own, into `out` (cleared first). */
rlhf_status rlhf__rows_gather(const rlhf__rows *rows, const rlhf__cut *cut, int64_t micro,
                              rlhf__rows *out);

#endif
