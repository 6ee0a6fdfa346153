/* Rows of training data: kept in memory as ids (files, appended rows), or drawn from a
 * source that the host writes. Both are one stream: next, and a position to save and
 * restore. */
#ifndef RLHF_DATA_DATASET_H
#define RLHF_DATA_DATASET_H

#include <stdbool.h>

#include <rlhf/dataset.h>

#include "base/versioned_struct.h"

struct rlhf__tokenizer;

extern const rlhf__struct_desc rlhf__dataset_options_desc;

/* A row lies in rlhf__dataset.tokens as [first, first + num_tokens), then the rejected
 * side. */
typedef struct rlhf__dataset_row {
    int64_t first;
    int64_t num_tokens;
    int64_t prompt_length;
    int64_t num_rejected; /* 0 unless a preference */
    double margin;
} rlhf__dataset_row;

typedef struct rlhf__dataset {
    rlhf_context *context;        /* borrowed from the handle */
    int32_t kind;                 /* an rlhf_dataset_kind */
    rlhf_dataset_options options; /* checked; of a source only `kind` means anything */
    int32_t bos_id;               /* of the tokenizer; -1: none or unknown */
    int32_t eos_id;
    int32_t vocab_size; /* bound of the ids; INT32_MAX if unknown */
    int32_t *tokens;
    int64_t num_tokens, tokens_capacity;
    rlhf__dataset_row *rows;
    int64_t num_rows, rows_capacity;
    rlhf_dataset_info info; /* the counters; get_info fills num_rows, num_tokens */
    uint64_t fingerprint;   /* FNV-1a over all of the rows: a position fits its data */
    int64_t *order;         /* the epoch's permutation; NULL: none drawn yet */
    int64_t order_capacity;
    int64_t order_epoch;  /* the epoch that `order` is of; -1: none */
    int64_t epoch, index; /* the next row is rows[order[index]] of `epoch` */
    bool drawn_from;      /* next was called: append is over */
    bool is_source;
    rlhf_source_ops source;
    void *user_data;
    rlhf_example returned; /* of a source: put back, and the next one to come */
    bool has_returned;
} rlhf__dataset;

rlhf_status rlhf__dataset_create(rlhf_context *context,
                                 const rlhf_dataset_options *options,
                                 rlhf__dataset **out);
rlhf_status rlhf__dataset_create_from_source(rlhf_context *context, int32_t kind,
                                             const rlhf_source_ops *ops, void *user_data,
                                             rlhf__dataset **out);
/* data/load.c: JSONL or plain text, by the name's ending. */
rlhf_status rlhf__dataset_load(rlhf_context *context, struct rlhf__tokenizer *tokenizer,
                               const char *path, const rlhf_dataset_options *options,
                               rlhf__dataset **out);
void rlhf__dataset_free(rlhf__dataset *dataset); /* NULL ok */

/* Applies the rules (data/rules.c) and keeps or counts the row. */
rlhf_status rlhf__dataset_append(rlhf__dataset *dataset, const rlhf_example *example);
rlhf_status rlhf__dataset_split(const rlhf__dataset *dataset, int64_t held_out,
                                uint64_t seed, rlhf__dataset **out_train,
                                rlhf__dataset **out_held_out);
void rlhf__dataset_get_info(const rlhf__dataset *dataset, rlhf_dataset_info *out_info);
/* Row `index` in the order of the file. out_example is a whole rlhf_example of today's
 * size; its pointers are the dataset's, valid until the next call on it. */
rlhf_status rlhf__dataset_get_row(rlhf__dataset *dataset, int64_t index,
                                  rlhf_example *out_example);
/* The next row of the stream; NOT_FOUND after the last epoch. A source's row is checked
 * (ids not negative, lengths in range). On failure the stream is where it was. */
rlhf_status rlhf__dataset_next(rlhf__dataset *dataset, rlhf_example *out_example);
/* Undoes the last next, for a row that could not be kept: it is the next one again. */
void rlhf__dataset_put_back(rlhf__dataset *dataset, const rlhf_example *example);
rlhf_status rlhf__dataset_rewind(rlhf__dataset *dataset);
/* At most RLHF_SOURCE_POSITION_MAX bytes; LIMIT if `capacity` is too small; STATE if a
 * row of a source was put back, since the source is past it. */
rlhf_status rlhf__dataset_save_position(rlhf__dataset *dataset, void *out_bytes,
                                        size_t capacity, size_t *out_size);
/* FORMAT: not a position; INVALID_ARG: of other data. */
rlhf_status rlhf__dataset_restore_position(rlhf__dataset *dataset, const void *bytes,
                                           size_t size);

/* Shape of one row; INVALID_ARG names field and value. */
rlhf_status rlhf__example_check(const rlhf_example *example, int32_t kind,
                                int32_t vocab_size);

/* --- data/rules.c: what of a row is kept ---------------------------------------------
 */

typedef enum rlhf__verdict {
    RLHF__ROW_KEEP,
    RLHF__ROW_TRUNCATED, /* kept, shorter */
    RLHF__ROW_OVERLONG,
    RLHF__ROW_IDENTICAL,
    RLHF__ROW_EMPTY
} rlhf__verdict;

/* What stays of a row: of each side the first `head` tokens (a BOS), then those from
 * head + skip on, num_tokens (num_rejected) in all. */
typedef struct rlhf__row_cut {
    int64_t head;
    int64_t skip; /* tokens lost from the prompt's left */
    int64_t num_tokens;
    int64_t num_rejected;
    int64_t prompt_length; /* what stays of it, head included */
} rlhf__row_cut;
/* Of every kind but text, which is cut into blocks instead. */
rlhf__verdict rlhf__row_judge(const rlhf__dataset *dataset, const rlhf_example *example,
                              rlhf__row_cut *out_cut);
/* Counts a row that was read and not kept; KEEP counts nothing. */
void rlhf__dataset_count(rlhf__dataset *dataset, rlhf__verdict verdict);

#endif
