/* Rows in memory and their stream: append, split, row, next, position. */
#include "data/dataset.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/rng.h"
#include "base/size.h"
#include "data/source.h"

static const uint64_t FNV_OFFSET = 14695981039346656037ULL;
static const uint64_t FNV_PRIME = 1099511628211ULL;

/* Of a saved position: changes with its layout. */
static const char POSITION_MAGIC[8] = {'r', 'l', 'h', 'f', 'p', 'o', 's', '1'};

typedef struct position {
    char magic[8];
    int64_t epoch, index;
    int64_t num_rows;
    uint64_t fingerprint;
    uint64_t seed;
    int64_t shuffle;
} position;

rlhf_status rlhf__dataset_create(rlhf_context *context,
                                 const rlhf_dataset_options *options, rlhf__dataset **out)
{
    rlhf_dataset_options own;

    *out = NULL;
    RLHF__TRY(rlhf__struct_read(&rlhf__dataset_options_desc, options, &own));
    RLHF__TRY(rlhf__alloc(context, 1, sizeof **out, RLHF_MEMORY_GENERAL, out));
    (*out)->context = context;
    (*out)->kind = own.kind;
    (*out)->options = own;
    (*out)->bos_id = -1;
    (*out)->eos_id = -1;
    (*out)->vocab_size = INT32_MAX;
    (*out)->info.struct_size = sizeof(rlhf_dataset_info);
    (*out)->info.kind = own.kind;
    (*out)->fingerprint = FNV_OFFSET;
    (*out)->order_epoch = -1;
    return RLHF_OK;
}

void rlhf__dataset_free(rlhf__dataset *dataset)
{
    if (!dataset)
        return;
    if (dataset->is_source && dataset->source.destroy)
        dataset->source.destroy(dataset->user_data);
    rlhf__free(dataset->tokens);
    rlhf__free(dataset->rows);
    rlhf__free(dataset->order);
    rlhf__free(dataset);
}

static rlhf_status check_ids(const int32_t *ids, int64_t count, int32_t vocab_size,
                             const char *field)
{
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] >= 0 && ids[i] < vocab_size)
            continue;
        return rlhf__fail_arg(field,
                              "%s[%" PRId64 "] must be in [0, %" PRId32 "), got %" PRId32,
                              field, i, vocab_size, ids[i]);
    }
    return RLHF_OK;
}

static rlhf_status bad_count(const char *field, const char *bound, int64_t value)
{
    return rlhf__fail_arg(field, "%s must be %s, got %" PRId64, field, bound, value);
}

static rlhf_status check_rejected(const rlhf_example *example, int32_t vocab_size)
{
    const int64_t prompt = example->prompt_length;

    if (!example->rejected)
        return rlhf__fail_arg("rejected", "a preference without rejected tokens");
    if (example->num_rejected < prompt)
        return bad_count("num_rejected", ">= prompt_length", example->num_rejected);
    RLHF__TRY(
        check_ids(example->rejected, example->num_rejected, vocab_size, "rejected"));
    if (prompt > 0 &&
        memcmp(example->tokens, example->rejected, (size_t)prompt * sizeof(int32_t)) != 0)
        return rlhf__fail(
            RLHF_ERR_INVALID_ARG,
            "tokens and rejected differ within the prompt's %" PRId64 " tokens", prompt);
    if (!(example->margin - example->margin == 0))
        return rlhf__fail_arg("margin", "margin must be finite, got %g", example->margin);
    return RLHF_OK;
}

rlhf_status rlhf__example_check(const rlhf_example *example, int32_t kind,
                                int32_t vocab_size)
{
    const int64_t prompt = example->prompt_length;

    if (example->num_tokens < 0 || example->num_tokens > INT32_MAX)
        return bad_count("num_tokens", "in [0, 2147483647]", example->num_tokens);
    if (example->num_tokens > 0 && !example->tokens)
        return rlhf__fail_arg("tokens", "tokens is NULL");
    if (prompt < 0 || prompt > example->num_tokens)
        return bad_count("prompt_length", "in [0, num_tokens]", prompt);
    if (kind == RLHF_DATASET_TEXT && prompt != 0)
        return bad_count("prompt_length", "0 in a text", prompt);
    if (kind == RLHF_DATASET_PROMPT && prompt != 0 && prompt != example->num_tokens)
        return bad_count("prompt_length", "num_tokens (or 0) in a prompt", prompt);
    RLHF__TRY(check_ids(example->tokens, example->num_tokens, vocab_size, "tokens"));
    if (kind == RLHF_DATASET_PREFERENCE) {
        if (example->num_rejected > INT32_MAX)
            return bad_count("num_rejected", "at most 2147483647", example->num_rejected);
        return check_rejected(example, vocab_size);
    }
    return RLHF_OK;
}

