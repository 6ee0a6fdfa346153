/* Opening the SQLite file, its schema, and SQLite's errors in the library's words.
 *
 * One file beside a rollback journal while a change is under way; synchronous=EXTRA also
 * syncs the folder after the journal is gone, without which a power cut could bring the
 * journal back and undo a choice that was reported as made. */
#include "feedback/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/context.h"

#define APPLICATION_ID 1380730950 /* "RLHF" */
#define SCHEMA_VERSION 1

/* Waits for another process: this many times this long, then BUSY. */
enum { BUSY_TRIES = 40, BUSY_WAIT_MS = 25 };

/* Longest row that the checks of a comparison let in: three texts, three lists of ids,
 * and what SQLite keeps beside them. */
#define ROW_MAX (3 * RLHF__FEEDBACK_TEXT_MAX + 3 * 4 * RLHF__FEEDBACK_IDS_MAX + 4096)

/* docs/feedback.md, "The file". Ids are little-endian int32; texts are bytes as they
 * came. */
static const char table_comparison[] =
    "CREATE TABLE comparison ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " prompt_ids BLOB NOT NULL, answer0_ids BLOB NOT NULL, answer1_ids BLOB NOT NULL,"
    " prompt_text BLOB NOT NULL, answer0_text BLOB NOT NULL, answer1_text BLOB NOT NULL,"
    " display_order INTEGER NOT NULL CHECK (display_order IN (0, 1))"
    ") STRICT";
static const char table_choice[] =
    "CREATE TABLE choice ("
    " comparison INTEGER PRIMARY KEY REFERENCES comparison (id),"
    " choice INTEGER NOT NULL CHECK (choice BETWEEN 0 AND 4),"
    " place INTEGER,"     /* order in which choices were made, for undo */
    " chosen_at INTEGER," /* seconds since 1970 */
    " CHECK ((choice = 0) = (place IS NULL))"
    ") STRICT";
static const char index_pending[] =
    "CREATE UNIQUE INDEX choice_pending ON choice (comparison) WHERE choice = 0";
static const char index_made[] =
    "CREATE UNIQUE INDEX choice_made ON choice (place) WHERE place IS NOT NULL";

static const char *const schema[] = {table_comparison, table_choice, index_pending,
                                     index_made};
/* SQLite's own beside it: of AUTOINCREMENT, and what ANALYZE leaves. */
static const char *const schema_extra[] = {
    "CREATE TABLE sqlite_sequence(name,seq)",
    "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
};
enum {
    NUM_OBJECTS = sizeof schema / sizeof schema[0],
    NUM_EXTRA = sizeof schema_extra / sizeof schema_extra[0]
};

rlhf_status rlhf__store_fail(rlhf__feedback *store, int rc)
{
    const char *words = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc);
    const int system_errno = store->db ? sqlite3_system_errno(store->db) : 0;

    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        RLHF__TRY(rlhf__check_cancel(store->context));
        return rlhf__fail(RLHF_ERR_BUSY,
                          "another process is using the feedback store \"%s\"",
                          store->path);
    case SQLITE_INTERRUPT:
        RLHF__TRY(rlhf__check_cancel(store->context));
        return rlhf__fail(RLHF_ERR_CANCELLED, "cancelled");
    case SQLITE_NOMEM:
        return rlhf__fail_no_memory(0);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR: /* our statements are right, so the file's schema is not */
        return rlhf__fail_at(RLHF_ERR_FORMAT, store->path, 0, 0, NULL,
                             "damaged, or not a feedback store: %s", words);
    case SQLITE_TOOBIG:
        return rlhf__fail(RLHF_ERR_LIMIT, "\"%s\": %s", store->path, words);
    case SQLITE_CANTOPEN:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        if (system_errno)
            return rlhf__fail_errno(system_errno, store->path,
                                    "feedback store \"%s\": %s", store->path, words);
        return rlhf__fail_at(RLHF_ERR_IO, store->path, 0, 0, NULL, "feedback store: %s",
                             words);
    default:
        return rlhf__fail(RLHF_ERR_INTERNAL, "\"%s\": %s (%d)", store->path, words, rc);
    }
}

