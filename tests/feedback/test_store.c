/* The store's file: choices outlive a killed process, two processes agree, and what is no
 * store, or may not be written, is refused with words. */
#include "feedback_support.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/wait.h>

/* --- processes ---------------------------------------------------------------------- */

/* In a child, with a context and a store of its own; its exit code, or minus its signal.
 */
static int in_child(const feedback_fixture *f,
                    int (*run)(const char *path, rlhf_context *, int), int argument)
{
    const pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0) {
        rlhf_context *context = NULL;
        if (rlhf_context_create(NULL, &context) != RLHF_OK)
            _exit(99);
        _exit(run(f->path, context, argument));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int choose_and_die(const char *path, rlhf_context *context, int id)
{
    rlhf_feedback *store;

    if (rlhf_feedback_open(context, path, 1, &store) != RLHF_OK ||
        rlhf_feedback_choose(store, id, RLHF_CHOICE_SECOND) != RLHF_OK)
        return 1;
    kill(getpid(), SIGKILL);
    return 2;
}

static int undo_and_die(const char *path, rlhf_context *context, int id)
{
    rlhf_feedback *store;
    int64_t undone = 0;

    if (rlhf_feedback_open(context, path, 1, &store) != RLHF_OK ||
        rlhf_feedback_undo(store, &undone) != RLHF_OK || undone != id)
        return 1;
    kill(getpid(), SIGKILL);
    return 2;
}

static void test_choice_is_kept_when_the_process_is_killed(void **state)
{
    const feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    rlhf_comparison c = {.struct_size = sizeof c};

    feedback_add_pairs(store, 4);
    for (int id = 1; id <= 3; id++) {
        assert_int_equal(in_child(f, choose_and_die, id), -SIGKILL);
        assert_ok(
            rlhf_feedback_get(store, id, &c)); /* by a store that was open all along */
        assert_int_equal(c.choice, RLHF_CHOICE_SECOND);
        assert_int_equal(c.preferred, 1 - c.order);
    }
    rlhf_feedback_free(store);
    assert_int_equal(in_child(f, undo_and_die, 3), -SIGKILL);
    store = feedback_open(f, 1); /* by one that opens the file afterwards */
    assert_ok(rlhf_feedback_next(store, &c));
    assert_int_equal(c.id, 3);
    assert_ok(rlhf_feedback_get(store, 2, &c));
    assert_int_equal(c.choice, RLHF_CHOICE_SECOND);
    rlhf_feedback_free(store);
}

/* Dies at the `left`-th allocation once armed: in the midst of a transaction. */
static int left = -1;

static void *deadly_alloc(void *user_data, size_t size, size_t alignment, int32_t kind)
{
    (void)user_data;
    (void)kind;
    if (left > 0 && --left == 0)
        kill(getpid(), SIGKILL);
    return aligned_alloc(alignment, size);
}

static void plain_free(void *user_data, void *ptr, size_t size, size_t alignment,
                       int32_t kind)
{
    (void)user_data;
    (void)size;
    (void)alignment;
    (void)kind;
    free(ptr);
}

static int add_many_and_die(const char *path, rlhf_context *context, int count)
{
    const rlhf_allocator hooks = {sizeof hooks, deadly_alloc, plain_free, NULL};
    rlhf_context_options options;
    rlhf_comparison pairs[10];
    rlhf_feedback *store;

    rlhf_context_free(context);
    if (rlhf_context_options_init(&options, sizeof options) != RLHF_OK)
        return 1;
    options.allocator = &hooks;
    if (rlhf_context_create(&options, &context) != RLHF_OK ||
        rlhf_feedback_open(context, path, 1, &store) != RLHF_OK)
        return 1;
    for (int i = 0; i < count; i++)
        pairs[i] = feedback_pair(i);
    left = 3 * count / 2; /* three lists of ids a pair: half of them are in */
    return rlhf_feedback_add_many(store, pairs, count, NULL) == RLHF_OK ? 2 : 3;
}

static void test_many_half_added_are_none(void **state)
{
    const feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    rlhf_feedback_info info = {.struct_size = sizeof info};

    feedback_add_pairs(store, 2);
    rlhf_feedback_free(store);
    assert_int_equal(in_child(f, add_many_and_die, 10), -SIGKILL);
    store = feedback_open(f, 1);
    assert_ok(rlhf_feedback_get_info(store, &info));
    assert_int_equal(info.num_comparisons, 2);
    rlhf_feedback_free(store);
}

/* Adds and answers `count` pairs, waiting while the other one writes. */
static int add_and_choose(const char *path, rlhf_context *context, int count)
{
    rlhf_feedback *store;
    rlhf_status status;
    int64_t id = 0;

    do
        status = rlhf_feedback_open(context, path, 1, &store);
    while (status == RLHF_ERR_BUSY);
    for (int i = 0; status == RLHF_OK && i < count; i++) {
        const rlhf_comparison pair = feedback_pair(i);
        do
            status = rlhf_feedback_add(store, &pair, &id);
        while (status == RLHF_ERR_BUSY);
        do
            status = status == RLHF_OK
                         ? rlhf_feedback_choose(store, id, RLHF_CHOICE_FIRST)
                         : status;
        while (status == RLHF_ERR_BUSY);
    }
    return status == RLHF_OK ? 0 : 1;
}

static void test_two_processes_lose_nothing(void **state)
{
    enum { EACH = 6 };
    const feedback_fixture *f = *state;
    rlhf_feedback_info info = {.struct_size = sizeof info};
    pid_t children[2];

    for (int i = 0; i < 2; i++) { /* both make the store, if it is not there yet */
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            rlhf_context *context = NULL;
            _exit(rlhf_context_create(NULL, &context) == RLHF_OK
                      ? add_and_choose(f->path, context, EACH)
                      : 99);
        }
    }
    for (int i = 0; i < 2; i++) {
        int status = -1;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    rlhf_feedback *store = feedback_open(f, 1);
    assert_ok(rlhf_feedback_get_info(store, &info));
    assert_int_equal(info.num_comparisons, 2 * EACH);
    assert_int_equal(info.num_chosen, 2 * EACH);
    for (int i = 0; i < 2 * EACH; i++) /* each choice has its own place in the order */
        assert_ok(rlhf_feedback_undo(store, NULL));
    assert_fails(rlhf_feedback_undo(store, NULL), RLHF_ERR_NOT_FOUND, "no choice");
    rlhf_feedback_free(store);
}

static sqlite3 *open_raw(const feedback_fixture *f)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    return db;
}