/* Adds a row whose tokens are `parts` pieces (tokens, count) one after the other. */
typedef struct piece {
    const int32_t *ids;
    int64_t count;
} piece;

static rlhf_status store_row(rlhf__dataset *dataset, const piece *pieces, int num_pieces,
                             rlhf__dataset_row row)
{
    uint64_t hash = dataset->fingerprint, margin;
    int64_t total = 0;

    for (int i = 0; i < num_pieces; i++)
        total += pieces[i].count;
    RLHF__TRY(rlhf__grow(dataset->context, &dataset->tokens, &dataset->tokens_capacity,
                         dataset->num_tokens + total, sizeof(int32_t)));
    RLHF__TRY(rlhf__grow(dataset->context, &dataset->rows, &dataset->rows_capacity,
                         dataset->num_rows + 1, sizeof row));
    row.first = dataset->num_tokens;
    int32_t *to = dataset->tokens + row.first;
    for (int i = 0; i < num_pieces; i++) {
        if (pieces[i].count > 0) {
            memcpy(to, pieces[i].ids, (size_t)pieces[i].count * sizeof(int32_t));
            to += pieces[i].count;
        }
    }
    for (int64_t i = 0; i < total; i++)
        hash = (hash ^ (uint32_t)dataset->tokens[row.first + i]) * FNV_PRIME;
    hash = (hash ^ (uint64_t)row.num_tokens) * FNV_PRIME;
    hash = (hash ^ (uint64_t)row.prompt_length) * FNV_PRIME;
    hash = (hash ^ (uint64_t)row.num_rejected) * FNV_PRIME;
    memcpy(&margin, &row.margin, sizeof margin);
    hash = (hash ^ margin) * FNV_PRIME;
    dataset->fingerprint = hash;
    dataset->num_tokens += total;
    dataset->rows[dataset->num_rows++] = row;
    return RLHF_OK;
}

/* Blocks of max_length, the last one short. One token alone would be no target and no
 * context, so it takes the token before it along. All blocks or, on failure, none. */
static rlhf_status store_text(rlhf__dataset *dataset, const rlhf_example *example)
{
    const int64_t length = dataset->options.max_length;
    const int64_t num_tokens = example->num_tokens;
    const int64_t tokens_before = dataset->num_tokens, rows_before = dataset->num_rows;
    const uint64_t fingerprint = dataset->fingerprint;

    for (int64_t first = 0; first < num_tokens; first += length) {
        const int64_t start = first > 0 && num_tokens - first == 1 ? first - 1 : first;
        const int64_t count = rlhf__min_i64(length, num_tokens - start);
        const piece part = {example->tokens + start, count};
        rlhf_status status =
            store_row(dataset, &part, 1, (rlhf__dataset_row){.num_tokens = count});
        if (status != RLHF_OK) {
            dataset->num_tokens = tokens_before;
            dataset->num_rows = rows_before;
            dataset->fingerprint = fingerprint;
            return status;
        }
    }
    return RLHF_OK;
}

static rlhf_status store_judged(rlhf__dataset *dataset, const rlhf_example *example,
                                const rlhf__row_cut *cut)
{
    const int64_t from = cut->head + cut->skip;
    const piece pieces[4] = {{example->tokens, cut->head},
                             {example->tokens + from, cut->num_tokens - cut->head},
                             {example->rejected, cut->head},
                             {example->rejected ? example->rejected + from : NULL,
                              cut->num_rejected - cut->head}};
    const bool pair = dataset->kind == RLHF_DATASET_PREFERENCE;

    return store_row(dataset, pieces, pair ? 4 : 2,
                     (rlhf__dataset_row){.num_tokens = cut->num_tokens,
                                         .prompt_length = cut->prompt_length,
                                         .num_rejected = cut->num_rejected,
                                         .margin = pair ? example->margin : 0});
}

rlhf_status rlhf__dataset_append(rlhf__dataset *dataset, const rlhf_example *example)
{
    rlhf__verdict verdict = RLHF__ROW_KEEP;
    rlhf__row_cut cut;

    if (dataset->is_source)
        return rlhf__fail(RLHF_ERR_UNSUPPORTED, "a source of the host takes no rows");
    if (dataset->drawn_from)
        return rlhf__fail(RLHF_ERR_STATE, "rows cannot be added once rows were drawn");
    RLHF__TRY(rlhf__example_check(example, dataset->kind, dataset->vocab_size));
    if (dataset->kind == RLHF_DATASET_TEXT) {
        if (example->num_tokens < 2) /* nothing to predict */
            verdict = RLHF__ROW_EMPTY;
        else
            RLHF__TRY(store_text(dataset, example));
    } else {
        verdict = rlhf__row_judge(dataset, example, &cut);
        if (verdict == RLHF__ROW_KEEP || verdict == RLHF__ROW_TRUNCATED)
            RLHF__TRY(store_judged(dataset, example, &cut));
    }
    dataset->info.num_read++;
    rlhf__dataset_count(dataset, verdict);
    return RLHF_OK;
}