rlhf_status rlhf__store_exec(rlhf__feedback *store, const char *sql)
{
    const int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? RLHF_OK : rlhf__store_fail(store, rc);
}

/* A rollback takes memory, and fails where the transaction failed for want of it. It is
 * made up for before anything else is done or seen. */
static rlhf_status finish_rollback(rlhf__feedback *store)
{
    if (!store->owes_rollback)
        return RLHF_OK;
    if (!sqlite3_get_autocommit(store->db))
        RLHF__TRY(rlhf__store_exec(store, "ROLLBACK"));
    store->owes_rollback = false;
    return RLHF_OK;
}

rlhf_status rlhf__store_prepare(rlhf__feedback *store, const char *sql,
                                sqlite3_stmt **out_statement)
{
    *out_statement = NULL;
    RLHF__TRY(finish_rollback(store));
    const int rc = sqlite3_prepare_v2(store->db, sql, -1, out_statement, NULL);
    return rc == SQLITE_OK ? RLHF_OK : rlhf__store_fail(store, rc);
}

rlhf_status rlhf__store_step(rlhf__feedback *store, sqlite3_stmt *statement,
                             bool *out_row)
{
    const int rc = sqlite3_step(statement);

    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return rlhf__store_fail(store, rc);
    *out_row = rc == SQLITE_ROW;
    return RLHF_OK;
}

rlhf_status rlhf__store_integer(rlhf__feedback *store, const char *sql, int64_t fallback,
                                int64_t *out_value)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    rlhf_status status;

    RLHF__TRY(rlhf__store_prepare(store, sql, &statement));
    status = rlhf__store_step(store, statement, &row);
    if (status == RLHF_OK) {
        const bool there = row && sqlite3_column_type(statement, 0) != SQLITE_NULL;
        *out_value = there ? sqlite3_column_int64(statement, 0) : fallback;
    }
    sqlite3_finalize(statement);
    return status;
}

rlhf_status rlhf__store_begin(rlhf__feedback *store, bool writes)
{
    RLHF__TRY(finish_rollback(store));
    return rlhf__store_exec(store, writes ? "BEGIN IMMEDIATE" : "BEGIN");
}

rlhf_status rlhf__store_end(rlhf__feedback *store, rlhf_status status)
{
    if (status == RLHF_OK)
        status = rlhf__store_exec(store, "COMMIT");
    if (status != RLHF_OK && !sqlite3_get_autocommit(store->db))
        store->owes_rollback =
            sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK;
    return status;
}

static int on_busy(void *arg, int tries)
{
    rlhf__feedback *store = arg;

    if (tries >= BUSY_TRIES || atomic_load(&store->context->cancel_requested))
        return 0;
    sqlite3_sleep(BUSY_WAIT_MS);
    return 1;
}

static int on_progress(void *arg)
{
    rlhf__feedback *store = arg;
    return atomic_load(&store->context->cancel_requested) != 0;
}

/* SQLite tries again without the right to write, and its errno is of that attempt: "no
 * such file" where a folder is read-only. */
