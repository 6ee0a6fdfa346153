/* Rows in, micro-batches, one optimizer step out; see stepper.h. */
#include "train/stepper.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/size.h"
#include "optim/schedule.h"

#define EVALUATE_ROWS 64 /* held at once in an evaluation */

/* --- rows that fit ------------------------------------------------------------------ */

/* `max_length`: of the dataset that let the row pass; 0: unknown. */
static rlhf_status fail_overlong(const rlhf__stepper *s, const char *side, int64_t row,
                                 int64_t num_tokens, int32_t max_length)
{
    char limit[48] = "";

    if (max_length > 0)
        (void)snprintf(limit, sizeof limit, "; the dataset's max_length is %" PRId32,
                       max_length);
    return rlhf__fail(RLHF_ERR_INVALID_ARG,
                      "%s %" PRId64 " has %" PRId64 " tokens, more than the %" PRId64
                      " that a context_length of %" PRId32 " takes%s",
                      side, row, num_tokens, s->settings.longest_row,
                      s->learner.net->config.context_length, limit);
}

static const char *side_of(const rlhf__dataset *dataset, bool rejected)
{
    if (dataset->kind != RLHF_DATASET_PREFERENCE)
        return "row";
    return rejected ? "the rejected side of row" : "the chosen side of row";
}

static rlhf_status check_lengths(const rlhf__stepper *s, const rlhf__dataset *dataset)
{
    int64_t longest = 0, row = 0;
    bool rejected = false;

    for (int64_t i = 0; i < dataset->num_rows; i++) {
        const rlhf__dataset_row *r = &dataset->rows[i];
        if (rlhf__max_i64(r->num_tokens, r->num_rejected) <= longest)
            continue;
        row = i;
        rejected = r->num_rejected > r->num_tokens;
        longest = rejected ? r->num_rejected : r->num_tokens;
    }
    if (longest <= s->settings.longest_row)
        return RLHF_OK;
    return fail_overlong(s, side_of(dataset, rejected), row, longest,
                         dataset->options.max_length);
}

/* A dataset in memory is looked at before it is drawn from: its longest row, the first
 * one with an id that the model does not know. */
static rlhf_status check_dataset(const rlhf__stepper *s, const rlhf__dataset *dataset)
{
    if (dataset->is_source)
        return RLHF_OK;
    RLHF__TRY(check_lengths(s, dataset));
    if (dataset->vocab_size <= s->learner.net->config.vocab_size)
        return RLHF_OK;
    for (int64_t i = 0; i < dataset->num_rows; i++) {
        const rlhf__dataset_row *r = &dataset->rows[i];
        const int32_t *tokens = dataset->tokens + r->first;
        RLHF__TRY(rlhf__ids_check(s->learner.net, side_of(dataset, false), i, tokens,
                                  r->num_tokens));
        RLHF__TRY(rlhf__ids_check(s->learner.net, side_of(dataset, true), i,
                                  tokens + r->num_tokens, r->num_rejected));
    }
    return RLHF_OK;
}

/* Rows that were drawn: a source's, and those appended since the trainer was made. The
 * row that is refused: *out_row. */
static rlhf_status check_rows(const rlhf__stepper *s, const rlhf__rows *rows,
                              int64_t *out_row)
{
    const int64_t per_row = rows->num_seqs / rlhf__max_i64(1, rows->num_rows);

    for (int64_t i = 0; i < rows->num_seqs; i++) {
        const int64_t first = rows->cu_seqlens[i], n = rows->cu_seqlens[i + 1] - first;
        const char *side = side_of(s->dataset, i % per_row != 0);
        *out_row = i / per_row;
        if (n > s->settings.longest_row)
            return fail_overlong(s, side, rows->ids[*out_row], n, 0);
        RLHF__TRY(rlhf__ids_check(s->learner.net, side, rows->ids[*out_row],
                                  rows->tokens + first, n));
    }
    return RLHF_OK;
}

/* --- life --------------------------------------------------------------------------- */

