/* The choices as JSONL and as a preference dataset. Ids go out as they were generated, so
 * that training sees the tokens that the person judged. */
#include "feedback/feedback.h"

#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/file.h"
#include "base/json.h"
#include "feedback/store.h"
#include "text/utf8.h"

/* Sees a comparison that has a preferred answer. */
typedef rlhf_status (*visit_fn)(void *arg, const rlhf_comparison *comparison);

/* All ids are read first: the comparison's memory and the statements of each step are
 * then the same as everywhere else. */
static rlhf_status list_chosen(rlhf__feedback *store, int64_t **out_ids,
                               int64_t *out_count)
{
    sqlite3_stmt *statement = NULL;
    int64_t capacity = 0, count = 0, *ids = NULL;
    bool row = true;
    rlhf_status status;

    status = rlhf__store_prepare(
        store, "SELECT comparison FROM choice WHERE choice IN (1, 2) ORDER BY comparison",
        &statement);
    while (status == RLHF_OK && row) {
        status = rlhf__store_step(store, statement, &row);
        if (status == RLHF_OK && row)
            status = rlhf__grow(store->context, &ids, &capacity, count + 1, sizeof *ids);
        if (status == RLHF_OK && row)
            ids[count++] = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    if (status != RLHF_OK) {
        rlhf__free(ids);
        return status;
    }
    *out_ids = ids;
    *out_count = count;
    return RLHF_OK;
}

static rlhf_status visit_chosen(rlhf__feedback *store, visit_fn visit, void *arg)
{
    int64_t *ids = NULL, count = 0;
    rlhf_comparison comparison;
    rlhf_status status;

    /* One read transaction: the choices of one instant, whatever other processes do. */
    RLHF__TRY(rlhf__store_begin(store, false));
    status = list_chosen(store, &ids, &count);
    for (int64_t i = 0; i < count && status == RLHF_OK; i++) {
        status = rlhf__feedback_get(store, ids[i], &comparison);
        if (status == RLHF_OK && comparison.preferred < 0)
            status = rlhf__store_damaged(store, ids[i], "it has two choices");
        if (status == RLHF_OK)
            status = visit(arg, &comparison);
        if (status == RLHF_OK && i + 1 < count)
            status = rlhf__progress(store->context, "feedback", i + 1, count);
    }
    if (status == RLHF_OK)
        rlhf__progress_end(store->context, "feedback", count);
    rlhf__free(ids);
    return rlhf__store_end(store, status);
}

/* --- JSONL -------------------------------------------------------------------------- */

static rlhf_status set_text(rlhf__json *line, const char *key, const char *text,
                            rlhf__buffer *scratch)
{
    scratch->size = 0;
    RLHF__TRY(rlhf__utf8_repair(text, (int64_t)strlen(text), scratch));
    return rlhf__json_set(
        line, key,
        rlhf__json_new_string(scratch->size ? scratch->data : "", scratch->size));
}

/* A text that came without ids goes out without them, so that a reader encodes it: an
 * empty one too, unless an answer has ids (`with_ids`). */
static rlhf_status set_ids(rlhf__json *line, const char *key, const int32_t *ids,
                           int64_t count, const char *text, bool with_ids)
{
    rlhf__json *array;

    if (count == 0 && (*text || !with_ids))
        return RLHF_OK;
    array = rlhf__json_new_array();
    RLHF__TRY(rlhf__json_set(line, key, array));
    for (int64_t i = 0; i < count; i++)
        RLHF__TRY(rlhf__json_append(array, rlhf__json_new_i64(ids[i])));
    return RLHF_OK;
}

static rlhf_status fill_line(rlhf__json *line, const rlhf_comparison *c,
                             rlhf__buffer *scratch)
{
    const int chosen = c->preferred, rejected = 1 - c->preferred;
    const bool with_ids = c->num_answer[0] > 0 || c->num_answer[1] > 0;

    RLHF__TRY(set_text(line, "prompt", c->prompt_text, scratch));
    RLHF__TRY(set_text(line, "chosen", c->answer_text[chosen], scratch));
    RLHF__TRY(set_text(line, "rejected", c->answer_text[rejected], scratch));
    RLHF__TRY(set_ids(line, "prompt_ids", c->prompt_ids, c->num_prompt, c->prompt_text,
                      with_ids));
    RLHF__TRY(set_ids(line, "chosen_ids", c->answer_ids[chosen], c->num_answer[chosen],
                      c->answer_text[chosen], with_ids));
    return set_ids(line, "rejected_ids", c->answer_ids[rejected], c->num_answer[rejected],
                   c->answer_text[rejected], with_ids);
}

typedef struct jsonl {
    rlhf__buffer text, scratch;
} jsonl;

static rlhf_status add_line(void *arg, const rlhf_comparison *comparison)
{
    jsonl *out = arg;
    rlhf__json *line = rlhf__json_new_object();
    rlhf_status status = line ? RLHF_OK : rlhf__fail_no_memory(0);

    if (status == RLHF_OK)
        status = fill_line(line, comparison, &out->scratch);
    if (status == RLHF_OK)
        status = rlhf__json_dump(line, 0, &out->text);
    if (status == RLHF_OK)
        status = rlhf__buffer_append(&out->text, "\n", 1);
    rlhf__json_free(line);
    return status;
}

/* Whether `path` is the file `store` or one that SQLite keeps beside it; both are
 * resolved. The store itself may have other names: hard links. */
static bool is_of_store(const char *path, const char *store)
{
    static const char *const beside[] = {"", "-journal", "-wal", "-shm"};
    const size_t size = strlen(store);

    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
        if (strncmp(path, store, size) == 0 && strcmp(path + size, beside[i]) == 0)
            return true;
    return rlhf__path_same(path, store);
}

/* SQLite's own name of the file is absolute: the host may have gone elsewhere. */
static rlhf_status check_apart(rlhf__feedback *feedback, const char *path)
{
    char *real = NULL, *store = NULL;
    rlhf_status status = rlhf__path_resolve(feedback->context, path, &real);

    if (status == RLHF_OK)
        status = rlhf__path_resolve(feedback->context,
                                    sqlite3_db_filename(feedback->db, "main"), &store);
    if (status == RLHF_ERR_NOT_FOUND && real) /* its folder has gone: nobody meets it */
        status = RLHF_OK;
    if (status == RLHF_OK && store && is_of_store(real, store))
        status = rlhf__fail_at(RLHF_ERR_INVALID_ARG, path, 0, 0, NULL,
                               "this is the feedback store itself; its choices can be "
                               "exported to another file");
    rlhf__free(real);
    rlhf__free(store);
    return status;
}

rlhf_status rlhf__feedback_export(rlhf__feedback *feedback, const char *path)
{
    jsonl out = {{feedback->context, NULL, 0, 0}, {feedback->context, NULL, 0, 0}};

    RLHF__TRY(check_apart(feedback, path));
    rlhf_status status = visit_chosen(feedback, add_line, &out);

    if (status == RLHF_OK)
        status = rlhf__file_write(feedback->context, path,
                                  out.text.size ? out.text.data : "", out.text.size);
    rlhf__buffer_free(&out.text);
    rlhf__buffer_free(&out.scratch);
    return status;
}

/* --- dataset ------------------------------------------------------------------------ */

typedef struct pairs {
    rlhf_context *context;
    rlhf__dataset *dataset;
    int32_t *sides[2];
    int64_t capacities[2];
} pairs;

static rlhf_status join_side(pairs *to, int side, const rlhf_comparison *c, int answer)
{
    const int64_t total = c->num_prompt + c->num_answer[answer];

    /* One more, so that a side without ids is empty, not missing. */
    RLHF__TRY(rlhf__grow(to->context, &to->sides[side], &to->capacities[side], total + 1,
                         sizeof(int32_t)));
    if (c->num_prompt > 0)
        memcpy(to->sides[side], c->prompt_ids, (size_t)c->num_prompt * sizeof(int32_t));
    if (c->num_answer[answer] > 0)
        memcpy(to->sides[side] + c->num_prompt, c->answer_ids[answer],
               (size_t)c->num_answer[answer] * sizeof(int32_t));
    return RLHF_OK;
}

static rlhf_status add_pair(void *arg, const rlhf_comparison *comparison)
{
    pairs *to = arg;
    const rlhf_comparison *c = comparison;
    const int chosen = c->preferred;

    RLHF__TRY(join_side(to, 0, c, chosen));
    RLHF__TRY(join_side(to, 1, c, 1 - chosen));
    return rlhf__dataset_append(
        to->dataset,
        &(rlhf_example){.struct_size = sizeof(rlhf_example),
                        .tokens = to->sides[0],
                        .num_tokens = c->num_prompt + c->num_answer[chosen],
                        .prompt_length = c->num_prompt,
                        .rejected = to->sides[1],
                        .num_rejected = c->num_prompt + c->num_answer[1 - chosen]});
}

rlhf_status rlhf__feedback_dataset(rlhf__feedback *feedback,
                                   const rlhf_dataset_options *options,
                                   rlhf__dataset **out)
{
    pairs to = {feedback->context, NULL, {NULL, NULL}, {0, 0}};
    rlhf_dataset_options own;
    rlhf_status status;

    *out = NULL;
    RLHF__TRY(rlhf__struct_read(&rlhf__dataset_options_desc, options, &own));
    own.kind = RLHF_DATASET_PREFERENCE;
    RLHF__TRY(rlhf__dataset_create(feedback->context, &own, &to.dataset));
    status = visit_chosen(feedback, add_pair, &to);
    rlhf__free(to.sides[0]);
    rlhf__free(to.sides[1]);
    if (status != RLHF_OK) {
        rlhf__dataset_free(to.dataset);
        return status;
    }
    *out = to.dataset;
    return RLHF_OK;
}
