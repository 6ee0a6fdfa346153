/* Comparisons in and out, choices, undo. */
#include "feedback/feedback.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/rng.h"
#include "base/size.h"
#include "feedback/store.h"

/* --- checks ------------------------------------------------------------------------- */

static rlhf_status check_ids(const int32_t *ids, int64_t count, const char *name)
{
    if (count < 0 || (count > 0 && !ids))
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "%s: %" PRId64 " ids at %s", name, count,
                          ids ? "a pointer" : "NULL");
    if (count > RLHF__FEEDBACK_IDS_MAX)
        return rlhf__fail(RLHF_ERR_LIMIT, "%s: %" PRId64 " ids; at most %d", name, count,
                          RLHF__FEEDBACK_IDS_MAX);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0)
            return rlhf__fail(RLHF_ERR_INVALID_ARG,
                              "%s[%" PRId64 "] must be >= 0, got %" PRId32, name, i,
                              ids[i]);
    return RLHF_OK;
}

static rlhf_status check_text(const char *text, const char *name)
{
    if (text && strnlen(text, RLHF__FEEDBACK_TEXT_MAX + 1) > RLHF__FEEDBACK_TEXT_MAX)
        return rlhf__fail(RLHF_ERR_LIMIT, "%s: a text of more than %d bytes", name,
                          RLHF__FEEDBACK_TEXT_MAX);
    return RLHF_OK;
}

static rlhf_status check_comparison(const rlhf_comparison *comparison)
{
    const rlhf_comparison *c = comparison;

    RLHF__TRY(check_ids(c->prompt_ids, c->num_prompt, "prompt_ids"));
    RLHF__TRY(check_ids(c->answer_ids[0], c->num_answer[0], "answer_ids[0]"));
    RLHF__TRY(check_ids(c->answer_ids[1], c->num_answer[1], "answer_ids[1]"));
    RLHF__TRY(check_text(c->prompt_text, "prompt_text"));
    RLHF__TRY(check_text(c->answer_text[0], "answer_text[0]"));
    return check_text(c->answer_text[1], "answer_text[1]");
}

/* The same ids, or texts between which nobody could choose. */
static bool answers_equal(const rlhf_comparison *c)
{
    const char *text0 = c->answer_text[0] ? c->answer_text[0] : "";
    const char *text1 = c->answer_text[1] ? c->answer_text[1] : "";
    const bool texts_equal = strcmp(text0, text1) == 0;

    if (texts_equal && *text0)
        return true;
    if (c->num_answer[0] != c->num_answer[1])
        return false;
    if (c->num_answer[0] == 0)
        return texts_equal;
    return memcmp(c->answer_ids[0], c->answer_ids[1],
                  (size_t)c->num_answer[0] * sizeof(int32_t)) == 0;
}

/* The number behind the highest that `sql` finds. No store of ours comes near the cap; a
 * file's own number could be any. */
static rlhf_status next_number(rlhf__feedback *store, const char *sql, const char *name,
                               int64_t *out_next)
{
    int64_t highest = 0;

    RLHF__TRY(rlhf__store_integer(store, sql, 0, &highest));
    if (highest < 0 || highest >= RLHF__COUNT_MAX)
        return rlhf__fail_at(RLHF_ERR_LIMIT, store->path, 0, 0, name,
                             "the feedback store's highest %s is %" PRId64
                             "; it must be in [0, 2^53)",
                             name, highest);
    *out_next = highest + 1;
    return RLHF_OK;
}

/* --- adding ------------------------------------------------------------------------- */

/* Little-endian int32 whatever the machine. */
static rlhf_status bind_ids(rlhf__feedback *store, sqlite3_stmt *statement, int column,
                            const int32_t *ids, int64_t count)
{
    unsigned char *bytes = NULL;

    RLHF__TRY(rlhf__alloc(store->context, count, 4, RLHF_MEMORY_GENERAL, &bytes));
    for (int64_t i = 0; i < count; i++) {
        const uint32_t id = (uint32_t)ids[i];
        for (int b = 0; b < 4; b++)
            bytes[4 * i + b] = (unsigned char)(id >> (8 * b));
    }
    const int rc = sqlite3_bind_blob64(statement, column, bytes, (uint64_t)count * 4,
                                       SQLITE_TRANSIENT);
    rlhf__free(bytes);
    return rc == SQLITE_OK ? RLHF_OK : rlhf__store_fail(store, rc);
}