rlhf_status rlhf__stepper_init(rlhf__stepper *s, rlhf__transformer *net,
                               rlhf__dataset *dataset,
                               const rlhf__stepper_settings *settings,
                               rlhf__micro_fn micro, rlhf__clear_fn clear, void *trainer)
{
    memset(s, 0, sizeof *s);
    s->context = net->context;
    s->dataset = dataset;
    s->settings = *settings;
    s->micro = micro;
    s->clear = clear;
    s->trainer = trainer;
    s->learning_rate = settings->learning_rate;
    rlhf__rows_init(&s->rows, s->context, dataset->kind);
    rlhf__rows_init(&s->micro_rows, s->context, dataset->kind);
    RLHF__TRY(rlhf__tape_create(s->context, &s->tape));
    s->tape->checkpoint = settings->checkpoint;
    RLHF__TRY(rlhf__learner_init(&s->learner, net, &settings->learner));
    RLHF__TRY(rlhf__learner_check_rate(&s->learner, "learning_rate", s->learning_rate));
    return check_dataset(s, dataset);
}

void rlhf__stepper_free(rlhf__stepper *s)
{
    rlhf__learner_free(&s->learner);
    rlhf__tape_free(s->tape);
    rlhf__rows_free(&s->rows);
    rlhf__rows_free(&s->micro_rows);
    rlhf__cut_free(&s->cut);
}

/* Takes the step under way back to its first micro-batch. */
static void begin_anew(rlhf__stepper *s)
{
    s->next_micro = 0;
    s->num_tokens = 0;
    s->clear(s->trainer);
    rlhf__learner_zero_grads(&s->learner);
}

/* The position before the step's first row; what was saved holds once a row is drawn, one
 * that could not be kept too. */
static void note_position(rlhf__stepper *s)
{
    if (s->rows.num_rows == 0 && !s->dataset->has_returned)
        s->position_status = rlhf__dataset_save_position(
            s->dataset, s->position, sizeof s->position, &s->position_size);
}

/* Draws the step's rows (or the rest of them, after a failure) and cuts them. A row that
 * is refused is dropped, so that the same call goes on without it. */
static rlhf_status prepare(rlhf__stepper *s)
{
    int64_t row = 0;
    rlhf_status status;

    if (s->cut.num_micro > 0)
        return RLHF_OK;
    note_position(s);
    RLHF__TRY(rlhf__rows_draw(&s->rows, s->dataset, s->settings.batch_size));
    status = check_rows(s, &s->rows, &row);
    if (status != RLHF_OK) {
        rlhf__rows_drop(&s->rows, row);
        return status;
    }
    return rlhf__rows_cut(&s->rows, s->settings.micro_batch_tokens, false, &s->cut);
}

static rlhf_status run_micro(rlhf__stepper *s, const char *stage)
{
    RLHF__TRY(rlhf__progress(s->context, stage, s->next_micro, s->cut.num_micro));
    RLHF__TRY(rlhf__rows_gather(&s->rows, &s->cut, s->next_micro, &s->micro_rows));
    rlhf__tape_reset(s->tape, true, &s->learner.grads);
    return s->micro(s->trainer, &s->micro_rows);
}

rlhf_status rlhf__stepper_accumulate(rlhf__stepper *s, int64_t *out_remaining)
{
    rlhf_status status;

    if (s->cut.num_micro > 0 && s->next_micro == s->cut.num_micro)
        return rlhf__fail(RLHF_ERR_STATE,
                          "all %" PRId64 " micro-batches of the step are there: apply it",
                          s->cut.num_micro);
    RLHF__TRY(prepare(s));
    if (s->next_micro == 0) {
        s->started_ns = rlhf__now_ns();
        begin_anew(s);
    }
    status = run_micro(s, "train");
    if (status != RLHF_OK) {
        begin_anew(s);
        return status;
    }
    s->num_tokens += rlhf__rows_num_tokens(&s->micro_rows);
    s->next_micro++;
    if (s->next_micro == s->cut.num_micro)
        rlhf__progress_end(s->context, "train", s->cut.num_micro);
    *out_remaining = s->cut.num_micro - s->next_micro;
    return RLHF_OK;
}