static void run_sql(sqlite3 *db, const char *sql)
{
    char *words = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &words) != SQLITE_OK)
        fail_msg("%s: %s", sql, words);
}

static void test_store_in_use_is_busy(void **state)
{
    const feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    rlhf_comparison c = {.struct_size = sizeof c};
    sqlite3 *other = open_raw(f);

    feedback_add_pairs(store, 2);
    run_sql(other, "BEGIN IMMEDIATE");
    rlhf_context_cancel(f->context); /* instead of waiting for a second */
    assert_fails(rlhf_feedback_choose(store, 1, RLHF_CHOICE_FIRST), RLHF_ERR_CANCELLED,
                 "");
    assert_fails(rlhf_feedback_choose(store, 1, RLHF_CHOICE_FIRST), RLHF_ERR_BUSY,
                 f->path);
    assert_ok(rlhf_feedback_get(store, 1, &c)); /* reading goes on */
    assert_int_equal(c.choice, RLHF_CHOICE_NONE);
    run_sql(other, "ROLLBACK");
    assert_ok(rlhf_feedback_choose(store, 1, RLHF_CHOICE_FIRST));
    sqlite3_close(other);
    rlhf_feedback_free(store);
}

/* --- files -------------------------------------------------------------------------- */

static void expect_refused(const feedback_fixture *f, rlhf_status status,
                           const char *words)
{
    rlhf_feedback *store = (rlhf_feedback *)(uintptr_t)f;
    rlhf_error_info info = {.struct_size = sizeof info};

    assert_fails(rlhf_feedback_open(f->context, f->path, 1, &store), status, words);
    assert_null(store);
    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.file, f->path);
    assert_non_null(strstr(info.message, f->path));
}