static void fill_example(const rlhf__dataset *dataset, int64_t index, rlhf_example *out)
{
    const rlhf__dataset_row *row = &dataset->rows[index];

    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    out->tokens = dataset->tokens + row->first;
    out->num_tokens = row->num_tokens;
    out->prompt_length = row->prompt_length;
    if (dataset->kind == RLHF_DATASET_PREFERENCE) {
        out->rejected = out->tokens + row->num_tokens;
        out->num_rejected = row->num_rejected;
    }
    out->margin = row->margin;
    out->id = index;
}

static rlhf_status copy_row(rlhf__dataset *to, const rlhf__dataset *from, int64_t index)
{
    const rlhf__dataset_row *row = &from->rows[index];
    const piece all = {from->tokens + row->first, row->num_tokens + row->num_rejected};

    RLHF__TRY(store_row(to, &all, 1, *row));
    to->info.num_read++;
    return RLHF_OK;
}

static rlhf_status create_like(const rlhf__dataset *dataset, rlhf__dataset **out)
{
    RLHF__TRY(rlhf__dataset_create(dataset->context, &dataset->options, out));
    (*out)->bos_id = dataset->bos_id;
    (*out)->eos_id = dataset->eos_id;
    (*out)->vocab_size = dataset->vocab_size;
    return RLHF_OK;
}

rlhf_status rlhf__dataset_split(const rlhf__dataset *dataset, int64_t held_out,
                                uint64_t seed, rlhf__dataset **out_train,
                                rlhf__dataset **out_held_out)
{
    rlhf__dataset *parts[2] = {NULL, NULL};
    int64_t *order = NULL;
    bool *is_held_out = NULL;
    rlhf_status status;

    *out_train = *out_held_out = NULL;
    if (dataset->is_source)
        return rlhf__fail(RLHF_ERR_UNSUPPORTED, "a source of the host cannot be split");
    const int64_t count = dataset->num_rows;
    if (held_out < 0 || held_out > count)
        return rlhf__fail_arg("held_out",
                              "held_out must be in [0, %" PRId64 "], got %" PRId64, count,
                              held_out);
    status =
        rlhf__alloc(dataset->context, count, sizeof *order, RLHF_MEMORY_GENERAL, &order);
    if (status != RLHF_OK)
        goto cleanup;
    status = rlhf__alloc(dataset->context, count, sizeof *is_held_out,
                         RLHF_MEMORY_GENERAL, &is_held_out);
    if (status != RLHF_OK)
        goto cleanup;
    rlhf__rng_permutation(seed, rlhf__rng_stream(RLHF__RNG_SPLIT, 0), order, count);
    for (int64_t i = 0; i < held_out; i++)
        is_held_out[order[i]] = true;
    for (int i = 0; i < 2 && status == RLHF_OK; i++)
        status = create_like(dataset, &parts[i]);
    for (int64_t i = 0; i < count && status == RLHF_OK; i++)
        status = copy_row(parts[is_held_out[i]], dataset, i);
    if (status == RLHF_OK) {
        *out_train = parts[0];
        *out_held_out = parts[1];
        parts[0] = parts[1] = NULL;
    }
cleanup:
    rlhf__dataset_free(parts[0]);
    rlhf__dataset_free(parts[1]);
    rlhf__free(order);
    rlhf__free(is_held_out);
    return status;
}

void rlhf__dataset_get_info(const rlhf__dataset *dataset, rlhf_dataset_info *out_info)
{
    *out_info = dataset->info;
    out_info->num_rows = dataset->is_source ? -1 : dataset->num_rows;
    out_info->num_tokens = dataset->num_tokens;
}

rlhf_status rlhf__dataset_get_row(rlhf__dataset *dataset, int64_t index,
                                  rlhf_example *out_example)
{
    if (dataset->is_source)
        return rlhf__fail(RLHF_ERR_UNSUPPORTED,
                          "rows of a host's source have no numbers");
    if (index < 0 || index >= dataset->num_rows)
        return rlhf__fail_arg("index", "index must be in [0, %" PRId64 "), got %" PRId64,
                              dataset->num_rows, index);
    fill_example(dataset, index, out_example);
    return RLHF_OK;
}