rlhf_status rlhf__stepper_run(rlhf__stepper *s)
{
    int64_t remaining = 1;

    while (s->cut.num_micro == 0 || s->next_micro < s->cut.num_micro)
        RLHF__TRY(rlhf__stepper_accumulate(s, &remaining));
    return RLHF_OK;
}

rlhf_status rlhf__stepper_apply(rlhf__stepper *s, double scale, double *out_norm,
                                double *out_learning_rate, double *out_seconds)
{
    const rlhf__stepper_settings *o = &s->settings;
    rlhf_status status;

    if (s->cut.num_micro == 0 || s->next_micro < s->cut.num_micro)
        return rlhf__fail(RLHF_ERR_STATE,
                          "%" PRId64 " of the step's %" PRId64 " micro-batches are there",
                          s->next_micro, s->cut.num_micro);
    status = rlhf__learner_norm(&s->learner, scale, "the gradient", out_norm);
    if (status != RLHF_OK) {
        begin_anew(s);
        return status;
    }
    *out_learning_rate =
        rlhf__schedule_rate(o->schedule, s->learning_rate, o->final_lr_ratio,
                            o->warmup_steps, o->total_steps, s->step);
    rlhf__learner_apply(&s->learner, *out_learning_rate, scale, *out_norm);
    *out_seconds = (double)(rlhf__now_ns() - s->started_ns) * 1e-9;
    s->step++;
    s->next_micro = 0;
    rlhf__rows_clear(&s->rows);
    s->cut.num_micro = 0;
    rlhf__tape_reset(s->tape, false, NULL); /* its memory settles now, not next time */
    return RLHF_OK;
}

rlhf_status rlhf__stepper_gradient(const rlhf__stepper *s, const char *name, double scale,
                                   float *out_values, int64_t count)
{
    if (s->next_micro == 0)
        return rlhf__fail(RLHF_ERR_STATE, "there is no gradient between two steps");
    return rlhf__learner_gradient(&s->learner, name, scale, out_values, count);
}

rlhf_status rlhf__stepper_set_learning_rate(rlhf__stepper *s, double learning_rate)
{
    RLHF__TRY(rlhf__learner_check_rate(&s->learner, "learning_rate", learning_rate));
    s->learning_rate = learning_rate;
    return RLHF_OK;
}

/* --- evaluation --------------------------------------------------------------------- */

/* Rows after `done` of `total`. */
static rlhf_status evaluate_rows(rlhf__stepper *s, const rlhf__rows *rows,
                                 rlhf__rows *part, int64_t done, int64_t total)
{
    rlhf__cut cut = {0};
    int64_t refused = 0;
    rlhf_status status = rlhf__progress(s->context, "evaluate", done, total);

    if (status == RLHF_OK)
        status = check_rows(s, rows, &refused);
    if (status == RLHF_OK)
        status = rlhf__rows_cut(rows, s->settings.micro_batch_tokens, false, &cut);

    for (int64_t m = 0; m < cut.num_micro && status == RLHF_OK; m++) {
        status = rlhf__rows_gather(rows, &cut, m, part);
        rlhf__tape_reset(s->tape, false, NULL);
        if (status == RLHF_OK)
            status = s->micro(s->trainer, part);
    }
    rlhf__cut_free(&cut);
    return status;
}

/* Row `index`: of a dataset in memory by its number, so that its stream stays where it
 * is. */
static rlhf_status evaluation_row(rlhf__dataset *dataset, int64_t index,
                                  rlhf_example *out)
{
    if (dataset->is_source)
        return rlhf__dataset_next(dataset, out);
    if (index >= dataset->num_rows)
        return RLHF_ERR_NOT_FOUND; /* the end, not a failure: no text */
    return rlhf__dataset_get_row(dataset, index, out);
}