static rlhf_status cannot_open(rlhf__feedback *store, int rc)
{
    const int fd = open(store->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        return rlhf__fail_errno(errno, store->path,
                                "cannot open the feedback store \"%s\"", store->path);
    close(fd);
    return rlhf__store_fail(store, rc);
}

/* SQLite reads "file:..." as a URI and ":memory:" as no file at all, where the build or
 * the host says so; "./" before a relative path takes that away. */
static rlhf_status open_file(rlhf__feedback *store)
{
    rlhf__buffer name = {store->context, NULL, 0, 0};
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                      SQLITE_OPEN_EXRESCODE;
    rlhf_status status = rlhf__buffer_printf(
        &name, "%s%s", store->path[0] == '/' ? "" : "./", store->path);
    if (status == RLHF_OK) {
        const int rc = sqlite3_open_v2(name.data, &store->db, flags, NULL);
        if (rc != SQLITE_OK)
            status = (rc & 0xff) == SQLITE_CANTOPEN ? cannot_open(store, rc)
                                                    : rlhf__store_fail(store, rc);
    }
    rlhf__buffer_free(&name);
    return status;
}

/* The file may come from anywhere: no triggers, no views, no functions in its schema, and
 * no value that is longer than ours. */
static rlhf_status configure(rlhf__feedback *store)
{
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, ROW_MAX);
    sqlite3_busy_handler(store->db, on_busy, store);
    sqlite3_progress_handler(store->db, 10000, on_progress, store);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, (int *)NULL);
    return rlhf__store_exec(store, "PRAGMA cell_size_check = ON;"
                                   "PRAGMA synchronous = EXTRA;"
                                   "PRAGMA foreign_keys = ON;");
}

/* A last page that is cut off reads as if its end were zeros, which SQLite takes for
 * data. */
static rlhf_status check_size(rlhf__feedback *store)
{
    int64_t pages = 0, page_size = 0;
    struct stat info;

    RLHF__TRY(rlhf__store_integer(store, "PRAGMA page_count", 0, &pages));
    RLHF__TRY(rlhf__store_integer(store, "PRAGMA page_size", 0, &page_size));
    if (stat(store->path, &info) == 0 && info.st_size < pages * page_size)
        return rlhf__fail_at(RLHF_ERR_FORMAT, store->path, 0, 0, NULL,
                             "damaged feedback store: %" PRId64 " bytes of %" PRId64,
                             (int64_t)info.st_size, pages * page_size);
    return RLHF_OK;
}

static rlhf_status create_schema(rlhf__feedback *store)
{
    for (int i = 0; i < NUM_OBJECTS; i++)
        RLHF__TRY(rlhf__store_exec(store, schema[i]));
    return rlhf__store_exec(store, "PRAGMA application_id = 1380730950;"
                                   "PRAGMA user_version = 1;");
}

static bool is_one_of(const char *sql, const char *const *known, int count)
{
    for (int i = 0; sql && i < count; i++) {
        if (strcmp(sql, known[i]) == 0)
            return true;
    }
    return false;
}

/* Of an object of the file; counts those that the library writes. SQLite lets no name
 * come twice. */
static rlhf_status check_object(rlhf__feedback *store, sqlite3_stmt *statement,
                                int *own_count)
{
    const char *name = (const char *)sqlite3_column_text(statement, 0);
    const char *sql = (const char *)sqlite3_column_text(statement, 1);

    if (!name || (!sql && sqlite3_column_type(statement, 1) != SQLITE_NULL))
        return rlhf__fail_no_memory(0);
    if (is_one_of(sql, schema, NUM_OBJECTS))
        ++*own_count;
    else if (!is_one_of(sql, schema_extra, NUM_EXTRA))
        return rlhf__fail_at(RLHF_ERR_FORMAT, store->path, 0, 0, NULL,
                             "damaged, or not a feedback store: its schema has another "
                             "\"%.64s\" than the library writes",
                             name);
    return RLHF_OK;
}

/* Expressions of a schema run as rows are read and checked, for as long and with as much
 * memory as they like: the file's must be ours to the letter. */
static rlhf_status check_schema(rlhf__feedback *store)
{
    sqlite3_stmt *statement = NULL;
    int own_count = 0;
    bool row = true;
    rlhf_status status;

    status =
        rlhf__store_prepare(store, "SELECT name, sql FROM sqlite_schema", &statement);
    while (status == RLHF_OK && row) {
        status = rlhf__store_step(store, statement, &row);
        if (status == RLHF_OK && row)
            status = check_object(store, statement, &own_count);
    }
    sqlite3_finalize(statement);
    if (status == RLHF_OK && own_count != NUM_OBJECTS)
        return rlhf__fail_at(RLHF_ERR_FORMAT, store->path, 0, 0, NULL,
                             "damaged feedback store: its schema has %d of %d objects",
                             own_count, NUM_OBJECTS);
    return status;
}