static void test_files_that_are_no_store_are_refused(void **state)
{
    const feedback_fixture *f = *state;
    char text[4096];
    sqlite3 *db;
    size_t size;

    memset(text, 'x', sizeof text);
    test_write(f->path, text, sizeof text);
    expect_refused(f, RLHF_ERR_FORMAT, "not a feedback store");
    char *after = test_read(f->path, &size); /* and left as it is */
    assert_int_equal(size, sizeof text);
    assert_memory_equal(after, text, sizeof text);
    free(after);
    assert_int_equal(unlink(f->path), 0);

    db = open_raw(f);
    run_sql(db, "CREATE TABLE others (a)");
    sqlite3_close(db);
    expect_refused(f, RLHF_ERR_FORMAT, "an SQLite file, but not a feedback store");
    assert_int_equal(unlink(f->path), 0);

    rlhf_feedback_free(feedback_open(f, 1));
    db = open_raw(f);
    run_sql(db, "PRAGMA user_version = 2");
    sqlite3_close(db);
    expect_refused(f, RLHF_ERR_UNSUPPORTED, "of version 2; this library reads up to 1");
    assert_int_equal(unlink(f->path), 0);

    assert_int_equal(mkdir(f->path, 0777), 0);
    expect_refused(f, RLHF_ERR_IO, "feedback store");
    assert_int_equal(rmdir(f->path), 0);
}

static void test_paths_that_lead_nowhere_are_refused(void **state)
{
    const feedback_fixture *f = *state;
    const char *path = test_join(f->folder, "no/such/folder/choices.db");
    rlhf_feedback *store;

    assert_fails(rlhf_feedback_open(f->context, "", 1, &store), RLHF_ERR_INVALID_ARG,
                 "empty");
    assert_fails(rlhf_feedback_open(f->context, NULL, 1, &store), RLHF_ERR_INVALID_ARG,
                 "path");
    assert_fails(rlhf_feedback_open(f->context, path, 1, &store), RLHF_ERR_NOT_FOUND,
                 path);
    assert_null(store);
    rlhf_feedback_free(NULL);
}

static void test_store_cut_short_is_refused(void **state)
{
    const feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    size_t size;
    int refused = 0;

    feedback_add_pairs(store, 40);
    rlhf_feedback_free(store);
    char *whole = test_read(f->path, &size);
    assert_true(size > 8192);
    for (size_t cut = 2; cut < size; cut += 1511) { /* SQLite takes one byte for none */
        test_write(f->path, whole, cut);
        expect_refused(f, RLHF_ERR_FORMAT, "");
        refused++;
    }
    assert_true(refused > 5);
    free(whole);
}

#define ROW "x'01000000', x'02000000', x'03000000', 'p', 'a', 'b', 0"

/* Another process puts a schema that checks nothing under an open store, with values that
 * ours could not hold. */
static void put_unchecked(const feedback_fixture *f, const char *values,
                          const char *choices)
{
    sqlite3 *db = open_raw(f);
    char sql[1024];

    run_sql(db,
            "DROP TABLE choice; DROP TABLE comparison;"
            "CREATE TABLE comparison (id INTEGER PRIMARY KEY AUTOINCREMENT, prompt_ids,"
            " answer0_ids, answer1_ids, prompt_text, answer0_text, answer1_text,"
            " display_order);"
            "CREATE TABLE choice (comparison, choice, place, chosen_at);");
    snprintf(sql, sizeof sql,
             "INSERT INTO comparison VALUES (1, %s); INSERT INTO choice VALUES %s",
             values, choices);
    run_sql(db, sql);
    sqlite3_close(db);
}

static void test_values_that_no_store_holds_are_refused(void **state)
{
    static const struct {
        const char *values, *choice, *words;
    } rows[] = {
        {"x'01000000', x'02000000', x'03000000', 'p', 'a', 'b', 7", "1", "display order"},
        {"x'01000000', x'02000000', x'03000000', 'p', 'a', 'b', -1", "2",
         "display order"},
        {ROW, "9", "choice"},
        {"x'0100', x'02000000', x'03000000', 'p', 'a', 'b', 0", "1", "cut off"},
        {"NULL, NULL, x'03000000000000', NULL, NULL, NULL, 0", "1", "cut off"},
        {"x'01000000', x'02000000', x'030000ff', 'p', 'a', 'b', 0", "1", "negative"},
        {"zeroblob(16777220), x'02', x'03', 'p', 'a', 'b', 0", "1", "too many ids"},
        {"x'', x'', x'', zeroblob(16777217), 'a', 'b', 0", "1", "too long"},
    };
    const feedback_fixture *f = *state;
    const char *out = test_join(f->folder, "out.jsonl");
    rlhf_comparison c = {.struct_size = sizeof c};
    char choices[64];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rlhf_feedback *store = feedback_open(f, 1);
        snprintf(choices, sizeof choices, "(1, %s, 1, 1)", rows[i].choice);
        put_unchecked(f, rows[i].values, choices);
        assert_fails(rlhf_feedback_get(store, 1, &c), RLHF_ERR_FORMAT, rows[i].words);
        assert_non_null(strstr(rlhf_last_error_message(), f->path));
        if (rows[i].choice[0] != '9') {
            assert_fails(rlhf_feedback_export(store, out), RLHF_ERR_FORMAT,
                         rows[i].words);
            assert_false(test_exists(out));
        }
        rlhf_feedback_free(store);
        assert_int_equal(unlink(f->path), 0);
    }
}