rlhf_status rlhf__stepper_evaluate(rlhf__stepper *s, rlhf__dataset *dataset,
                                   int64_t max_rows)
{
    rlhf__rows rows, part;
    rlhf_status status = RLHF_OK;
    const int64_t limit = max_rows > 0 ? max_rows : INT64_MAX;
    const int64_t total =
        dataset->is_source ? max_rows : rlhf__min_i64(limit, dataset->num_rows);
    int64_t done = 0;

    if (dataset->kind != s->dataset->kind)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the dataset's kind is %" PRId32 ", the trainer's %" PRId32,
                          dataset->kind, s->dataset->kind);
    if (max_rows < 0)
        return rlhf__fail_arg("max_rows", "max_rows must be >= 0, got %" PRId64,
                              max_rows);
    rlhf__rows_init(&rows, s->context, dataset->kind);
    rlhf__rows_init(&part, s->context, dataset->kind);
    for (int64_t i = 0; i < limit && status == RLHF_OK; i++) {
        rlhf_example row = {.struct_size = sizeof row};
        status = evaluation_row(dataset, i, &row);
        if (status == RLHF_OK)
            status = rlhf__rows_add(&rows, &row);
        if (status == RLHF_OK && rows.num_rows == EVALUATE_ROWS) {
            status = evaluate_rows(s, &rows, &part, done, total);
            rlhf__rows_clear(&rows);
            done = i + 1;
        }
    }
    if (status == RLHF_ERR_NOT_FOUND)
        status = RLHF_OK;
    if (status == RLHF_OK && rows.num_rows > 0)
        status = evaluate_rows(s, &rows, &part, done, total);
    if (status == RLHF_OK)
        rlhf__progress_end(s->context, "evaluate", done + rows.num_rows);
    rlhf__rows_free(&rows);
    rlhf__rows_free(&part);
    return status;
}

/* --- saved state -------------------------------------------------------------------- */

/* The position from which the step that has not been applied drew its rows. */
static rlhf_status current_position(rlhf__stepper *s)
{
    note_position(s);
    if (s->position_status != RLHF_OK &&
        (s->rows.num_rows > 0 || s->dataset->has_returned))
        return rlhf__fail(s->position_status, "the dataset gave no position to save");
    return s->position_status;
}

rlhf_status rlhf__stepper_save(rlhf__stepper *s, const char *path)
{
    rlhf__state_writer *writer = NULL;
    rlhf_status status;

    RLHF__TRY(current_position(s));
    RLHF__TRY(rlhf__state_writer_create(s->context, s->settings.kind, &writer));
    status = rlhf__state_put_i64(writer, "step", s->step);
    if (status == RLHF_OK)
        status = rlhf__state_put_f64(writer, "learning_rate", s->learning_rate);
    if (status == RLHF_OK)
        status = rlhf__state_put_bytes(writer, "position", s->position,
                                       (int64_t)s->position_size);
    if (status == RLHF_OK)
        status = rlhf__learner_put(&s->learner, "model", writer);
    if (status == RLHF_OK)
        status = rlhf__state_writer_commit(writer, path);
    rlhf__state_writer_free(writer);
    return status;
}

rlhf_status rlhf__stepper_resume(rlhf__stepper *s, const char *path)
{
    rlhf__state_reader *reader = NULL;
    const void *position = NULL;
    int64_t step = 0, position_size = 0;
    double learning_rate = 0.0;
    rlhf_status status;

    RLHF__TRY(rlhf__state_reader_open(s->context, path, s->settings.kind, &reader));
    status = rlhf__learner_check(&s->learner, "model", reader);
    if (status == RLHF_OK)
        status = rlhf__state_get_range(reader, "step", 0, RLHF__COUNT_MAX, &step);
    if (status == RLHF_OK)
        status =
            rlhf__state_get_real(reader, "learning_rate", 0.0, FLT_MAX, &learning_rate);
    if (status == RLHF_OK)
        status = rlhf__learner_check_rate(&s->learner, "learning_rate", learning_rate);
    if (status == RLHF_OK)
        status = rlhf__state_get_bytes(reader, "position", &position, &position_size);
    if (status == RLHF_OK)
        status =
            rlhf__dataset_restore_position(s->dataset, position, (size_t)position_size);
    if (status == RLHF_OK)
        status = rlhf__learner_get(&s->learner, "model", reader);
    if (status == RLHF_OK) {
        s->step = step;
        s->learning_rate = learning_rate;
        rlhf__rows_clear(&s->rows);
        s->cut.num_micro = 0;
        begin_anew(s);
    }
    rlhf__state_reader_free(reader);
    return status;
}