static rlhf_status bind_text(rlhf__feedback *store, sqlite3_stmt *statement, int column,
                             const char *text)
{
    const char *bytes = text ? text : "";
    const int rc =
        sqlite3_bind_blob64(statement, column, bytes, strlen(bytes), SQLITE_STATIC);
    return rc == SQLITE_OK ? RLHF_OK : rlhf__store_fail(store, rc);
}

static rlhf_status bind_comparison(rlhf__feedback *store, sqlite3_stmt *statement,
                                   int64_t id, const rlhf_comparison *c)
{
    const int order = (int)rlhf__rng_below(
        store->seed, rlhf__rng_stream(RLHF__RNG_FEEDBACK, (uint64_t)id), 0, 2);

    sqlite3_reset(statement);
    sqlite3_bind_int64(statement, 1, id);
    RLHF__TRY(bind_ids(store, statement, 2, c->prompt_ids, c->num_prompt));
    RLHF__TRY(bind_ids(store, statement, 3, c->answer_ids[0], c->num_answer[0]));
    RLHF__TRY(bind_ids(store, statement, 4, c->answer_ids[1], c->num_answer[1]));
    RLHF__TRY(bind_text(store, statement, 5, c->prompt_text));
    RLHF__TRY(bind_text(store, statement, 6, c->answer_text[0]));
    RLHF__TRY(bind_text(store, statement, 7, c->answer_text[1]));
    sqlite3_bind_int(statement, 8, order);
    return RLHF_OK;
}

typedef struct insertion {
    sqlite3_stmt *comparison, *choice;
    int64_t next_id;
} insertion;