/* --- its own file ------------------------------------------------------------------- */

/* By whatever name: the export would take the place of every choice that was made. */
static void test_export_onto_the_store_is_refused(void **state)
{
    static const char *const names[] = {
        "choices.db",     "./choices.db",       "link",       "hard", "choices.db-wal",
        "choices.db-shm", "choices.db-journal", "link-to-wal"};
    const feedback_fixture *f = *state;
    rlhf_feedback *store = feedback_open(f, 1);
    rlhf_comparison c = {.struct_size = sizeof c};

    feedback_add_pairs(store, 2);
    assert_ok(rlhf_feedback_choose(store, 1, RLHF_CHOICE_FIRST));
    assert_int_equal(symlink("choices.db", test_join(f->folder, "link")), 0);
    assert_int_equal(symlink("choices.db-wal", test_join(f->folder, "link-to-wal")), 0);
    assert_int_equal(link(f->path, test_join(f->folder, "hard")), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_fails(rlhf_feedback_export(store, test_join(f->folder, names[i])),
                     RLHF_ERR_INVALID_ARG, names[i]);
    assert_ok(rlhf_feedback_export(store, test_join(f->folder, "choices.db.jsonl")));
    assert_ok(rlhf_feedback_choose(store, 2, RLHF_CHOICE_FIRST));
    rlhf_feedback_free(store);
    store = feedback_open(f, 1);
    for (int64_t id = 1; id <= 2; id++) {
        assert_ok(rlhf_feedback_get(store, id, &c));
        assert_int_equal(c.choice, RLHF_CHOICE_FIRST);
    }
    rlhf_feedback_free(store);
}

static void test_comparison_with_two_choices_is_refused(void **state)
{
    const feedback_fixture *f = *state;
    const char *out = test_join(f->folder, "out.jsonl");
    rlhf_feedback *store = feedback_open(f, 1);
    rlhf_dataset *dataset;

    put_unchecked(f, ROW, "(1, 3, 1, 0), (1, 1, 2, 0)");
    assert_fails(rlhf_feedback_dataset(store, NULL, &dataset), RLHF_ERR_FORMAT,
                 "two choices");
    assert_fails(rlhf_feedback_export(store, out), RLHF_ERR_FORMAT, "two choices");
    rlhf_feedback_free(store);
}

/* Expressions of a file's own schema would run as it is opened and read. */
static void test_schema_that_is_not_ours_is_refused(void **state)
{
    static const char *const changes[] = {
        ("DROP TABLE choice; CREATE TABLE choice (comparison INTEGER, choice INTEGER,"
         " place INTEGER, chosen_at INTEGER)"),
        "ALTER TABLE comparison ADD COLUMN more INTEGER CHECK (more > 0)",
        "ALTER TABLE comparison ADD COLUMN more BLOB AS (zeroblob(400000000))",
        "CREATE TABLE others (a)",
        "CREATE VIEW others AS SELECT 1",
        "CREATE INDEX others ON choice (abs(choice))",
        "DROP INDEX choice_made",
    };
    const feedback_fixture *f = *state;

    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        rlhf_feedback_free(feedback_open(f, 1));
        sqlite3 *db = open_raw(f);
        run_sql(db, changes[i]);
        sqlite3_close(db);
        expect_refused(f, RLHF_ERR_FORMAT, "schema");
        assert_int_equal(unlink(f->path), 0);
    }
    rlhf_feedback *store = feedback_open(f, 1);
    feedback_add_pairs(store, 2);
    sqlite3 *db = open_raw(f);
    run_sql(db, "ANALYZE; VACUUM"); /* what others may well do with it */
    sqlite3_close(db);
    rlhf_feedback_free(store);
    rlhf_feedback_free(feedback_open(f, 1));
}