/* The order of `epoch` in dataset->order. */
static rlhf_status draw_order(rlhf__dataset *dataset, int64_t epoch)
{
    if (dataset->order_epoch == epoch)
        return RLHF_OK;
    RLHF__TRY(rlhf__grow(dataset->context, &dataset->order, &dataset->order_capacity,
                         dataset->num_rows, sizeof *dataset->order));
    rlhf__rng_permutation(dataset->options.seed,
                          rlhf__rng_stream(RLHF__RNG_SHUFFLE, (uint64_t)epoch),
                          dataset->order, dataset->num_rows);
    dataset->order_epoch = epoch;
    return RLHF_OK;
}

rlhf_status rlhf__dataset_next(rlhf__dataset *dataset, rlhf_example *out_example)
{
    int64_t epoch = dataset->epoch, index = dataset->index;

    if (dataset->is_source)
        return rlhf__source_next(dataset, out_example);
    if (dataset->num_rows == 0)
        return rlhf__fail(RLHF_ERR_NOT_FOUND, "the dataset has no rows");
    if (index == dataset->num_rows) {
        epoch++;
        index = 0;
    }
    if (dataset->options.num_epochs > 0 && epoch >= dataset->options.num_epochs)
        return rlhf__fail(RLHF_ERR_NOT_FOUND, "no row is left after %" PRId64 " epochs",
                          dataset->options.num_epochs);
    if (dataset->options.shuffle)
        RLHF__TRY(draw_order(dataset, epoch));
    fill_example(dataset, dataset->options.shuffle ? dataset->order[index] : index,
                 out_example);
    dataset->epoch = epoch;
    dataset->index = index + 1;
    dataset->drawn_from = true;
    return RLHF_OK;
}

void rlhf__dataset_put_back(rlhf__dataset *dataset, const rlhf_example *example)
{
    if (!dataset->is_source) {
        dataset->index--;
        return;
    }
    dataset->returned = *example;
    dataset->has_returned = true;
}

rlhf_status rlhf__dataset_rewind(rlhf__dataset *dataset)
{
    if (dataset->is_source)
        return rlhf__fail(RLHF_ERR_UNSUPPORTED, "a source of the host cannot be rewound");
    dataset->epoch = 0;
    dataset->index = 0;
    return RLHF_OK;
}

rlhf_status rlhf__dataset_save_position(rlhf__dataset *dataset, void *out_bytes,
                                        size_t capacity, size_t *out_size)
{
    position own;

    if (dataset->is_source)
        return rlhf__source_save(dataset, out_bytes, capacity, out_size);
    if (capacity < sizeof own)
        return rlhf__fail(RLHF_ERR_LIMIT, "a position takes %zu bytes, capacity is %zu",
                          sizeof own, capacity);
    memset(&own, 0, sizeof own);
    memcpy(own.magic, POSITION_MAGIC, sizeof own.magic);
    own.epoch = dataset->epoch;
    own.index = dataset->index;
    own.num_rows = dataset->num_rows;
    own.fingerprint = dataset->fingerprint;
    own.seed = dataset->options.seed;
    own.shuffle = dataset->options.shuffle;
    memcpy(out_bytes, &own, sizeof own);
    *out_size = sizeof own;
    return RLHF_OK;
}

rlhf_status rlhf__dataset_restore_position(rlhf__dataset *dataset, const void *bytes,
                                           size_t size)
{
    position saved;

    if (dataset->is_source)
        return rlhf__source_restore(dataset, bytes, size);
    if (size != sizeof saved)
        return rlhf__fail(RLHF_ERR_FORMAT, "a position takes %zu bytes, got %zu",
                          sizeof saved, size);
    memcpy(&saved, bytes, sizeof saved);
    if (memcmp(saved.magic, POSITION_MAGIC, sizeof saved.magic) != 0)
        return rlhf__fail(RLHF_ERR_FORMAT, "the bytes are not a position of a dataset");
    if (saved.num_rows != dataset->num_rows || saved.fingerprint != dataset->fingerprint)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the position belongs to other data: %" PRId64
                          " rows there, %" PRId64 " here",
                          saved.num_rows, dataset->num_rows);
    if (saved.seed != dataset->options.seed || saved.shuffle != dataset->options.shuffle)
        return rlhf__fail(
            RLHF_ERR_INVALID_ARG,
            "the position belongs to another order: seed %" PRIu64 ", shuffle %" PRId64
            " there, seed %" PRIu64 ", shuffle %" PRId32 " here",
            saved.seed, saved.shuffle, dataset->options.seed, dataset->options.shuffle);
    if (saved.epoch < 0 || saved.epoch > RLHF__COUNT_MAX || saved.index < 0 ||
        saved.index > saved.num_rows)
        return rlhf__fail(RLHF_ERR_FORMAT,
                          "a position at row %" PRId64 " of epoch %" PRId64
                          " with %" PRId64 " rows",
                          saved.index, saved.epoch, saved.num_rows);
    dataset->epoch = saved.epoch;
    dataset->index = saved.index;
    dataset->drawn_from = true;
    return RLHF_OK;
}