static rlhf_status begin_insertion(rlhf__feedback *store, insertion *to)
{
    /* Ids are never used again, so that the display order of a comparison is its own. */
    RLHF__TRY(next_number(store,
                          "SELECT seq FROM sqlite_sequence WHERE name = 'comparison'",
                          "id", &to->next_id));
    RLHF__TRY(rlhf__store_prepare(
        store, "INSERT INTO comparison VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        &to->comparison));
    return rlhf__store_prepare(
        store, "INSERT INTO choice (comparison, choice) VALUES (?, 0)", &to->choice);
}

static void end_insertion(insertion *to)
{
    sqlite3_finalize(to->comparison);
    sqlite3_finalize(to->choice);
}

static rlhf_status insert(rlhf__feedback *store, insertion *to, const rlhf_comparison *c)
{
    bool row;

    RLHF__TRY(bind_comparison(store, to->comparison, to->next_id, c));
    RLHF__TRY(rlhf__store_step(store, to->comparison, &row));
    sqlite3_reset(to->choice);
    sqlite3_bind_int64(to->choice, 1, to->next_id);
    RLHF__TRY(rlhf__store_step(store, to->choice, &row));
    to->next_id++;
    return RLHF_OK;
}

rlhf_status rlhf__feedback_add(rlhf__feedback *feedback,
                               const rlhf_comparison *comparison, int64_t *out_id)
{
    insertion to = {NULL, NULL, 0};
    rlhf_status status;

    RLHF__TRY(check_comparison(comparison));
    if (answers_equal(comparison))
        return rlhf__fail(RLHF_ERR_EXISTS, "both answers are the same");
    RLHF__TRY(rlhf__store_begin(feedback, true));
    status = begin_insertion(feedback, &to);
    if (status == RLHF_OK)
        status = insert(feedback, &to, comparison);
    end_insertion(&to);
    status = rlhf__store_end(feedback, status);
    if (status == RLHF_OK && out_id)
        *out_id = to.next_id - 1;
    return status;
}

static rlhf_status insert_all(rlhf__feedback *store, insertion *to,
                              const rlhf_comparison *comparisons, int64_t count,
                              int64_t *out_skipped)
{
    const size_t stride = count > 0 ? comparisons->struct_size : 0;
    const char *at = (const char *)comparisons;
    rlhf_comparison own;

    for (int64_t i = 0; i < count; i++, at += stride) {
        RLHF__TRY(
            rlhf__struct_copy_in(at, sizeof own, sizeof own, &own, "rlhf_comparison"));
        RLHF__TRY(check_comparison(&own));
        if (answers_equal(&own))
            ++*out_skipped;
        else
            RLHF__TRY(insert(store, to, &own));
        if (i + 1 < count)
            RLHF__TRY(rlhf__progress(store->context, "feedback", i + 1, count));
    }
    rlhf__progress_end(store->context, "feedback", count);
    return RLHF_OK;
}

rlhf_status rlhf__feedback_add_many(rlhf__feedback *feedback,
                                    const rlhf_comparison *comparisons, int64_t count,
                                    int64_t *out_skipped)
{
    insertion to = {NULL, NULL, 0};
    int64_t skipped = 0;
    rlhf_status status;

    RLHF__TRY(rlhf__store_begin(feedback, true));
    status = begin_insertion(feedback, &to);
    if (status == RLHF_OK)
        status = insert_all(feedback, &to, comparisons, count, &skipped);
    end_insertion(&to);
    status = rlhf__store_end(feedback, status);
    if (status == RLHF_OK && out_skipped)
        *out_skipped = skipped;
    return status;
}

/* --- reading ------------------------------------------------------------------------ */

enum { COLUMN_ID, COLUMN_IDS, COLUMN_TEXTS = 4, COLUMN_ORDER = 7, COLUMN_CHOICE = 8 };

static const char select_one[] =
    "SELECT c.id, c.prompt_ids, c.answer0_ids, c.answer1_ids,"
    " c.prompt_text, c.answer0_text, c.answer1_text, c.display_order, v.choice"
    " FROM comparison c JOIN choice v ON v.comparison = c.id WHERE c.id = ?";

/* False if an id is negative. */
static bool copy_ids(const unsigned char *bytes, int64_t count, int32_t *out)
{
    int32_t all = 0;

    for (int64_t i = 0; i < count; i++) {
        const unsigned char *b = bytes + 4 * i;
        out[i] = (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
                           (uint32_t)b[3] << 24);
        all |= out[i];
    }
    return all >= 0;
}

rlhf_status rlhf__store_damaged(const rlhf__feedback *store, int64_t id,
                                const char *words)
{
    return rlhf__fail_at(RLHF_ERR_FORMAT, store->path, 0, 0, NULL,
                         "damaged feedback store: comparison %" PRId64 ": %s", id, words);
}

/* What rlhf__feedback_add lets in. */
static rlhf_status check_lengths(const rlhf__feedback *store, int64_t id,
                                 sqlite3_stmt *statement)
{
    for (int i = 0; i < 3; i++) {
        const int ids = sqlite3_column_bytes(statement, COLUMN_IDS + i);
        if (ids % 4 != 0)
            return rlhf__store_damaged(store, id, "its ids are cut off");
        if (ids / 4 > RLHF__FEEDBACK_IDS_MAX)
            return rlhf__store_damaged(store, id, "it has too many ids");
        if (sqlite3_column_bytes(statement, COLUMN_TEXTS + i) > RLHF__FEEDBACK_TEXT_MAX)
            return rlhf__store_damaged(store, id, "its text is too long");
    }
    return RLHF_OK;
}

/* The row of select_one into memory of the store: three lists of ids, then three texts.
 */
static rlhf_status take_row(rlhf__feedback *store, sqlite3_stmt *statement,
                            rlhf_comparison *out)
{
    const int64_t id = sqlite3_column_int64(statement, COLUMN_ID);
    const int32_t order = sqlite3_column_int(statement, COLUMN_ORDER);
    const int32_t choice = sqlite3_column_int(statement, COLUMN_CHOICE);
    int64_t counts[3], sizes[3], bytes = 0;
    int32_t *ids[3];
    char *texts[3], *memory = NULL;

    if (order < 0 || order > 1 || choice < RLHF_CHOICE_NONE || choice > RLHF_CHOICE_SKIP)
        return rlhf__store_damaged(store, id, "its display order or its choice is none");
    RLHF__TRY(check_lengths(store, id, statement));
    for (int i = 0; i < 3; i++) {
        counts[i] = sqlite3_column_bytes(statement, COLUMN_IDS + i) / 4;
        sizes[i] = sqlite3_column_bytes(statement, COLUMN_TEXTS + i);
        bytes += counts[i] * 4 + sizes[i] + 1;
    }
    RLHF__TRY(rlhf__alloc(store->context, bytes, 1, RLHF_MEMORY_GENERAL, &memory));
    rlhf__free(store->row);
    store->row = memory;
    for (int i = 0; i < 3; i++, memory += counts[i - 1] * 4) {
        ids[i] = (int32_t *)(void *)memory;
        if (!copy_ids(sqlite3_column_blob(statement, COLUMN_IDS + i), counts[i], ids[i]))
            return rlhf__store_damaged(store, id, "an id is negative");
    }
    for (int i = 0; i < 3; i++, memory += sizes[i - 1] + 1) {
        texts[i] = memory;
        if (sizes[i] > 0)
            memcpy(memory, sqlite3_column_blob(statement, COLUMN_TEXTS + i),
                   (size_t)sizes[i]);
    }
    *out = (rlhf_comparison){.struct_size = sizeof *out,
                             .id = id,
                             .prompt_ids = ids[0],
                             .answer_ids = {ids[1], ids[2]},
                             .num_prompt = counts[0],
                             .num_answer = {counts[1], counts[2]},
                             .prompt_text = texts[0],
                             .answer_text = {texts[1], texts[2]},
                             .order = order,
                             .choice = choice,
                             .preferred = choice == RLHF_CHOICE_FIRST    ? order
                                          : choice == RLHF_CHOICE_SECOND ? 1 - order
                                                                         : -1};
    return RLHF_OK;
}

rlhf_status rlhf__feedback_get(rlhf__feedback *feedback, int64_t id, rlhf_comparison *out)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    rlhf_status status;

    RLHF__TRY(rlhf__store_prepare(feedback, select_one, &statement));
    sqlite3_bind_int64(statement, 1, id);
    status = rlhf__store_step(feedback, statement, &row);
    if (status == RLHF_OK && !row)
        status = rlhf__fail(RLHF_ERR_NOT_FOUND, "there is no comparison %" PRId64, id);
    if (status == RLHF_OK)
        status = take_row(feedback, statement, out);
    sqlite3_finalize(statement);
    return status;
}

rlhf_status rlhf__feedback_next(rlhf__feedback *feedback, rlhf_comparison *out)
{
    int64_t id = 0;

    RLHF__TRY(rlhf__store_integer(
        feedback, "SELECT min(comparison) FROM choice WHERE choice = 0", 0, &id));
    if (id == 0)
        return rlhf__fail(RLHF_ERR_NOT_FOUND, "no comparison is left without a choice");
    return rlhf__feedback_get(feedback, id, out);
}

/* --- choices ------------------------------------------------------------------------ */

static rlhf_status current_choice(rlhf__feedback *store, int64_t id, int64_t *out_choice)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    rlhf_status status;

    RLHF__TRY(rlhf__store_prepare(store, "SELECT choice FROM choice WHERE comparison = ?",
                                  &statement));
    sqlite3_bind_int64(statement, 1, id);
    status = rlhf__store_step(store, statement, &row);
    if (status == RLHF_OK && row)
        *out_choice = sqlite3_column_int64(statement, 0);
    else if (status == RLHF_OK)
        status = rlhf__fail(RLHF_ERR_NOT_FOUND, "there is no comparison %" PRId64, id);
    sqlite3_finalize(statement);
    return status;
}