static void test_numbers_at_their_end_are_refused(void **state)
{
    static const char *const numbers[] = {"9223372036854775807", "9007199254740992",
                                          "-1"};
    const feedback_fixture *f = *state;
    const rlhf_comparison pair = feedback_pair(0);
    char sql[256];

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        rlhf_feedback *store = feedback_open(f, 1);
        feedback_add_pairs(store, 2);
        sqlite3 *db = open_raw(f);
        snprintf(sql, sizeof sql,
                 "UPDATE sqlite_sequence SET seq = %s;"
                 "UPDATE choice SET choice = 1, place = %s WHERE comparison = 1",
                 numbers[i], numbers[i]);
        run_sql(db, sql);
        sqlite3_close(db);
        assert_fails(rlhf_feedback_add(store, &pair, NULL), RLHF_ERR_LIMIT, "id");
        assert_fails(rlhf_feedback_choose(store, 2, RLHF_CHOICE_FIRST), RLHF_ERR_LIMIT,
                     "place");
        assert_non_null(strstr(rlhf_last_error_message(), numbers[i]));
        rlhf_feedback_free(store);
        assert_int_equal(unlink(f->path), 0);
    }
}

/* --- no right to write -------------------------------------------------------------- */

/* As a user who may not write: 0 if each call was refused as it should. */
static int try_read_only(const char *path, rlhf_context *context, int what)
{
    rlhf_feedback *store = NULL;
    rlhf_status status;

    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 50;
    status = rlhf_feedback_open(context, path, 1, &store);
    if (what == 0) /* no file, and none can be made; or one that cannot be written */
        return status == RLHF_ERR_IO && strstr(rlhf_last_error_message(), path) ? 0 : 1;
    if (status != RLHF_OK) /* the file could be written, but its journal has no place */
        return 2;
    status = rlhf_feedback_choose(store, 1, RLHF_CHOICE_FIRST);
    if (status != RLHF_ERR_IO || !strstr(rlhf_last_error_message(), path))
        return 3;
    rlhf_comparison c = {.struct_size = sizeof c};
    return rlhf_feedback_get(store, 1, &c) == RLHF_OK && c.choice == RLHF_CHOICE_NONE ? 0
                                                                                      : 4;
}

static void test_store_that_may_not_be_written_is_refused(void **state)
{
    const feedback_fixture *f = *state;
    int result;

    assert_int_equal(chmod(f->folder, 0555), 0);
    result = in_child(f, try_read_only, 0);
    assert_int_equal(chmod(f->folder, 0755), 0);
    if (result == 50) {
        print_message("skipped: root cannot become a user without rights here\n");
        skip();
    }
    assert_int_equal(result, 0);
    rlhf_feedback *store = feedback_open(f, 1);
    feedback_add_pairs(store, 1);
    rlhf_feedback_free(store);
    assert_int_equal(chmod(f->path, 0444), 0);
    assert_int_equal(in_child(f, try_read_only, 0), 0);
    assert_int_equal(chmod(f->path, 0666), 0);
    assert_int_equal(chmod(f->folder, 0555), 0);
    result = in_child(f, try_read_only, 1);
    assert_int_equal(chmod(f->folder, 0755), 0);
    assert_int_equal(result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEEDBACK_TEST(test_choice_is_kept_when_the_process_is_killed),
        FEEDBACK_TEST(test_many_half_added_are_none),
        FEEDBACK_TEST(test_two_processes_lose_nothing),
        FEEDBACK_TEST(test_store_in_use_is_busy),
        FEEDBACK_TEST(test_files_that_are_no_store_are_refused),
        FEEDBACK_TEST(test_paths_that_lead_nowhere_are_refused),
        FEEDBACK_TEST(test_store_cut_short_is_refused),
        FEEDBACK_TEST(test_values_that_no_store_holds_are_refused),
        FEEDBACK_TEST(test_export_onto_the_store_is_refused),
        FEEDBACK_TEST(test_comparison_with_two_choices_is_refused),
        FEEDBACK_TEST(test_schema_that_is_not_ours_is_refused),
        FEEDBACK_TEST(test_numbers_at_their_end_are_refused),
        FEEDBACK_TEST(test_store_that_may_not_be_written_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