/* In a write transaction, so that two processes that make the store at once agree. */
static rlhf_status check_or_create(rlhf__feedback *store)
{
    int64_t application = 0, version = 0, objects = 0;

    RLHF__TRY(rlhf__store_integer(store, "PRAGMA application_id", 0, &application));
    RLHF__TRY(rlhf__store_integer(store, "PRAGMA user_version", 0, &version));
    RLHF__TRY(
        rlhf__store_integer(store, "SELECT count(*) FROM sqlite_schema", 0, &objects));
    if (application == 0 && version == 0 && objects == 0)
        return create_schema(store);
    if (application != APPLICATION_ID)
        return rlhf__fail_at(RLHF_ERR_FORMAT, store->path, 0, 0, NULL,
                             "an SQLite file, but not a feedback store");
    if (version > SCHEMA_VERSION)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, store->path, 0, 0, NULL,
                             "a feedback store of version %" PRId64
                             "; this library reads up to %d",
                             version, SCHEMA_VERSION);
    RLHF__TRY(check_size(store));
    return check_schema(store);
}

static rlhf_status check_pages(rlhf__feedback *store)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    rlhf_status status;

    RLHF__TRY(rlhf__store_prepare(store, "PRAGMA quick_check(1)", &statement));
    status = rlhf__store_step(store, statement, &row);
    if (status == RLHF_OK) {
        const char *words = row ? (const char *)sqlite3_column_text(statement, 0) : NULL;
        if (!words || strcmp(words, "ok") != 0)
            status = rlhf__fail_at(RLHF_ERR_FORMAT, store->path, 0, 0, NULL,
                                   "damaged feedback store: %.200s", words ? words : "?");
    }
    sqlite3_finalize(statement);
    return status;
}

rlhf_status rlhf__feedback_open(rlhf_context *context, const char *path, uint64_t seed,
                                rlhf__feedback **out)
{
    rlhf__feedback *store = NULL;
    rlhf_status status;

    *out = NULL;
    if (!*path)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the path of the feedback store is empty");
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *store, RLHF_MEMORY_GENERAL, &store));
    store->context = context;
    store->seed = seed;
    status = rlhf__strdup(context, path, &store->path);
    if (status == RLHF_OK)
        status = open_file(store);
    if (status == RLHF_OK && sqlite3_db_readonly(store->db, "main") == 1)
        status = rlhf__fail_at(RLHF_ERR_IO, path, 0, 0, NULL,
                               "the feedback store is read-only");
    if (status == RLHF_OK)
        status = configure(store);
    if (status == RLHF_OK) {
        status = rlhf__store_begin(store, true);
        if (status == RLHF_OK)
            status = rlhf__store_end(store, check_or_create(store));
    }
    if (status == RLHF_OK)
        status = check_pages(store);
    /* One journal for every choice of this connection, not one made and removed for each:
     * the folder is then not written at each commit. */
    if (status == RLHF_OK)
        status = rlhf__store_exec(store, "PRAGMA journal_mode = PERSIST");
    if (status != RLHF_OK) {
        rlhf__feedback_free(store);
        return status;
    }
    *out = store;
    return RLHF_OK;
}

void rlhf__feedback_free(rlhf__feedback *feedback)
{
    if (!feedback)
        return;
    /* A forked child must not touch its parent's connection, not even to close it. */
    if (feedback->context->owner_pid == getpid()) {
        /* The empty journal goes too, unless another process is at work with it. */
        sqlite3_exec(feedback->db, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
        sqlite3_close(feedback->db);
    }
    rlhf__free(feedback->row);
    rlhf__free(feedback->path);
    rlhf__free(feedback);
}