/* choice 0 takes the choice back. */
static rlhf_status write_choice(rlhf__feedback *store, int64_t id, int32_t choice,
                                int64_t place)
{
    sqlite3_stmt *statement = NULL;
    bool row;
    rlhf_status status;

    RLHF__TRY(rlhf__store_prepare(
        store,
        "UPDATE choice SET choice = ?, place = ?, chosen_at = ? WHERE comparison = ?",
        &statement));
    sqlite3_bind_int(statement, 1, choice);
    if (choice != RLHF_CHOICE_NONE) {
        sqlite3_bind_int64(statement, 2, place);
        sqlite3_bind_int64(statement, 3, (int64_t)time(NULL));
    }
    sqlite3_bind_int64(statement, 4, id);
    status = rlhf__store_step(store, statement, &row);
    sqlite3_finalize(statement);
    return status;
}

static rlhf_status choose(rlhf__feedback *store, int64_t id, int32_t choice)
{
    int64_t current = 0, place = 0;

    RLHF__TRY(current_choice(store, id, &current));
    if (current != RLHF_CHOICE_NONE)
        return rlhf__fail(RLHF_ERR_EXISTS,
                          "comparison %" PRId64 " has the choice %" PRId64 " already", id,
                          current);
    RLHF__TRY(next_number(store, "SELECT max(place) FROM choice WHERE place IS NOT NULL",
                          "place", &place));
    return write_choice(store, id, choice, place);
}

rlhf_status rlhf__feedback_choose(rlhf__feedback *feedback, int64_t id, int32_t choice)
{
    if (choice < RLHF_CHOICE_FIRST || choice > RLHF_CHOICE_SKIP)
        return rlhf__fail_arg("choice", "choice must be in [1, 4], got %" PRId32, choice);
    RLHF__TRY(rlhf__store_begin(feedback, true));
    return rlhf__store_end(feedback, choose(feedback, id, choice));
}

static rlhf_status undo(rlhf__feedback *store, int64_t *out_id)
{
    RLHF__TRY(rlhf__store_integer(store,
                                  "SELECT comparison FROM choice WHERE place IS NOT NULL"
                                  " ORDER BY place DESC LIMIT 1",
                                  0, out_id));
    if (*out_id == 0)
        return rlhf__fail(RLHF_ERR_NOT_FOUND, "there is no choice to take back");
    return write_choice(store, *out_id, RLHF_CHOICE_NONE, 0);
}

rlhf_status rlhf__feedback_undo(rlhf__feedback *feedback, int64_t *out_id)
{
    int64_t id = 0;
    rlhf_status status;

    RLHF__TRY(rlhf__store_begin(feedback, true));
    status = rlhf__store_end(feedback, undo(feedback, &id));
    if (status == RLHF_OK && out_id)
        *out_id = id;
    return status;
}

rlhf_status rlhf__feedback_get_info(rlhf__feedback *feedback,
                                    rlhf_feedback_info *out_info)
{
    rlhf_feedback_info info = {sizeof info, 0, 0, 0, 0, 0};
    sqlite3_stmt *statement = NULL;
    bool row = false;
    rlhf_status status;

    RLHF__TRY(rlhf__store_prepare(
        feedback,
        "SELECT count(*), coalesce(sum(choice = 0), 0), coalesce(sum(choice IN (1, 2)), "
        "0), coalesce(sum(choice = 3), 0), coalesce(sum(choice = 4), 0) FROM choice",
        &statement));
    status = rlhf__store_step(feedback, statement, &row);
    if (status == RLHF_OK && row) {
        info.num_comparisons = sqlite3_column_int64(statement, 0);
        info.num_pending = sqlite3_column_int64(statement, 1);
        info.num_chosen = sqlite3_column_int64(statement, 2);
        info.num_ties = sqlite3_column_int64(statement, 3);
        info.num_skipped = sqlite3_column_int64(statement, 4);
        *out_info = info;
    }
    sqlite3_finalize(statement);
    return status;
}
